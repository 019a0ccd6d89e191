//! The JSON file of codes that `rollout` and `encode` write.

use std::path::Path;

use anyhow::Result;
use engine::craft::Task;
use engine::media::write_atomic;
use engine::rollout::{CodePrediction, PackSummary};
use serde::Serialize;

/// Codes, clip after clip, with what is needed to make sense of them.
#[derive(Debug, Serialize)]
pub struct CodesFile<'a> {
    format: u32,
    pack: &'a str,
    pack_id: String,
    /// Picture or video the codes come from.
    source: String,
    task: Option<Task>,
    seed: Option<u64>,
    fps: f32,
    frames_per_clip: usize,
    steps_per_clip: usize,
    codes_per_step: usize,
    /// Of the digits of a code, first digit fastest.
    levels: &'a [usize],
    clips: Vec<ClipCodes<'a>>,
}

#[derive(Debug, Serialize)]
struct ClipCodes<'a> {
    /// Step after step.
    codes: Vec<u16>,
    /// The policy's view of each code; absent for codes of a video.
    #[serde(skip_serializing_if = "Option::is_none")]
    predictions: Option<&'a [CodePrediction]>,
}

impl<'a> CodesFile<'a> {
    fn new(pack: &'a PackSummary, source: String) -> Self {
        Self {
            format: 1,
            pack: &pack.name,
            pack_id: pack.id.to_string(),
            source,
            task: None,
            seed: None,
            fps: pack.fps,
            frames_per_clip: pack.frames_per_clip,
            steps_per_clip: pack.steps_per_clip,
            codes_per_step: pack.codes_per_step,
            levels: &pack.levels,
            clips: Vec::new(),
        }
    }

    pub fn of_video(pack: &'a PackSummary, source: String, clips: Vec<Vec<u16>>) -> Self {
        let clips = clips.into_iter().map(|codes| ClipCodes { codes, predictions: None }).collect();
        Self { clips, ..Self::new(pack, source) }
    }

    pub fn of_rollout(
        pack: &'a PackSummary,
        source: String,
        task: Task,
        seed: u64,
        clips: impl Iterator<Item = &'a [CodePrediction]>,
    ) -> Self {
        let clips = clips.map(|predictions| ClipCodes {
            codes: predictions.iter().map(|p| p.code).collect(),
            predictions: Some(predictions),
        });
        Self {
            task: Some(task),
            seed: Some(seed),
            clips: clips.collect(),
            ..Self::new(pack, source)
        }
    }

    pub fn write(&self, path: &Path) -> Result<()> {
        Ok(write_atomic(path, &serde_json::to_vec_pretty(self)?)?)
    }
}
