//! `manifest.json`: what a pack is, how it was made, and the hash of every file in it.

use std::collections::BTreeMap;
use std::path::Path;

use burn::tensor::Device;
use serde::{Deserialize, Serialize};

use super::{PackError, Scale};
use crate::craft::{Episode, Split, Task};
use crate::dldm::DldmConfig;
use crate::media::FrameSize;
use crate::policy::{PlannerConfig, PolicyConfig};
use crate::vdm::VdmConfig;
use crate::weights::Numbers;

/// The format this program writes; it reads this one and everything older.
pub const FORMAT: u32 = 1;

/// The most codes that a small policy holds: the room its training needs grows with their square.
/// The release's clips have 92.
const SMALL_POLICY_CODES: usize = 2048;

/// What a pack says of itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    pub format: u32,
    pub name: String,
    pub licence: String,
    /// How it was trained, for people: data, stages, steps, machine.
    pub trained: String,
    pub tasks: Vec<TaskEntry>,
    /// Of the refined video.
    pub frame_size: FrameSize,
    /// Of the coarse video; the dLDM sees this size.
    pub coarse_size: FrameSize,
    pub frames_per_clip: usize,
    pub fps: f32,
    pub dldm: DldmConfig,
    /// The video diffusion model; without it there is coarse video alone.
    pub vdm: Option<VdmConfig>,
    /// The policy and its conditioning; without it codes come from files.
    pub planner: Option<PlannerConfig>,
    pub sampler: SamplerDefaults,
    pub files: BTreeMap<String, FileFacts>,
}

/// One task the pack was trained for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaskEntry {
    pub task: Task,
    /// Clips from the starting frame to the end of the task.
    pub clips: usize,
}

/// The sampler settings a pack works best with.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SamplerDefaults {
    /// Of the code draw; 0 takes the most likely code.
    pub temperature: f32,
    /// Nucleus of the code draw.
    pub top_p: f32,
    /// Steps of the diffusion sampler.
    pub refine_steps: usize,
    /// Classifier-free guidance weight.
    pub guidance: f32,
}

/// What a file must be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileFacts {
    pub bytes: u64,
    /// Hexadecimal digits.
    pub sha256: String,
}

#[derive(Deserialize)]
struct FormatOnly {
    format: u32,
}

impl Manifest {
    /// The release of VideoWorld 2, of which no policy was published.
    pub fn videoworld2() -> Self {
        let clips = |task| Episode::sample(task, Split::Train, 0).num_clips();
        Self {
            format: FORMAT,
            name: "videoworld2".to_owned(),
            licence: "that of the imported weights".to_owned(),
            trained: "by the authors of VideoWorld 2, imported from their files".to_owned(),
            tasks: Task::ALL.map(|task| TaskEntry { task, clips: clips(task) }).to_vec(),
            frame_size: FrameSize { height: 480, width: 832 },
            coarse_size: FrameSize { height: 240, width: 416 },
            frames_per_clip: 93,
            fps: 16.0,
            dldm: DldmConfig::videoworld2(),
            vdm: Some(VdmConfig::videoworld2_2b()),
            planner: None,
            sampler: SamplerDefaults {
                temperature: 0.7,
                top_p: 0.9,
                refine_steps: 35,
                guidance: 7.0,
            },
            files: BTreeMap::new(),
        }
    }

    /// The size of refined video at a scale.
    pub fn refined_size(&self, scale: Scale) -> FrameSize {
        scale.of(self.frame_size, self.refined_step())
    }

    /// What height and width of refined video are multiples of.
    pub fn refined_step(&self) -> u32 {
        self.vdm.as_ref().map_or(1, |vdm| (vdm.vae.spatial_compression() * vdm.dit.patch) as u32)
    }

    /// The same networks for clips of another length and size. The coarse video keeps its share of the
    /// refined one's size; a policy, made for one size, is left out when that changes.
    ///
    /// # Errors
    /// Says which network does not take the sizes.
    pub fn at(&self, frames_per_clip: usize, frame_size: FrameSize) -> Result<Self, PackError> {
        let coarse = |side: u32, of: u32, coarse: u32| (side * coarse).div_ceil(of.max(1));
        let coarse_size = FrameSize {
            height: coarse(frame_size.height, self.frame_size.height, self.coarse_size.height),
            width: coarse(frame_size.width, self.frame_size.width, self.coarse_size.width),
        };
        let planner = self.planner.clone().filter(|_| coarse_size == self.coarse_size);
        let sized = Self { frames_per_clip, frame_size, coarse_size, planner, ..self.clone() };
        sized.check()?;
        Ok(sized)
    }

    /// How many numbers the weights of transformer and control branch have.
    pub fn diffusion_count(&self) -> u64 {
        self.vdm.as_ref().map_or(0, |config| {
            let vdm = config.init(&Device::flex());
            let numbers = Numbers::default();
            let bytes = numbers.bytes_of(&vdm.dit).0 + numbers.bytes_of(&vdm.control).0;
            bytes / numbers.precision.bytes() as u64
        })
    }

    /// Reads a manifest file, for the sizes in it.
    ///
    /// # Errors
    /// Fails when it cannot be read, is no manifest, or one of a newer program.
    pub fn open(path: &Path) -> Result<Self, PackError> {
        let text = std::fs::read(path)
            .map_err(|source| PackError::Read { file: path.to_owned(), source })?;
        Self::parse(&text, &path.display().to_string())
    }

    /// Reads a manifest; `pack` is for errors.
    pub(super) fn parse(text: &[u8], pack: &str) -> Result<Self, PackError> {
        let refused = |source| PackError::Manifest { pack: pack.to_owned(), source };
        // A newer format may hold anything else, so this alone is read first.
        let FormatOnly { format } = serde_json::from_slice(text).map_err(refused)?;
        if format > FORMAT {
            return Err(PackError::Newer { pack: pack.to_owned(), found: format });
        }
        serde_json::from_slice(text).map_err(refused)
    }

    /// Clips of the longest task; at least one.
    pub fn longest_task(&self) -> usize {
        self.tasks.iter().map(|entry| entry.clips).max().unwrap_or(1)
    }

    pub fn steps_per_clip(&self) -> usize {
        (self.frames_per_clip - 1) / self.dldm.patch_size
    }

    pub fn codes_per_clip(&self) -> usize {
        self.steps_per_clip() * self.dldm.num_queries
    }

    /// Height and width of the dLDM's features.
    pub(super) fn feature_size(&self) -> [usize; 2] {
        let FrameSize { height, width } = self.coarse_size;
        [height, width].map(|side| side as usize / self.dldm.spatial_compression)
    }

    /// A policy for this pack's codes, as deep and wide as the embedded pack's, for rollouts of
    /// `clips` clips, or of fewer where these have more than 2048 codes.
    pub fn small_planner(&self, clips: usize) -> PlannerConfig {
        let clips = clips.min(SMALL_POLICY_CODES / self.codes_per_clip()).max(1);
        let grid = [clips, self.steps_per_clip(), self.dldm.num_queries];
        PlannerConfig {
            policy: PolicyConfig::small(self.dldm.vocabulary(), grid),
            feature_channels: self.dldm.feature_channels(),
            feature_size: self.feature_size(),
            tasks: Task::ALL.len(),
        }
    }
}
