//! What the window needs of the engine, narrow enough to be played by a script in tests.

use engine::rollout::{ClipKey, StoredClip};
use engine::worker::{Event, JobId, Request, Worker};

/// The engine as the window sees it. No call may wait for the work it asks for.
pub trait Engine {
    /// Queues a request; its events carry the returned name.
    fn send(&mut self, request: Request) -> JobId;
    /// Stops a job; it ends with [`Event::Cancelled`].
    fn cancel(&mut self, job: JobId);
    fn cancel_all(&mut self);
    /// Holds all work between two steps, or goes on.
    fn set_paused(&mut self, paused: bool);
    /// The next event, if one came.
    fn poll(&mut self) -> Option<Event>;
    /// The best pixels under a key.
    fn clip(&self, key: ClipKey) -> Option<StoredClip>;
    /// Whether pixels are still kept under a key.
    fn keeps(&self, key: ClipKey) -> bool;
    /// Bytes of pixels kept and the most that may be kept.
    fn memory(&self) -> (usize, usize);
    /// Starts the engine again after [`Event::Died`]; returns whether a pack is opened with it.
    fn restart(&mut self) -> bool;
}

impl Engine for Worker {
    fn send(&mut self, request: Request) -> JobId {
        Worker::send(self, request)
    }

    fn cancel(&mut self, job: JobId) {
        Worker::cancel(self, job);
    }

    fn cancel_all(&mut self) {
        Worker::cancel_all(self);
    }

    fn set_paused(&mut self, paused: bool) {
        Worker::set_paused(self, paused);
    }

    fn poll(&mut self) -> Option<Event> {
        self.events().try_recv().ok()
    }

    fn clip(&self, key: ClipKey) -> Option<StoredClip> {
        self.store().get(key)
    }

    fn keeps(&self, key: ClipKey) -> bool {
        self.store().keeps(key)
    }

    fn memory(&self) -> (usize, usize) {
        self.store().memory()
    }

    fn restart(&mut self) -> bool {
        Worker::restart(self)
    }
}
