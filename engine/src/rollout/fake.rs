//! Networks that compute nothing much but obey the contract of [`Models`], for tests of the
//! rollout and the worker.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use burn::tensor::{Device, Tensor};

use super::{
    CodePrediction, GoOn, Models, PackSummary, RefineRequest, RefineStep, RunError, Sampling,
};
use crate::craft::Task;
use crate::gpu::Chosen;
use crate::media::{FrameSize, resize_bilinear};
use crate::pack::{Pack, PackId, Scale};

/// Calls that reached the networks.
#[derive(Debug, Default)]
pub struct Calls {
    pub predict: AtomicU64,
    pub coarse: AtomicU64,
    pub refine: AtomicU64,
}

/// A pack of 2 steps of 2 codes and 5 frames a clip, whose pixels say which codes made them: every
/// frame is the one before plus the mean of the codes.
pub struct FakeModels {
    pub pack: Arc<PackSummary>,
    pub device: Device,
    pub calls: Arc<Calls>,
    /// How long one sampler step or one code takes.
    pub step_time: Duration,
    /// Panics when asked to refine a clip of these codes.
    pub panics_on: Option<Vec<u16>>,
    /// Plays a device that compiles its kernels.
    pub compiles: bool,
    /// Previews are those of a large clip, which nothing is decoded for.
    pub sketches: bool,
}

pub const FAKE_SIZE: FrameSize = FrameSize { height: 4, width: 8 };

impl FakeModels {
    pub fn new(calls: Arc<Calls>) -> Self {
        let pack = PackSummary {
            id: PackId([9; 32]),
            name: "fake".to_owned(),
            licence: "none".to_owned(),
            frame_size: (FAKE_SIZE.height, FAKE_SIZE.width),
            refined_step: 1,
            coarse_size: (2, 4),
            frames_per_clip: 5,
            fps: 8.0,
            steps_per_clip: 2,
            codes_per_step: 2,
            levels: vec![5, 4],
            tasks: vec![Task::Boat],
            clips_per_task: vec![7],
            sampling: Sampling {
                temperature: 1.0,
                seed: 0,
                refine_steps: 8,
                guidance: 1.0,
                scale: Scale::default(),
            },
            device: "none".to_owned(),
            elsewhere: false,
            has_policy: true,
            max_clips: 7,
            has_refiner: true,
            refiner_left_out: None,
            estimated: None,
            recorded: None,
        };
        Self {
            pack: Arc::new(pack),
            device: Device::flex(),
            calls,
            step_time: Duration::ZERO,
            panics_on: None,
            compiles: false,
            sketches: false,
        }
    }
}

fn count(calls: &AtomicU64) {
    calls.fetch_add(1, Ordering::Relaxed);
}

fn mean(codes: &[u16]) -> f32 {
    codes.iter().map(|c| f32::from(*c)).sum::<f32>() / (codes.len() as f32 * 1000.0)
}

/// `frames` frames from `first` on, each `by` brighter than the one before.
fn brighter(first: Tensor<5>, frames: usize, by: f32) -> Tensor<5> {
    let all = (0..frames).map(|t| first.clone() + t as f32 * by).collect();
    Tensor::cat(all, 2)
}

impl Models for FakeModels {
    fn pack(&self) -> &Arc<PackSummary> {
        &self.pack
    }

    fn device(&self) -> &Device {
        &self.device
    }

    fn source(&self) -> Option<(&Pack, &Chosen)> {
        None
    }

    fn compiles(&self) -> bool {
        self.compiles
    }

    fn predict(
        &self,
        _first: Tensor<5>,
        _task: Task,
        prefix: &[u16],
        fixed: &[(usize, u16)],
        _sampling: &Sampling,
        on_code: &mut dyn FnMut(usize) -> ControlFlow<()>,
    ) -> Option<Vec<CodePrediction>> {
        count(&self.calls.predict);
        let mut seen = prefix.to_vec();
        let mut predictions = Vec::new();
        for idx in 0..self.pack.codes_per_clip() {
            std::thread::sleep(self.step_time);
            let favourite = seen.iter().sum::<u16>() % 20;
            let chosen = fixed.iter().find(|(at, _)| *at == idx);
            let code = chosen.map_or(favourite, |(_, code)| *code);
            seen.push(code);
            predictions.push(CodePrediction {
                code,
                probability: if code == favourite { 0.5 } else { 0.1 },
                entropy_bits: 2.0,
                alternatives: (0..4)
                    .map(|i| ((favourite + i) % 20, 0.5 / f32::from(i + 1)))
                    .collect(),
            });
            if on_code(idx).is_break() {
                return None;
            }
        }
        Some(predictions)
    }

    fn coarse(&self, first: Tensor<5>, codes: &[u16]) -> Tensor<5> {
        count(&self.calls.coarse);
        brighter(first, self.pack.frames_per_clip, mean(codes))
    }

    fn refine(
        &self,
        request: RefineRequest<'_>,
        on_step: &mut dyn FnMut(RefineStep<'_>) -> ControlFlow<()>,
    ) -> Result<Tensor<5>, RunError> {
        count(&self.calls.refine);
        if self.panics_on.as_deref() == Some(request.codes) {
            panic!("the card fell out\nat some address");
        }
        let frames = self.pack.frames_per_clip;
        let by = mean(request.codes) + request.seed as f32 / 1000.0;
        let preview = |go_on: GoOn<'_>| match go_on() {
            ControlFlow::Continue(()) => Some(resize_bilinear(request.coarse.clone(), FAKE_SIZE)),
            ControlFlow::Break(()) => None,
        };
        for done in 1..=request.steps {
            std::thread::sleep(self.step_time);
            let (of, sketched) = (request.steps, self.sketches);
            let step = RefineStep::Sampled { done, of, sketched, preview: &preview };
            if on_step(step).is_break() {
                return Err(RunError::Cancelled);
            }
        }
        for done in 0..=2 {
            if on_step(RefineStep::Decoded { done, of: 2 }).is_break() {
                return Err(RunError::Cancelled);
            }
        }
        Ok(brighter(request.first, frames, by))
    }

    fn encode(&self, clip: Tensor<5>) -> Vec<u16> {
        let bright = clip.mean().into_scalar::<f32>();
        vec![((bright + 1.0) * 9.0) as u16; self.pack.codes_per_clip()]
    }
}
