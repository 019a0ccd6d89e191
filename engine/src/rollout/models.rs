//! What a rollout needs of the networks, so that a rollout can be tested without them.

use std::ops::ControlFlow;
use std::sync::Arc;

use burn::tensor::{Device, Tensor};

use super::{CodePrediction, RunError, Sampling};
use crate::craft::Task;
use crate::gpu::Chosen;
use crate::media::FrameSize;
use crate::pack::{Pack, PackId, RecordedCodes, Scale};
use crate::vdm::Sampler;

/// What is known of an opened pack.
#[derive(Debug, Clone)]
pub struct PackSummary {
    /// Part of every [`ClipKey`](super::ClipKey).
    pub id: PackId,
    pub name: String,
    pub licence: String,
    /// Height and width of its frames, pixels.
    pub frame_size: (u32, u32),
    /// What height and width of refined video are multiples of, pixels.
    pub refined_step: u32,
    /// Height and width of what the dLDM sees and paints, pixels.
    pub coarse_size: (u32, u32),
    pub frames_per_clip: usize,
    pub fps: f32,
    pub steps_per_clip: usize,
    pub codes_per_step: usize,
    /// FSQ levels of one code; their product is the vocabulary.
    pub levels: Vec<usize>,
    pub tasks: Vec<Task>,
    /// Clips from the starting frame to the end of each task, in the order of `tasks`.
    pub clips_per_task: Vec<usize>,
    /// What the pack was made for; a window starts from it.
    pub sampling: Sampling,
    /// What computes, in words: adapter, interface, driver.
    pub device: String,
    /// Whether that is another machine.
    pub elsewhere: bool,
    pub has_policy: bool,
    /// The longest rollout the policy can predict, clips.
    pub max_clips: usize,
    /// Whether clips can be refined; otherwise there is coarse video alone.
    pub has_refiner: bool,
    /// Why the pack's diffusion model was left out, a sentence for people.
    pub refiner_left_out: Option<String>,
    /// The most memory that a rollout of the longest task is estimated to take, refined where there
    /// is a refiner, bytes; `None` where nobody estimated it.
    pub estimated: Option<u64>,
    /// Codes that came with the pack.
    pub recorded: Option<RecordedCodes>,
}

impl PackSummary {
    pub fn codes_per_clip(&self) -> usize {
        self.steps_per_clip * self.codes_per_step
    }

    pub fn vocabulary(&self) -> usize {
        self.levels.iter().product()
    }

    /// The size every starting frame is fitted to.
    pub fn frame_size(&self) -> FrameSize {
        FrameSize { height: self.frame_size.0, width: self.frame_size.1 }
    }

    /// The size of refined video at a scale.
    pub fn refined_size(&self, scale: Scale) -> FrameSize {
        scale.of(self.frame_size(), self.refined_step)
    }

    pub fn coarse_size(&self) -> FrameSize {
        FrameSize { height: self.coarse_size.0, width: self.coarse_size.1 }
    }

    /// What one finished clip takes in a [`ClipStore`](super::ClipStore), coarse and refined, bytes.
    pub fn clip_bytes(&self) -> usize {
        let values = |size: FrameSize| 3 * size.height as usize * size.width as usize;
        let coarse = self.frames_per_clip * values(self.coarse_size());
        let last = values(self.refined_size(self.sampling.scale));
        let refined = if self.has_refiner { self.frames_per_clip * last } else { 0 };
        // Of the coarse clip all numbers are kept as well, of the refined one those of its last frame.
        coarse + refined + (coarse + last) * size_of::<f32>()
    }

    /// Clips from the starting frame to the end of `task`, if the pack knows it.
    pub fn clips_of(&self, task: Task) -> Option<usize> {
        let idx = self.tasks.iter().position(|t| *t == task)?;
        self.clips_per_task.get(idx).copied()
    }
}

/// One clip to refine.
#[derive(Debug)]
pub struct RefineRequest<'a> {
    /// `[1, 3, 1, height, width]` in [-1, 1]: the frame the clip starts from.
    pub first: Tensor<5>,
    /// `[1, 3, frames, coarse height, coarse width]`: the coarse video of the same codes.
    pub coarse: Tensor<5>,
    pub codes: &'a [u16],
    /// Of the diffusion noise.
    pub seed: u64,
    pub steps: usize,
    pub guidance: f32,
    /// How far this clip was sampled before it was cancelled or failed, to go on from; what does not
    /// come to its end is left here.
    pub midway: &'a mut Option<Sampler>,
}

/// Asked between the steps of a decode whether to go on.
pub type GoOn<'a> = &'a mut dyn FnMut() -> ControlFlow<()>;

/// One finished step of refining a clip.
pub enum RefineStep<'a> {
    /// `preview` makes `[1, 3, frames, height, width]` of the sampler's current estimate, or `None`
    /// when it was stopped. Where it is `sketched` it decodes nothing, and is smaller than the clip.
    Sampled {
        done: usize,
        of: usize,
        sketched: bool,
        preview: &'a dyn Fn(GoOn<'_>) -> Option<Tensor<5>>,
    },
    /// The latents are done, and `done` of their `of` steps are turned into frames.
    Decoded { done: usize, of: usize },
}

/// The networks of one pack on one device. Videos are in [-1, 1] with a batch of one.
pub trait Models {
    fn pack(&self) -> &Arc<PackSummary>;

    fn device(&self) -> &Device;

    /// Where the networks were read from, if it is a pack, and what they compute on.
    fn source(&self) -> Option<(&Pack, &Chosen)>;

    /// Whether the device compiles kernels when they first run.
    fn compiles(&self) -> bool;

    /// Predicts the codes of the clip after `prefix`, with those in `fixed` set at their positions
    /// in the clip; `None` when `on_code`, which hears of each code decided, stopped it.
    ///
    /// `first` is the rollout's starting frame `[1, 3, 1, coarse height, coarse width]`. Only
    /// called when the pack has a policy, and within its reach.
    fn predict(
        &self,
        first: Tensor<5>,
        task: Task,
        prefix: &[u16],
        fixed: &[(usize, u16)],
        sampling: &Sampling,
        on_code: &mut dyn FnMut(usize) -> ControlFlow<()>,
    ) -> Option<Vec<CodePrediction>>;

    /// The coarse video `[1, 3, frames, coarse height, coarse width]` that `codes` make of the
    /// frame `[1, 3, 1, coarse height, coarse width]`.
    fn coarse(&self, first: Tensor<5>, codes: &[u16]) -> Tensor<5>;

    /// The refined video `[1, 3, frames, height, width]`. Only called when the pack has a refiner.
    ///
    /// # Errors
    /// Fails when `on_step` stopped it, and when weights that were released cannot be read again.
    fn refine(
        &self,
        request: RefineRequest<'_>,
        on_step: &mut dyn FnMut(RefineStep<'_>) -> ControlFlow<()>,
    ) -> Result<Tensor<5>, RunError>;

    /// The codes of one clip `[1, 3, frames, coarse height, coarse width]`, step-major.
    fn encode(&self, clip: Tensor<5>) -> Vec<u16>;
}
