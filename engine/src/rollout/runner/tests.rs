//! The runner with networks that compute nothing much.

use std::sync::atomic::Ordering;

use super::*;
use crate::craft::Task;
use crate::gpu::{self, DeviceChoice};
use crate::pack::{Residence, Scale};
use crate::rollout::fake::{Calls, FAKE_SIZE, FakeModels};
use crate::rollout::{Decodes, PackModels, Unwatched};

fn runner(budget: usize) -> (Runner, Arc<Calls>) {
    let calls = Arc::new(Calls::default());
    let models = FakeModels::new(calls.clone());
    (Runner::new(Box::new(models), ClipStore::new(budget), 3), calls)
}

fn start() -> Path {
    let start = Frame::from_pixel(FAKE_SIZE.width, FAKE_SIZE.height, image::Rgb([60; 3]));
    Path { start: Arc::new(start), task: Task::Boat, clips: Vec::new() }
}

fn sampling(temperature: f32, seed: u64) -> Sampling {
    Sampling { temperature, seed, refine_steps: 8, guidance: 1.0, scale: Scale::default() }
}

/// A watch that writes down what it is told and stops after a number of steps.
#[derive(Default)]
struct Log {
    steps: Vec<(Stage, usize, usize)>,
    ready: Vec<ClipQuality>,
    stop_after: Option<usize>,
}

impl Watch for Log {
    fn step(&mut self, stage: Stage, done: usize, total: usize) -> ControlFlow<()> {
        self.steps.push((stage, done, total));
        match self.stop_after {
            Some(after) if self.steps.len() >= after => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        }
    }

    fn clip_ready(&mut self, _key: ClipKey, quality: ClipQuality) {
        self.ready.push(quality);
    }
}

#[test]
fn going_back_and_forth_decodes_nothing_twice() {
    let (runner, _) = runner(1 << 20);
    let two = start().then(vec![1, 2, 3, 4], 0).then(vec![5, 6, 7, 8], 0);
    let branch = two.first_clips(1).then(vec![9, 9, 9, 9], 0);
    for _ in 0..3 {
        for path in [&two, &two.first_clips(1), &branch, &two] {
            runner.coarse(path, &mut Unwatched).unwrap();
            runner.refine(path, &sampling(0.0, 0), &mut Unwatched).unwrap();
        }
    }
    assert_eq!(runner.store().decodes(), Decodes { coarse: 3, refined: 3 });
    // Another seed paints other refined pixels on the same coarse clip.
    let reseeded = two.first_clips(1).then(vec![5, 6, 7, 8], 1);
    runner.refine(&reseeded, &sampling(0.0, 0), &mut Unwatched).unwrap();
    assert_eq!(runner.store().decodes(), Decodes { coarse: 3, refined: 4 });
}

#[test]
fn a_chain_is_the_same_whether_clips_were_kept_or_not() {
    let path = (0..4).fold(start(), |path, k| path.then(vec![10, 12, 14, 16 + k], 0));
    let (roomy, _) = runner(1 << 20);
    let (cramped, calls) = runner(0);
    for n in 1..=4 {
        roomy.refine(&path.first_clips(n), &sampling(0.0, 0), &mut Unwatched).unwrap();
    }
    let key = cramped.refine(&path, &sampling(0.0, 0), &mut Unwatched).unwrap();
    let kept = |runner: &Runner| runner.store().get(key).unwrap().clip;
    assert_eq!(kept(&roomy), kept(&cramped));
    assert!(calls.coarse.load(Ordering::Relaxed) > 4, "nothing could be kept");
    let last = kept(&roomy).last().unwrap().get_pixel(0, 0)[0];
    assert!(last > 60, "the chain goes on from its own frames: {last}");
}

#[test]
fn cancelling_keeps_the_finished_clips() {
    let (runner, _) = runner(1 << 20);
    let path = start().then(vec![1; 4], 0).then(vec![2; 4], 0).then(vec![3; 4], 0);
    runner.coarse(&path, &mut Unwatched).unwrap();
    // The first clip takes one note to begin, eight sampler steps with a check in each of three
    // previews, and three notes of the decoder; stop in the middle of the second.
    let mut log = Log { stop_after: Some(15 + 6), ..Log::default() };
    let stopped = runner.refine(&path, &sampling(0.0, 0), &mut log);
    assert_eq!(stopped, Err(RunError::Cancelled));
    let first = ClipKey::refined(&runner.pack().id, &path.first_clips(1), &sampling(0.0, 0));
    assert_eq!(runner.store().get(first).unwrap().quality, ClipQuality::Refined);
    assert_eq!(runner.store().decodes(), Decodes { coarse: 3, refined: 1 });
    runner.refine(&path, &sampling(0.0, 0), &mut Unwatched).unwrap();
    assert_eq!(runner.store().decodes(), Decodes { coarse: 3, refined: 3 });
}

#[test]
fn a_device_that_compiles_warms_up_once_a_stage() {
    let cold = |sketches, previews| {
        let models = FakeModels { compiles: true, sketches, ..FakeModels::new(Arc::default()) };
        Runner::new(Box::new(models), ClipStore::new(1 << 20), previews)
    };
    let runner = cold(false, 0);
    let stages = |log: &Log| -> Vec<Stage> {
        let mut stages: Vec<Stage> = log.steps.iter().map(|(stage, ..)| *stage).collect();
        stages.dedup();
        stages
    };
    let mut first = Log::default();
    runner.refine(&start().then(vec![1; 4], 0), &sampling(0.0, 0), &mut first).unwrap();
    let warm = Stage::WarmingUp;
    let (coarse, refining, decoding) =
        (Stage::PaintingCoarse, Stage::Refining, Stage::DecodingVideo);
    assert_eq!(stages(&first), [warm, coarse, warm, refining, warm, decoding]);
    let mut second = Log::default();
    runner.refine(&start().then(vec![2; 4], 0), &sampling(0.0, 0), &mut second).unwrap();
    assert_eq!(stages(&second), [coarse, refining, decoding]);
    // A preview that is decoded compiles the decoder, a sketch leaves that to the clip.
    let previewed = |sketches| {
        let mut log = Log::default();
        let path = start().then(vec![1; 4], 0);
        cold(sketches, 1).refine(&path, &sampling(0.0, 0), &mut log).unwrap();
        stages(&log)
    };
    assert_eq!(previewed(false), [warm, coarse, warm, refining, warm, refining, decoding]);
    assert_eq!(previewed(true), [warm, coarse, warm, refining, warm, decoding]);
}

#[test]
fn previews_grow_evenly_and_end_with_the_refined_clip() {
    let (runner, _) = runner(1 << 20);
    let mut log = Log::default();
    runner.refine(&start().then(vec![1; 4], 0), &sampling(0.0, 0), &mut log).unwrap();
    let preview = |step| ClipQuality::Preview { step, of: 8 };
    assert_eq!(
        log.ready,
        [ClipQuality::Coarse, preview(2), preview(4), preview(6), ClipQuality::Refined]
    );
}

#[test]
fn predicting_goes_on_from_the_path_and_keeps_what_is_fixed() {
    let (runner, _) = runner(1 << 20);
    let mut log = Log::default();
    let path = start().then(vec![1, 2, 3, 4], 0);
    let predicted = runner.predict(&path, &[(2, 17)], &sampling(0.0, 0), &mut log).unwrap();
    let codes: Vec<u16> = predicted.iter().map(|p| p.code).collect();
    // The fake's favourite is the sum of all codes before, modulo 20.
    assert_eq!(codes, [10, 0, 17, 17]);
    let steps: Vec<usize> = log.steps.iter().map(|s| s.1).collect();
    assert_eq!(steps, [0, 1, 2, 3, 4]);
    let long = (0..7).fold(start(), |path, _| path.then(vec![0; 4], 0));
    let error = runner.predict(&long, &[], &sampling(0.0, 0), &mut Unwatched).unwrap_err();
    assert_eq!(error, RunError::TooLong { max: 7 });
}

#[test]
fn candidates_are_ranked_and_painted() {
    let (runner, calls) = runner(1 << 20);
    let candidates = runner.candidates(&start(), 3, &sampling(1.0, 0), &mut Unwatched).unwrap();
    assert_eq!(candidates.len(), 3);
    assert!(candidates.windows(2).all(|w| w[0].probability >= w[1].probability));
    assert!(candidates.iter().all(|c| c.predictions[0].code == c.code));
    let painted = calls.coarse.load(Ordering::Relaxed);
    let taken = candidates[1].predictions.iter().map(|p| p.code).collect();
    runner.coarse(&start().then(taken, 0), &mut Unwatched).unwrap();
    assert_eq!(calls.coarse.load(Ordering::Relaxed), painted, "choosing one paints nothing");
}

#[test]
fn what_is_not_of_this_pack_is_refused_in_words() {
    let (runner, _) = runner(1 << 20);
    let coarse = |path: &Path| runner.coarse(path, &mut Unwatched).unwrap_err();
    assert_eq!(coarse(&start()), RunError::NoClip);
    assert!(matches!(coarse(&start().then(vec![1], 0)), RunError::CodeCount { .. }));
    assert!(matches!(coarse(&start().then(vec![20; 4], 0)), RunError::CodeRange { .. }));
    let large = Path { start: Arc::new(Frame::new(9, 9)), ..start() };
    let error = coarse(&large.then(vec![1; 4], 0));
    assert!(error.to_string().contains("9x9 pixels"), "{error}");
    let tower = Path { task: Task::Tower, ..start() };
    let error = runner.predict(&tower, &[], &sampling(0.0, 0), &mut Unwatched).unwrap_err();
    assert!(error.to_string().contains("Block tower"), "{error}");
    let short = vec![Frame::new(FAKE_SIZE.width, FAKE_SIZE.height); 2];
    let error = runner.encode(&short, &mut Unwatched).unwrap_err();
    assert_eq!(error, RunError::VideoTooShort { found: 2, wanted: 5 });
}

#[test]
fn neighbouring_clips_share_a_frame() {
    let frames: Vec<Frame> =
        (0..9).map(|i| Frame::from_pixel(1, 1, image::Rgb([i, 0, 0]))).collect();
    let numbers = |frames: &[Frame]| -> Vec<Vec<u8>> {
        let clips = media::split_clips(frames, 5);
        clips.iter().map(|clip| clip.iter().map(|f| f.get_pixel(0, 0)[0]).collect()).collect()
    };
    assert_eq!(numbers(&frames), [[0, 1, 2, 3, 4], [4, 5, 6, 7, 8]]);
    assert_eq!(numbers(&frames[..8]), [[0, 1, 2, 3, 4], [4, 5, 6, 7, 7]]);
    assert_eq!(numbers(&frames[..6]), [[0, 1, 2, 3, 4]]);
    assert!(numbers(&frames[..1]).is_empty());
}

#[test]
fn refined_clips_outlive_the_runner_and_the_chain_goes_on_from_them_exactly() {
    let dir = tempfile::tempdir().unwrap();
    let cache = || Some(Arc::new(ClipCache::open(dir.path().to_owned(), 1 << 20)));
    let three = start().then(vec![10, 12, 14, 16], 0).then(vec![9; 4], 0).then(vec![11; 4], 3);
    let sampling = sampling(0.0, 0);
    {
        let runner = runner(1 << 20).0.keeping(cache());
        runner.refine(&three.first_clips(2), &sampling, &mut Unwatched).unwrap();
    }
    let (again, calls) = runner(1 << 20);
    let again = again.keeping(cache());
    let mut log = Log::default();
    let keys = [1, 2].map(|n| ClipKey::refined(&again.pack().id, &three.first_clips(n), &sampling));
    again.recall(&keys, &mut log).unwrap();
    assert_eq!(log.ready, [ClipQuality::Refined; 2]);
    assert_eq!(log.steps.last(), Some(&(Stage::ReadingClips, 2, 2)));
    assert_eq!(again.store().decodes(), Decodes::default());
    let key = again.refine(&three, &sampling, &mut Unwatched).unwrap();
    assert_eq!(calls.refine.load(Ordering::Relaxed), 1, "the third clip alone");

    let (uncached, _) = runner(1 << 20);
    uncached.refine(&three, &sampling, &mut Unwatched).unwrap();
    let clip = |runner: &Runner, key| runner.store().get(key).unwrap().clip;
    for key in [keys[0], keys[1], key] {
        assert_eq!(clip(&again, key), clip(&uncached, key));
    }
}

#[test]
fn a_cancelled_clip_stays_a_preview_and_is_never_kept_as_refined() {
    let dir = tempfile::tempdir().unwrap();
    let cache = || Some(Arc::new(ClipCache::open(dir.path().to_owned(), 1 << 20)));
    let path = start().then(vec![1; 4], 0);
    let sampling = sampling(0.0, 0);
    let (first, _) = runner(1 << 20);
    let first = first.keeping(cache());
    first.coarse(&path, &mut Unwatched).unwrap();
    // One note to begin, two steps with the check of the preview after them, twice, and a step.
    let mut log = Log { stop_after: Some(1 + 3 + 3 + 1), ..Log::default() };
    assert_eq!(first.refine(&path, &sampling, &mut log), Err(RunError::Cancelled));
    let key = ClipKey::refined(&first.pack().id, &path, &sampling);
    let best = ClipQuality::Preview { step: 4, of: 8 };
    assert_eq!(first.store().get(key).unwrap().quality, best);
    // Begun again, its early previews do not replace the better one.
    let mut log = Log { stop_after: Some(1 + 4), ..Log::default() };
    assert_eq!(first.refine(&path, &sampling, &mut log), Err(RunError::Cancelled));
    assert_eq!(log.ready, [ClipQuality::Preview { step: 2, of: 8 }]);
    assert_eq!(first.store().get(key).unwrap().quality, best);
    drop(first);
    let again = runner(1 << 20).0.keeping(cache());
    again.recall(&[key], &mut Unwatched).unwrap();
    assert!(again.store().get(key).is_none(), "nothing was kept");
    again.refine(&path, &sampling, &mut Unwatched).unwrap();
    assert_eq!(again.store().decodes().refined, 1);
}

#[test]
fn what_was_begun_is_dropped_when_the_clip_is_found_finished() {
    let dir = tempfile::tempdir().unwrap();
    let pack = crate::pack::tests::tiny(&dir.path().join("pack"));
    let chosen = gpu::choose(DeviceChoice::Cpu).unwrap();
    let cache = Arc::new(ClipCache::open(dir.path().join("clips"), 1 << 26));
    let [begun, other] = [(); 2].map(|()| {
        let models = PackModels::load(&pack, &chosen, Residence::Kept).unwrap();
        let runner = Runner::new(Box::new(models), ClipStore::new(1 << 26), 0);
        runner.keeping(Some(cache.clone()))
    });
    let size = begun.pack().frame_size();
    let frame = Arc::new(Frame::new(size.width, size.height));
    let path = Path { start: frame, ..start() }.then(vec![1, 2, 3, 4], 0);
    let sampling = begun.pack().sampling.clone();
    // One note of the coarse clip before it is painted and one after, one to begin, one step.
    let mut log = Log { stop_after: Some(4), ..Log::default() };
    assert_eq!(begun.refine(&path, &sampling, &mut log), Err(RunError::Cancelled));
    assert_eq!(begun.midway.borrow().len(), 1);
    let key = other.refine(&path, &sampling, &mut Unwatched).unwrap();
    cache.flush();
    begun.recall(&[key], &mut Unwatched).unwrap();
    assert!(begun.store().video(key).is_some() && begun.midway.borrow().is_empty());
}
