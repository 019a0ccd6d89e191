//! Stage 2: the dLDM and the diffusion model together, with both stop-gradients.
//!
//! The codes reach the diffusion model through connector and cross-attention and are shaped by its
//! loss alone: the coarse decoder gets them detached, and its video enters the control branch
//! detached. The last part of the stage freezes the dLDM, whose codes and coarse videos are then
//! computed once, and trains the painter and the connector alone: on a processor that is four
//! times as many samples a second.

use std::path::Path;

use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData};
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use super::vae::scalar;
use super::vdm::{Bank, diffusion_loss};
use super::warmup::moving_weight;
use super::{ClipPool, Run, Schedule, Subject, Tick, TrainError, stack};
use crate::dldm::Dldm;
use crate::media::{FrameSize, resize_bilinear};
use crate::vdm::schedule::Beginning;
use crate::vdm::{Vdm, changed_frame, grey_hint};

/// Weight of the diffusion loss beside the reconstruction's, as in the release.
const DIFFUSION_WEIGHT: f32 = 10.0;
/// Clips kept once the dLDM is frozen.
const BANK: usize = 3000;
const NEW_PER_ITERATION: usize = 1;
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
    while !run.is_done() {
        let frozen = run.progress() >= both_share;
        if !frozen || bank.len() < BANK {
            let first = frozen && bank.is_empty();
            let count = if first {
                8 * batch
            } else if frozen {
                NEW_PER_ITERATION
            } else {
                batch
            };
            let clips = pool.sample(count, &mut rng);
            let frames: Vec<_> = clips.iter().map(|clip| clip.frames.as_slice()).collect();
            let video = stack(&frames, &plain);
            let small = resize_bilinear(video.clone(), coarse_size);
            let jittered = colour_jitter(video, &mut rng);
            let target = vae.encode_whole(jittered.clone());
            let beneath = |coarse: Tensor<5>| {
                vae.encode_whole(changed_frame(jittered.slice_dim(2, 0..1), coarse))
            };
            if !frozen {
                let small = small.autodiff();
                let out = run.model.dldm.forward_train_detached(small.clone());
                let weight = moving_weight(&small);
                let error = (out.recon.clone() - small).abs() * weight.clone();
                let reconstruction = error.mean() / weight.mean();
                let coarse = out.recon.inner();
                let under = from_coarse.then(|| beneath(coarse.clone()).autodiff());
                let hint = vae.encode_whole(grey_hint(coarse, size));
                let context = run.model.vdm.dit.pad_context(run.model.dldm.connect(out.codes));
                let (target, hint) = (target.autodiff(), Some(hint.autodiff()));
                let diffusion =
                    diffusion_loss(&run.model.vdm, target, hint, under, context, &mut rng);
                let measures = vec![
                    ("diffusion", scalar(&diffusion)),
                    ("reconstruction", scalar(&reconstruction)),
                ];
                run.step(diffusion * DIFFUSION_WEIGHT + reconstruction, measures)?;
                continue;
            }
            let dldm = run.model.dldm.valid();
            let codes = dldm.quantize(dldm.encode(small.clone()).z).codes;
            let coarse = dldm.decode_from_frame(small.slice_dim(2, 0..1), codes.clone());
            let hint = vae.encode_whole(grey_hint(coarse.clone(), size));
            bank.add([target, hint, beneath(coarse), codes.unsqueeze_dims(&[3, 4])]);
        }
        let [target, hint, under, codes] = bank.draw(batch, &mut rng);
        let under = from_coarse.then_some(under);
        let [count, dimensions, tokens, _, _] = codes.dims();
        let codes = codes.reshape([count, dimensions, tokens]);
        let context = run.model.vdm.dit.pad_context(run.model.dldm.connect(codes));
        let diffusion =
            diffusion_loss(&run.model.vdm, target, Some(hint), under, context, &mut rng);
        let measures = vec![("diffusion", scalar(&diffusion)), ("reconstruction", f64::NAN)];
        run.step(diffusion * DIFFUSION_WEIGHT, measures)?;
    }
    run.finish()
}

/// A gain and an offset a channel, the same for all frames of a clip: the codes must not carry
/// colours.
fn colour_jitter(video: Tensor<5>, rng: &mut ChaCha8Rng) -> Tensor<5> {
    let [batch, channels, ..] = video.dims();
    let mut draw = |around: f32| -> Tensor<5> {
        let values: Vec<f32> =
            (0..batch * channels).map(|_| around + rng.random_range(-JITTER..=JITTER)).collect();
        Tensor::from_data(TensorData::new(values, [batch, channels, 1, 1, 1]), &video.device())
    };
    let (gain, offset) = (draw(1.0), draw(0.0));
    (video * gain + offset).clamp(-1.0, 1.0)
}
