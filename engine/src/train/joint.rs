//! Stage 2: the dLDM and the diffusion model together, with both stop-gradients.
//!
//! The codes reach the diffusion model through connector and cross-attention and are shaped by its
//! loss alone: the coarse decoder gets them detached, and its video enters the control branch
//! detached. The last part of the stage freezes the dLDM, whose codes and coarse videos are then
//! computed once a clip, and trains the painter and the connector alone: on a processor that is
//! four times as many samples a second.
//!
//! A painter that begins with the coarse video is judged by the picture, through the video
//! autoencoder's decoder: in latents alone, each position errs on its own, and the eye sees the
//! seams.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use super::dye::{Dye, dyed};
use super::likeness::picture_error;
use super::pool::PoolClip;
use super::vae::scalar;
use super::vdm::{Bank, Estimate, diffusion_loss};
use super::warmup::{CARRIED_SHARE, moving_weight};
use super::{ClipPool, Run, Schedule, Subject, Tick, TrainError, stack};
use crate::dldm::Dldm;
use crate::media::{FrameSize, last_frame, resize_bilinear};
use crate::vdm::schedule::Beginning;
use crate::vdm::{Conditioning, Ground, SampleRequest, StepState, Vdm, grey_hint};

/// Weight of the diffusion loss beside the reconstruction's, as in the release.
const DIFFUSION_WEIGHT: f32 = 10.0;
/// Weight of the diffusion loss beside the picture's error: it keeps the estimates latents of the
/// autoencoder, and no more.
const LATENT_WEIGHT: f32 = 1e-3;
/// Clips kept once the dLDM is frozen. New ones take the place of the oldest, because a clip that
/// begins where the painter ended is as old as that painter.
const BANK: usize = 1500;
/// Iterations a new clip; preparing one costs about a third of an iteration.
const NEW_EVERY: usize = 2;
/// Sampler steps of the packs we train.
pub(super) const REFINE_STEPS: usize = 1;

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
    let mut run = Run::open("joint", folder, start, schedule, on_tick)?;
    run.model.vdm.vae = vae.no_grad();
    let seed = run.iteration() as u64;
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let pool = ClipPool::start(Subject::Tasks, size, 9_000_000 + seed * 1000, 3000, 8 * batch);
    let mut bank = Bank::<{ Prepared::PARTS }>::default();
    let mut walk = Walk::default();
    while !run.is_done() {
        let frozen = run.progress() >= both_share;
        if !frozen {
            let clips = pool.sample(batch, &mut rng);
            let video = stack_frames(&clips, &plain);
            let small = resize_bilinear(video.clone(), coarse_size);
            let dyes: Vec<Dye> = (0..batch).map(|_| Dye::draw(&mut rng)).collect();
            let video = dyed(&video, &dyes);
            let small = small.autodiff();
            let out = run.model.dldm.forward_train_detached(small.clone());
            let weight = moving_weight(&small, &small.clone().slice_dim(2, 0..1));
            let error = (out.recon.clone() - small).abs() * weight.clone();
            let reconstruction = error.mean() / weight.mean();
            let first = video.clone().slice_dim(2, 0..1);
            let codes = out.codes.clone().inner().unsqueeze_dims(&[3, 4]);
            let coarse = dyed(&out.recon.inner(), &dyes);
            let prepared = prepare(&run.model.vdm, video, first, coarse, codes);
            let prepared = Prepared::of(prepared.parts().map(Tensor::autodiff));
            let (loss, mut measures) = painting_loss(&run.model, prepared, out.codes, &mut rng);
            measures.push(("reconstruction", scalar(&reconstruction)));
            run.step(loss + reconstruction, measures)?;
            continue;
        }
        let fresh = match bank.is_empty() {
            true => 8 * batch,
            false => usize::from(run.iteration() % NEW_EVERY == 0),
        };
        for _ in 0..fresh {
            bank.keep_newest(BANK, walk.next(&run.model, &pool, coarse_size, &mut rng).parts());
        }
        let prepared = Prepared::of(bank.draw(batch, &mut rng));
        let codes = code_tokens(prepared.codes.clone());
        let (loss, mut measures) = painting_loss(&run.model, prepared, codes, &mut rng);
        measures.push(("reconstruction", f64::NAN));
        run.step(loss, measures)?;
    }
    run.finish()
}

/// The loss of painting a batch, and its parts as measures. `codes` are `[batch, dimension, token]`.
fn painting_loss(
    model: &Joint,
    prepared: Prepared,
    codes: Tensor<3>,
    rng: &mut ChaCha8Rng,
) -> (Tensor<1>, Vec<(&'static str, f64)>) {
    let vdm = &model.vdm;
    let Prepared { target, hint, ground, truth, untouched, .. } = prepared;
    let context = vdm.dit.pad_context(model.dldm.connect(codes));
    if vdm.beginning == Beginning::Noise {
        let diffusion = diffusion_loss(vdm, target, Some(hint), None, context, rng).loss;
        let measures = vec![("diffusion", scalar(&diffusion))];
        return (diffusion * DIFFUSION_WEIGHT, measures);
    }
    let beneath = Some(ground.latents.clone());
    let Estimate { latents, loss } = diffusion_loss(vdm, target, Some(hint), beneath, context, rng);
    let picture = picture_error(ground.restore(vdm.vae.decode_whole(latents)), truth);
    let measures = vec![
        ("diffusion", scalar(&loss)),
        ("picture", scalar(&picture)),
        ("untouched", scalar(&untouched.mean())),
    ];
    (picture + loss * LATENT_WEIGHT, measures)
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

/// What the painter learns from a batch of clips.
struct Prepared {
    /// Latents of the truth.
    target: Tensor<5>,
    /// Latents of the control's hint.
    hint: Tensor<5>,
    /// `[batch, dimension, token, 1, 1]`.
    codes: Tensor<5>,
    ground: Ground,
    /// The clip itself, `[batch, 3, frames, height, width]`.
    truth: Tensor<5>,
    /// The picture's error if the ground is left as it is, `[1; 5]`.
    untouched: Tensor<5>,
}

impl Prepared {
    const PARTS: usize = 9;

    /// All tensors, as a bank keeps them.
    fn parts(self) -> [Tensor<5>; Self::PARTS] {
        let Self { target, hint, codes, ground, truth, untouched } = self;
        let Ground { latents, changed, rebuilt, moves } = ground;
        [target, hint, codes, latents, changed, rebuilt, moves, truth, untouched]
    }

    /// The inverse of [`Self::parts`].
    fn of(parts: [Tensor<5>; Self::PARTS]) -> Self {
        let [target, hint, codes, latents, changed, rebuilt, moves, truth, untouched] = parts;
        let ground = Ground { latents, changed, rebuilt, moves };
        Self { target, hint, codes, ground, truth, untouched }
    }
}

/// Prepares clips whose target is `video` and whose `coarse` video belongs to `codes`, painted from
/// the frame `first`.
fn prepare(
    vdm: &Vdm,
    video: Tensor<5>,
    first: Tensor<5>,
    coarse: Tensor<5>,
    codes: Tensor<5>,
) -> Prepared {
    let vae = vdm.vae.valid();
    let hint = vae.encode_whole(grey_hint(coarse.clone(), FrameSize::of_video(&video)));
    let ground = Ground::new(&vae, first, coarse);
    let target = vae.encode_whole(video.clone());
    let untouched = picture_error(ground.untouched(), video.clone()).reshape([1; 5]);
    Prepared { target, hint, codes, ground, truth: video, untouched }
}

/// Paints one prepared clip as a rollout does; its last frame.
fn paint(model: &Joint, prepared: &Prepared, noise_seed: u32) -> Tensor<5> {
    let (dldm, vdm) = (model.dldm.valid(), model.vdm.valid());
    let Prepared { hint, codes, ground, .. } = prepared;
    let beneath = &ground.latents;
    let request = SampleRequest {
        conditioning: Conditioning {
            given: beneath.clone().slice_dim(2, 0..1),
            hint: Some(hint.clone()),
            context: vdm.dit.pad_context(dldm.connect(code_tokens(codes.clone()))),
            ground: (vdm.beginning == Beginning::Coarse).then(|| ground.clone()),
        },
        negative_context: None,
        latent_steps: beneath.dims()[2],
        steps: REFINE_STEPS,
        guidance: 0.0,
        noise_seed,
    };
    let go_on = |_: StepState<'_>| ControlFlow::Continue(());
    let latents = vdm.sample(&request, go_on).expect("nobody stops it");
    let video =
        vdm.decode_watched(latents, &request.conditioning, |_, _| ControlFlow::Continue(()));
    last_frame(video.expect("nobody stops it")).clamp(-1.0, 1.0)
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
    /// Of the episode: a painted end has its colours already.
    dye: Option<Dye>,
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
            (self.dye, self.ends) = (None, None);
        }
        let dye = *self.dye.get_or_insert_with(|| Dye::draw(rng));
        let video = stack_frames(&clips, &device);
        let small = resize_bilinear(video.clone(), coarse_size);
        let dldm = model.dldm.valid();
        let codes = dldm.quantize(dldm.encode(small.clone()).z).codes;
        let (video, small) = (dye.apply(video), dye.apply(small));
        let from = self.ends.take().filter(|_| rng.random_bool(CARRIED_SHARE));
        let from = from.unwrap_or_else(|| Ends {
            coarse: small.slice_dim(2, 0..1),
            refined: video.clone().slice_dim(2, 0..1),
        });
        let coarse = dldm.decode_from_frame(from.coarse, codes.clone());
        let codes = codes.unsqueeze_dims(&[3, 4]);
        let prepared = prepare(&model.vdm, video, from.refined, coarse.clone(), codes);
        let refined = paint(model, &prepared, rng.random());
        self.ends = Some(Ends { coarse: last_frame(coarse), refined });
        prepared
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dldm::DldmConfig;
    use crate::vdm::VdmConfig;

    /// A fresh coarse decoder repeats the frame it begins with.
    fn fresh(device: &Device) -> Joint {
        let dldm = DldmConfig {
            channels: 8,
            channels_mult: vec![1, 2],
            z_channels: 16,
            connector_channels: 16,
            ..DldmConfig::craft_mini()
        };
        let mut vdm = VdmConfig::craft_mini();
        vdm.vae.dim = 8;
        for dit in [&mut vdm.dit, &mut vdm.control.dit] {
            dit.model_channels = 24;
            dit.num_blocks = 2;
            dit.num_heads = 2;
            dit.adaln_lora_dim = 4;
            dit.crossattn_emb_channels = 16;
        }
        vdm.control.num_blocks = 1;
        Joint { dldm: dldm.init(device), vdm: vdm.init(device) }
    }

    #[test]
    fn what_the_painter_begins_with_has_the_colours_of_its_target() {
        let device = Device::flex();
        let model = fresh(&device.clone().autodiff());
        let size = FrameSize { height: 32, width: 48 };
        let pool = ClipPool::start(Subject::Tasks, size, 1, 2, 2);
        let dye = Dye::shifting([0.4, -0.4, 0.0]);
        // The second clip of an episode, whose dye is drawn already.
        let mut walk = Walk { place: Some(0), dye: Some(dye), ends: None };
        let coarse_size = FrameSize { height: 16, width: 24 };
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let Prepared { ground, truth, .. } = walk.next(&model, &pool, coarse_size, &mut rng);
        let colours = |video: Tensor<5>| last_frame(video).mean_dims(&[0, 2, 3, 4]);
        let apart = (colours(ground.untouched()) - colours(truth)).abs().max().into_scalar::<f32>();
        assert!(apart < 0.15, "{apart}");
    }
}
