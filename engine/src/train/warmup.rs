//! Stage 1: the dLDM alone, by reconstruction.
//!
//! The release starts from a pretrained video tokenizer; here a first part of the stage trains
//! encoder and decoder as a plain video autoencoder in its place.

use std::path::Path;

use burn::module::Module as _;
use burn::tensor::{Device, Tensor};
use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;

use super::{ClipPool, Run, Schedule, Subject, Tick, TrainError, stack};
use crate::dldm::{Dldm, DldmConfig};
use crate::media::FrameSize;

/// Share of the stage that trains encoder and decoder as a plain autoencoder.
const AUTOENCODER_SHARE: f64 = 0.1;
/// Share of the stage after which squared errors give way to absolute ones: absolute errors from
/// the start stay at "repeat the first frame", the median of most pixels.
const SQUARED_SHARE: f64 = 0.55;
/// How much more a moving pixel counts than a resting one.
const MOVING_WEIGHT: f32 = 4.0;
/// A pixel moves when it differs from the first frame by more than this, on the scale -1..=1.
const MOVING_THRESHOLD: f32 = 0.15;

/// Trains the dLDM on clips of `size`.
///
/// # Errors
/// See [`TrainError`].
pub fn train(
    folder: &Path,
    config: &DldmConfig,
    size: FrameSize,
    batch: usize,
    schedule: Schedule,
    device: &Device,
    on_tick: &mut dyn FnMut(&Tick),
) -> Result<Dldm, TrainError> {
    let device = device.clone().autodiff();
    let mut run = Run::open("warmup", folder, config.init(&device), schedule, on_tick)?;
    let seed = run.iteration() as u64;
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let pool = ClipPool::start(Subject::Tasks, size, seed * 1000, 12_000, 4 * batch);
    let mut gap = 0.0;
    while !run.is_done() {
        let clips = pool.sample(batch, &mut rng);
        let frames: Vec<_> = clips.iter().map(|clip| clip.frames.as_slice()).collect();
        let video = stack(&frames, &device);
        let weight = moving_weight(&video);
        let progress = run.progress();
        let painted = if progress < AUTOENCODER_SHARE {
            run.model.autoencode(video.clone())
        } else {
            let out = run.model.forward_train(video.clone());
            if run.iteration() % 20 == 0 {
                gap = wrong_code_gap(&run.model, &video, &weight, &out);
            }
            out.recon
        };
        let difference = painted - video;
        let error = if progress < SQUARED_SHARE { difference.square() } else { difference.abs() };
        let loss = (error * weight.clone()).mean() / weight.mean();
        run.step(loss, vec![("wrong_code_gap_db", gap)])?;
    }
    run.finish()
}

/// `1 + MOVING_WEIGHT` where a pixel differs from the first frame, `1` elsewhere.
///
/// # Shapes
/// `[batch, 3, time, height, width]` to `[batch, 1, time, height, width]`.
pub fn moving_weight(video: &Tensor<5>) -> Tensor<5> {
    moving(video) * MOVING_WEIGHT + 1.0
}

/// 1 where a pixel differs from the first frame in any channel, else 0.
pub fn moving(video: &Tensor<5>) -> Tensor<5> {
    let first = video.clone().slice_dim(2, 0..1);
    let change = (video.clone() - first).abs().max_dim(1);
    change.greater_elem(MOVING_THRESHOLD).float()
}

/// How many decibels the moving region loses when each clip gets its neighbour's codes: near zero
/// means that the decoder does not listen to the codes.
fn wrong_code_gap(
    model: &Dldm,
    video: &Tensor<5>,
    weight: &Tensor<5>,
    out: &crate::dldm::TrainOutput,
) -> f64 {
    let batch = video.dims()[0];
    if batch < 2 {
        return 0.0;
    }
    let codes = out.codes.clone().inner();
    let rolled =
        Tensor::cat(vec![codes.clone().slice_dim(0, 1..batch), codes.slice_dim(0, 0..1)], 0);
    let first = video.clone().inner().slice_dim(2, 0..1);
    let wrong = model.valid().decode_from_frame(first, rolled);
    let mask = weight.clone().inner() - 1.0;
    let error = |painted: Tensor<5>| {
        let squared = (painted - video.clone().inner()).square() * mask.clone();
        f64::from(squared.mean().into_scalar::<f32>()).max(1e-12)
    };
    10.0 * (error(wrong) / error(out.recon.clone().inner())).log10()
}
