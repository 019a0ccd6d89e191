//! The whole video model: from a start frame, a coarse video and codes to the refined clip.

use std::ops::ControlFlow;

use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData};
use serde::{Deserialize, Serialize};

use super::control::{ControlBranch, ControlConfig};
use super::dit::{Dit, DitConfig, DitInput};
use super::ground::{Ground, NOISE_SHARE};
use super::hint::grey_hint;
use super::noise::legacy_noise;
use super::schedule::{Beginning, Scaling, SigmaRange, Step};
use super::vae::{VideoVae, VideoVaeConfig};
use crate::media::FrameSize;

/// Noise level that given frames are said to have.
const SIGMA_OF_GIVEN: f64 = 1e-4;

/// Configuration of a [`Vdm`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VdmConfig {
    pub vae: VideoVaeConfig,
    pub dit: DitConfig,
    pub control: ControlConfig,
    /// The noise levels that sampling visits.
    pub sigmas: SigmaRange,
    #[serde(default)]
    pub beginning: Beginning,
}

impl VdmConfig {
    /// The video model of the release.
    pub fn videoworld2_2b() -> Self {
        Self {
            vae: VideoVaeConfig::videoworld2(),
            dit: DitConfig::videoworld2_2b(),
            control: ControlConfig::videoworld2_2b(),
            sigmas: SigmaRange::VIDEOWORLD2,
            beginning: Beginning::Noise,
        }
    }

    /// The video model of the small pack.
    pub fn craft_mini() -> Self {
        Self {
            vae: VideoVaeConfig::craft_mini(),
            dit: DitConfig::craft_mini(),
            control: ControlConfig::craft_mini(),
            sigmas: SigmaRange { max: 0.1, ..SigmaRange::VIDEOWORLD2 },
            beginning: Beginning::Coarse,
        }
    }

    /// Creates the networks with fresh weights.
    pub fn init(&self, device: &Device) -> Vdm {
        Vdm {
            vae: self.vae.init(device),
            dit: self.dit.init(device),
            control: self.control.init(device),
            sigmas: self.sigmas,
            beginning: self.beginning,
        }
    }
}

/// The video diffusion model: VAE, transformer and control branch.
#[derive(Module, Debug)]
pub struct Vdm {
    pub vae: VideoVae,
    pub dit: Dit,
    pub control: ControlBranch,
    #[module(skip)]
    pub sigmas: SigmaRange,
    #[module(skip)]
    pub beginning: Beginning,
}

/// What a clip is made from.
#[derive(Debug, Clone)]
pub struct Conditioning {
    /// Latents of the given first frames, `[batch, channel, given, height, width]`.
    pub given: Tensor<5>,
    /// Latent of the coarse video, `[batch, channel, frames, height, width]`. None: no control.
    pub hint: Option<Tensor<5>>,
    /// Context tokens, `[batch, tokens, channels]`, filled up with [`Dit::pad_context`].
    pub context: Tensor<3>,
    /// What sampling begins with beside noise. None: nothing.
    pub ground: Option<Ground>,
}

/// One clip to sample.
#[derive(Debug, Clone)]
pub struct SampleRequest {
    pub conditioning: Conditioning,
    /// Context tokens of what the clip should be led away from; looked at only with `guidance`.
    pub negative_context: Option<Tensor<3>>,
    /// Latent steps of the clip, given ones included.
    pub latent_steps: usize,
    /// Network evaluations before the final one at the lowest noise.
    pub steps: usize,
    /// How far to go beyond the conditioned estimate, away from the negative one; 0 halves the work.
    pub guidance: f64,
    pub noise_seed: u32,
}

/// Where sampling stands.
#[derive(Debug)]
pub struct StepState<'a> {
    /// Evaluations done, from 1.
    pub step: usize,
    /// Evaluations of the whole clip, the final one included.
    pub of: usize,
    /// The current estimate of the clean latents, `[batch, channel, frames, height, width]`.
    pub x0: &'a Tensor<5>,
    /// The noisy latents after this step; after the final one, those it started from.
    pub state: &'a Tensor<5>,
}

impl Vdm {
    /// What a clip is made from when it starts at `frame`, `[batch, 3, 1, height, width]`, and
    /// follows `coarse`, `[batch, 3, frames, any, any]`. `tokens` are the connector's embeddings of
    /// the codes, `[batch, tokens, channels]`.
    pub fn conditioning(
        &self,
        frame: Tensor<5>,
        coarse: Tensor<5>,
        tokens: Tensor<3>,
    ) -> Conditioning {
        let size = FrameSize::of_video(&frame);
        // The VAE is causal: the first latent step is that of the frame alone.
        let given = self.vae.encode(frame.clone());
        let ground = match self.beginning {
            Beginning::Noise => None,
            Beginning::Coarse => Some(Ground::new(&self.vae, frame, coarse.clone())),
        };
        let hint = self.vae.encode(grey_hint(coarse, size));
        Conditioning { given, hint: Some(hint), context: self.dit.pad_context(tokens), ground }
    }

    /// Estimates the clean latents from noisy ones: the network's side of sampling and of training.
    ///
    /// `noisy` is `[batch, channel, frames, height, width]`; `sigma` has one noise level a frame,
    /// `[batch][frames]`, or one for all frames of a batch entry, `[batch][1]`. Given frames are
    /// set to their clean latents before and after the network, whatever their noise level.
    ///
    /// # Panics
    /// Panics if `sigma` does not fit the latents.
    pub fn denoise(&self, noisy: &Tensor<5>, sigma: &[Vec<f64>], from: &Conditioning) -> Tensor<5> {
        let [batch, _, frames, height, width] = noisy.dims();
        let device = noisy.device();
        let given = from.given.dims()[2];
        assert_eq!(sigma.len(), batch, "one list of noise levels a batch entry");
        let level = |entry: usize, frame: usize| match sigma[entry].as_slice() {
            [all] => *all,
            each => each[frame],
        };
        let per_frame = |value: &dyn Fn(Scaling) -> f64| {
            let mut values = Vec::with_capacity(batch * frames);
            for entry in 0..batch {
                for frame in 0..frames {
                    values.push(value(Scaling::of(level(entry, frame), 1.0)) as f32);
                }
            }
            values
        };
        let factor = |values: Vec<f32>| {
            Tensor::<5>::from_data(TensorData::new(values, [batch, 1, frames, 1, 1]), &device)
        };

        let mut timesteps = per_frame(&|s| s.c_noise);
        for entry in 0..batch {
            let of_given = Scaling::of(SIGMA_OF_GIVEN, 1.0).c_noise as f32;
            timesteps[entry * frames..][..given].fill(of_given);
        }
        let input = DitInput {
            latents: with_given(noisy.clone() * factor(per_frame(&|s| s.c_in)), &from.given),
            condition_mask: given_mask([batch, frames, height, width], given, &device),
            padding_mask: None,
            timesteps: Tensor::from_data(TensorData::new(timesteps, [batch, frames]), &device),
            context: from.context.clone(),
        };
        let control = match &from.hint {
            Some(hint) => self.control.forward(&input, hint.clone()),
            None => Vec::new(),
        };
        let output = self.dit.forward(&input, &control);
        let x0 = noisy.clone() * factor(per_frame(&|s| s.c_skip))
            + output * factor(per_frame(&|s| s.c_out));
        with_given(x0, &from.given)
    }

    /// [`Vdm::denoise`] at one noise level, led away from the negative context.
    pub fn guided(&self, noisy: &Tensor<5>, sigma: f64, request: &SampleRequest) -> Tensor<5> {
        let levels = vec![vec![sigma]; noisy.dims()[0]];
        let wanted = self.denoise(noisy, &levels, &request.conditioning);
        let Some(negative) = request.negative_context.as_ref().filter(|_| request.guidance != 0.0)
        else {
            return wanted;
        };
        let from = Conditioning { context: negative.clone(), ..request.conditioning.clone() };
        let unwanted = self.denoise(noisy, &levels, &from);
        wanted.clone() + (wanted - unwanted) * request.guidance
    }

    /// Samples the latents of a clip, `[batch, channel, frames, height, width]`.
    ///
    /// `on_step` is told of every finished evaluation; when it answers [`ControlFlow::Break`], no
    /// further one is begun and the result is `None`. A [`Sampler`] can be gone on with.
    pub fn sample(
        &self,
        request: &SampleRequest,
        mut on_step: impl FnMut(StepState<'_>) -> ControlFlow<()>,
    ) -> Option<Tensor<5>> {
        let mut sampler = Sampler::new(self, request.clone());
        while let Some(state) = sampler.step(self) {
            if on_step(state).is_break() {
                return None;
            }
        }
        sampler.latents().cloned()
    }

    /// Latents sampled from `conditioning` to video, one latent step at a time, as
    /// [`VideoVae::decode_watched`]. Where sampling began with a ground, they are first led back
    /// towards it, [`Ground::temper`], and it then gives back its details. Values are not clamped.
    pub fn decode_watched(
        &self,
        latents: Tensor<5>,
        conditioning: &Conditioning,
        on_step: impl FnMut(usize, usize) -> ControlFlow<()>,
    ) -> Option<Tensor<5>> {
        Some(match &conditioning.ground {
            Some(ground) => {
                ground.restore(self.vae.decode_watched(ground.temper(latents), on_step)?)
            }
            None => self.vae.decode_watched(latents, on_step)?,
        })
    }
}

/// The sampling of one clip, as far as it has come.
#[derive(Debug, Clone)]
pub struct Sampler {
    request: SampleRequest,
    /// The noise level of every evaluation.
    sigmas: Vec<f64>,
    done: usize,
    /// The noisy latents after the evaluations done; after the final one, those it started from.
    state: Tensor<5>,
    /// What the last evaluation took for the clean latents.
    x0: Option<Tensor<5>>,
}

impl Sampler {
    /// Nothing is evaluated yet.
    pub fn new(vdm: &Vdm, request: SampleRequest) -> Self {
        let [batch, channels, _, height, width] = request.conditioning.given.dims();
        let device = request.conditioning.given.device();
        let shape = [batch, channels, request.latent_steps, height, width];
        let mut state = legacy_noise(request.noise_seed, shape, &device) * vdm.sigmas.max;
        if let Some(ground) = &request.conditioning.ground {
            state = state * NOISE_SHARE + ground.latents.clone();
        }
        Self { sigmas: vdm.sigmas.table(request.steps), done: 0, state, x0: None, request }
    }

    /// One more evaluation; `None` when all are done.
    pub fn step(&mut self, vdm: &Vdm) -> Option<StepState<'_>> {
        let sigma = *self.sigmas.get(self.done)?;
        // The reference tells the network the level in single precision.
        let x0 = vdm.guided(&self.state, f64::from(sigma as f32), &self.request);
        if let Some(next) = self.sigmas.get(self.done + 1) {
            let before = self.x0.take();
            let step = match before {
                None => Step::euler(sigma, *next),
                Some(_) => Step::adams_bashforth(self.sigmas[self.done - 1], sigma, *next),
            };
            self.state = advance(step, self.state.clone(), &x0, before);
        }
        self.done += 1;
        let (step, of) = (self.done, self.sigmas.len());
        Some(StepState { step, of, x0: self.x0.insert(x0), state: &self.state })
    }

    pub fn conditioning(&self) -> &Conditioning {
        &self.request.conditioning
    }

    /// The clip's, `[batch, channel, frames, height, width]`, when all evaluations are done.
    pub fn latents(&self) -> Option<&Tensor<5>> {
        self.x0.as_ref().filter(|_| self.done == self.sigmas.len())
    }
}

/// One step of the sampler on tensors of any shape.
pub fn advance<const D: usize>(
    step: Step,
    x: Tensor<D>,
    x0: &Tensor<D>,
    previous: Option<Tensor<D>>,
) -> Tensor<D> {
    let next = x * step.state + x0.clone() * step.current;
    match previous {
        Some(previous) => next + previous * step.previous,
        None => next,
    }
}

/// The latents with their first frames replaced by the given ones.
fn with_given(latents: Tensor<5>, given: &Tensor<5>) -> Tensor<5> {
    let (frames, count) = (latents.dims()[2], given.dims()[2]);
    if count == frames {
        return given.clone();
    }
    let rest = latents.narrow(2, count, frames - count);
    if count == 0 {
        return rest;
    }
    Tensor::cat(vec![given.clone(), rest], 2)
}

/// One in the first `given` frames, `[batch, 1, frames, height, width]`.
fn given_mask(size: [usize; 4], given: usize, device: &Device) -> Tensor<5> {
    let [batch, frames, height, width] = size;
    let mask = (0..frames).map(|f| if f < given { 1.0_f32 } else { 0.0 });
    let mask = TensorData::new(mask.collect::<Vec<_>>(), [1, 1, frames, 1, 1]);
    Tensor::<5>::from_data(mask, device).expand([batch, 1, frames, height, width])
}

#[cfg(test)]
mod tests {
    use burn::tensor::Distribution;

    use super::*;
    use crate::media::resize_bilinear;
    use crate::vdm::{CONTROL_KEYS, CrossMask, DIT_KEYS};
    use crate::weights::Weights;

    fn tiny() -> VdmConfig {
        let dit = DitConfig {
            model_channels: 24,
            num_blocks: 2,
            num_heads: 2,
            adaln_lora_dim: 4,
            crossattn_emb_channels: 8,
            context_tokens: 6,
            cross_mask: CrossMask::StepCausal { codes_per_step: 2 },
            ..DitConfig::craft_mini()
        };
        VdmConfig {
            control: ControlConfig {
                dit: dit.clone(),
                num_blocks: 1,
                ..ControlConfig::craft_mini()
            },
            dit,
            ..VdmConfig::craft_mini()
        }
    }

    fn random<const D: usize>(shape: [usize; D], device: &Device) -> Tensor<D> {
        Tensor::random(shape, Distribution::Normal(0.0, 1.0), device)
    }

    fn request(vdm: &Vdm, device: &Device) -> SampleRequest {
        SampleRequest {
            conditioning: Conditioning {
                given: random([1, 32, 1, 4, 6], device),
                hint: Some(random([1, 32, 3, 4, 6], device)),
                context: vdm.dit.pad_context(random([1, 4, 8], device)),
                ground: None,
            },
            negative_context: Some(random([1, 6, 8], device)),
            latent_steps: 3,
            steps: 4,
            guidance: 0.0,
            noise_seed: 7,
        }
    }

    #[test]
    fn sampling_reports_every_evaluation_and_keeps_the_given_frame() {
        let device = Device::flex();
        let vdm = tiny().init(&device);
        let request = request(&vdm, &device);
        let mut seen = Vec::new();
        let latents = vdm.sample(&request, |at| {
            seen.push((at.step, at.of));
            ControlFlow::Continue(())
        });
        let latents = latents.expect("not cancelled");
        assert_eq!(seen, [(1, 5), (2, 5), (3, 5), (4, 5), (5, 5)]);
        assert_eq!(latents.dims(), [1, 32, 3, 4, 6]);
        let first = latents.narrow(2, 0, 1) - request.conditioning.given;
        assert_eq!(first.abs().max().into_scalar::<f32>(), 0.0);
    }

    #[test]
    fn what_lies_beneath_little_noise_shows() {
        let device = Device::flex();
        let mut vdm = tiny().init(&device);
        vdm.sigmas.max = 0.01;
        let mut request = request(&vdm, &device);
        let mut means = [-3.0, 3.0].map(|level| {
            request.conditioning.ground = Some(Ground {
                latents: Tensor::full([1, 32, 3, 4, 6], level, &device),
                changed: Tensor::zeros([1, 3, 9, 32, 48], &device),
                rebuilt: Tensor::zeros([1, 3, 9, 32, 48], &device),
                moves: Tensor::zeros([1, 1, 9, 32, 48], &device),
            });
            let latents = vdm.sample(&request, |_| ControlFlow::Continue(()));
            let rest = latents.expect("not cancelled").narrow(2, 1, 2);
            rest.mean().into_scalar::<f32>()
        });
        means.sort_by(f32::total_cmp);
        assert!(means[0] < -2.5 && means[1] > 2.5, "{means:?}");
    }

    #[test]
    fn a_painter_that_changes_nothing_gives_the_very_frame() {
        let device = Device::flex();
        let vdm = tiny().init(&device);
        let frame = random([1, 3, 1, 32, 48], &device).clamp(-1.0, 1.0);
        let small = resize_bilinear(frame.clone(), FrameSize { height: 16, width: 24 });
        let coarse = small.expand([1, 3, 9, 16, 24]);
        let from = vdm.conditioning(frame.clone(), coarse, random([1, 4, 8], &device));
        let ground = from.ground.as_ref().expect("the small model begins with the coarse video");
        let latents = ground.latents.clone();
        let on_step = |_, _| ControlFlow::Continue(());
        let video = vdm.decode_watched(latents, &from, on_step).expect("not stopped");
        let difference = (video - frame).abs().max().into_scalar::<f32>();
        assert!(difference < 1e-4, "nothing moves: {difference}");
    }

    #[test]
    fn a_break_ends_sampling_at_once() {
        let device = Device::flex();
        let vdm = tiny().init(&device);
        let mut calls = 0;
        let latents = vdm.sample(&request(&vdm, &device), |at| {
            calls += 1;
            if at.step == 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        assert!(latents.is_none());
        assert_eq!(calls, 2);
    }

    #[test]
    fn a_sampler_that_stood_still_goes_on_to_the_same_latents() {
        let device = Device::flex();
        let vdm = tiny().init(&device);
        let request = request(&vdm, &device);
        let at_once = vdm.sample(&request, |_| ControlFlow::Continue(())).expect("not cancelled");
        let mut sampler = Sampler::new(&vdm, request);
        for _ in 0..2 {
            sampler.step(&vdm).expect("five are to be done");
        }
        assert!(sampler.latents().is_none());
        let mut later = sampler.clone();
        drop(sampler);
        let mut seen = Vec::new();
        while let Some(at) = later.step(&vdm) {
            seen.push(at.step);
        }
        assert_eq!(seen, [3, 4, 5]);
        let latents = later.latents().expect("all are done").clone();
        assert_eq!((latents - at_once).abs().max().into_scalar::<f32>(), 0.0);
    }

    #[test]
    fn without_guidance_the_negative_context_is_not_looked_at() {
        let device = Device::flex();
        let vdm = tiny().init(&device);
        let mut request = request(&vdm, &device);
        let noisy = random([1, 32, 3, 4, 6], &device);
        let clean = vdm.guided(&noisy, 1.0, &request);
        request.negative_context = Some(Tensor::full([1, 6, 8], f32::NAN, &device));
        let same = vdm.guided(&noisy, 1.0, &request);
        assert_eq!((clean - same).abs().max().into_scalar::<f32>(), 0.0);
    }

    #[test]
    fn a_fresh_control_branch_is_silent() {
        let device = Device::flex();
        let vdm = tiny().init(&device);
        let mut from = request(&vdm, &device).conditioning;
        let noisy = random([1, 32, 3, 4, 6], &device);
        let with = vdm.denoise(&noisy, &[vec![1.0]], &from);
        from.hint = None;
        let without = vdm.denoise(&noisy, &[vec![1.0]], &from);
        assert_eq!((with - without).abs().max().into_scalar::<f32>(), 0.0);
    }

    #[test]
    fn training_reaches_every_weight_of_transformer_and_control_branch() {
        let device = Device::flex().autodiff();
        let vdm = tiny().init(&device);
        let from = request(&vdm, &device).conditioning;
        let clean = random([2, 32, 3, 4, 6], &device);
        let from = Conditioning {
            given: clean.clone().narrow(2, 0, 1),
            hint: from.hint.map(|h| Tensor::cat(vec![h.clone(), h], 0)),
            context: Tensor::cat(vec![from.context.clone(), from.context], 0),
            ground: None,
        };
        let levels = [vec![0.7], vec![1e-4, 2.0, 3.0]];
        let x0 = vdm.denoise(&(clean.clone() + 0.5), &levels, &from);
        let gradients = (x0 - clean).square().mean().backward();
        let reached = Weights::of_gradients(&vdm.dit, &gradients, &DIT_KEYS);
        assert_eq!(reached.len(), Weights::of(&vdm.dit, &DIT_KEYS).len());
        let reached = Weights::of_gradients(&vdm.control, &gradients, &CONTROL_KEYS);
        assert_eq!(reached.len(), Weights::of(&vdm.control, &CONTROL_KEYS).len());
    }
}
