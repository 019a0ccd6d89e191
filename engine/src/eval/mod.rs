//! The tables behind every claim about a pack, measured on environments that training never saw.
//!
//! Each measure stands beside what chance or a control would give, and beside the floor it must
//! reach.

mod arithmetic;
mod codes;
mod full;
mod policy;
mod refined;
mod rollouts;
mod scores;
mod speed;
mod table;
mod verify;

use burn::tensor::Tensor;

pub use codes::codes;
pub use full::{ClipCost, Cost, full};
pub use policy::policy;
pub use refined::{Refined, refined};
pub use rollouts::{Rollouts, Survival, rollouts};
pub use scores::Scores;
pub use speed::{DeviceSpeed, NetworkSpeed, Speed, drawing, speed};
pub use table::{Floor, Row, Table, Unit};
pub use verify::{Verified, VerifyWatch, verify};

use crate::craft::{Episode, FRAMES_PER_CLIP, Split, Task};
use crate::media::{Frame, frames_from_tensor, resize_bilinear, tensor_from_frames};
use crate::pack::{Lack, PackError};
use crate::rollout::{Models, PackSummary, RunError};
use crate::weights::WeightsError;

/// Hears what is being measured, how much of it is done, and of how much.
pub type Progress<'a> = dyn FnMut(&'static str, usize, usize) + 'a;

/// Seeds of the environments that are measured, and of those that codes are carried to.
const FIRST_SEED: u64 = 10_000;
const OTHER_SEED: u64 = 1_010_000;

/// Why a pack cannot be measured.
#[derive(Debug, thiserror::Error)]
pub enum EvalError {
    #[error("this pack has no policy, so there is nothing to measure")]
    NoPolicy,
    #[error("this pack has no diffusion model, so there is no refined video to measure")]
    NoRefiner,
    #[error(
        "this pack's clips have {0} frames, those of the craft world have {FRAMES_PER_CLIP}: it cannot be measured there"
    )]
    Frames(usize),
    #[error(
        "two or more clips a task are needed: one half trains the probes, the other tests them"
    )]
    TooFew,
    #[error("this takes all weights at once and needs {0}")]
    Lack(Lack),
    #[error(transparent)]
    Weights(#[from] WeightsError),
    #[error(transparent)]
    Run(#[from] RunError),
    #[error(transparent)]
    Pack(#[from] PackError),
}

/// The `index`-th unseen episode of a task.
fn unseen(task: Task, index: usize) -> Episode {
    Episode::sample(task, Split::Test, FIRST_SEED + index as u64)
}

/// An episode whose environment none of [`unseen`] has.
fn elsewhere(task: Task, index: usize) -> Episode {
    Episode::sample(task, Split::Test, OTHER_SEED + index as u64)
}

fn check_frames(pack: &PackSummary) -> Result<(), EvalError> {
    match pack.frames_per_clip {
        FRAMES_PER_CLIP => Ok(()),
        other => Err(EvalError::Frames(other)),
    }
}

/// The dLDM of a pack, as the program uses it: frames of the pack's size go in and are scaled.
struct CoarseView<'a> {
    models: &'a dyn Models,
}

impl CoarseView<'_> {
    /// `[1, 3, frames, coarse height, coarse width]`
    fn tensor(&self, frames: &[Frame]) -> Tensor<5> {
        let frames: Vec<&Frame> = frames.iter().collect();
        let video = tensor_from_frames(&frames, self.models.device());
        resize_bilinear(video, self.models.pack().coarse_size())
    }

    fn encode(&self, frames: &[Frame]) -> Vec<u16> {
        self.models.encode(self.tensor(frames))
    }

    /// The frames as the dLDM sees them.
    fn scaled(&self, frames: &[Frame]) -> Vec<Frame> {
        frames_from_tensor(self.tensor(frames))
    }

    /// The coarse clip that codes make of a frame.
    fn paint(&self, first: &Frame, codes: &[u16]) -> Vec<Frame> {
        let first = self.tensor(std::slice::from_ref(first));
        frames_from_tensor(self.models.coarse(first, codes))
    }
}

/// Mean of the finite values; NaN when there is none.
fn mean(values: impl IntoIterator<Item = f64>) -> f64 {
    let finite: Vec<f64> = values.into_iter().filter(|v| v.is_finite()).collect();
    finite.iter().sum::<f64>() / finite.len() as f64
}
