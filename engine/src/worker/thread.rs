//! The worker's thread: takes one job after another and does it.

use std::any::Any;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::eta::Eta;
use super::queue::{Job, Queue};
use super::{Event, JobId, Progress, Request};
use crate::eval::{self, EvalError};
use crate::gpu::{Chosen, DeviceChoice};
use crate::memory;
use crate::pack::PackSource;
use crate::remote::{self, Remote};
use crate::rollout::{
    ClipCache, ClipKey, ClipQuality, ClipStore, Models, NewClip, PackSummary, RunError, Runner,
    Stage, Watch,
};

/// Opens packs on the worker's thread, on the device that is named; an error is one sentence for
/// people.
pub type Opener = dyn FnMut(&PackSource, DeviceChoice) -> Result<Box<dyn Models>, String>;

/// Called once on every new thread, so that a thread started after a panic begins with a fresh device.
pub type MakeOpener = dyn Fn() -> Box<Opener> + Send + Sync;

/// Previews shown while a clip is sampled: of 35 steps, one every fourth or fifth.
const PREVIEWS_PER_CLIP: usize = 8;

/// The pack to open again after a panic: the one that was open last.
pub(super) type LastPack = Arc<Mutex<Option<PackSource>>>;

/// Does one job after another until the queue is closed or a panic has closed it.
pub(super) fn serve(queue: &Queue, mut desk: Desk) {
    desk.reopen(queue);
    while let Some(job) = queue.next() {
        let outcome = catch_unwind(AssertUnwindSafe(|| desk.work(&job, queue)));
        match outcome {
            Ok(event) => {
                queue.finish(&job, event);
                if let Some(reason) = desk.cache.as_ref().and_then(|cache| cache.take_failure()) {
                    queue.announce(Event::NotKept { reason });
                }
            }
            Err(panic) => {
                let came = catch_unwind(AssertUnwindSafe(|| desk.come_home(&job, queue)));
                let reason = match came {
                    Ok(Some(Ok(reason))) => {
                        queue.finish(&job, Event::Failed { job: job.id, reason });
                        continue;
                    }
                    Ok(Some(Err(reason))) => reason,
                    Ok(None) => said(&*panic),
                    Err(panic) => said(&*panic),
                };
                desk.remember_first(&job);
                queue.die(reason);
                // Taking apart what the panic left may panic as well; that news is of no use.
                catch_unwind(AssertUnwindSafe(|| drop(desk))).ok();
                return;
            }
        }
    }
}

enum Refusal {
    Run(RunError),
    /// One sentence for people.
    Said(String),
    NoPack,
}

impl From<RunError> for Refusal {
    fn from(error: RunError) -> Self {
        Self::Run(error)
    }
}

impl From<EvalError> for Refusal {
    fn from(error: EvalError) -> Self {
        match error {
            EvalError::Run(error) => Self::Run(error),
            error => Self::Said(error.to_string()),
        }
    }
}

/// Bytes of finished clips that may be kept whatever the pack: branches of a small one cost little.
const LEAST_STORE: usize = 512 << 20;

/// Bytes of finished clips kept with a pack: those of its longest task, as far as so many bytes are
/// `free`. The estimate counts them only where weights and clips are in the same memory.
pub(super) fn store_budget(pack: &PackSummary, free: Option<u64>) -> usize {
    let clips = pack.clips_per_task.iter().max().copied().unwrap_or(1) * pack.clip_bytes();
    let free = free.and_then(|free| usize::try_from(free).ok()).unwrap_or(usize::MAX);
    LEAST_STORE.max(clips.min(free))
}

/// What the thread works with.
pub(super) struct Desk {
    pub opener: Box<Opener>,
    /// Where packs are opened.
    pub device: DeviceChoice,
    /// Where the thread began.
    pub home: DeviceChoice,
    pub store: ClipStore,
    pub cache: Option<Arc<ClipCache>>,
    pub last_pack: LastPack,
    /// The machine whose connection is lost ([`remote::lost`]).
    pub lost: fn() -> Option<Remote>,
    /// The pack that is open.
    pub source: Option<PackSource>,
    pub runner: Option<Runner>,
}

impl Desk {
    fn work(&mut self, job: &Job, queue: &Queue) -> Event {
        let mut reporter = Reporter {
            job,
            queue,
            eta: Eta::default(),
            started: Instant::now(),
            held: Duration::ZERO,
            measured: None,
        };
        match self.done(job, &mut reporter) {
            Ok(()) => Event::Finished { job: job.id },
            Err(Refusal::Run(RunError::Cancelled)) => Event::Cancelled { job: job.id },
            Err(Refusal::Run(error)) => Event::Failed { job: job.id, reason: error.to_string() },
            Err(Refusal::Said(reason)) => Event::Failed { job: job.id, reason },
            Err(Refusal::NoPack) => {
                Event::Failed { job: job.id, reason: "no pack is open: open one first".to_owned() }
            }
        }
    }

    fn done(&mut self, job: &Job, reporter: &mut Reporter<'_>) -> Result<(), Refusal> {
        let id = job.id;
        let runner = self.runner.as_ref().ok_or(Refusal::NoPack);
        match &job.request {
            Request::OpenPack(source) => self.open(source.clone(), self.device, reporter)?,
            Request::Move(device) => {
                let source = self.source.clone().ok_or(Refusal::NoPack)?;
                self.open(source, *device, reporter)?;
            }
            Request::Extend { path, parent, fixed, origin, sampling } => {
                let runner = runner?;
                let predictions = runner.predict(path, fixed, sampling, reporter)?;
                let codes = predictions.iter().map(|p| p.code).collect();
                let seed = sampling.seed;
                let clip = NewClip { origin: origin.clone(), predictions, seed };
                reporter.say(Event::Predicted { job: id, parent: *parent, clip });
                runner.coarse(&path.then(codes, seed), reporter)?;
            }
            Request::Coarse { path, .. } => {
                runner?.coarse(path, reporter)?;
            }
            Request::Refine { path, sampling } => {
                let runner = runner?;
                reporter.measured = runner.models().source().map(|(_, chosen)| chosen.clone());
                runner.refine(path, sampling, reporter)?;
            }
            Request::Candidates { path, parent, count, sampling } => {
                let candidates = runner?.candidates(path, *count, sampling, reporter)?;
                reporter.say(Event::CandidatesReady { job: id, parent: *parent, candidates });
            }
            Request::Recall { keys } => runner?.recall(keys, reporter)?,
            Request::Verify => {
                let models = runner?.models();
                let (pack, chosen) = models.source().ok_or(Refusal::NoPack)?;
                let mut watch = |_, done, of| Watch::step(reporter, Stage::Comparing, done, of);
                let verified = eval::verify(pack, chosen, &mut watch)?;
                reporter.say(Event::Verified { job: id, verified: Arc::new(verified) });
            }
            Request::Encode { frames } => {
                let clips = runner?.encode(frames, reporter)?;
                reporter.say(Event::Encoded { job: id, clips });
            }
        }
        Ok(())
    }

    /// Opens a pack; when it is refused or cancelled, the one that was open stays, and where it was.
    fn open(
        &mut self,
        source: PackSource,
        device: DeviceChoice,
        reporter: &mut Reporter<'_>,
    ) -> Result<(), Refusal> {
        reporter.begin(Stage::ReadingWeights, 1)?;
        let mut device = device;
        let (runner, instead) = self.load_anywhere(&source, &mut device).map_err(Refusal::Said)?;
        let pack = runner.pack().clone();
        let opened = Event::PackOpened { job: reporter.job.id, pack, source: source.clone() };
        if !reporter.say(opened) {
            // Whoever cancelled goes on with the pack that was open, and so must this.
            return Err(Refusal::Run(RunError::Cancelled));
        }
        self.install(runner, source, device);
        instead.map_or(Ok(()), |reason| Err(Refusal::Said(reason)))
    }

    /// After a restart, the pack that was open before. Nobody can cancel that: a window that goes on
    /// with its rollout counts on it. Where it fails the thread goes on without a pack.
    fn reopen(&mut self, queue: &Queue) {
        // Only what opens is the last pack again: another one can then be opened in its place.
        let Some(source) = self.last_pack().take() else { return };
        let job = JobId::RESTART;
        let progress = Progress { stage: Stage::ReadingWeights, done: 0, total: 1, left: None };
        queue.announce(Event::Progressed { job, progress });
        let mut device = self.device;
        let loaded = catch_unwind(AssertUnwindSafe(|| self.load_anywhere(&source, &mut device)));
        match loaded.unwrap_or_else(|panic| Err(said(&*panic))) {
            Ok((runner, _)) => {
                let pack = runner.pack().clone();
                self.install(runner, source.clone(), device);
                queue.announce(Event::PackOpened { job, pack, source });
                queue.announce(Event::Finished { job });
            }
            Err(reason) => queue.announce(Event::Failed { job, reason }),
        }
    }

    /// On `device`; where that is another machine's and out of reach, and no pack is open, on one of
    /// this machine, with a sentence about it.
    fn load_anywhere(
        &mut self,
        source: &PackSource,
        device: &mut DeviceChoice,
    ) -> Result<(Runner, Option<String>), String> {
        let reason = match self.load(source, *device) {
            Ok(runner) => return Ok((runner, None)),
            Err(reason) if self.runner.is_some() || !device.is_remote() => return Err(reason),
            Err(reason) => reason,
        };
        *device = self.here();
        let runner = self.load(source, *device).map_err(|_| reason.clone())?;
        let instead = format!("{reason}; meanwhile {} computes", runner.pack().device);
        Ok((runner, Some(instead)))
    }

    /// A device of this machine, whatever the thread began on.
    fn here(&self) -> DeviceChoice {
        if self.home.is_remote() { DeviceChoice::Auto } else { self.home }
    }

    fn load(&mut self, source: &PackSource, device: DeviceChoice) -> Result<Runner, String> {
        // What is told of this pack is not what another one took.
        memory::forget_peak();
        let models = (self.opener)(source, device)?;
        let runner = Runner::new(models, self.store.clone(), PREVIEWS_PER_CLIP);
        Ok(runner.keeping(self.cache.clone()))
    }

    fn install(&mut self, runner: Runner, source: PackSource, device: DeviceChoice) {
        self.store.set_budget(store_budget(runner.pack(), memory::free()));
        self.runner = Some(runner);
        *self.last_pack() = Some(source.clone());
        (self.source, self.device) = (Some(source), device);
    }

    fn last_pack(&self) -> MutexGuard<'_, Option<PackSource>> {
        self.last_pack.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// After a panic: where no pack was ever open, the one that was being opened is tried again.
    fn remember_first(&self, job: &Job) {
        if let Request::OpenPack(source) = &job.request
            && !job.is_cancelled()
        {
            self.last_pack().get_or_insert_with(|| source.clone());
        }
    }

    /// Where `job` ended because the connection to another machine is gone: goes on with the pack on
    /// this one and says so in a sentence, or why it cannot. `None` where that was not the reason.
    fn come_home(&mut self, job: &Job, queue: &Queue) -> Option<Result<String, String>> {
        let lost = (self.lost)().filter(|_| self.device.is_remote())?;
        let runner = self.runner.take();
        // Letting go of what is out of reach may panic as well.
        catch_unwind(AssertUnwindSafe(|| drop(runner))).ok();
        let source = match (self.source.clone(), &job.request) {
            (_, Request::OpenPack(source)) if !job.is_cancelled() => source.clone(),
            (Some(source), _) => source,
            (None, _) => return None,
        };
        let here = self.here();
        let came = self.load(&source, here).map(|runner| {
            let pack = runner.pack().clone();
            let device = pack.device.clone();
            self.install(runner, source.clone(), here);
            queue.announce(Event::PackOpened { job: job.id, pack, source });
            format!("the connection to {lost} was lost, and only the running work with it; {device} goes on")
        });
        Some(came.map_err(|error| format!("the connection to {lost} was lost, and {error}")))
    }
}

/// Turns what the runner finishes into events.
struct Reporter<'a> {
    job: &'a Job,
    queue: &'a Queue,
    eta: Eta,
    started: Instant,
    /// How long the job stood still while work was paused.
    held: Duration,
    /// The device whose memory is told of after every step.
    measured: Option<Chosen>,
}

impl Reporter<'_> {
    /// Whether it was said: nothing is about a job that was cancelled.
    fn say(&self, event: Event) -> bool {
        self.queue.report(self.job, event)
    }

    fn begin(&mut self, stage: Stage, total: usize) -> Result<(), RunError> {
        match self.step(stage, 0, total) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(RunError::Cancelled),
        }
    }
}

impl Watch for Reporter<'_> {
    fn step(&mut self, stage: Stage, done: usize, total: usize) -> ControlFlow<()> {
        if self.job.is_cancelled() {
            return ControlFlow::Break(());
        }
        let worked = self.started.elapsed().saturating_sub(self.held);
        let left = self.eta.finished(stage, done, total, worked);
        self.say(Event::Progressed {
            job: self.job.id,
            progress: Progress { stage, done, total, left },
        });
        if let Some(chosen) = self.measured.as_ref().filter(|_| done > 0) {
            self.say(Event::Measured { job: self.job.id, taken: chosen.taken() });
        }
        self.held += self.queue.hold_while_paused(self.job);
        if self.job.is_cancelled() {
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    }

    fn clip_ready(&mut self, key: ClipKey, quality: ClipQuality) {
        self.say(Event::ClipReady { job: self.job.id, key, quality });
    }
}

/// What a panic said, in one line.
fn said(panic: &(dyn Any + Send)) -> String {
    let text = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message");
    let first = text.lines().next().unwrap_or(text);
    format!("the engine stopped unexpectedly: {first}")
}

/// A thread that is running, and the news of its end.
pub(super) struct Running {
    handle: std::thread::JoinHandle<()>,
    ended: std::sync::mpsc::Receiver<()>,
}

impl Running {
    pub fn start(
        queue: Arc<Queue>,
        home: DeviceChoice,
        make_opener: Arc<MakeOpener>,
        store: ClipStore,
        cache: Option<Arc<ClipCache>>,
        last_pack: LastPack,
    ) -> Self {
        let (ending, ended) = std::sync::mpsc::channel::<()>();
        let handle = std::thread::Builder::new()
            .name("engine".to_owned())
            .spawn(move || {
                // Dropped when the thread ends, which the receiver notices.
                let _ending = ending;
                let desk = Desk {
                    opener: make_opener(),
                    device: home,
                    home,
                    store,
                    cache,
                    last_pack,
                    lost: remote::lost,
                    source: None,
                    runner: None,
                };
                serve(&queue, desk);
            })
            .expect("a thread can be started");
        Self { handle, ended }
    }

    /// Waits for the thread's end, but not for ever: a step on the device cannot be interrupted.
    pub fn join_within(self, bound: Duration) {
        use std::sync::mpsc::RecvTimeoutError;
        if let Err(RecvTimeoutError::Disconnected) = self.ended.recv_timeout(bound) {
            // A panic was reported where it happened.
            self.handle.join().ok();
        }
    }
}
