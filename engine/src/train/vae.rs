//! The video autoencoder, on other motions and scenes than those of the tasks.

use std::path::Path;
use std::sync::Arc;

use burn::module::Module as _;
use burn::tensor::{Device, Tensor};
use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;

use super::pool::PoolClip;
use super::{ClipPool, Run, Schedule, Subject, Tick, TrainError, stack};
use crate::media::{Frame, FrameSize};
use crate::vdm::VideoVae;

/// Weight of the differences between neighbouring pixels, which keeps edges sharp.
const EDGE_WEIGHT: f32 = 0.5;
/// Keeps the latents' scale near one without a visible cost.
const SCALE_WEIGHT: f32 = 1e-4;
/// Clips that the latent statistics are measured on.
const STATISTICS_CLIPS: usize = 64;

/// Trains the video autoencoder from `start` on and measures its latents' mean and deviation. One
/// that is not `trained` begins with principal components, if it has a linear path.
///
/// It sees whole clips: of windows it learns to paint a few frames, and those after drift away.
///
/// # Errors
/// See [`TrainError`].
#[expect(clippy::too_many_arguments, reason = "a stage is the sum of its settings")]
pub fn train(
    folder: &Path,
    start: VideoVae,
    trained: bool,
    size: FrameSize,
    batch: usize,
    schedule: Schedule,
    device: &Device,
    on_tick: &mut dyn FnMut(&Tick),
) -> Result<VideoVae, TrainError> {
    let plain = device.clone();
    let device = device.clone().autodiff();
    let mut run = Run::open("vae", folder, start, schedule, on_tick)?;
    let seed = run.iteration() as u64;
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let first_seed = 5_000_000 + seed * 1000;
    let pool = ClipPool::start(Subject::OtherMotions, size, first_seed, 3000, STATISTICS_CLIPS);
    if run.iteration() == 0 && !trained && run.model.config().linear_path {
        let clips = pool.sample(STATISTICS_CLIPS, &mut rng);
        let video = stack(&frames_of(&clips), &plain);
        let begun = run.model.clone().begin_with_components(video);
        run.model = begun.map_err(|e| TrainError::checkpoint(folder, e))?;
    }
    run.model = run.model.clone().freeze_linear_path();
    while !run.is_done() {
        let clips = pool.sample(batch, &mut rng);
        let video = stack(&frames_of(&clips), &device);
        let latents = run.model.whole_moments(video.clone()).mean;
        let scale = latents.clone().square().mean();
        let painted = run.model.decode_whole(run.model.normalise(latents));
        let error = (painted.clone() - video.clone()).abs().mean();
        let edges = edge_error(painted, video);
        let measures = vec![("absolute_error", scalar(&error)), ("latent_square", scalar(&scale))];
        let loss = error + edges * EDGE_WEIGHT + scale * SCALE_WEIGHT;
        run.step(loss, measures)?;
    }
    let clips = pool.sample(STATISTICS_CLIPS, &mut rng);
    let mut vae = run.finish()?;
    let (mean, std) = latent_statistics(&vae, &clips, &plain);
    vae.set_latent_statistics(mean, std);
    Ok(vae)
}

fn frames_of(clips: &[Arc<PoolClip>]) -> Vec<&[Frame]> {
    clips.iter().map(|clip| clip.frames.as_slice()).collect()
}

/// Mean absolute error of the differences between neighbouring pixels, along height and width.
fn edge_error(painted: Tensor<5>, video: Tensor<5>) -> Tensor<1> {
    let change = painted - video;
    let along = |axis: usize| {
        let length = change.dims()[axis];
        let ahead = change.clone().narrow(axis, 1, length - 1);
        (ahead - change.clone().narrow(axis, 0, length - 1)).abs().mean()
    };
    along(3) + along(4)
}

pub(super) fn scalar(value: &Tensor<1>) -> f64 {
    f64::from(value.clone().inner().into_scalar::<f32>())
}

/// Mean and standard deviation of each latent channel before normalisation.
fn latent_statistics(
    vae: &VideoVae,
    clips: &[Arc<PoolClip>],
    device: &Device,
) -> (Vec<f32>, Vec<f32>) {
    let vae = vae.valid();
    let means: Vec<Tensor<5>> =
        clips.chunks(4).map(|few| vae.whole_moments(stack(&frames_of(few), device)).mean).collect();
    let latents = Tensor::cat(means, 0).swap_dims(0, 1);
    let channels = latents.dims()[0];
    let flat: Tensor<2> = latents.reshape([channels as isize, -1]);
    let read = |t: Tensor<2>| -> Vec<f32> {
        t.into_data().try_into_vec().expect("latents are single precision")
    };
    let (variance, mean) = flat.var_mean(1);
    (read(mean), read(variance.sqrt()))
}
