//! The worker's thread: takes one job after another and does it.

use std::any::Any;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::eta::Eta;
use super::queue::{Job, Queue};
use super::{Event, Progress, Request};
use crate::eval::{self, EvalError};
use crate::gpu::DeviceChoice;
use crate::pack::PackSource;
use crate::remote;
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

fn run(
    queue: &Queue,
    home: DeviceChoice,
    make_opener: &MakeOpener,
    store: ClipStore,
    cache: Option<Arc<ClipCache>>,
) {
    let opener = make_opener();
    let mut desk = Desk { opener, device: home, home, store, cache, source: None, runner: None };
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
                let reason = match desk.come_home(&job, queue) {
                    Some(Ok(reason)) => {
                        queue.finish(&job, Event::Failed { job: job.id, reason });
                        continue;
                    }
                    Some(Err(reason)) => reason,
                    None => said(&*panic),
                };
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

/// What the thread works with.
struct Desk {
    opener: Box<Opener>,
    /// Where packs are opened.
    device: DeviceChoice,
    /// Where the thread began.
    home: DeviceChoice,
    store: ClipStore,
    cache: Option<Arc<ClipCache>>,
    /// The pack that is open.
    source: Option<PackSource>,
    runner: Option<Runner>,
}

impl Desk {
    fn work(&mut self, job: &Job, queue: &Queue) -> Event {
        let mut reporter = Reporter {
            job,
            queue,
            eta: Eta::default(),
            started: Instant::now(),
            held: Duration::ZERO,
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
                runner?.refine(path, sampling, reporter)?;
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

    /// Opens a pack; when it is refused, the one that was open stays, and where it was.
    fn open(
        &mut self,
        source: PackSource,
        device: DeviceChoice,
        reporter: &mut Reporter<'_>,
    ) -> Result<(), Refusal> {
        reporter.begin(Stage::ReadingWeights, 1)?;
        let opened = self.install(source.clone(), device).map_err(|reason| {
            if self.runner.is_some() || !device.is_remote() {
                return reason;
            }
            match self.install_here(source) {
                Ok(pack) => {
                    let here = pack.device.clone();
                    reporter.say(Event::PackOpened { job: reporter.job.id, pack });
                    format!("{reason}; meanwhile {here} computes")
                }
                Err(_) => reason,
            }
        });
        let pack = opened.map_err(Refusal::Said)?;
        reporter.say(Event::PackOpened { job: reporter.job.id, pack });
        Ok(())
    }

    /// The pack on this machine, whatever the thread began on.
    fn install_here(&mut self, source: PackSource) -> Result<Arc<PackSummary>, String> {
        let home = if self.home.is_remote() { DeviceChoice::Auto } else { self.home };
        self.install(source, home)
    }

    fn install(
        &mut self,
        source: PackSource,
        device: DeviceChoice,
    ) -> Result<Arc<PackSummary>, String> {
        let models = (self.opener)(&source, device)?;
        let pack = models.pack().clone();
        let runner = Runner::new(models, self.store.clone(), PREVIEWS_PER_CLIP);
        self.runner = Some(runner.keeping(self.cache.clone()));
        (self.source, self.device) = (Some(source), device);
        Ok(pack)
    }

    /// Where `job` ended because the connection to another machine is gone: goes on with the pack on
    /// this one and says so in a sentence, or why it cannot. `None` where that was not the reason.
    fn come_home(&mut self, job: &Job, queue: &Queue) -> Option<Result<String, String>> {
        let lost = remote::lost().filter(|_| self.device.is_remote())?;
        let runner = self.runner.take();
        // Letting go of what is out of reach may panic as well.
        catch_unwind(AssertUnwindSafe(|| drop(runner))).ok();
        let source = match (self.source.clone(), &job.request) {
            (_, Request::OpenPack(source)) => source.clone(),
            (Some(source), _) => source,
            (None, _) => return None,
        };
        let came = self.install_here(source).map(|pack| {
            let device = pack.device.clone();
            queue.announce(Event::PackOpened { job: job.id, pack });
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
}

impl Reporter<'_> {
    fn say(&self, event: Event) {
        self.queue.report(self.job, event);
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
        if self.job.cancelled.load(Ordering::Relaxed) {
            return ControlFlow::Break(());
        }
        let worked = self.started.elapsed().saturating_sub(self.held);
        let left = self.eta.finished(stage, done, total, worked);
        self.say(Event::Progressed {
            job: self.job.id,
            progress: Progress { stage, done, total, left },
        });
        self.held += self.queue.hold_while_paused(self.job);
        if self.job.cancelled.load(Ordering::Relaxed) {
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
    ) -> Self {
        let (ending, ended) = std::sync::mpsc::channel::<()>();
        let handle = std::thread::Builder::new()
            .name("engine".to_owned())
            .spawn(move || {
                // Dropped when the thread ends, which the receiver notices.
                let _ending = ending;
                run(&queue, home, &*make_opener, store, cache);
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
