//! How fast a pack computes on a device, as ratios measured in one run.

use std::fmt;
use std::ops::ControlFlow;
use std::time::Instant;

use burn::tensor::{Distribution, Tensor};
use serde::Serialize;

use super::{EvalError, arithmetic, unseen};
use crate::craft::{FRAMES_PER_CLIP, Task};
use crate::flop::of_convolutions;
use crate::gpu::Chosen;
use crate::media::{self, FrameSize};
use crate::memory::human;
use crate::pack::{Estimate, Job, Networks, Pack, PackError, Residence};
use crate::rollout::{Models, PackModels, RefineRequest, Sampling};

/// Side of the plain matrix product.
const SIDE: usize = 512;

/// Of the craft world's clips that are drawn for its speed.
const DRAWN_SIZE: FrameSize = FrameSize { height: 96, width: 160 };

/// What was measured: the world that packs learn from, and every device.
#[derive(Debug, Clone, Serialize)]
pub struct Speed {
    /// Of [`drawing`].
    pub drawn_per_second: f64,
    pub devices: Vec<DeviceSpeed>,
}

/// What was measured on one device. Times are medians after one run to warm up.
#[derive(Debug, Clone, Serialize)]
pub struct DeviceSpeed {
    pub device: String,
    /// How long a clip plays, seconds.
    pub clip_seconds: f64,
    /// Opening the pack and loading its networks.
    pub load_seconds: f64,
    /// The first coarse clip, behind loading, nothing warmed up.
    pub first_coarse_seconds: f64,
    /// Codes (where there is a policy) and coarse clip, over the clip's duration.
    pub coarse_ratio: f64,
    /// The refined clip alone, over the clip's duration.
    pub refined_ratio: Option<f64>,
    pub networks: Vec<NetworkSpeed>,
}

/// One forward pass.
#[derive(Debug, Clone, Serialize)]
pub struct NetworkSpeed {
    pub name: &'static str,
    pub milliseconds: f64,
    /// Multiplications and additions a second: of the convolutions of dLDM and video VAE, of the
    /// linear layers and attention of the transformers.
    pub gflop_per_second: Option<f64>,
    /// What it needed beside weights and what was estimated, bytes; where both are known.
    pub working: Option<Working>,
}

/// Memory beside weights, bytes.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Working {
    pub measured: u64,
    pub estimated: u64,
}

impl fmt::Display for Speed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "craft world, drawn on one core")?;
        let FrameSize { height, width } = DRAWN_SIZE;
        let name = format!("frames of {width}x{height} a second");
        writeln!(f, "  {name:<33} {:>9.0}", self.drawn_per_second)?;
        for on in &self.devices {
            let clip = on.clip_seconds;
            writeln!(f, "{}", on.device)?;
            writeln!(f, "  pack opened and loaded            {:>9.2} s", on.load_seconds)?;
            writeln!(f, "  first coarse clip after that      {:>9.2} s", on.first_coarse_seconds)?;
            writeln!(
                f,
                "  step to coarse clip               {:>9.2} of its {clip} s",
                on.coarse_ratio
            )?;
            if let Some(refined) = on.refined_ratio {
                writeln!(f, "  coarse to refined clip            {refined:>9.2} of its {clip} s")?;
            }
            for network in &on.networks {
                write!(f, "  {:<33} {:>9.2} ms", network.name, network.milliseconds)?;
                if let Some(rate) = network.gflop_per_second {
                    write!(f, "  {rate:>8.1} GFLOP/s")?;
                }
                if let Some(Working { measured, estimated }) = network.working {
                    write!(f, "  {} of {} estimated", human(measured), human(estimated))?;
                }
                writeln!(f)?;
            }
        }
        Ok(())
    }
}

/// Frames that one core draws of the craft world in a second: of a clip in the middle of each task.
pub fn drawing(repeats: usize) -> f64 {
    let videos = Task::ALL.map(|task| unseen(task, 0));
    let draw = || {
        for video in &videos {
            std::hint::black_box(video.clip(video.num_clips() / 2, DRAWN_SIZE));
        }
    };
    (videos.len() * FRAMES_PER_CLIP) as f64 / median(repeats, draw)
}

/// Measures one device; `open` opens the pack, `repeats` runs make a median.
///
/// # Errors
/// As [`Pack::open`] and [`Pack::load`].
pub fn speed(
    open: &dyn Fn() -> Result<Pack, PackError>,
    chosen: &Chosen,
    repeats: usize,
) -> Result<DeviceSpeed, EvalError> {
    let started = Instant::now();
    let pack = open()?;
    let models = PackModels::load(&pack, chosen, Residence::Kept)?;
    let load_seconds = started.elapsed().as_secs_f64();
    let step = Step::new(&models);
    let started = Instant::now();
    step.coarse();
    let first_coarse_seconds = started.elapsed().as_secs_f64();
    let clip_seconds = (pack.manifest.frames_per_clip - 1) as f64 / f64::from(pack.manifest.fps);
    let coarse = median(repeats, || drop(step.coarse()));
    let refined = models.pack().has_refiner.then(|| {
        let (codes, coarse) = step.coarse();
        median(repeats, || step.refine(&codes, coarse.clone()))
    });
    drop(models);
    let networks = networks(&pack.load(&chosen.device)?, &pack, chosen, repeats);
    Ok(DeviceSpeed {
        device: chosen.description.clone(),
        clip_seconds,
        load_seconds,
        first_coarse_seconds,
        coarse_ratio: coarse / clip_seconds,
        refined_ratio: refined.map(|seconds| seconds / clip_seconds),
        networks,
    })
}

/// One step of a rollout from an unseen frame.
struct Step<'a> {
    models: &'a PackModels,
    frame: media::Frame,
    sampling: Sampling,
}

impl<'a> Step<'a> {
    fn new(models: &'a PackModels) -> Self {
        let pack = models.pack();
        let frame = unseen(pack.tasks[0], 0).frame(0, pack.frame_size());
        Self { models, frame, sampling: pack.sampling.clone() }
    }

    fn first(&self) -> Tensor<5> {
        media::tensor_from_frames(&[&self.frame], self.models.device())
    }

    /// Codes and the coarse clip, read back.
    fn coarse(&self) -> (Vec<u16>, Tensor<5>) {
        let pack = self.models.pack();
        let first = media::resize_bilinear(self.first(), pack.coarse_size());
        let codes = if pack.has_policy {
            let go_on = &mut |_| ControlFlow::Continue(());
            let task = pack.tasks[0];
            let predicted =
                self.models.predict(first.clone(), task, &[], &[], &self.sampling, go_on);
            let predicted = predicted.expect("nobody breaks off");
            predicted.iter().map(|p| p.code).collect()
        } else {
            vec![0; pack.codes_per_clip()]
        };
        let video = self.models.coarse(first, &codes);
        wait(&video);
        (codes, video)
    }

    fn refine(&self, codes: &[u16], coarse: Tensor<5>) {
        let request = RefineRequest {
            first: self.first(),
            coarse,
            codes,
            seed: 0,
            steps: self.sampling.refine_steps,
            guidance: self.sampling.guidance,
            midway: &mut None,
        };
        let video = self.models.refine(request, &mut |_| ControlFlow::Continue(()));
        wait(&video.expect("nobody breaks off"));
    }
}

/// Until a device has finished a tensor; one number is read back.
pub(super) fn wait<const D: usize>(tensor: &Tensor<D>) {
    let _: f32 = tensor.clone().sum().into_scalar();
}

/// Median seconds of `work`, run once before the clock starts.
fn median(repeats: usize, mut work: impl FnMut()) -> f64 {
    work();
    let mut seconds: Vec<f64> = (0..repeats.max(1))
        .map(|_| {
            let started = Instant::now();
            work();
            started.elapsed().as_secs_f64()
        })
        .collect();
    seconds.sort_unstable_by(f64::total_cmp);
    seconds[seconds.len() / 2]
}

/// `estimate` is given where memory can be measured: on the processor.
fn networks(
    networks: &Networks,
    pack: &Pack,
    chosen: &Chosen,
    repeats: usize,
) -> Vec<NetworkSpeed> {
    let manifest = &pack.manifest;
    let device = &networks.device;
    let estimate = Estimate::of(manifest, Job { clips: 0, ..Job::on(chosen) });
    let noise = |frames: usize, size: FrameSize| -> Tensor<5> {
        let shape = [1, 3, frames, size.height as usize, size.width as usize];
        Tensor::random(shape, Distribution::Uniform(-1.0, 1.0), device)
    };
    let mut speeds = Vec::new();
    let mut measure = |name: &'static str, stage: &str, flop: Option<f64>, work: &dyn Fn()| {
        let mut seconds = 0.0;
        let measured = chosen.taken_by(|| seconds = median(repeats, work));
        let estimated = estimate.stage(stage).map(|stage| stage.working);
        let working = measured.zip(estimated);
        let working = working.map(|(measured, estimated)| Working { measured, estimated });
        let gflop_per_second = flop.map(|flop| flop / seconds / 1e9);
        let milliseconds = 1e3 * seconds;
        speeds.push(NetworkSpeed { name, milliseconds, gflop_per_second, working });
    };
    let square = || Tensor::<2>::random([SIDE, SIDE], Distribution::Default, device);
    let (a, b) = (square(), square());
    let product = 2.0 * (SIDE * SIDE * SIDE) as f64;
    measure("matrix product, 512 a side", "", Some(product), &|| {
        wait(&a.clone().matmul(b.clone()))
    });

    let frames = manifest.frames_per_clip;
    let small = noise(frames, manifest.coarse_size);
    let codes = networks.codes(&vec![0; manifest.codes_per_clip()]);
    let dldm = &networks.dldm;
    let encode = || wait(&dldm.encode(small.clone()).z);
    measure("dLDM encoder, a clip", "", Some(of_convolutions(encode)), &encode);
    let first = small.clone().narrow(2, 0, 1);
    let decode = || wait(&dldm.decode_from_frame(first.clone(), codes.clone()));
    measure("dLDM decoder, a clip", "coarse video", Some(of_convolutions(decode)), &decode);
    if let Some(vdm) = &networks.vdm {
        let video = noise(frames, manifest.frame_size);
        let latents = vdm.vae.encode(video.clone());
        let encode = || wait(&vdm.vae.encode(video.clone()));
        measure("video VAE encoder, a clip", "", Some(of_convolutions(encode)), &encode);
        let decode = || wait(&vdm.vae.decode(latents.clone()));
        measure("video VAE decoder, a clip", "decoding", Some(of_convolutions(decode)), &decode);
        let tokens = dldm.connect(codes.clone());
        let condition =
            || vdm.conditioning(video.clone().narrow(2, 0, 1), small.clone(), tokens.clone());
        measure("conditioning, a clip", "encoding", None, &|| wait(&condition().given));
        let from = condition();
        let flop = arithmetic::denoise(vdm, latents.dims());
        measure("diffusion model and control, a step", "denoising", Some(flop), &|| {
            wait(&vdm.denoise(&latents, &[vec![1.0]], &from));
        });
    }
    if let Some(planner) = &networks.planner {
        let context = dldm.encode_frame(first.clone());
        let count = manifest.codes_per_clip();
        let flop = count as f64 * arithmetic::code(planner);
        let sampling = crate::policy::CodeSampling { temperature: 0.0, top_p: 1.0, seed: 0 };
        let task = manifest.tasks[0].task;
        measure("policy, the codes of a clip", "predicting codes", Some(flop), &|| {
            let go_on = |_| ControlFlow::Continue(());
            planner.predict(context.clone(), task, &[], &[], count, sampling, go_on);
        });
    }
    speeds
}
