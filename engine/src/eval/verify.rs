//! Whether a device computes what the processor computes, part by part, at the shapes of a pack.
//!
//! Graphics drivers and tuned kernels have been seen to answer wrongly without any error, so the
//! same inputs go through every part of the pack's networks on both. What a kernel does is decided by
//! channels, heads and the shape of a picture, of which large packs keep all: their clips are cut
//! short, and one frame keeps its size, see [`Extent`].

use std::fmt;
use std::ops::ControlFlow;

use burn::tensor::{Device, Int, Tensor, TensorData};
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use serde::Serialize;

use super::arithmetic::{Positions, latent_shape};
use super::table::{Floor, Row, Table, Unit};
use super::{EvalError, unseen};
use crate::gpu::{self, Chosen};
use crate::media::{self, FrameSize};
use crate::memory;
use crate::pack::{Estimate, Job, Manifest, Networks, Pack, PackError, Residence, Scale};
use crate::rollout::RunError;
use crate::vdm::{Conditioning, attention};
use crate::weights::{Numbers, Precision};

/// Largest error, over the largest value of the processor's answer, that rounding explains.
const TOLERANCE: f64 = 2e-3;
/// The same for a diffusion model in half precision.
const HALF_TOLERANCE: f64 = 2e-2;
/// The same for one with 8-bit weights.
const EIGHT_BIT_TOLERANCE: f64 = 1e-1;
/// The same for a video autoencoder whose kernels are halves on matrix units: four times what the golden
/// cases are off.
const UNITS_TOLERANCE: f64 = 8e-3;
const AUTOENCODER: &str = "video VAE";
const DIFFUSION: &str = "diffusion model";
/// Noise levels of the diffusion model that are compared: both ends and the middle.
const SIGMAS: [f64; 3] = [80.0, 1.0, 0.002];
/// Pixels of a clip, its frames together, up to which it is compared whole. The small pack's has
/// 104,448; the release's has 37 million, with which a processor is busy for more than a day.
const MOST_PIXELS: usize = 1 << 18;
/// What is compared of large clips beside short and small ones: frames through the video autoencoder
/// both ways, and attention.
const LARGE_PARTS: usize = 3;

/// The table of a comparison.
#[derive(Debug, Clone, Serialize)]
pub struct Verified {
    /// Its title says what was compared at which size.
    pub table: Table,
    /// Parts that differ by more than rounding.
    pub wrong: Vec<String>,
}

/// Hears what computes, how many parts of both sides are done, and of how many; `Break` stops.
pub type VerifyWatch<'a> = dyn FnMut(&'static str, usize, usize) -> ControlFlow<()> + 'a;

/// How large the videos are that go through the networks.
///
/// A large pack's clips are cut to the fewest frames in which every layer meets what it does in a
/// longer one, and refined ones are scaled down. Coarse ones keep their size, all layers their
/// channels, heads and weights. What only a large picture or a long clip meets is compared by itself:
/// one frame of the pack's size through the video autoencoder, in the bands of rows and over the
/// tens of thousands of positions that its convolutions have (burn has been wrong there alone, with
/// halves in 1x1 convolutions of 96 channels from 32,768 positions on), and one head of attention
/// among as many tokens as a clip has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Extent {
    frames: usize,
    /// Of refined video.
    frame_size: FrameSize,
    /// What the pack has where that is more.
    cut_from: Option<(usize, FrameSize)>,
}

impl Extent {
    fn of(manifest: &Manifest, most_pixels: usize) -> Self {
        let &Manifest { frames_per_clip, frame_size, .. } = manifest;
        let pixels = frame_size.height as usize * frame_size.width as usize;
        if frames_per_clip * pixels <= most_pixels {
            return Self { frames: frames_per_clip, frame_size, cut_from: None };
        }
        // Both are powers of two. The second latent step behind the first frame's goes on from what
        // layers remember of the one before.
        let of_vae = manifest.vdm.as_ref().map_or(1, |vdm| vdm.vae.temporal_compression());
        let frames = frames_per_clip.min(1 + 2 * of_vae.max(manifest.dldm.patch_size));
        let share = (most_pixels as f32 / (frames * pixels) as f32).sqrt().clamp(0.1, 1.0);
        let scale = Scale::try_from(share).expect("clamped to what a scale may be");
        let cut_from = Some((frames_per_clip, frame_size));
        Self { frames, frame_size: manifest.refined_size(scale), cut_from }
    }

    /// How many [`answers`] a pack gives.
    fn parts(self, manifest: &Manifest) -> usize {
        let large = if self.cut_from.is_some() { LARGE_PARTS } else { 0 };
        let refiner = manifest.vdm.as_ref().map_or(0, |_| 2 + SIGMAS.len() + large);
        4 + refiner + usize::from(manifest.planner.is_some())
    }

    /// Refuses what does not fit where `job` says: the networks are loaded whole, one side after the
    /// other.
    fn check_memory(
        self,
        manifest: &Manifest,
        job: Job,
        limit: Option<u64>,
    ) -> Result<(), EvalError> {
        let Self { frames, frame_size, cut_from } = self;
        let clip = Manifest { frames_per_clip: frames, frame_size, ..manifest.clone() };
        let frame = cut_from.map(|_| Manifest { frames_per_clip: 1, ..manifest.clone() });
        for sized in frame.into_iter().chain([clip]) {
            let estimate = Estimate::of(&sized, job);
            if let Some((_, lack)) = estimate.lack(Residence::Kept, job.largest_tensor, limit) {
                return Err(EvalError::Lack(lack));
            }
        }
        Ok(())
    }
}

/// What was compared, for people.
impl fmt::Display for Extent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { frames, frame_size, cut_from } = self;
        match cut_from {
            None => write!(f, "whole clips, {frames} frames of {frame_size}"),
            Some((all, size)) => {
                write!(
                    f,
                    "{frames} frames, refined ones of {frame_size}, in place of {all} of {size}, \
                     and what only these meet by itself"
                )
            }
        }
    }
}

/// Compares a device and its numbers with the CPU backend in single precision. Large clips are cut
/// short and scaled down, which the table's title says.
///
/// # Errors
/// Fails when the networks do not fit into memory or cannot be loaded on one of them, and when
/// stopped.
pub fn verify(
    pack: &Pack,
    chosen: &Chosen,
    watch: &mut VerifyWatch<'_>,
) -> Result<Verified, EvalError> {
    verify_at(pack, Extent::of(&pack.manifest, MOST_PIXELS), chosen, watch)
}

fn verify_at(
    pack: &Pack,
    extent: Extent,
    chosen: &Chosen,
    watch: &mut VerifyWatch<'_>,
) -> Result<Verified, EvalError> {
    extent.check_memory(&pack.manifest, Job::default(), memory::free())?;
    extent.check_memory(&pack.manifest, Job::on(chosen), chosen.free_memory())?;
    let parts = extent.parts(&pack.manifest);
    let mut side = |doing, load: &dyn Fn() -> Result<Networks, PackError>, before: usize| {
        let mut heard = |done| match watch(doing, before + done, 2 * parts) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(RunError::Cancelled),
        };
        heard(0)?;
        let networks = load()?;
        Ok::<_, EvalError>(answers(&pack.manifest, extent, &networks, &mut heard)?)
    };
    let wanted = side("Computing on the processor", &|| pack.load(&Device::flex()), 0)?;
    let on_device = || pack.load_on(chosen, Residence::Kept);
    let found = side("Computing on the device", &on_device, parts)?;
    Ok(compare(&wanted, &found, extent, chosen))
}

fn compare(wanted: &[Answer], found: &[Answer], extent: Extent, chosen: &Chosen) -> Verified {
    let on_units = gpu::has_matrix_units(&chosen.device);
    let of_autoencoder = match chosen.numbers.precision {
        Precision::F16 if on_units => UNITS_TOLERANCE,
        _ => TOLERANCE,
    };
    let of_diffusion = match chosen.numbers {
        Numbers { eight_bit: true, .. } => EIGHT_BIT_TOLERANCE,
        Numbers { precision: Precision::F16, .. } => HALF_TOLERANCE,
        Numbers { precision: Precision::F32, .. } => TOLERANCE,
    };
    let rows: Vec<Row> = wanted
        .iter()
        .zip(found)
        .map(|(wanted, found)| {
            Row::new(wanted.part.clone(), Unit::Ratio, relative_error(wanted, found)).floor(
                Floor::AtMost(match &wanted.part {
                    part if part.starts_with(DIFFUSION) => of_diffusion,
                    part if part.starts_with(AUTOENCODER) => of_autoencoder,
                    _ => TOLERANCE,
                }),
            )
        })
        .collect();
    let wrong = rows.iter().filter(|row| row.reached == Some(false));
    let wrong = wrong.map(|row| row.measure.clone()).collect();
    let title = format!(
        "Largest error over largest value, {} against the processor; {extent}",
        chosen.description
    );
    Verified { table: Table { title, rows }, wrong }
}

/// What one part made of the shared inputs.
struct Answer {
    part: String,
    values: Vec<f32>,
}

/// An answer that is not a number, or of another length, is infinitely wrong.
fn relative_error(wanted: &Answer, found: &Answer) -> f64 {
    if wanted.values.len() != found.values.len() || found.values.iter().any(|v| !v.is_finite()) {
        return f64::INFINITY;
    }
    let largest = wanted.values.iter().fold(0.0_f32, |most, v| most.max(v.abs()));
    let pairs = wanted.values.iter().zip(&found.values);
    let error = pairs.fold(0.0_f32, |most, (a, b)| most.max((a - b).abs()));
    f64::from(error) / f64::from(largest).max(f64::MIN_POSITIVE)
}

/// Every part gets inputs that do not pass through another part, so that an error is named where it
/// arises. `heard` is told how many are there and can stop it.
fn answers(
    manifest: &Manifest,
    extent: Extent,
    networks: &Networks,
    heard: &mut dyn FnMut(usize) -> Result<(), RunError>,
) -> Result<Vec<Answer>, RunError> {
    let device = &networks.device;
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    let mut noise = |shape: [usize; 5]| -> Tensor<5> {
        // The sum of some uniform draws is normal enough.
        let mut draw = || (0..4).map(|_| rng.random_range(-0.87_f32..0.87)).sum::<f32>();
        let values: Vec<f32> = (0..shape.iter().product()).map(|_| draw()).collect();
        Tensor::from_data(TensorData::new(values, shape), device)
    };
    let task = manifest.tasks[0].task;
    let frame = unseen(task, 0).frame(0, manifest.frame_size);
    let whole = media::tensor_from_frames(&[&frame], device);
    let small = media::resize_bilinear(whole.clone(), manifest.coarse_size);
    let Extent { frames, frame_size, cut_from } = extent;
    let clip_shape = |size: FrameSize| [1, 3, frames, size.height as usize, size.width as usize];
    let moving = |still: &Tensor<5>, size: FrameSize, noise: Tensor<5>| {
        (still.clone().expand(clip_shape(size)) + noise * 0.1).clamp(-1.0, 1.0)
    };
    let small_noise = noise(clip_shape(manifest.coarse_size));
    let small_clip = moving(&small, manifest.coarse_size, small_noise);

    let mut answers = Vec::new();
    let mut answer = |part: String, tensor: TensorData| {
        let values = tensor.convert::<f32>().try_into_vec().expect("converted to f32");
        answers.push(Answer { part, values });
        heard(answers.len())
    };
    let dldm = &networks.dldm;
    let count = manifest.codes_per_clip();
    let vocabulary: usize = manifest.dldm.levels.iter().product();
    let indices: Vec<u16> = (0..count).map(|i| (i * 7919 % vocabulary) as u16).collect();
    let painted = (frames - 1) / manifest.dldm.patch_size * manifest.dldm.num_queries;
    let painted = networks.codes(&indices[..painted]);
    let encoded = dldm.encode(small_clip);
    answer("dLDM encoder".into(), encoded.features.into_data())?;
    answer("dLDM queries".into(), encoded.z.into_data())?;
    answer("coarse decoder".into(), dldm.decode_from_frame(small, painted).into_data())?;
    let tokens = dldm.connect(networks.codes(&indices));
    answer("connector".into(), tokens.clone().into_data())?;
    if let Some(vdm) = &networks.vdm {
        let large = media::resize_bilinear(whole.clone(), frame_size);
        let video = moving(&large, frame_size, noise(clip_shape(frame_size)));
        answer(format!("{AUTOENCODER} encoder"), vdm.vae.encode(video).into_data())?;
        let config = vdm.vae.config();
        let shape @ [_, z, _, height, width] = latent_shape(config, frames, frame_size);
        let latents = noise(shape);
        answer(format!("{AUTOENCODER} decoder"), vdm.vae.decode(latents.clone()).into_data())?;
        let from = Conditioning {
            given: noise([1, z, 1, height, width]),
            hint: Some(noise(shape)),
            context: vdm.dit.pad_context(tokens),
            ground: None,
        };
        for sigma in SIGMAS {
            let estimate = vdm.denoise(&(latents.clone() * sigma), &[vec![sigma]], &from);
            answer(format!("{DIFFUSION} at noise {sigma}"), estimate.into_data())?;
        }
        if let Some((all, size)) = cut_from {
            let encoded = vdm.vae.encode(whole).into_data();
            answer(format!("{AUTOENCODER} encoder, one frame of {size}"), encoded)?;
            let latents = noise(latent_shape(config, 1, size));
            let decoded = vdm.vae.decode(latents).into_data();
            answer(format!("{AUTOENCODER} decoder, one frame of {size}"), decoded)?;
            let dit = vdm.dit.config();
            let tokens = Positions::of(dit, latent_shape(config, all, size)).tokens;
            let mut head = |spread: f64| {
                let numbers = noise([1, 1, 1, tokens, dit.head_dim()]) * spread;
                let numbers = numbers.reshape([1, 1, tokens, dit.head_dim()]);
                numbers.cast(networks.numbers.precision.dtype())
            };
            // Queries far enough apart that each looks at few keys: a mean of all hides any error.
            let mixed = attention(head(3.0), head(1.0), head(1.0), None).into_data();
            answer(format!("{DIFFUSION}'s attention of {tokens} tokens"), mixed)?;
        }
    }
    if let Some(planner) = &networks.planner {
        let [height, width] = planner.config().feature_size;
        let features = noise([1, planner.config().feature_channels, 1, height, width]);
        let data = TensorData::new(indices.iter().map(|i| i32::from(*i)).collect(), [1, count]);
        let codes = Tensor::<2, Int>::from_data(data, device);
        let tasks = Tensor::<1, Int>::from_data(TensorData::new(vec![0_i32], [1]), device);
        answer("policy".into(), planner.logits(codes, features, tasks).into_data())?;
    }
    Ok(answers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::DeviceChoice;
    use crate::vdm::VAE_KEYS;
    use crate::weights::Weights;

    fn answer(values: &[f32]) -> Answer {
        Answer { part: String::new(), values: values.to_vec() }
    }

    #[test]
    fn errors_are_told_apart_from_rounding() {
        let wanted = answer(&[1.0, -4.0]);
        assert!(relative_error(&wanted, &answer(&[1.0001, -4.0])) < TOLERANCE);
        assert_eq!(relative_error(&wanted, &answer(&[3.0, -4.0])), 0.5);
        assert_eq!(relative_error(&wanted, &answer(&[1.0, f32::NAN])), f64::INFINITY);
        assert_eq!(relative_error(&wanted, &answer(&[1.0])), f64::INFINITY);
    }

    #[test]
    fn the_part_that_computes_otherwise_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let pack = crate::pack::tests::tiny(dir.path());
        let right = pack.load(&Device::flex()).unwrap();
        let mut broken = pack.load(&Device::flex()).unwrap();
        let vdm = broken.vdm.as_mut().expect("the tiny pack has a diffusion model");
        let mut weights = Weights::of(&vdm.vae, &VAE_KEYS);
        weights.silence("decoder.head.2.bias");
        weights.silence("decoder.head.2.weight");
        vdm.vae = weights.load_into(vdm.vae.clone(), &VAE_KEYS).unwrap();
        let chosen = gpu::choose(DeviceChoice::Cpu).unwrap();
        let wrong = |most_pixels| {
            let extent = Extent::of(&pack.manifest, most_pixels);
            let answers =
                |networks| answers(&pack.manifest, extent, networks, &mut |_| Ok(())).unwrap();
            compare(&answers(&right), &answers(&broken), extent, &chosen).wrong
        };
        assert_eq!(wrong(MOST_PIXELS), ["video VAE decoder"]);
        let large = "video VAE decoder, one frame of 48x32 pixels";
        assert_eq!(wrong(1000), ["video VAE decoder", large]);
    }

    #[test]
    fn a_device_agrees_with_itself() {
        let dir = tempfile::tempdir().unwrap();
        let pack = crate::pack::tests::tiny(dir.path());
        let chosen = gpu::choose(DeviceChoice::Cpu).unwrap();
        let mut steps = Vec::new();
        let mut watch = |_, done, of| {
            steps.push((done, of));
            ControlFlow::Continue(())
        };
        let verified = verify(&pack, &chosen, &mut watch).unwrap();
        assert!(verified.wrong.is_empty(), "{}", verified.table);
        assert_eq!(verified.table.rows.len(), 4 + 2 + SIGMAS.len() + 1);
        assert!(verified.table.rows.iter().all(|row| row.value == 0.0), "{}", verified.table);
        let all = verified.table.rows.len();
        assert_eq!(all, Extent::of(&pack.manifest, MOST_PIXELS).parts(&pack.manifest));
        assert!(verified.table.title.ends_with("whole clips, 5 frames of 48x32 pixels"));
        assert_eq!(steps.last(), Some(&(2 * all, 2 * all)));
        let mut stop = |_, done, _| {
            if done == 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        let stopped = verify(&pack, &chosen, &mut stop);
        assert!(matches!(stopped, Err(EvalError::Run(RunError::Cancelled))));
    }

    #[test]
    fn a_large_pack_is_compared_in_parts_of_every_kind() {
        let dir = tempfile::tempdir().unwrap();
        let pack = crate::pack::tests::tiny(dir.path());
        let extent = Extent::of(&pack.manifest, 1000);
        let chosen = gpu::choose(DeviceChoice::Cpu).unwrap();
        let mut last = (0, 0);
        let mut watch = |_, done, of| {
            last = (done, of);
            ControlFlow::Continue(())
        };
        let verified = verify_at(&pack, extent, &chosen, &mut watch).unwrap();
        let parts: Vec<&str> = verified.table.rows.iter().map(|row| &*row.measure).collect();
        // Of 5 frames of 32x48: latents of 4x6, and a token of two by two of them.
        assert_eq!(
            parts[4 + 2 + SIGMAS.len()..],
            [
                "video VAE encoder, one frame of 48x32 pixels",
                "video VAE decoder, one frame of 48x32 pixels",
                "diffusion model's attention of 12 tokens",
                "policy"
            ]
        );
        assert_eq!(last, (2 * parts.len(), 2 * extent.parts(&pack.manifest)));
        assert!(verified.table.rows.iter().all(|row| row.value == 0.0), "{}", verified.table);
        let title = &verified.table.title;
        assert!(title.contains("5 frames, refined ones of 16x16 pixels"), "{title}");
        assert!(title.contains("in place of 5 of 48x32 pixels"), "{title}");
    }

    #[test]
    fn the_release_is_compared_in_minutes_at_what_its_kernels_meet() {
        let manifest = Manifest::videoworld2();
        let extent = Extent::of(&manifest, MOST_PIXELS);
        // Three latent steps: the first frame's, one behind it, and one that remembers that.
        let frame_size = FrameSize { height: 128, width: 224 };
        let cut_from = Some((93, manifest.frame_size));
        assert_eq!(extent, Extent { frames: 9, frame_size, cut_from });
        // The frame that stays large passes the autoencoder in bands, and its 1x1 convolution of 96
        // channels over more positions than burn once computed rightly.
        let vae = &manifest.vdm.as_ref().unwrap().vae;
        assert_eq!(vae.rows_at_finest(480, 832), (100, [480, 832]));
        let mut flop = 0.0;
        let vdm = manifest.vdm.as_ref().unwrap().init(&Device::flex());
        for _ in SIGMAS {
            flop += super::super::arithmetic::denoise(&vdm, latent_shape(vae, 9, frame_size));
        }
        assert!(flop < 1e13, "{flop} operations take a processor of 50 GFLOP/s {} s", flop / 5e10);
        assert_eq!(Extent::of(&Pack::embedded().unwrap().manifest, MOST_PIXELS).cut_from, None);
    }

    #[test]
    fn what_does_not_fit_is_refused_before_it_is_loaded() {
        let manifest = Manifest::videoworld2();
        let extent = Extent::of(&manifest, MOST_PIXELS);
        let check = |extent: Extent, job, there| {
            let checked = extent.check_memory(&manifest, job, there);
            checked.map_err(|error| error.to_string())
        };
        let processor = Job::default();
        let error = check(extent, processor, Some(8_000_000_000)).unwrap_err();
        assert!(error.contains("8.0 GB are there"), "{error}");
        // The weights, 9.9 GB, and one large frame: less than a whole clip takes.
        let there = Some(16_000_000_000);
        assert!(check(extent, processor, there).is_ok());
        assert!(check(Extent::of(&manifest, usize::MAX), processor, there).is_err());
        assert!(check(extent, processor, None).is_ok());
        // A card in halves needs less, but takes no tensor above a bound.
        let numbers = Precision::F16.into();
        let card =
            Job { in_own_memory: false, numbers, largest_tensor: Some(1 << 31), ..processor };
        let there = Some(10_000_000_000);
        assert_eq!(check(extent, card, there), Ok(()));
        assert!(check(extent, processor, there).is_err());
        let error = check(extent, Job { largest_tensor: Some(1 << 20), ..card }, None).unwrap_err();
        assert!(error.contains("takes none above"), "{error}");
    }

    #[test]
    fn smaller_numbers_change_the_diffusion_model_alone_and_little() {
        let pack = Pack::embedded().unwrap();
        let kinds = [
            (Precision::F16.into(), HALF_TOLERANCE),
            (Numbers { precision: Precision::F32, eight_bit: true }, EIGHT_BIT_TOLERANCE),
        ];
        for (numbers, tolerance) in kinds {
            let chosen = Chosen { numbers, ..gpu::choose(DeviceChoice::Cpu).unwrap() };
            let watch = &mut |_, _, _| ControlFlow::Continue(());
            let verified = verify(&pack, &chosen, watch).unwrap();
            let rows = &verified.table.rows;
            let (changed, same): (Vec<_>, Vec<_>) =
                rows.iter().partition(|row| row.measure.starts_with(DIFFUSION));
            assert_eq!(changed.len(), SIGMAS.len());
            let rounded = |row: &&Row| row.value > 0.0 && row.value <= tolerance;
            assert!(changed.iter().all(rounded), "{numbers}: {}", verified.table);
            assert!(same.iter().all(|row| row.value == 0.0), "{numbers}: {}", verified.table);
        }
    }
}
