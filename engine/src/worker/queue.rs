//! The jobs that wait, the one that runs, and what is said about them: one lock, so that nothing
//! is ever said about a job after it was cancelled.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::{Event, JobId, Request};

/// One request on its way.
#[derive(Debug)]
pub(super) struct Job {
    pub id: JobId,
    pub request: Request,
    pub cancelled: Arc<AtomicBool>,
}

impl Job {
    pub fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }
}

/// Shared by the worker's handle and its thread.
pub(super) struct Queue {
    state: Mutex<State>,
    changed: Condvar,
    wake: Box<dyn Fn() + Send + Sync>,
}

struct State {
    events: Sender<Event>,
    next_id: u64,
    waiting: VecDeque<Job>,
    running: Option<(JobId, Arc<AtomicBool>)>,
    open: bool,
    paused: bool,
}

impl Queue {
    pub fn new(events: Sender<Event>, wake: Box<dyn Fn() + Send + Sync>) -> Self {
        let state = State {
            events,
            next_id: 1,
            waiting: VecDeque::new(),
            running: None,
            open: true,
            paused: false,
        };
        Self { state: Mutex::new(state), changed: Condvar::new(), wake }
    }

    /// Puts a request at the end; a closed queue answers at once.
    pub fn push(&self, request: Request) -> JobId {
        let mut state = self.state();
        let id = JobId(state.next_id);
        state.next_id += 1;
        if state.open {
            let cancelled = Arc::new(AtomicBool::new(false));
            state.waiting.push_back(Job { id, request, cancelled });
            self.changed.notify_all();
        } else {
            let reason = "the engine has stopped; restart it and try again".to_owned();
            state.say(Event::Failed { job: id, reason });
            drop(state);
            (self.wake)();
        }
        id
    }

    /// Waits for a job and marks it as running; `None` once the queue is closed.
    pub fn next(&self) -> Option<Job> {
        let mut state = self.state();
        loop {
            if !state.open {
                return None;
            }
            let job = if state.paused { None } else { state.waiting.pop_front() };
            if let Some(job) = job {
                state.running = Some((job.id, job.cancelled.clone()));
                return Some(job);
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Holds the running job at its next safe point and begins no other, or goes on.
    pub fn set_paused(&self, paused: bool) {
        self.state().paused = paused;
        self.changed.notify_all();
    }

    /// Waits as long as work is paused and `job` is wanted; returns how long that was.
    pub fn hold_while_paused(&self, job: &Job) -> Duration {
        let is_held = |state: &State| state.paused && state.open && !job.is_cancelled();
        let asked = Instant::now();
        let state = self.state();
        if !is_held(&state) {
            return Duration::ZERO;
        }
        state.say(Event::Held { job: job.id });
        drop(state);
        (self.wake)();
        let mut state = self.state();
        while is_held(&state) {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        asked.elapsed()
    }

    /// Answers at once; the thread lets go of the job at its next safe point.
    pub fn cancel(&self, id: JobId) {
        let mut state = self.state();
        let waiting = state.waiting.iter().position(|job| job.id == id);
        let found = match (waiting, &state.running) {
            (Some(at), _) => {
                state.waiting.remove(at);
                true
            }
            (None, Some((running, cancelled))) if *running == id => {
                !cancelled.swap(true, Ordering::Relaxed)
            }
            _ => false,
        };
        if found {
            state.say(Event::Cancelled { job: id });
            drop(state);
            self.changed.notify_all();
            (self.wake)();
        }
    }

    /// Cancels the running job and everything that waits.
    pub fn cancel_all(&self) {
        self.state().cancel_all();
        self.changed.notify_all();
        (self.wake)();
    }

    /// Says something about the running job, unless it was cancelled; returns whether it was said.
    pub fn report(&self, job: &Job, event: Event) -> bool {
        let state = self.state();
        if job.is_cancelled() {
            return false;
        }
        state.say(event);
        drop(state);
        (self.wake)();
        true
    }

    /// Says something that is about no request.
    pub fn announce(&self, event: Event) {
        self.state().say(event);
        (self.wake)();
    }

    /// Says the last thing about the running job, unless it was cancelled.
    pub fn finish(&self, job: &Job, event: Event) {
        let mut state = self.state();
        state.running = None;
        if !job.is_cancelled() {
            state.say(event);
            drop(state);
            (self.wake)();
        }
    }

    /// Closes the queue after a panic: what waits is cancelled, what comes later fails.
    pub fn die(&self, reason: String) {
        let mut state = self.state();
        state.open = false;
        // The running job ends with the worker, not by being cancelled.
        state.running = None;
        state.cancel_all();
        state.say(Event::Died { reason });
        drop(state);
        (self.wake)();
    }

    /// Closes the queue for good.
    pub fn close(&self) {
        let mut state = self.state();
        state.open = false;
        state.cancel_all();
        self.changed.notify_all();
    }

    pub fn reopen(&self) {
        let mut state = self.state();
        state.open = true;
        state.paused = false;
    }

    pub fn is_open(&self) -> bool {
        self.state().open
    }

    // A panic in the engine never happens under this lock.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The receiver may be gone already: then nobody wants to know.
    fn say(&self, event: Event) {
        self.events.send(event).ok();
    }

    fn cancel_all(&mut self) {
        if let Some((id, cancelled)) = &self.running
            && !cancelled.swap(true, Ordering::Relaxed)
        {
            self.say(Event::Cancelled { job: *id });
        }
        while let Some(job) = self.waiting.pop_front() {
            self.say(Event::Cancelled { job: job.id });
        }
    }
}
