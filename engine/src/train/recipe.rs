//! What a run trains: sizes, batches, data, and the pack it goes on from.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::TrainError;
use super::videos::TaskVideos;
use crate::dldm::DldmConfig;
use crate::media::FrameSize;
use crate::pack::{Manifest, PackSource};
use crate::policy::PlannerConfig;
use crate::vdm::VdmConfig;

/// The most bytes that the features of the policy's episodes may take in memory. The embedded
/// pack's 1200 episodes take 39 MB; a frame of the release takes 0.8 MB.
const FEATURE_BYTES: usize = 2 << 30;

/// The most attention scores that a head of the policy has in a batch; training keeps several
/// tensors of them a layer.
const SCORES: usize = 1 << 22;

/// Sizes of everything a run trains.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Recipe {
    pub size: FrameSize,
    pub coarse_size: FrameSize,
    pub dldm: DldmConfig,
    pub vdm: VdmConfig,
    pub planner: PlannerConfig,
    /// Clips a batch: autoencoder, diffusion, dLDM, joint, tasks of the policy.
    pub batch: [usize; 5],
    /// Whether the warm-up trains the decoder alone, so that the policy of the pack that the run
    /// goes on from still fits.
    #[serde(default)]
    pub keep_codes: bool,
    /// Share of the joint stage that trains the dLDM too; the rest trains the painter alone.
    pub joint_share: f64,
    /// Craft-world episodes whose codes train the policy, where there are no videos.
    pub policy_episodes: usize,
    /// The pack whose networks the stages begin with, instead of fresh ones.
    #[serde(default)]
    pub start: Option<PackSource>,
    /// Videos of the user's own whose codes train the policy.
    #[serde(default)]
    pub videos: Option<TaskVideos>,
}

impl Recipe {
    /// The embedded pack's. 64x96 is what two processor cores can train in an evening.
    pub fn craft_mini() -> Self {
        let dldm = DldmConfig::craft_mini();
        Self {
            size: FrameSize { height: 64, width: 96 },
            coarse_size: FrameSize { height: 32, width: 48 },
            planner: PlannerConfig::craft_mini(dldm.feature_channels()),
            dldm,
            vdm: VdmConfig::craft_mini(),
            batch: [2, 16, 8, 16, 32],
            keep_codes: false,
            joint_share: 0.4,
            policy_episodes: 1200,
            start: None,
            videos: None,
        }
    }

    /// Goes on from a pack, at its sizes. What it lacks begins fresh: a diffusion model at the sizes
    /// of the embedded pack's, a policy as deep and wide as the embedded pack's for this pack's
    /// codes. The policy learns from the videos in the folder `videos`, see [`TaskVideos::in_folder`],
    /// or else from the craft world; a fresh one holds the longest of their rollouts.
    ///
    /// # Errors
    /// Fails when the pack or a video cannot be used.
    pub fn from_pack(source: PackSource, videos: Option<&Path>) -> Result<Self, TrainError> {
        let manifest = source.open()?.manifest;
        let videos = videos.map(|folder| TaskVideos::in_folder(folder, &manifest)).transpose()?;
        let longest = videos.as_ref().map_or(manifest.longest_task(), TaskVideos::longest);
        let planner = manifest.planner.clone().unwrap_or_else(|| manifest.small_planner(longest));
        let mini = Self::craft_mini();
        let [vae, diffusion, warmup, joint, policy] = mini.batch;
        Ok(Self {
            size: manifest.frame_size,
            coarse_size: manifest.coarse_size,
            batch: [vae, diffusion, warmup, joint, policy.min(policy_batch(&planner))],
            policy_episodes: mini.policy_episodes.min(policy_episodes(&manifest, &planner)),
            planner,
            dldm: manifest.dldm,
            vdm: manifest.vdm.unwrap_or(mini.vdm),
            start: Some(source),
            videos,
            ..mini
        })
    }
}

/// How many tasks of a policy's full length are trained at a time within [`SCORES`].
fn policy_batch(planner: &PlannerConfig) -> usize {
    let tokens = planner.policy.max_tokens;
    let seen = tokens + planner.context_tokens();
    (SCORES / (tokens * seen)).max(1)
}

/// How many episodes' features fit into [`FEATURE_BYTES`].
fn policy_episodes(manifest: &Manifest, planner: &PlannerConfig) -> usize {
    let [height, width] = planner.feature_size;
    let clip = planner.feature_channels * height * width * size_of::<f32>();
    (FEATURE_BYTES / (clip * manifest.longest_task())).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_embedded_packs_recipe_is_the_one_it_was_trained_with() {
        let recipe = Recipe::from_pack(PackSource::Embedded, None).unwrap();
        let mini = Recipe::craft_mini();
        assert_eq!(recipe.planner, mini.planner);
        assert_eq!((recipe.batch, recipe.policy_episodes), (mini.batch, mini.policy_episodes));
    }

    #[test]
    fn a_policy_of_the_releases_sizes_trains_in_small_batches() {
        let manifest = Manifest::videoworld2();
        let planner = manifest.small_planner(manifest.longest_task());
        assert_eq!(
            (planner.policy.max_tokens, planner.context_tokens()),
            (7 * 92 + 1, 15 * 26 + 1)
        );
        assert_eq!(policy_batch(&planner), 6);
        assert_eq!(policy_episodes(&manifest, &planner), 384);
    }
}
