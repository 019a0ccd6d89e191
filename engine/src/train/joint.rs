//! Stage 2: the dLDM and the diffusion model together, with both stop-gradients.
//!
//! The codes reach the diffusion model through connector and cross-attention and are shaped by its
//! loss alone: the coarse decoder gets them detached, and its video enters the control branch
//! detached. The last part of the stage freezes the dLDM, whose codes and coarse videos are then
//! computed once, and trains the painter and the connector alone: on a processor that is four
//! times as many samples a second.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData};
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use super::pool::PoolClip;
use super::vae::scalar;
use super::vdm::{Bank, diffusion_loss};
use super::warmup::{CARRIED_SHARE, moving_weight};
use super::{ClipPool, Run, Schedule, Subject, Tick, TrainError, stack};
use crate::dldm::Dldm;
use crate::media::{FrameSize, last_frame, resize_bilinear};
use crate::vdm::schedule::Beginning;
use crate::vdm::{Conditioning, SampleRequest, Vdm, changed_frame, grey_hint};

/// Weight of the diffusion loss beside the reconstruction's, as in the release.
const DIFFUSION_WEIGHT: f32 = 10.0;
/// Clips kept once the dLDM is frozen.
const BANK: usize = 3000;
/// Sampler steps of the packs we train.
pub(super) const REFINE_STEPS: usize = 1;
/// How far colours of the diffusion target are moved: gain and offset a channel.
const JITTER: f32 = 0.1;

/// Both networks of the stage, as one checkpoint.
#[derive(Module, Debug)]
pub struct Joint {
    pub dldm: Dldm,
    pub vdm: Vdm,
}

/// What the stage trains on, and how.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Clips are drawn at this size; the dLDM sees them at `coarse_size`.
    pub size: FrameSize,
    pub coarse_size: FrameSize,
    /// Share of the stage that trains the dLDM too.
    pub both_share: f64,
    /// Clips an iteration.
    pub batch: usize,
}

/// Trains `start` jointly.
///
/// # Errors
/// See [`TrainError`].
pub fn train(
    folder: &Path,
    start: Joint,
    Settings { size, coarse_size, both_share, batch }: Settings,
    schedule: Schedule,
    device: &Device,
    on_tick: &mut dyn FnMut(&Tick),
) -> Result<Joint, TrainError> {
    let plain = device.clone();
    let vae = start.vdm.vae.clone();
    let from_coarse = start.vdm.beginning == Beginning::Coarse;
    let mut run = Run::open("joint", folder, start, schedule, on_tick)?;
    run.model.vdm.vae = vae.clone().no_grad();
    let vae = vae.valid();
    let seed = run.iteration() as u64;
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let pool = ClipPool::start(Subject::Tasks, size, 9_000_000 + seed * 1000, 3000, 8 * batch);
    let mut bank = Bank::<4>::default();
    let mut walk = Walk::default();
    while !run.is_done() {
        let frozen = run.progress() >= both_share;
        if !frozen {
            let clips = pool.sample(batch, &mut rng);
            let video = stack_frames(&clips, &plain);
            let small = resize_bilinear(video.clone(), coarse_size);
            let jittered = Jitter::draw(batch, &mut rng, &plain).apply(video);
            let target = vae.encode_whole(jittered.clone());
            let small = small.autodiff();
            let out = run.model.dldm.forward_train_detached(small.clone());
            let weight = moving_weight(&small, &small.clone().slice_dim(2, 0..1));
            let error = (out.recon.clone() - small).abs() * weight.clone();
            let reconstruction = error.mean() / weight.mean();
            let coarse = out.recon.inner();
            let first = jittered.slice_dim(2, 0..1);
            let under = from_coarse
                .then(|| vae.encode_whole(changed_frame(first, coarse.clone())).autodiff());
            let hint = vae.encode_whole(grey_hint(coarse, size));
            let context = run.model.vdm.dit.pad_context(run.model.dldm.connect(out.codes));
            let (target, hint) = (target.autodiff(), Some(hint.autodiff()));
            let diffusion = diffusion_loss(&run.model.vdm, target, hint, under, context, &mut rng);
            let measures = vec![
                ("diffusion", scalar(&diffusion)),
                ("reconstruction", scalar(&reconstruction)),
            ];
            run.step(diffusion * DIFFUSION_WEIGHT + reconstruction, measures)?;
            continue;
        }
        if bank.is_empty() {
            let clips = pool.sample(8 * batch, &mut rng);
            let jitter = Jitter::draw(clips.len(), &mut rng, &plain);
            let video = stack_frames(&clips, &plain);
            bank.add(prepare(&run.model, video, coarse_size, &jitter, None).0);
        } else if bank.len() < BANK {
            bank.add(walk.next(&run.model, &pool, coarse_size, &mut rng));
        }
        let [target, hint, under, codes] = bank.draw(batch, &mut rng);
        let under = from_coarse.then_some(under);
        let context = run.model.vdm.dit.pad_context(run.model.dldm.connect(code_tokens(codes)));
        let diffusion =
            diffusion_loss(&run.model.vdm, target, Some(hint), under, context, &mut rng);
        let measures = vec![("diffusion", scalar(&diffusion)), ("reconstruction", f64::NAN)];
        run.step(diffusion * DIFFUSION_WEIGHT, measures)?;
    }
    run.finish()
}

fn stack_frames(clips: &[Arc<PoolClip>], device: &Device) -> Tensor<5> {
    let frames: Vec<_> = clips.iter().map(|clip| clip.frames.as_slice()).collect();
    stack(&frames, device)
}

/// How a painted clip ended, `[batch, 3, 1, height, width]` each: what the next one begins with.
struct Ends {
    coarse: Tensor<5>,
    refined: Tensor<5>,
}

/// What the painter learns from a clip while the dLDM is frozen: latents of the target, of the
/// control's hint and of what lies under the noise, and the codes `[batch, dimension, token, 1, 1]`.
type Prepared = [Tensor<5>; 4];

/// Prepares clips that begin with their own first frames or `from` what was painted; with the last
/// frames of their coarse videos.
fn prepare(
    model: &Joint,
    video: Tensor<5>,
    coarse_size: FrameSize,
    jitter: &Jitter,
    from: Option<Ends>,
) -> (Prepared, Tensor<5>) {
    let (dldm, vae) = (model.dldm.valid(), model.vdm.vae.valid());
    let size = FrameSize::of_video(&video);
    let small = resize_bilinear(video.clone(), coarse_size);
    let jittered = jitter.apply(video);
    let codes = dldm.quantize(dldm.encode(small.clone()).z).codes;
    let from = from.unwrap_or_else(|| Ends {
        coarse: small.slice_dim(2, 0..1),
        refined: jittered.clone().slice_dim(2, 0..1),
    });
    let coarse = dldm.decode_from_frame(from.coarse, codes.clone());
    let hint = vae.encode_whole(grey_hint(coarse.clone(), size));
    let under = vae.encode_whole(changed_frame(from.refined, coarse.clone()));
    let target = vae.encode_whole(jittered);
    ([target, hint, under, codes.unsqueeze_dims(&[3, 4])], last_frame(coarse))
}

/// Paints one prepared clip as a rollout does; its last frame.
fn paint(model: &Joint, [_, hint, under, codes]: &Prepared, noise_seed: u32) -> Tensor<5> {
    let (dldm, vdm) = (model.dldm.valid(), model.vdm.valid());
    let latent_steps = under.dims()[2];
    let request = SampleRequest {
        conditioning: Conditioning {
            given: under.clone().slice_dim(2, 0..1),
            hint: Some(hint.clone()),
            context: vdm.dit.pad_context(dldm.connect(code_tokens(codes.clone()))),
            beneath: (vdm.beginning == Beginning::Coarse).then(|| under.clone()),
        },
        negative_context: None,
        latent_steps,
        steps: REFINE_STEPS,
        guidance: 0.0,
        noise_seed,
    };
    let latents = vdm.sample(&request, |_| ControlFlow::Continue(()));
    last_frame(vdm.vae.decode(latents.expect("nobody stops it")))
}

/// Codes of the bank as the connector takes them, `[batch, dimension, token]`.
fn code_tokens(codes: Tensor<5>) -> Tensor<3> {
    let [batch, dimensions, tokens, _, _] = codes.dims();
    codes.reshape([batch, dimensions, tokens])
}

/// A walk through episodes, clip by clip. A clip may begin where the painted clip before it ended,
/// as in a rollout, so that the painter meets its own mistakes and learns to mend them.
#[derive(Default)]
struct Walk {
    place: Option<usize>,
    /// The same for a whole episode: a painted end has it already.
    jitter: Option<Jitter>,
    ends: Option<Ends>,
}

impl Walk {
    fn next(
        &mut self,
        model: &Joint,
        pool: &ClipPool,
        coarse_size: FrameSize,
        rng: &mut ChaCha8Rng,
    ) -> Prepared {
        let device = model.vdm.vae.valid().devices().remove(0);
        let clips = pool.walk(std::slice::from_mut(&mut self.place), rng);
        if clips[0].step == 0 {
            (self.jitter, self.ends) = (None, None);
        }
        let jitter = self.jitter.get_or_insert_with(|| Jitter::draw(1, rng, &device));
        let from = self.ends.take().filter(|_| rng.random_bool(CARRIED_SHARE));
        let video = stack_frames(&clips, &device);
        let (prepared, coarse) = prepare(model, video, coarse_size, jitter, from);
        let refined = paint(model, &prepared, rng.random());
        self.ends = Some(Ends { coarse, refined });
        prepared
    }
}

/// A gain and an offset a channel, the same for all frames of a clip: the codes must not carry
/// colours.
struct Jitter {
    gain: Tensor<5>,
    offset: Tensor<5>,
}

impl Jitter {
    fn draw(batch: usize, rng: &mut ChaCha8Rng, device: &Device) -> Self {
        let mut draw = |around: f32| {
            let values: Vec<f32> =
                (0..batch * 3).map(|_| around + rng.random_range(-JITTER..=JITTER)).collect();
            Tensor::from_data(TensorData::new(values, [batch, 3, 1, 1, 1]), device)
        };
        Self { gain: draw(1.0), offset: draw(0.0) }
    }

    fn apply(&self, video: Tensor<5>) -> Tensor<5> {
        (video * self.gain.clone() + self.offset.clone()).clamp(-1.0, 1.0)
    }
}
