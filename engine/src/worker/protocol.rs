//! What the window and the worker say to each other. Small facts only: pixels travel in the
//! [`ClipStore`](super::ClipStore), keyed by [`ClipKey`].

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::craft::Task;
use crate::media::Frame;
use crate::rollout::{ClipKey, CodePrediction, NodeId, Origin, Path};

/// Names one request; every event about it carries it back, so late answers are recognised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct JobId(pub u64);

/// Where a pack is read from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PackSource {
    Embedded,
    Folder(PathBuf),
}

/// How codes are drawn and clips refined.
#[derive(Debug, Clone, PartialEq)]
pub struct Sampling {
    /// 0 takes the most likely code at every position.
    pub temperature: f32,
    /// Seed of the code draw and of the diffusion noise.
    pub seed: u64,
    /// Sampler steps of the diffusion model.
    pub refine_steps: usize,
    /// Classifier-free guidance weight `g` in `cond + g * (cond - uncond)`.
    pub guidance: f32,
}

/// What the window asks of the worker.
#[derive(Debug, Clone)]
pub enum Request {
    OpenPack(PackSource),
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
    /// The codes of a video, clip after clip.
    Encode {
        frames: Vec<Frame>,
    },
}

/// The named stages of a job, in words a person reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stage {
    ReadingWeights,
    WarmingUp,
    PredictingCodes,
    PaintingCoarse,
    Refining,
    DecodingVideo,
    EncodingVideo,
}

impl Stage {
    pub fn label(self) -> &'static str {
        match self {
            Self::ReadingWeights => "Reading weights",
            Self::WarmingUp => "Warming up (first run)",
            Self::PredictingCodes => "Predicting codes",
            Self::PaintingCoarse => "Painting coarse clip",
            Self::Refining => "Refining",
            Self::DecodingVideo => "Decoding video",
            Self::EncodingVideo => "Encoding video",
        }
    }
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

/// How good the pixels of a clip are, worst first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ClipQuality {
    Coarse,
    /// Decoded from the sampler's current estimate after `step` of `of` steps.
    Preview {
        step: usize,
        of: usize,
    },
    Refined,
}

/// One thing that could happen next.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// The first code of the clip; the policy's most likely codes follow it.
    pub code: u16,
    pub probability: f32,
    /// The whole clip's codes.
    pub predictions: Vec<CodePrediction>,
    /// Last frame of its coarse clip.
    pub outcome: Frame,
}

/// What is known of an opened pack.
#[derive(Debug, Clone)]
pub struct PackSummary {
    pub name: String,
    pub licence: String,
    /// Height and width of its frames, pixels.
    pub frame_size: (u32, u32),
    pub frames_per_clip: usize,
    pub fps: f32,
    pub steps_per_clip: usize,
    pub codes_per_step: usize,
    /// FSQ levels of one code; their product is the vocabulary.
    pub levels: Vec<usize>,
    pub tasks: Vec<Task>,
    /// What computes, in words: adapter, interface, driver.
    pub device: String,
    pub has_policy: bool,
}

/// What the worker tells the window.
#[derive(Debug, Clone)]
pub enum Event {
    PackOpened {
        job: JobId,
        pack: Arc<PackSummary>,
    },
    Progressed {
        job: JobId,
        progress: Progress,
    },
    /// The clip below `parent` has codes; its pixels follow as [`Event::ClipReady`].
    Predicted {
        job: JobId,
        parent: NodeId,
        origin: Origin,
        predictions: Vec<CodePrediction>,
        seed: u64,
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
