//! The diffusion model's pretraining: appearance and motion in general, none of the tasks.

use std::collections::VecDeque;
use std::path::Path;

use burn::module::Module as _;
use burn::tensor::{Device, Distribution, Tensor, TensorData};
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use super::{ClipPool, Run, Schedule, Subject, Tick, TrainError, stack};
use crate::media::FrameSize;
use crate::vdm::schedule::{TrainingNoise, loss_weight};
use crate::vdm::{Conditioning, NOISE_SHARE, Vdm, VideoVae};

/// Clips kept as latents.
const BANK: usize = 4000;
/// New clips that enter the bank before each iteration until it is full: preparing one costs a
/// quarter of an iteration.
const NEW_PER_ITERATION: usize = 1;
/// Share of the clips with something beneath that are drawn at the highest level at once; of the
/// others half end there too. All levels below show part of the truth, which a sampling of one step
/// never sees.
const HIGHEST_SHARE: f64 = 0.6;

/// Pretrains the transformer of `start` on clips seen through `vae`; there are no codes and no control yet.
///
/// # Errors
/// See [`TrainError`].
#[expect(clippy::too_many_arguments, reason = "a stage is the sum of its settings")]
pub fn train(
    folder: &Path,
    start: Vdm,
    vae: &VideoVae,
    size: FrameSize,
    batch: usize,
    schedule: Schedule,
    device: &Device,
    on_tick: &mut dyn FnMut(&Tick),
) -> Result<Vdm, TrainError> {
    let plain = device.clone();
    let device = device.clone().autodiff();
    let mut vdm = start;
    // Only the transformer learns here; the control branch begins with the joint stage.
    vdm.vae = vae.clone().no_grad();
    vdm.control = vdm.control.no_grad();
    let mut run = Run::open("vdm", folder, vdm, schedule, on_tick)?;
    run.model.vae = vae.clone().no_grad();
    let vae = vae.valid();
    let seed = run.iteration() as u64;
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let first_seed = 7_000_000 + seed * 1000;
    let pool = ClipPool::start(Subject::OtherMotions, size, first_seed, 3000, 4 * batch);
    let mut bank = Bank::default();
    while !run.is_done() {
        if bank.len() < BANK {
            let count = if bank.is_empty() { 2 * batch } else { NEW_PER_ITERATION };
            let clips = pool.sample(count, &mut rng);
            let frames: Vec<_> = clips.iter().map(|clip| clip.frames.as_slice()).collect();
            bank.add([vae.encode_whole(stack(&frames, &plain))]);
        }
        let [latents] = bank.draw(batch, &mut rng);
        let [_, tokens, channels] = context_shape(&run.model, batch);
        let context = Tensor::zeros([batch, tokens, channels], &device);
        let loss = diffusion_loss(&run.model, latents, None, None, context, &mut rng).loss;
        run.step(loss, Vec::new())?;
    }
    run.finish()
}

pub(super) fn context_shape(vdm: &Vdm, batch: usize) -> [usize; 3] {
    let config = vdm.dit.config();
    [batch, config.context_tokens, config.crossattn_emb_channels]
}

/// `N` tensors a clip, kept one clip each so that any clips make a batch.
pub(super) struct Bank<const N: usize> {
    clips: VecDeque<[Tensor<5>; N]>,
}

impl<const N: usize> Default for Bank<N> {
    fn default() -> Self {
        Self { clips: VecDeque::new() }
    }
}

impl<const N: usize> Bank<N> {
    pub fn len(&self) -> usize {
        self.clips.len()
    }

    pub fn is_empty(&self) -> bool {
        self.clips.is_empty()
    }

    /// Takes a batch of clips apart.
    pub fn add(&mut self, batch: [Tensor<5>; N]) {
        for clip in 0..batch[0].dims()[0] {
            self.clips.push_back(batch.clone().map(|tensor| tensor.slice_dim(0, clip..clip + 1)));
        }
    }

    /// Adds one clip and drops the oldest when there are more than `limit`.
    pub fn keep_newest(&mut self, limit: usize, clip: [Tensor<5>; N]) {
        self.clips.push_back(clip);
        if self.clips.len() > limit {
            self.clips.pop_front();
        }
    }

    /// `count` clips drawn with replacement, as tensors that gradients can flow through.
    pub fn draw(&self, count: usize, rng: &mut ChaCha8Rng) -> [Tensor<5>; N] {
        let drawn: Vec<usize> = (0..count).map(|_| rng.random_range(0..self.clips.len())).collect();
        std::array::from_fn(|part| {
            let parts = drawn.iter().map(|clip| self.clips[*clip][part].clone()).collect();
            Tensor::cat(parts, 0).autodiff()
        })
    }
}

/// The straight path's change a unit of noise level: from the clean latents at 0 to noise alone, or
/// to `beneath` under noise at `highest`.
fn away(
    latents: &Tensor<5>,
    noise: Tensor<5>,
    beneath: Option<Tensor<5>>,
    highest: f64,
) -> Tensor<5> {
    match beneath {
        Some(beneath) => noise * NOISE_SHARE + (beneath - latents.clone()) / highest,
        None => noise,
    }
}

/// What the network makes of noisy latents.
pub(super) struct Estimate {
    /// The clean ones, `[batch, channel, step, height, width]`.
    pub latents: Tensor<5>,
    /// Their weighted squared error.
    pub loss: Tensor<1>,
}

/// The clean estimate at random noise levels, the first step given. With `beneath`, noise levels
/// end where sampling begins, and there `beneath` lies under the noise. The first step of a short
/// sampling does most of the work, so half of the draws are at that level, and an error counts
/// alike at all: the velocity's weight would leave the last of the path with nearly all of it.
///
/// # Shapes
/// `latents`, `hint`, `beneath` `[batch, channel, step, height, width]`; `context` `[batch, token, channel]`
pub(super) fn diffusion_loss(
    vdm: &Vdm,
    latents: Tensor<5>,
    hint: Option<Tensor<5>>,
    beneath: Option<Tensor<5>>,
    context: Tensor<3>,
    rng: &mut ChaCha8Rng,
) -> Estimate {
    let [batch, _, steps, _, _] = latents.dims();
    let device = latents.device();
    let highest = vdm.sigmas.max;
    let (levels, most) = match beneath {
        Some(_) => (TrainingNoise { scale: highest, ..TrainingNoise::videoworld2(steps) }, highest),
        None => (TrainingNoise::videoworld2(steps), f64::INFINITY),
    };
    let mut sigma = || match beneath {
        Some(_) if rng.random_bool(HIGHEST_SHARE) => highest,
        _ => levels.sigma(rng.random(), rng.random_range(1e-4..1.0 - 1e-4)).min(most),
    };
    let sigmas: Vec<f64> = (0..batch).map(|_| sigma()).collect();
    let per_clip = |value: &dyn Fn(f64) -> f64| -> Tensor<5> {
        let values: Vec<f32> = sigmas.iter().map(|sigma| value(*sigma) as f32).collect();
        Tensor::from_data(TensorData::new(values, [batch, 1, 1, 1, 1]), &device)
    };
    let noise = latents.random_like(Distribution::Normal(0.0, 1.0));
    // What lies beneath begins with the frame that the clip is painted from, which need not be true.
    let given = beneath.as_ref().unwrap_or(&latents).clone().slice_dim(2, 0..1);
    let away = away(&latents, noise, beneath, highest);
    let noisy = latents.clone() + away * per_clip(&|sigma| sigma);
    let from = Conditioning { given, hint, context, ground: None };
    let levels: Vec<Vec<f64>> = sigmas.iter().map(|sigma| vec![*sigma]).collect();
    let estimate = vdm.denoise(&noisy, &levels, &from);
    let channels = vdm.vae.channel_weights();
    let shape = [1, channels.len(), 1, 1, 1];
    let channels = Tensor::<5>::from_data(TensorData::new(channels, shape), &device);
    let error = (estimate.clone() - latents).square() * channels;
    let weight = |sigma: f64| loss_weight(if most.is_finite() { most } else { sigma });
    let loss = (error * per_clip(&weight)).mean();
    Estimate { latents: estimate, loss }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_ends_where_sampling_begins() {
        let device = Device::flex();
        let draw = || Tensor::<5>::random([1, 2, 3, 2, 2], Distribution::Normal(0.0, 1.0), &device);
        let (latents, noise, beneath, highest) = (draw(), draw(), draw(), 0.5);
        let error = |found: Tensor<5>, wanted: Tensor<5>| -> f32 {
            (found - wanted).abs().max().into_scalar()
        };
        let from_coarse = away(&latents, noise.clone(), Some(beneath.clone()), highest);
        let end = latents.clone() + from_coarse * highest;
        assert!(error(end, beneath + noise.clone() * highest * NOISE_SHARE) < 1e-5);
        assert_eq!(error(away(&latents, noise.clone(), None, highest), noise), 0.0);
    }
}
