//! The worker with networks that obey, sleep or panic on demand.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::queue::Queue;
use super::thread::{Desk, serve, store_budget};
use super::{ClipQuality, Event, JobId, Request, Sampling, Stage, Worker, plan};
use crate::craft::Task;
use crate::gpu::{self, DeviceChoice};
use crate::media::Frame;
use crate::pack::{Estimate, Job, Manifest, PackId, PackSource, Residence, Scale};
use crate::rollout::fake::{Calls, FAKE_SIZE, FakeModels};
use crate::rollout::{
    ClipCache, ClipKey, ClipStore, Decodes, Models, Origin, PackModels, Path, Rollout,
};
use crate::weights::Precision;

const PATIENCE: Duration = Duration::from_secs(20);

struct Setup {
    worker: Worker,
    wakes: Arc<AtomicU64>,
}

fn worker(step_time: Duration, panics_on: Option<Vec<u16>>) -> Setup {
    worker_with(step_time, panics_on, None)
}

fn worker_with(
    step_time: Duration,
    panics_on: Option<Vec<u16>>,
    cache: Option<ClipCache>,
) -> Setup {
    let calls = Arc::new(Calls::default());
    let wakes = Arc::new(AtomicU64::new(0));
    let woken = wakes.clone();
    let make_opener = move || {
        let (calls, panics_on) = (calls.clone(), panics_on.clone());
        let opener = move |source: &PackSource, _: DeviceChoice| match source {
            PackSource::Embedded => {
                let mut models = FakeModels::new(calls.clone());
                models.step_time = step_time;
                models.panics_on = panics_on.clone();
                Ok(Box::new(models) as Box<dyn Models>)
            }
            PackSource::Folder(path) => Err(format!("{} is no pack", path.display())),
        };
        Box::new(opener) as Box<super::Opener>
    };
    let worker = Worker::with_opener(DeviceChoice::Cpu, make_opener, cache, move || {
        woken.fetch_add(1, Ordering::Relaxed);
    });
    Setup { worker, wakes }
}

fn opened(step_time: Duration, panics_on: Option<Vec<u16>>) -> Worker {
    let worker = worker(step_time, panics_on).worker;
    let job = worker.send(Request::OpenPack(PackSource::Embedded));
    until_end(&worker, job);
    worker
}

fn start() -> Path {
    let start = Frame::from_pixel(FAKE_SIZE.width, FAKE_SIZE.height, image::Rgb([60; 3]));
    Path { start: Arc::new(start), task: Task::Boat, clips: Vec::new() }
}

fn sampling() -> Sampling {
    Sampling { temperature: 0.0, seed: 0, refine_steps: 8, guidance: 1.0, scale: Scale::default() }
}

fn refine(path: &Path) -> Request {
    Request::Refine { path: path.clone(), sampling: sampling() }
}

fn job_of(event: &Event) -> Option<JobId> {
    match event {
        Event::PackOpened { job, .. }
        | Event::Progressed { job, .. }
        | Event::Measured { job, .. }
        | Event::Predicted { job, .. }
        | Event::CandidatesReady { job, .. }
        | Event::ClipReady { job, .. }
        | Event::Encoded { job, .. }
        | Event::Verified { job, .. }
        | Event::Held { job }
        | Event::Finished { job }
        | Event::Cancelled { job }
        | Event::Failed { job, .. } => Some(*job),
        Event::Died { .. } | Event::NotKept { .. } => None,
    }
}

fn is_end(event: &Event) -> bool {
    matches!(
        event,
        Event::Finished { .. }
            | Event::Cancelled { .. }
            | Event::Failed { .. }
            | Event::Died { .. }
    )
}

/// All events up to the end of `job`, or of the worker.
fn until_end(worker: &Worker, job: JobId) -> Vec<Event> {
    let mut events = Vec::new();
    loop {
        let event = worker.events().recv_timeout(PATIENCE).expect("an event in time");
        let ended = is_end(&event) && job_of(&event).is_none_or(|j| j == job);
        events.push(event);
        if ended {
            return events;
        }
    }
}

#[test]
fn a_step_predicts_paints_and_refines() {
    let worker = opened(Duration::ZERO, None);
    let extend = Request::Extend {
        path: start(),
        parent: Rollout::ROOT,
        fixed: vec![(1, 7)],
        origin: Origin::Policy,
        sampling: sampling(),
    };
    let job = worker.send(extend);
    let events = until_end(&worker, job);
    assert!(matches!(events.last(), Some(Event::Finished { .. })), "{events:?}");
    let codes: Vec<u16> = events
        .iter()
        .find_map(|event| match event {
            Event::Predicted { clip, .. } => {
                Some(clip.predictions.iter().map(|p| p.code).collect())
            }
            _ => None,
        })
        .unwrap();
    assert_eq!(codes[1], 7);
    let path = start().then(codes, 0);
    let pack = FakeModels::new(Arc::default()).pack.id;
    let coarse = ClipKey::coarse(&pack, &path);
    assert_eq!(worker.store().get(coarse).unwrap().quality, ClipQuality::Coarse);
    let job = worker.send(refine(&path));
    let events = until_end(&worker, job);
    let refined = ClipKey::refined(&pack, &path, &sampling());
    assert!(events.iter().any(|e| matches!(e, Event::ClipReady { key, quality: ClipQuality::Refined, .. } if *key == refined)));
    assert_eq!(worker.store().get(refined).unwrap().quality, ClipQuality::Refined);
    // Asking again announces the same pixels and computes nothing.
    let job = worker.send(refine(&path));
    let events = until_end(&worker, job);
    assert!(events.iter().any(|e| matches!(e, Event::ClipReady { .. })));
    assert_eq!(worker.store().decodes(), Decodes { coarse: 1, refined: 1 });
}

#[test]
fn cancel_answers_at_once_and_keeps_finished_clips() {
    let worker = opened(Duration::from_millis(150), None);
    let path = start().then(vec![1; 4], 0).then(vec![2; 4], 0);
    let job = worker.send(refine(&path));
    let waiting = worker.send(refine(&path.first_clips(1)));
    // Until the first clip is refined.
    loop {
        let event = worker.events().recv_timeout(PATIENCE).unwrap();
        if matches!(event, Event::ClipReady { quality: ClipQuality::Refined, .. }) {
            break;
        }
    }
    let asked = Instant::now();
    worker.cancel(job);
    let events = until_end(&worker, job);
    assert!(asked.elapsed() < Duration::from_millis(100), "took {:?}", asked.elapsed());
    assert!(matches!(events.last(), Some(Event::Cancelled { .. })), "{events:?}");
    // The next job finds the clip that the cancelled one finished; nothing more is heard of that.
    let later = until_end(&worker, waiting);
    assert!(later.iter().all(|e| job_of(e) != Some(job)), "{later:?}");
    assert!(matches!(later.last(), Some(Event::Finished { .. })), "{later:?}");
    assert_eq!(worker.store().decodes().refined, 1);
}

#[test]
fn a_waiting_job_is_cancelled_without_being_started() {
    let worker = opened(Duration::from_millis(20), None);
    let running = worker.send(refine(&start().then(vec![1; 4], 0)));
    let waiting = worker.send(refine(&start().then(vec![2; 4], 0)));
    worker.cancel(waiting);
    worker.cancel(waiting);
    let events = until_end(&worker, running);
    let cancelled = events.iter().filter(|e| matches!(e, Event::Cancelled { .. })).count();
    assert_eq!(cancelled, 1, "{events:?}");
    assert!(matches!(events.last(), Some(Event::Finished { .. })));
    assert_eq!(worker.store().decodes().refined, 1);
}

/// Pauses as soon as a job runs, and waits until it stands still.
fn hold(worker: &Worker) {
    let wait_for = |wanted: fn(&Event) -> bool| {
        while !wanted(&worker.events().recv_timeout(PATIENCE).expect("an event in time")) {}
    };
    wait_for(|event| matches!(event, Event::Progressed { .. }));
    worker.set_paused(true);
    wait_for(|event| matches!(event, Event::Held { .. }));
}

#[test]
fn a_paused_job_stands_still_and_goes_on_where_it_was() {
    let worker = opened(Duration::from_millis(5), None);
    let path = start().then(vec![1; 4], 0).then(vec![2; 4], 0);
    let job = worker.send(refine(&path));
    hold(&worker);
    let silence = worker.events().recv_timeout(Duration::from_millis(200));
    assert!(matches!(silence, Err(RecvTimeoutError::Timeout)), "{silence:?}");
    worker.set_paused(false);
    let events = until_end(&worker, job);
    assert!(matches!(events.last(), Some(Event::Finished { .. })), "{events:?}");
    assert_eq!(worker.store().decodes(), Decodes { coarse: 2, refined: 2 }, "nothing twice");
}

#[test]
fn a_pause_begins_no_job_and_ends_with_cancel_or_closing() {
    let worker = opened(Duration::from_millis(5), None);
    let running = worker.send(refine(&start().then(vec![1; 4], 0)));
    let waiting = worker.send(refine(&start().then(vec![2; 4], 0)));
    hold(&worker);
    worker.cancel(running);
    let events = until_end(&worker, running);
    assert!(matches!(events.last(), Some(Event::Cancelled { .. })), "{events:?}");
    let silence = worker.events().recv_timeout(Duration::from_millis(100));
    assert!(matches!(silence, Err(RecvTimeoutError::Timeout)), "{silence:?}");
    worker.set_paused(false);
    let events = until_end(&worker, waiting);
    assert!(matches!(events.last(), Some(Event::Finished { .. })), "{events:?}");
    worker.send(refine(&start().then(vec![3; 4], 0)));
    hold(&worker);
    let asked = Instant::now();
    drop(worker);
    assert!(asked.elapsed() < Duration::from_secs(1), "took {:?}", asked.elapsed());
}

#[test]
fn a_panic_is_told_once_and_a_restart_goes_on() {
    let mut worker = opened(Duration::ZERO, Some(vec![3; 4]));
    let fine = start().then(vec![1; 4], 0);
    let job = worker.send(refine(&fine));
    until_end(&worker, job);
    let fatal = fine.then(vec![3; 4], 0);
    let job = worker.send(refine(&fatal));
    let events = until_end(&worker, job);
    let Some(Event::Died { reason }) = events.last() else { panic!("{events:?}") };
    assert!(reason.contains("the card fell out") && !reason.contains('\n'), "{reason}");
    assert!(!worker.is_alive());
    let refused = worker.send(refine(&fine));
    assert!(matches!(until_end(&worker, refused).last(), Some(Event::Failed { .. })));

    assert!(worker.restart(), "there is a pack to open again");
    assert!(worker.is_alive());
    let job = worker.send(refine(&fine));
    let events = until_end(&worker, job);
    assert!(events.iter().any(|e| matches!(e, Event::PackOpened { .. })), "{events:?}");
    assert!(matches!(events.last(), Some(Event::Finished { .. })), "{events:?}");
    assert_eq!(worker.store().decodes().refined, 1, "the clip survived the panic");
}

#[test]
fn a_restart_whose_pack_is_gone_goes_on_without_one() {
    for panics in [false, true] {
        let is_gone = Arc::new(AtomicBool::new(false));
        let shared = is_gone.clone();
        let make_opener = move || {
            let is_gone = shared.clone();
            let opener = move |_: &PackSource, _: DeviceChoice| {
                if is_gone.load(Ordering::Relaxed) {
                    assert!(!panics, "the pack is gone");
                    return Err("the pack is gone".to_owned());
                }
                let mut models = FakeModels::new(Arc::default());
                models.panics_on = Some(vec![3; 4]);
                Ok(Box::new(models) as Box<dyn Models>)
            };
            Box::new(opener) as Box<super::Opener>
        };
        let mut worker = Worker::with_opener(DeviceChoice::Cpu, make_opener, None, || {});
        let last = |worker: &Worker, request: Request| {
            let job = worker.send(request);
            until_end(worker, job).pop().unwrap()
        };
        last(&worker, Request::OpenPack(PackSource::Embedded));
        last(&worker, refine(&start().then(vec![3; 4], 0)));
        is_gone.store(true, Ordering::Relaxed);
        assert!(worker.restart());
        let events = until_end(&worker, JobId::RESTART);
        let [Event::Progressed { progress, .. }, Event::Failed { reason, .. }] = &events[..] else {
            panic!("{events:?}")
        };
        assert_eq!(progress.stage, Stage::ReadingWeights);
        assert!(reason.contains("the pack is gone"), "{reason}");
        let fine = start().then(vec![1; 4], 0);
        let Event::Failed { reason, .. } = last(&worker, refine(&fine)) else {
            panic!("no pack is open")
        };
        assert!(reason.contains("no pack is open"), "{reason}");
        is_gone.store(false, Ordering::Relaxed);
        assert!(worker.is_alive());
        last(&worker, Request::OpenPack(PackSource::Embedded));
        assert!(matches!(last(&worker, refine(&fine)), Event::Finished { .. }));
    }
}

#[test]
fn closing_in_the_middle_of_work_is_quick() {
    let Setup { worker, wakes } = worker(Duration::from_millis(30), None);
    worker.send(Request::OpenPack(PackSource::Embedded));
    let path = (0..10).fold(start(), |path, _| path.then(vec![1; 4], 0));
    worker.send(refine(&path));
    std::thread::sleep(Duration::from_millis(100));
    let asked = Instant::now();
    drop(worker);
    assert!(asked.elapsed() < Duration::from_secs(1), "took {:?}", asked.elapsed());
    let woken = wakes.load(Ordering::Relaxed);
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(wakes.load(Ordering::Relaxed), woken, "the thread is gone");
}

#[test]
fn a_refused_pack_leaves_the_open_one() {
    let worker = opened(Duration::ZERO, None);
    let job = worker.send(Request::OpenPack(PackSource::Folder("elsewhere".into())));
    let events = until_end(&worker, job);
    let Some(Event::Failed { reason, .. }) = events.last() else { panic!("{events:?}") };
    assert_eq!(reason, "elsewhere is no pack");
    let job = worker.send(refine(&start().then(vec![1; 4], 0)));
    assert!(matches!(until_end(&worker, job).last(), Some(Event::Finished { .. })));
}

#[test]
fn work_without_a_pack_is_refused_in_words() {
    let worker = worker(Duration::ZERO, None).worker;
    let job = worker.send(refine(&start().then(vec![1; 4], 0)));
    let events = until_end(&worker, job);
    assert!(
        matches!(events.last(), Some(Event::Failed { reason, .. }) if reason.contains("no pack"))
    );
    let silence = worker.events().recv_timeout(Duration::from_millis(50));
    assert!(matches!(silence, Err(RecvTimeoutError::Timeout)));
}

/// A worker that keeps its clips in a folder, with a pack opened.
fn keeping_in(folder: &std::path::Path) -> Worker {
    let cache = ClipCache::open(folder.to_owned(), 1 << 20);
    let worker = worker_with(Duration::ZERO, None, Some(cache)).worker;
    let job = worker.send(Request::OpenPack(PackSource::Embedded));
    until_end(&worker, job);
    worker
}

#[test]
fn another_start_of_the_program_finds_the_refined_clips() {
    let dir = tempfile::tempdir().unwrap();
    let path = start().then(vec![1; 4], 0);
    let key = {
        let worker = keeping_in(dir.path());
        let job = worker.send(refine(&path));
        let events = until_end(&worker, job);
        let refined = |event: &Event| match event {
            Event::ClipReady { key, quality: ClipQuality::Refined, .. } => Some(*key),
            _ => None,
        };
        events.iter().find_map(refined).expect("it was refined")
    };
    let worker = keeping_in(dir.path());
    let job = worker.send(Request::Recall { keys: vec![key, ClipKey([0; 16])] });
    let events = until_end(&worker, job);
    let ready: Vec<_> = events.iter().filter(|e| matches!(e, Event::ClipReady { .. })).collect();
    assert_eq!(ready.len(), 1, "{events:?}");
    assert_eq!(worker.store().get(key).unwrap().quality, ClipQuality::Refined);
    let job = worker.send(refine(&path));
    until_end(&worker, job);
    assert_eq!(worker.store().decodes(), Decodes::default(), "nothing is computed");
}

#[test]
fn a_full_disk_is_told_once_and_stops_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let taken = dir.path().join("taken");
    std::fs::write(&taken, "a file where the folder should be").unwrap();
    let worker = keeping_in(&taken);
    let mut told = 0;
    for code in 0..4 {
        let job = worker.send(refine(&start().then(vec![code; 4], 0)));
        let events = until_end(&worker, job);
        assert!(matches!(events.last(), Some(Event::Finished { .. })), "{events:?}");
        // The thread that writes has had its say by the end of the next job.
        std::thread::sleep(Duration::from_millis(50));
        told += events.iter().filter(|e| matches!(e, Event::NotKept { .. })).count();
    }
    assert_eq!(told, 1);
}

/// A worker with the tiny pack open, written into a folder.
fn with_networks(folder: &std::path::Path) -> Worker {
    crate::pack::tests::tiny(folder);
    let make_opener = || {
        let opener = |source: &PackSource, _: DeviceChoice| {
            let pack = source.open().map_err(|error| error.to_string())?;
            let chosen = gpu::choose(DeviceChoice::Cpu).map_err(|error| error.to_string())?;
            let models = PackModels::load(&pack, &chosen, Residence::Kept);
            Ok(Box::new(models.map_err(|error| error.to_string())?) as Box<dyn Models>)
        };
        Box::new(opener) as Box<super::Opener>
    };
    let worker = Worker::with_opener(DeviceChoice::Cpu, make_opener, None, || {});
    let job = worker.send(Request::OpenPack(PackSource::Folder(folder.to_owned())));
    until_end(&worker, job);
    worker
}

#[test]
fn the_device_is_compared_with_the_processor_and_that_can_be_cancelled() {
    let dir = tempfile::tempdir().unwrap();
    let worker = with_networks(dir.path());
    let job = worker.send(Request::Verify);
    let events = until_end(&worker, job);
    let verified = events.iter().find_map(|event| match event {
        Event::Verified { verified, .. } => Some(verified.clone()),
        _ => None,
    });
    let verified = verified.expect("it was compared");
    assert!(verified.wrong.is_empty(), "{}", verified.table);
    let steps = events.iter().filter(
        |e| matches!(e, Event::Progressed { progress, .. } if progress.stage == Stage::Comparing),
    );
    // Both sides tell that they begin, and every part.
    assert_eq!(steps.count(), 2 + 2 * verified.table.rows.len());

    let job = worker.send(Request::Verify);
    hold(&worker);
    worker.cancel(job);
    let events = until_end(&worker, job);
    assert!(matches!(events.last(), Some(Event::Cancelled { .. })), "{events:?}");
    worker.set_paused(false);

    let fake = opened(Duration::ZERO, None);
    let job = fake.send(Request::Verify);
    assert!(matches!(until_end(&fake, job).last(), Some(Event::Failed { .. })));
}

#[test]
fn a_pack_that_cannot_be_refined_here_is_opened_for_coarse_video() {
    let manifest = Manifest::videoworld2();
    let job = Job { clips: 7, previews: true, ..Job::default() };
    let at = |limit| plan(&manifest, job, limit);
    let (refined, found, reason) = at(None).unwrap();
    assert_eq!((found, reason), (Residence::Kept, None));
    let (coarse, found, reason) = at(Some(8_000_000_000)).unwrap();
    assert!(coarse.peak(found) < 8_000_000_000 && refined.peak(Residence::Kept) > 8_000_000_000);
    assert_eq!(found, Residence::CoarseOnly);
    let reason = reason.unwrap();
    assert!(reason.contains("8.0 GB are there"), "{reason}");
    // Weights in half precision leave room for video of three quarters.
    let half = Job { numbers: Precision::F16.into(), previews: false, ..job };
    let needed = Estimate::of(&manifest, half).peak(Residence::Released);
    let (_, _, reason) = plan(&manifest, half, Some(needed - 500_000_000)).unwrap();
    let reason = reason.unwrap();
    assert!(reason.ends_with("with --scale 0.75 the studio refines at 624x368 pixels"), "{reason}");
    assert!(at(Some(500_000_000)).unwrap_err().to_string().contains("of memory and"));
}

#[test]
fn a_pause_holds_the_queue_and_every_waiting_job_can_be_cancelled_alone() {
    let worker = opened(Duration::from_millis(5), None);
    let paths: Vec<Path> = (1..=4).map(|code| start().then(vec![code; 4], 0)).collect();
    let jobs: Vec<JobId> = paths.iter().map(|path| worker.send(refine(path))).collect();
    hold(&worker);
    worker.cancel(jobs[2]);
    let events = until_end(&worker, jobs[2]);
    assert!(matches!(events.last(), Some(Event::Cancelled { .. })), "{events:?}");
    worker.set_paused(false);
    let events = until_end(&worker, jobs[3]);
    let finished: Vec<JobId> = events
        .iter()
        .filter(|event| matches!(event, Event::Finished { .. }))
        .filter_map(job_of)
        .collect();
    assert_eq!(finished, [jobs[0], jobs[1], jobs[3]], "in order, and the third never");
    assert_eq!(worker.store().decodes().refined, 3);
}

/// A worker on `home`, and the devices that its opener was asked for; Vulkan and another machine's
/// cannot be had.
fn travelling(home: DeviceChoice) -> (Worker, Arc<Mutex<Vec<DeviceChoice>>>) {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let shared = asked.clone();
    let make_opener = move || {
        let asked = shared.clone();
        let opener = move |_: &PackSource, device: DeviceChoice| {
            asked.lock().unwrap().push(device);
            match device {
                DeviceChoice::Vulkan | DeviceChoice::Remote(_) => Err(format!("no {device} here")),
                _ => Ok(Box::new(FakeModels::new(Arc::default())) as Box<dyn Models>),
            }
        };
        Box::new(opener) as Box<super::Opener>
    };
    (Worker::with_opener(home, make_opener, None, || {}), asked)
}

#[test]
fn a_pack_moves_to_another_device_and_stays_there() {
    let (worker, asked) = travelling(DeviceChoice::Cpu);
    let last = |request: Request| {
        let job = worker.send(request);
        until_end(&worker, job).pop().unwrap()
    };
    let nothing = last(Request::Move(DeviceChoice::Metal));
    assert!(matches!(nothing, Event::Failed { .. }), "no pack is open: {nothing:?}");
    last(Request::OpenPack(PackSource::Embedded));
    assert!(matches!(last(Request::Move(DeviceChoice::Metal)), Event::Finished { .. }));
    let Event::Failed { reason, .. } = last(Request::Move(DeviceChoice::Vulkan)) else {
        panic!("there is no Vulkan");
    };
    assert_eq!(reason, "no vulkan here");
    let path = start().then(vec![1; 4], 0);
    assert!(matches!(last(refine(&path)), Event::Finished { .. }), "it is open where it was");
    last(Request::OpenPack(PackSource::Embedded));
    use DeviceChoice::{Cpu, Metal, Vulkan};
    assert_eq!(*asked.lock().unwrap(), [Cpu, Metal, Vulkan, Metal]);
}

#[test]
fn a_machine_that_cannot_be_reached_at_the_start_is_done_without() {
    let home = DeviceChoice::Remote("workstation".parse().unwrap());
    let (worker, asked) = travelling(home);
    let job = worker.send(Request::OpenPack(PackSource::Embedded));
    let events = until_end(&worker, job);
    assert!(events.iter().any(|event| matches!(event, Event::PackOpened { .. })), "{events:?}");
    let Some(Event::Failed { reason, .. }) = events.last() else { panic!("{events:?}") };
    assert!(reason.starts_with("no ws://workstation:7431 here; meanwhile"), "{reason}");
    let job = worker.send(refine(&start().then(vec![1; 4], 0)));
    assert!(matches!(until_end(&worker, job).last(), Some(Event::Finished { .. })));
    assert_eq!(*asked.lock().unwrap(), [home, DeviceChoice::Auto]);
}

/// A worker that is opening `elsewhere`, where another pack is, and waits for a word to be done.
fn opening(first: Option<PackSource>) -> (Worker, JobId, Sender<()>) {
    let (go_on, waits) = channel();
    let (begins, begun) = channel();
    let waits = Arc::new(Mutex::new(waits));
    let make_opener = move || {
        let (begins, waits) = (begins.clone(), waits.clone());
        let opener = move |source: &PackSource, _: DeviceChoice| {
            let mut models = FakeModels::new(Arc::default());
            if let PackSource::Folder(_) = source {
                Arc::make_mut(&mut models.pack).id = PackId([1; 32]);
                begins.send(()).unwrap();
                waits.lock().unwrap().recv().unwrap();
            }
            models.panics_on = Some(vec![3; 4]);
            Ok(Box::new(models) as Box<dyn Models>)
        };
        Box::new(opener) as Box<super::Opener>
    };
    let worker = Worker::with_opener(DeviceChoice::Cpu, make_opener, None, || {});
    if let Some(source) = first {
        let job = worker.send(Request::OpenPack(source));
        until_end(&worker, job);
    }
    let job = worker.send(Request::OpenPack(PackSource::Folder("elsewhere".into())));
    begun.recv_timeout(PATIENCE).unwrap();
    (worker, job, go_on)
}

#[test]
fn a_pack_whose_opening_was_cancelled_is_not_open() {
    let (mut worker, job, go_on) = opening(Some(PackSource::Embedded));
    worker.cancel(job);
    go_on.send(()).unwrap();
    let path = start().then(vec![1; 4], 0);
    let refined = worker.send(refine(&path));
    let events = until_end(&worker, refined);
    assert!(!events.iter().any(|e| matches!(e, Event::PackOpened { .. })), "{events:?}");
    let first = PackId([9; 32]);
    let key = ClipKey::refined(&first, &path, &sampling());
    assert!(worker.store().get(key).is_some(), "the pack from before paints it");
    // Nor is it after a panic.
    let fatal = worker.send(refine(&path.then(vec![3; 4], 0)));
    until_end(&worker, fatal);
    assert!(worker.restart());
    // Not even this takes it away.
    worker.cancel_all();
    let opened = loop {
        let event = worker.events().recv_timeout(PATIENCE).unwrap();
        if let Event::PackOpened { pack, source, .. } = event {
            break (pack.id, source);
        }
    };
    assert_eq!(opened, (first, PackSource::Embedded));
}

#[test]
fn where_the_first_opening_is_cancelled_no_pack_is_open() {
    let (worker, job, go_on) = opening(None);
    worker.cancel(job);
    go_on.send(()).unwrap();
    let refined = worker.send(refine(&start().then(vec![1; 4], 0)));
    let events = until_end(&worker, refined);
    let Some(Event::Failed { reason, .. }) = events.last() else { panic!("{events:?}") };
    assert!(reason.contains("no pack is open"), "{reason}");
}

#[test]
fn a_panic_on_the_way_home_is_told_like_any_other() {
    let (sender, events) = channel();
    let queue = Queue::new(sender, Box::new(|| {}));
    let mut opened = 0;
    let opener = move |_: &PackSource, _: DeviceChoice| {
        opened += 1;
        assert!(opened == 1, "this machine's card fell out as well");
        let mut models = FakeModels::new(Arc::default());
        models.panics_on = Some(vec![3; 4]);
        Ok(Box::new(models) as Box<dyn Models>)
    };
    let far = DeviceChoice::Remote("workstation".parse().unwrap());
    let desk = Desk {
        opener: Box::new(opener),
        device: far,
        home: far,
        store: ClipStore::new(1 << 20),
        cache: None,
        last_pack: Arc::default(),
        lost: || "workstation".parse().ok(),
        source: None,
        runner: None,
    };
    queue.push(Request::OpenPack(PackSource::Embedded));
    queue.push(refine(&start().then(vec![3; 4], 0)));
    serve(&queue, desk);
    let Some(Event::Died { reason }) = events.try_iter().last() else { panic!("it is not told") };
    assert!(reason.contains("this machine's card fell out as well"), "{reason}");
    assert!(!queue.is_open());
}

#[test]
fn what_refining_takes_is_told_after_its_steps() {
    let dir = tempfile::tempdir().unwrap();
    let worker = with_networks(dir.path());
    let path = Path { start: Arc::new(Frame::new(48, 32)), ..start() }.then(vec![1; 4], 0);
    let job = worker.send(refine(&path));
    let events = until_end(&worker, job);
    let taken = events.iter().filter_map(|event| match event {
        Event::Measured { taken, .. } => Some(*taken),
        _ => None,
    });
    let taken: Vec<_> = taken.collect();
    assert!(taken.len() >= 8, "a word a step: {events:?}");
    // Linux alone says what a program takes, and there is no card.
    assert_eq!(taken[0].to_compare().is_some(), cfg!(target_os = "linux"));
    assert_eq!(taken[0].card, None);
}

#[test]
fn a_pack_of_any_size_keeps_the_clips_of_its_longest_task() {
    let worker = opened(Duration::ZERO, None);
    let path = start().then(vec![1; 4], 0);
    let job = worker.send(refine(&path));
    until_end(&worker, job);
    let mut pack = FakeModels::new(Arc::default()).pack;
    let (used, budget) = worker.store().memory();
    assert_eq!((used, budget), (pack.clip_bytes(), store_budget(&pack, None)));
    assert_eq!(budget, 512 << 20);
    let release = Arc::make_mut(&mut pack);
    (release.frames_per_clip, release.frame_size) = (93, (480, 832));
    release.coarse_size = (256, 256);
    let clip = 93 * 832 * 480 * 3;
    assert!(pack.clip_bytes() > clip && pack.clip_bytes() < 2 * clip, "{}", pack.clip_bytes());
    assert_eq!(store_budget(&pack, None), 7 * pack.clip_bytes());
    // A card's memory says nothing of this machine's.
    assert_eq!(store_budget(&pack, Some(1_000_000_000)), 1_000_000_000);
    assert_eq!(store_budget(&pack, Some(1)), 512 << 20);
}
