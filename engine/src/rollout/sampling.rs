//! How a clip is predicted and painted, how far that is, and how good its pixels are.

use std::ops::ControlFlow;

use serde::{Deserialize, Serialize};

use super::{ClipKey, CodePrediction};
use crate::media::Frame;
use crate::pack::Scale;

/// How codes are drawn and clips refined.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sampling {
    /// 0 takes the most likely code at every position.
    pub temperature: f32,
    /// Seed of the code draw and of the diffusion noise.
    pub seed: u64,
    /// Sampler steps of the diffusion model.
    pub refine_steps: usize,
    /// Classifier-free guidance weight `g` in `cond + g * (cond - uncond)`.
    pub guidance: f32,
    /// Of the refined video.
    #[serde(default)]
    pub scale: Scale,
}

/// The named stages of a job, in words a person reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stage {
    ReadingWeights,
    /// Finished clips from the disk.
    ReadingClips,
    WarmingUp,
    PredictingCodes,
    PaintingCoarse,
    Refining,
    DecodingVideo,
    EncodingVideo,
    /// The device with the processor, part by part.
    Comparing,
}

impl Stage {
    pub fn label(self) -> &'static str {
        match self {
            Self::ReadingWeights => "Reading weights",
            Self::ReadingClips => "Reading finished clips",
            Self::WarmingUp => "Warming up (first run)",
            Self::PredictingCodes => "Predicting codes",
            Self::PaintingCoarse => "Painting coarse clip",
            Self::Refining => "Refining",
            Self::DecodingVideo => "Decoding video",
            Self::EncodingVideo => "Encoding video",
            Self::Comparing => "Comparing with the processor",
        }
    }
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

/// Follows long work. It is asked after every finished step, the only places where work can stop.
pub trait Watch {
    /// `done` of `total` steps of `stage` are finished; `Break` stops the work here and keeps
    /// what is finished.
    fn step(&mut self, stage: Stage, done: usize, total: usize) -> ControlFlow<()>;

    /// Pixels of this quality are in the store.
    fn clip_ready(&mut self, key: ClipKey, quality: ClipQuality);
}

/// Work that nobody follows and nobody stops.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unwatched;

impl Watch for Unwatched {
    fn step(&mut self, _stage: Stage, _done: usize, _total: usize) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }

    fn clip_ready(&mut self, _key: ClipKey, _quality: ClipQuality) {}
}
