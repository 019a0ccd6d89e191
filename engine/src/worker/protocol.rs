//! What the window and the worker say to each other. Small facts only: pixels travel in the
//! [`ClipStore`](crate::rollout::ClipStore), keyed by [`ClipKey`].

use std::sync::Arc;
use std::time::Duration;

use crate::eval::Verified;
use crate::gpu::DeviceChoice;
use crate::media::Frame;
use crate::memory::Taken;
use crate::pack::PackSource;
use crate::rollout::{
    Candidate, ClipKey, ClipQuality, NewClip, NodeId, Origin, PackSummary, Path, Sampling, Stage,
};

/// Names one request; every event about it carries it back, so late answers are recognised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct JobId(pub u64);

impl JobId {
    /// The opening of the pack after a restart, which no request asked for.
    pub const RESTART: Self = Self(0);
}

/// What the window asks of the worker.
#[derive(Debug, Clone)]
pub enum Request {
    OpenPack(PackSource),
    /// Goes on with the open pack on another device; where that fails, all stays as it was.
    Move(DeviceChoice),
    /// Predicts the clip after `path`, with the codes in `fixed` set at their positions
    /// (`(position in the clip, code)`), then paints it coarsely.
    Extend {
        path: Path,
        parent: NodeId,
        fixed: Vec<(usize, u16)>,
        origin: Origin,
        sampling: Sampling,
    },
    /// Paints the last clip of `path` coarsely (nothing is done twice).
    Coarse {
        path: Path,
        sampling: Sampling,
    },
    /// Refines the last clip of `path`, and the clips before it that are not refined yet.
    Refine {
        path: Path,
        sampling: Sampling,
    },
    /// The most likely first codes of the clip after `path`, each with its coarse outcome.
    Candidates {
        path: Path,
        parent: NodeId,
        count: usize,
        sampling: Sampling,
    },
    /// Those refined clips that were finished another time and kept on the disk.
    Recall {
        keys: Vec<ClipKey>,
    },
    /// The codes of a video, clip after clip.
    Encode {
        frames: Vec<Frame>,
    },
    /// Compares every part of the pack on the device with the processor.
    Verify,
}

/// How far a job is.
#[derive(Debug, Clone, PartialEq)]
pub struct Progress {
    pub stage: Stage,
    pub done: usize,
    pub total: usize,
    /// From finished steps of this stage only; `None` until two are done.
    pub left: Option<Duration>,
}

/// What the worker tells the window.
#[derive(Debug, Clone)]
pub enum Event {
    /// A pack is open, or the one that was is now on another device. Until this is said the pack
    /// before it is, whatever becomes of the job.
    PackOpened {
        job: JobId,
        pack: Arc<PackSummary>,
        /// Where it was read from.
        source: PackSource,
    },
    Progressed {
        job: JobId,
        progress: Progress,
    },
    /// What was taken so far, told after every step of refining.
    Measured {
        job: JobId,
        taken: Taken,
    },
    /// The clip below `parent` has codes; its pixels follow as [`Event::ClipReady`].
    Predicted {
        job: JobId,
        parent: NodeId,
        clip: NewClip,
    },
    CandidatesReady {
        job: JobId,
        parent: NodeId,
        candidates: Vec<Candidate>,
    },
    /// Pixels of this quality are in the store.
    ClipReady {
        job: JobId,
        key: ClipKey,
        quality: ClipQuality,
    },
    Encoded {
        job: JobId,
        clips: Vec<Vec<u16>>,
    },
    Verified {
        job: JobId,
        verified: Arc<Verified>,
    },
    /// Refined clips cannot be kept on the disk: one sentence, said once. No job is worse off.
    NotKept {
        reason: String,
    },
    /// The job stands still between two steps, because work is paused.
    Held {
        job: JobId,
    },
    Finished {
        job: JobId,
    },
    Cancelled {
        job: JobId,
    },
    /// One sentence for people; the session goes on.
    Failed {
        job: JobId,
        reason: String,
    },
    /// The worker panicked and has to be started again; nothing of the rollout is lost.
    Died {
        reason: String,
    },
}
