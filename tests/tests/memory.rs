//! The estimate of memory and of the largest tensor against what is really allocated, for the
//! embedded pack and for large frames on the processor.
//!
//! Counted by the allocator and not by the system, so the numbers do not depend on the hour. The
//! one test of this file has the process to itself.

use std::alloc::{GlobalAlloc, Layout};
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicUsize, Ordering};

use burn::tensor::{Distribution, Tensor, TensorData};
use engine::gpu::{self, DeviceChoice};
use engine::media::FrameSize;
use engine::pack::{Estimate, Job, Manifest, Networks, Pack, Residence, StageMemory};
use engine::vdm::VideoVaeConfig;
use engine::weights::{Numbers, Precision};
use peak_alloc::PeakAlloc;

/// Counts what is allocated, and remembers the largest piece.
struct Counting;

static ALLOCATED: PeakAlloc = PeakAlloc;
static LARGEST: AtomicUsize = AtomicUsize::new(0);

#[expect(unsafe_code, reason = "the trait of allocators is")]
// SAFETY: all is handed on as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LARGEST.fetch_max(layout.size(), Ordering::Relaxed);
        unsafe { ALLOCATED.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        unsafe { ALLOCATED.dealloc(at, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// Measured over estimated for all weights: tables of positions and what describes tensors come on
/// top.
const WEIGHTS: RangeInclusive<f64> = 1.0..=1.05;
/// Measured over estimated for the working memory of a stage; the more threads, the more scratch.
const STAGE: RangeInclusive<f64> = 0.4..=1.2;

fn assert_within(what: &str, measured: usize, estimated: u64, band: &RangeInclusive<f64>) {
    let ratio = measured as f64 / estimated as f64;
    println!("{what}: {measured} of {estimated} bytes, {ratio:.3}");
    assert!(band.contains(&ratio), "{what}: {measured} of {estimated} bytes is outside {band:?}");
}

/// Measured over estimated for the largest tensor of a stage.
const TENSOR: RangeInclusive<f64> = 0.4..=1.0;

/// A picture that is no constant.
fn video(frames: usize, size: FrameSize, networks: &Networks) -> Tensor<5> {
    let shape = [1, 3, frames, size.height as usize, size.width as usize];
    let values: Vec<f32> = (0..shape.iter().product()).map(|i: usize| (i as f32).sin()).collect();
    Tensor::from_data(TensorData::new(values, shape), &networks.device)
}

/// The most that `work` allocated beside what was there, bytes, within what was estimated.
fn assert_works_within(what: &str, stage: &StageMemory, work: impl FnOnce()) -> usize {
    let before = ALLOCATED.current_usage();
    ALLOCATED.reset_peak_usage();
    LARGEST.store(0, Ordering::Relaxed);
    work();
    let measured = ALLOCATED.peak_usage() - before;
    assert_within(what, measured, stage.working, &STAGE);
    measured
}

/// The largest piece that was allocated since [`assert_works_within`] began, within what was
/// estimated or the `scratch` of the processor.
fn assert_largest_within(what: &str, stage: &StageMemory, scratch: u64) {
    let largest = LARGEST.load(Ordering::Relaxed);
    let estimated = stage.largest_tensor.max(scratch);
    assert_within(&format!("{what}, largest"), largest, estimated, &TENSOR);
}

/// A narrow video autoencoder at the release's size, where its finest level passes in two bands, and
/// at a smaller height, where it passes whole.
fn bands_of_the_video_autoencoder_take_what_was_estimated() {
    const HEIGHTS: [u32; 2] = [480, 256];
    let [large, small] = HEIGHTS.map(|height| {
        let device = gpu::choose(DeviceChoice::Cpu).expect("the processor is always there").device;
        let config = VideoVaeConfig {
            dim: 24,
            dim_mult: vec![1; 4],
            num_res_blocks: 1,
            ..VideoVaeConfig::videoworld2()
        };
        let size = FrameSize { height, width: 832 };
        let mut manifest =
            Manifest::videoworld2().at(5, size).expect("every network takes this size");
        manifest.vdm.as_mut().expect("the release has one").vae = config.clone();
        let estimate = Estimate::of(&manifest, Job { clips: 0, ..Job::default() });
        let vae = config.init(&device);
        let shape = [1, 3, 5, height as usize, 832];
        let clip = Tensor::<5>::random(shape, Distribution::Uniform(-1.0, 1.0), &device);
        // The weights, drawn when they are first looked at, are a thousandth of this.
        let stage = |name| estimate.stage(name).expect("every stage is estimated");
        let what = |name| format!("{name}, {height} rows");
        let mut latents = None;
        let encoding = assert_works_within(&what("encoding"), stage("encoding"), || {
            latents = Some(vae.encode(clip));
        });
        let latents = latents.expect("encoded just above");
        assert_largest_within(&what("encoding"), stage("encoding"), 0);
        let decoding = assert_works_within(&what("decoding"), stage("decoding"), || {
            vae.decode(latents);
        });
        assert_largest_within(&what("decoding"), stage("decoding"), 0);
        [encoding, decoding]
    });
    for (large, small) in large.into_iter().zip(small) {
        // Were all of it whole frames, a row would take as much in both.
        let [large, small] =
            [(large, 0), (small, 1)].map(|(b, i)| b as f64 / f64::from(HEIGHTS[i]));
        assert!(large < 0.95 * small, "{large} bytes a row against {small}");
    }
}

#[test]
fn weights_and_stages_take_what_was_estimated() {
    bands_of_the_video_autoencoder_take_what_was_estimated();
    let pack = Pack::embedded().unwrap();
    let manifest = &pack.manifest;
    // A thread that multiplies for the first time packs a whole weight, in single precision.
    let single = Estimate::of(manifest, Job::default());
    let packed = single.stage("loading to sample").expect("it is estimated").largest_tensor;
    let kinds = [
        Numbers::default(),
        Precision::F16.into(),
        Numbers { precision: Precision::F32, eight_bit: true },
    ];
    for numbers in kinds {
        let mut chosen = gpu::choose(DeviceChoice::Cpu).unwrap();
        chosen.numbers = numbers;
        let estimate = Estimate::of(manifest, Job { clips: 0, ..Job::on(&chosen) });
        let before = ALLOCATED.current_usage();
        let networks = pack.load_on(&chosen, Residence::Kept).unwrap();
        let weights = ALLOCATED.current_usage() - before;
        let estimated = estimate.light + estimate.diffusion;
        assert_within(&format!("weights, {numbers}"), weights, estimated, &WEIGHTS);

        let vdm = networks.vdm.as_ref().expect("the embedded pack has a diffusion model");
        let small = video(manifest.frames_per_clip, manifest.coarse_size, &networks);
        let frame = video(1, manifest.frame_size, &networks);
        let codes = networks.codes(&vec![0; manifest.codes_per_clip()]);
        let tokens = networks.dldm.connect(codes.clone());
        let start = small.clone().narrow(2, 0, 1);
        let stage = |name: &str, work: &dyn Fn()| {
            // The first run keeps scratch memory that later ones use again.
            work();
            let stage = estimate.stage(name).expect("every stage is estimated");
            let what = format!("{name}, {numbers}");
            assert_works_within(&what, stage, work);
            // Of halves it packs all factors, in pieces that depend on the number of threads.
            if numbers.precision == Precision::F32 {
                assert_largest_within(&what, stage, packed);
            }
        };
        stage("coarse video", &|| {
            networks.dldm.decode_from_frame(start.clone(), codes.clone());
        });
        let condition = || vdm.conditioning(frame.clone(), small.clone(), tokens.clone());
        stage("encoding", &|| {
            condition();
        });
        let from = condition();
        let latents =
            vdm.vae.encode(video(manifest.frames_per_clip, manifest.frame_size, &networks));
        stage("denoising", &|| {
            vdm.denoise(&latents, &[vec![1.0]], &from);
        });
        stage("decoding", &|| {
            vdm.vae.decode(latents.clone());
        });
    }
}
