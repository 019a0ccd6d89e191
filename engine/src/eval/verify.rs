//! Whether a device computes what the processor computes, part by part, at the shapes of a pack.
//!
//! Graphics drivers and tuned kernels have been seen to answer wrongly without any error, so the
//! same inputs go through every part of the pack's networks on both.

use std::ops::ControlFlow;

use burn::tensor::{Device, Int, Tensor, TensorData};
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use serde::Serialize;

use super::table::{Floor, Row, Table, Unit};
use super::{EvalError, unseen};
use crate::gpu::{self, Chosen};
use crate::media::{self, FrameSize};
use crate::memory::{Budget, human};
use crate::pack::{Estimate, Job, Manifest, Networks, Pack, PackError, Residence, Scale};
use crate::rollout::RunError;
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

/// The table of a comparison.
#[derive(Debug, Clone, Serialize)]
pub struct Verified {
    pub table: Table,
    /// Parts that differ by more than rounding.
    pub wrong: Vec<String>,
}

/// Hears what computes, how many parts of both sides are done, and of how many; `Break` stops.
pub type VerifyWatch<'a> = dyn FnMut(&'static str, usize, usize) -> ControlFlow<()> + 'a;

/// Compares a device and its numbers with the CPU backend in single precision.
///
/// # Errors
/// Fails when the networks do not fit into memory or cannot be loaded on one of them, and when
/// stopped.
pub fn verify(
    pack: &Pack,
    chosen: &Chosen,
    watch: &mut VerifyWatch<'_>,
) -> Result<Verified, EvalError> {
    let limit = Budget::Auto.limit(true);
    check_memory(&pack.manifest, limit)?;
    let parts = count_parts(&pack.manifest);
    let mut side = |doing, load: &dyn Fn() -> Result<Networks, PackError>, before: usize| {
        let mut heard = |done| match watch(doing, before + done, 2 * parts) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(RunError::Cancelled),
        };
        heard(0)?;
        let networks = load()?;
        Ok::<_, EvalError>(answers(pack, &networks, &mut heard)?)
    };
    let wanted = side("Computing on the processor", &|| pack.load(&Device::flex()), 0)?;
    let on_device = || pack.load_on(chosen, Residence::Kept);
    let found = side("Computing on the device", &on_device, parts)?;
    Ok(compare(&wanted, &found, chosen))
}

/// The networks are loaded whole, one side after the other.
fn check_memory(manifest: &Manifest, limit: Option<u64>) -> Result<(), EvalError> {
    let numbers = Numbers::default();
    let job = Job {
        clips: 1,
        refined: true,
        scale: Scale::default(),
        previews: false,
        holds_scores: false,
        numbers,
    };
    let needed = Estimate::of(manifest, job).peak(Residence::Kept);
    match limit {
        Some(there) if needed > there => {
            Err(EvalError::Memory { needed: human(needed), there: human(there) })
        }
        _ => Ok(()),
    }
}

/// How many [`answers`] a pack gives.
fn count_parts(manifest: &Manifest) -> usize {
    let refiner = if manifest.vdm.is_some() { 2 + SIGMAS.len() } else { 0 };
    4 + refiner + usize::from(manifest.planner.is_some())
}

fn compare(wanted: &[Answer], found: &[Answer], chosen: &Chosen) -> Verified {
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
    let title =
        format!("Largest error over largest value, {} against the processor", chosen.description);
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
    pack: &Pack,
    networks: &Networks,
    heard: &mut dyn FnMut(usize) -> Result<(), RunError>,
) -> Result<Vec<Answer>, RunError> {
    let manifest = &pack.manifest;
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
    let large = media::tensor_from_frames(&[&frame], device);
    let small = media::resize_bilinear(large.clone(), manifest.coarse_size);
    let frames = manifest.frames_per_clip;
    let moving = |still: &Tensor<5>, size: FrameSize, noise: Tensor<5>| {
        let shape = [1, 3, frames, size.height as usize, size.width as usize];
        (still.clone().expand(shape) + noise * 0.1).clamp(-1.0, 1.0)
    };
    let clip_shape = |size: FrameSize| [1, 3, frames, size.height as usize, size.width as usize];
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
    let codes = networks.codes(&indices);
    let encoded = dldm.encode(small_clip);
    answer("dLDM encoder".into(), encoded.features.into_data())?;
    answer("dLDM queries".into(), encoded.z.into_data())?;
    answer(
        "coarse decoder".into(),
        dldm.decode_from_frame(small.clone(), codes.clone()).into_data(),
    )?;
    let tokens = dldm.connect(codes);
    answer("connector".into(), tokens.clone().into_data())?;
    if let Some(vdm) = &networks.vdm {
        let video = moving(&large, manifest.frame_size, noise(clip_shape(manifest.frame_size)));
        answer(format!("{AUTOENCODER} encoder"), vdm.vae.encode(video).into_data())?;
        let config = vdm.vae.config();
        let side = config.spatial_compression();
        let [height, width] =
            [manifest.frame_size.height, manifest.frame_size.width].map(|n| n as usize / side);
        let shape = [1, config.z_dim, config.latent_steps(frames), height, width];
        let latents = noise(shape);
        answer(format!("{AUTOENCODER} decoder"), vdm.vae.decode(latents.clone()).into_data())?;
        let mut from =
            vdm.conditioning(large.clone(), small.expand(clip_shape(manifest.coarse_size)), tokens);
        from.given = noise([1, config.z_dim, 1, height, width]);
        from.hint = Some(noise(shape));
        for sigma in SIGMAS {
            let estimate = vdm.denoise(&(latents.clone() * sigma), &[vec![sigma]], &from);
            answer(format!("{DIFFUSION} at noise {sigma}"), estimate.into_data())?;
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
        let answers = |networks| answers(&pack, networks, &mut |_| Ok(())).unwrap();
        let (wanted, found) = (answers(&right), answers(&broken));
        let chosen = gpu::choose(DeviceChoice::Cpu).unwrap();
        let verified = compare(&wanted, &found, &chosen);
        assert_eq!(verified.wrong, ["video VAE decoder"], "{}", verified.table);
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
        assert_eq!(all, count_parts(&pack.manifest));
        assert_eq!(steps.last(), Some(&(2 * all, 2 * all)));
        let mut stop = |_, done, _| {
            if done == 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        let stopped = verify(&pack, &chosen, &mut stop);
        assert!(matches!(stopped, Err(EvalError::Run(RunError::Cancelled))));
    }

    #[test]
    fn what_does_not_fit_is_refused_before_it_is_loaded() {
        let manifest = Manifest::videoworld2();
        let error = check_memory(&manifest, Some(8_000_000_000)).unwrap_err().to_string();
        assert!(error.contains("8.0 GB are there"), "{error}");
        assert!(check_memory(&manifest, None).is_ok());
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
