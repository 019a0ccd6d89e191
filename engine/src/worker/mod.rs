//! One thread that owns the device: requests in, events out, finished clips in a shared store.

mod eta;
mod protocol;
mod queue;
#[cfg(test)]
mod tests;
mod thread;

use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use crate::gpu::{self, Chosen, ComputeChoice, DeviceChoice, PrecisionChoice};
use crate::memory::Budget;
use crate::pack::{Estimate, Job, Manifest, Residence, Scale, Smaller, TooLarge};
use crate::remote;
use crate::rollout::{ClipCache, Models, PackModels};

pub use crate::rollout::{Candidate, ClipQuality, ClipStore, PackSummary, Sampling, Stage};
pub use eta::Eta;
pub use protocol::{Event, JobId, Progress, Request};
pub use thread::{MakeOpener, Opener};

use queue::Queue;
use thread::{LastPack, Running};

/// How long closing waits for a step that cannot be interrupted.
const CLOSING_BOUND: Duration = Duration::from_secs(2);

/// The engine's thread, seen from outside.
///
/// Dropping it cancels all work and waits for the thread, at most two seconds.
pub struct Worker {
    queue: Arc<Queue>,
    /// Where a thread begins.
    home: DeviceChoice,
    make_opener: Arc<MakeOpener>,
    store: ClipStore,
    cache: Option<Arc<ClipCache>>,
    events: Receiver<Event>,
    running: Option<Running>,
    /// Opened again after a restart.
    last_pack: LastPack,
}

impl Worker {
    /// Starts a worker that computes on `home`, whose packs are opened by what `make_opener` makes
    /// on the worker's thread. Refined clips are kept in `cache`; `wake` is called after every event,
    /// from whichever thread caused it.
    pub fn with_opener(
        home: DeviceChoice,
        make_opener: impl Fn() -> Box<Opener> + Send + Sync + 'static,
        cache: Option<ClipCache>,
        wake: impl Fn() + Send + Sync + 'static,
    ) -> Self {
        let make_opener: Arc<MakeOpener> = Arc::new(make_opener);
        let (sender, events) = channel();
        let queue = Arc::new(Queue::new(sender, Box::new(wake)));
        // Every pack that is opened has a budget of its own.
        let store = ClipStore::new(0);
        let cache = cache.map(Arc::new);
        let last_pack = LastPack::default();
        let mut worker =
            Self { queue, home, make_opener, store, cache, events, running: None, last_pack };
        worker.start();
        worker
    }

    fn start(&mut self) {
        let (queue, make_opener) = (self.queue.clone(), self.make_opener.clone());
        let (store, cache) = (self.store.clone(), self.cache.clone());
        let last_pack = self.last_pack.clone();
        self.running = Some(Running::start(queue, self.home, make_opener, store, cache, last_pack));
    }

    /// Starts a worker on a device that is chosen when the first pack is opened. It stays within
    /// `memory`, refines at `scale` and keeps refined clips in `cache`.
    pub fn spawn(
        choice: ComputeChoice,
        memory: Budget,
        scale: Scale,
        cache: Option<ClipCache>,
        wake: impl Fn() + Send + Sync + 'static,
    ) -> Self {
        let make_opener = move || pack_opener(choice, memory, scale);
        Self::with_opener(choice.device, make_opener, cache, wake)
    }

    /// Queues a request and names it. Every job ends with exactly one of [`Event::Finished`],
    /// [`Event::Cancelled`] and [`Event::Failed`], or the worker with [`Event::Died`].
    pub fn send(&self, request: Request) -> JobId {
        self.queue.push(request)
    }

    /// Cancels a job that waits or runs: [`Event::Cancelled`] is sent before this returns and is
    /// the last event of the job. Clips it has finished stay in the store.
    pub fn cancel(&self, job: JobId) {
        self.queue.cancel(job);
    }

    /// Cancels the running job and all that wait.
    pub fn cancel_all(&self) {
        self.queue.cancel_all();
    }

    /// Holds the running job between two of its steps, where it says [`Event::Held`], and begins
    /// no other; or goes on. What is finished stays, and cancelling works all the while.
    pub fn set_paused(&self, paused: bool) {
        self.queue.set_paused(paused);
    }

    /// What happened since; take with [`Receiver::try_recv`] or [`Receiver::try_iter`].
    pub fn events(&self) -> &Receiver<Event> {
        &self.events
    }

    /// The finished clips.
    pub fn store(&self) -> &ClipStore {
        &self.store
    }

    /// Whether requests are taken; false after [`Event::Died`] until [`Self::restart`].
    pub fn is_alive(&self) -> bool {
        self.queue.is_open()
    }

    /// Starts a new thread after [`Event::Died`], which first opens the pack again that was open, and
    /// says whether there is one: the events of [`JobId::RESTART`] follow. Where it fails the worker
    /// is alive without a pack. Does nothing on a worker that is alive.
    pub fn restart(&mut self) -> bool {
        if !self.is_alive() {
            if let Some(dead) = self.running.take() {
                dead.join_within(CLOSING_BOUND);
            }
            self.queue.reopen();
            self.start();
        }
        self.last_pack.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }
}

fn pack_opener(choice: ComputeChoice, memory: Budget, scale: Scale) -> Box<Opener> {
    let home = choice.device;
    let mut last: Option<(DeviceChoice, Chosen)> = None;
    Box::new(move |source, device| {
        let pack = source.open().map_err(|error| error.to_string())?;
        let kept = last.take().filter(|(of, _)| *of == device);
        let chosen = match kept.filter(|_| !device.is_remote() || remote::lost().is_none()) {
            Some((_, chosen)) => chosen,
            None => gpu::choose(device).map_err(|error| error.to_string())?,
        };
        let mut choice = ComputeChoice { device, ..choice };
        if home.is_remote() && !device.is_remote() {
            // It was asked for another machine's card.
            choice.precision = PrecisionChoice::Auto;
        }
        let opened = chosen.clone();
        let chosen = chosen.computing(choice, pack.manifest.diffusion_count());
        let chosen = chosen.map_err(|error| error.to_string())?;
        // It may be another one by now, as matrix units that fail their test spoil the first.
        last = Some((device, Chosen { device: chosen.device.clone(), ..opened }));
        let clips = pack.manifest.longest_task();
        let job = Job { clips, scale, previews: true, ..Job::on(&chosen) };
        let limit = memory.limit(chosen.free_memory());
        let (estimate, residence, reason) =
            plan(&pack.manifest, job, limit).map_err(|error| error.to_string())?;
        let models =
            PackModels::load(&pack, &chosen, residence).map_err(|error| error.to_string())?;
        let models = models.refining_at(scale).explained(reason);
        Ok(Box::new(models.estimated(estimate.peak(residence))) as Box<dyn Models>)
    })
}

/// Where refining does not fit there is coarse video alone, with the reason in a sentence.
fn plan(
    manifest: &Manifest,
    job: Job,
    limit: Option<u64>,
) -> Result<(Estimate, Residence, Option<String>), TooLarge> {
    let error = match Estimate::plan(manifest, job, limit) {
        Ok((estimate, residence)) => return Ok((estimate, residence, None)),
        Err(error) => error,
    };
    let coarse = Job { refined: false, previews: false, ..job };
    let (estimate, residence) = Estimate::plan(manifest, coarse, limit)?;
    let mut reason = format!("Refining needs {}, so there is coarse video alone", error.lack);
    if let Some(Smaller { scale, size, .. }) = error.smaller {
        reason += &format!("; started with --scale {scale} the studio refines at {size}");
    }
    Ok((estimate, residence, Some(reason)))
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.queue.close();
        if let Some(running) = self.running.take() {
            running.join_within(CLOSING_BOUND);
        }
        // The thread may still hold the cache, so that dropping it here would not wait.
        if let Some(cache) = &self.cache {
            cache.flush();
        }
    }
}
