//! Whether networks of the sizes in a manifest can be made and fit each other.
//!
//! People edit manifests by hand. What the networks assert when they are made or first compute, and
//! sizes with which arithmetic overflows or memory is asked for that no machine has, are told here as
//! sentences.

use std::ops::RangeInclusive;

use super::{FILES, Manifest, PackError};
use crate::craft::Task;
use crate::dldm::{DldmConfig, QFormerKind};
use crate::media::FrameSize;
use crate::policy::{Grid, PlannerConfig, PolicyConfig, RotaryAxes, RotaryConfig, Yarn};
use crate::vdm::{CrossMask, VdmConfig, VideoVaeConfig};

type Checked = Result<(), PackError>;

/// Channels, tokens, codes.
const MANY: RangeInclusive<usize> = 1..=1 << 16;
/// Layers, blocks and factors.
const FEW: RangeInclusive<usize> = 1..=1 << 10;
/// Levels, each of which halves the size.
const LEVELS: RangeInclusive<usize> = 1..=8;
/// Pixels of a side.
const SIDE: RangeInclusive<usize> = 1..=1 << 13;
/// Numbers of a table that is made with a network.
const TABLE: RangeInclusive<usize> = 1..=1 << 28;

impl Manifest {
    /// Refuses sizes that no network can have, so that a foreign manifest cannot bring the program
    /// down later.
    pub(crate) fn check(&self) -> Checked {
        if let Some(unknown) = self.files.keys().find(|f| !FILES.contains(&f.as_str())) {
            return Err(PackError::UnknownFile(unknown.clone()));
        }
        self.check_clips()?;
        check_dldm(&self.dldm)?;
        // What follows from the dLDM can only be asked of one that exists.
        must(
            (self.frames_per_clip - 1).is_multiple_of(self.dldm.patch_size),
            "frames_per_clip must be one more than a multiple of the dLDM's patch size",
        )?;
        must(
            divides(self.coarse_size, self.dldm.spatial_compression),
            "coarse_size must be a multiple of the dLDM's compression",
        )?;
        within("the number of codes a clip has", self.codes_per_clip(), MANY)?;
        if let Some(places) = self.dldm.decoder_places {
            // One for every step of a clip and one for the first frame.
            within("dldm.decoder_places", places, self.steps_per_clip() + 1..=1 << 12)?;
        }
        if let Some(vdm) = &self.vdm {
            self.check_vdm(vdm)?;
        }
        if let Some(planner) = &self.planner {
            self.check_planner(planner)?;
        }
        Ok(())
    }

    fn check_clips(&self) -> Checked {
        must(self.fps > 0.0 && self.fps.is_finite(), "the frame rate must be above zero")?;
        must(!self.tasks.is_empty(), "there is no task")?;
        for task in &self.tasks {
            within("the clips of a task", task.clips, FEW)?;
        }
        for (name, size) in [("frame_size", self.frame_size), ("coarse_size", self.coarse_size)] {
            within(&format!("{name}.height"), size.height as usize, SIDE)?;
            within(&format!("{name}.width"), size.width as usize, SIDE)?;
        }
        within("frames_per_clip", self.frames_per_clip, 2..=1 << 12)?;
        let sampler = &self.sampler;
        must(
            sampler.temperature >= 0.0 && sampler.temperature.is_finite(),
            "sampler.temperature must be 0 or more",
        )?;
        must(
            sampler.top_p > 0.0 && sampler.top_p <= 1.0,
            "sampler.top_p must be above 0 and at most 1",
        )?;
        within("sampler.refine_steps", sampler.refine_steps, MANY)?;
        must(sampler.guidance.is_finite(), "sampler.guidance must be a number")
    }

    fn check_vdm(&self, vdm: &VdmConfig) -> Checked {
        let VdmConfig { vae, dit, control, sigmas, .. } = vdm;
        check_vae(vae)?;
        for (name, size, range) in [
            ("dit.patch", dit.patch, 1..=64),
            ("dit.model_channels", dit.model_channels, MANY),
            ("dit.num_blocks", dit.num_blocks, FEW),
            ("dit.num_heads", dit.num_heads, FEW),
            ("dit.adaln_lora_dim", dit.adaln_lora_dim, MANY),
            ("dit.context_tokens", dit.context_tokens, MANY),
            ("control.num_blocks", control.num_blocks, 1..=dit.num_blocks),
        ] {
            within(name, size, range)?;
        }
        must(
            divides(self.frame_size, vae.spatial_compression() * dit.patch),
            "frame_size must be a multiple of the video VAE's compression and the patch",
        )?;
        must(
            (self.frames_per_clip - 1).is_multiple_of(vae.temporal_compression()),
            "frames_per_clip must be one more than a multiple of the video VAE's compression",
        )?;
        must(
            dit.latent_channels == vae.z_dim,
            "dit.latent_channels must be the video VAE's z_dim",
        )?;
        must(
            dit.model_channels.is_multiple_of(2 * dit.num_heads),
            "dit.model_channels must be a multiple of twice num_heads",
        )?;
        must((1.0..=64.0).contains(&dit.mlp_ratio), "dit.mlp_ratio must be 1 to 64")?;
        must(
            dit.rope_extrapolation.iter().all(|ratio| (1e-3..=1e3).contains(ratio)),
            "dit.rope_extrapolation must be three numbers from 0.001 to 1000",
        )?;
        if let CrossMask::StepCausal { codes_per_step } = dit.cross_mask {
            within("dit.cross_mask.codes_per_step", codes_per_step, MANY)?;
        }
        must(
            dit.crossattn_emb_channels == self.dldm.connector_channels,
            "the connector and the diffusion model disagree about the width of a token",
        )?;
        must(
            dit.context_tokens >= self.codes_per_clip(),
            "the diffusion model has fewer context tokens than a clip has codes",
        )?;
        must(control.dit == *dit, "control.dit must be the same as dit, whose blocks it copies")?;
        must(
            control.takes_latents(vae.z_dim),
            "control.hint_channels must be 128 and no less than the video VAE's z_dim",
        )?;
        must(control.control_weight.is_finite(), "control.control_weight must be a number")?;
        must(
            sigmas.min > 0.0 && sigmas.max > sigmas.min && sigmas.max.is_finite(),
            "sigmas.min must be above zero and below sigmas.max",
        )?;
        must((0.1..=100.0).contains(&sigmas.order), "sigmas.order must be 0.1 to 100")
    }

    fn check_planner(&self, planner: &PlannerConfig) -> Checked {
        must(
            planner.feature_size == self.feature_size()
                && planner.feature_channels == self.dldm.feature_channels(),
            "the policy and the dLDM disagree about the first frame's features",
        )?;
        must(
            planner.policy.vocabulary == self.dldm.vocabulary(),
            "the policy and the dLDM disagree about the vocabulary",
        )?;
        must(planner.tasks == Task::ALL.len(), "the policy knows another set of tasks")?;
        check_policy(&planner.policy)?;
        must(
            planner.policy.max_tokens > self.codes_per_clip(),
            "the policy cannot hold the codes of one clip",
        )
    }
}

fn check_dldm(dldm: &DldmConfig) -> Checked {
    within("the number of entries of dldm.channels_mult", dldm.channels_mult.len(), LEVELS)?;
    for (name, size, range) in [
        ("dldm.channels", dldm.channels, MANY),
        ("dldm.num_res_blocks", dldm.num_res_blocks, FEW),
        ("dldm.patch_size", dldm.patch_size, 1..=16),
        ("dldm.spatial_compression", dldm.spatial_compression, FEW),
        ("dldm.z_channels", dldm.z_channels, MANY),
        ("dldm.num_queries", dldm.num_queries, FEW),
        ("dldm.connector_channels", dldm.connector_channels, MANY),
    ] {
        within(name, size, range)?;
    }
    for mult in &dldm.channels_mult {
        within("an entry of dldm.channels_mult", *mult, FEW)?;
        within("dldm.channels times dldm.channels_mult", dldm.channels * mult, MANY)?;
    }
    must(dldm.patch_size.is_power_of_two(), "dldm.patch_size must be a power of two")?;
    must(
        !dldm.covers_first_frame || dldm.patch_size > 1,
        "a dLDM that covers the first frame needs a patch_size of 2 or more",
    )?;
    let halved = dldm.spatial_compression / dldm.patch_size;
    must(
        halved.is_power_of_two() && halved * dldm.patch_size == dldm.spatial_compression,
        "dldm.spatial_compression must be the patch size times a power of two",
    )?;
    must(
        (halved.ilog2() as usize) < dldm.channels_mult.len(),
        "dldm.spatial_compression halves more often than channels_mult has steps between levels",
    )?;
    // Of the queries' attention: four heads at half the width.
    must(
        dldm.feature_channels().is_multiple_of(8),
        "dldm.channels times the last of channels_mult must be a multiple of 8",
    )?;
    let vocabulary = dldm.levels.iter().try_fold(1_usize, |product, l| product.checked_mul(*l));
    must(
        !dldm.levels.is_empty() && dldm.levels.iter().all(|level| *level > 1),
        "dldm.levels must be numbers above 1",
    )?;
    must(vocabulary.is_some_and(|v| v <= 1 << 16), "the vocabulary must have 1 to 65536 codes")?;
    must(
        matches!(
            dldm.qformer,
            QFormerKind::QFormerAdjacentFSingleQ | QFormerKind::QFormerMFSingleQ
        ),
        "dldm.qformer must have the same queries for every step, as packs count codes so",
    )
}

fn check_vae(vae: &VideoVaeConfig) -> Checked {
    within("the number of entries of vae.dim_mult", vae.dim_mult.len(), LEVELS)?;
    for (name, size, range) in [
        ("vae.dim", vae.dim, MANY),
        ("vae.z_dim", vae.z_dim, MANY),
        ("vae.num_res_blocks", vae.num_res_blocks, FEW),
        ("vae.patch", vae.patch, 1..=64),
        ("vae.temporal_window", vae.temporal_window, FEW),
    ] {
        within(name, size, range)?;
    }
    for (level, mult) in vae.dim_mult.iter().enumerate() {
        within("an entry of vae.dim_mult", *mult, FEW)?;
        within("vae.dim times vae.dim_mult", vae.dim * mult, MANY)?;
        must(
            level == 0 || (vae.dim * mult).is_multiple_of(2),
            "vae.dim times vae.dim_mult must be even behind the first level",
        )?;
    }
    must(
        vae.temporal_downsample.len() + 1 == vae.dim_mult.len(),
        "vae.temporal_downsample must have one entry less than vae.dim_mult",
    )?;
    must(
        vae.temporal_window.is_multiple_of(vae.temporal_compression()),
        "vae.temporal_window must be a multiple of the frames that one latent step covers",
    )?;
    must(
        vae.latent_mean.len() == vae.z_dim && vae.latent_std.len() == vae.z_dim,
        "vae.latent_mean and vae.latent_std must have as many entries as z_dim says",
    )?;
    must(
        vae.latent_mean.iter().all(|mean| mean.is_finite())
            && vae.latent_std.iter().all(|std| std.is_normal() && *std > 0.0),
        "vae.latent_mean must be numbers and vae.latent_std ones above zero",
    )
}

fn check_policy(policy: &PolicyConfig) -> Checked {
    for (name, size, range) in [
        ("policy.layers", policy.layers, FEW),
        ("policy.dim", policy.dim, MANY),
        ("policy.heads", policy.heads, FEW),
        ("policy.kv_heads", policy.kv_heads, FEW),
        ("policy.head_dim", policy.head_dim, FEW),
        ("policy.feed_forward_dim", policy.feed_forward_dim, 1..=1 << 20),
        ("policy.max_tokens", policy.max_tokens, 2..=1 << 20),
        ("policy.embeddings", policy.embeddings, 1..=1 << 20),
    ] {
        within(name, size, range)?;
    }
    must(
        policy.heads.is_multiple_of(policy.kv_heads),
        "policy.heads must be a multiple of policy.kv_heads",
    )?;
    must(policy.head_dim.is_multiple_of(2), "policy.head_dim must be even")?;
    must(
        policy.embeddings > policy.vocabulary,
        "policy.embeddings must be more than the vocabulary, for the token that begins",
    )?;
    must(
        policy.norm_epsilon > 0.0 && policy.norm_epsilon <= 1.0,
        "policy.norm_epsilon must be above 0 and at most 1",
    )?;
    let Some(cross) = policy.cross_attention else {
        return must(false, "the policy needs cross_attention, by which it sees the first frame");
    };
    within("policy.cross_attention.every", cross.every, FEW)?;
    within("policy.cross_attention.context_dim", cross.context_dim, MANY)?;
    if let Some(grid) = &policy.additive_positions {
        must(policy.dim.is_multiple_of(2), "policy.dim must be even where positions are added")?;
        check_grid("policy.additive_positions", grid, policy)?;
        within("the policy's table of positions", grid.rows() * policy.dim, TABLE)?;
    }
    let RotaryConfig { theta, axes, yarn, .. } = &policy.rotary;
    must((1.0..=1e12).contains(theta), "policy.rotary.theta must be 1 to 1e12")?;
    let rows = match axes {
        RotaryAxes::Line => policy.max_tokens,
        RotaryAxes::Grid(grid) => {
            check_grid("policy.rotary.axes", grid, policy)?;
            grid.rows()
        }
    };
    within("the policy's table of angles", rows * policy.head_dim, TABLE)?;
    yarn.as_ref().map_or(Ok(()), check_yarn)
}

fn check_grid(name: &str, grid: &Grid, policy: &PolicyConfig) -> Checked {
    for side in grid.shape {
        within(&format!("a side of {name}"), side, FEW)?;
    }
    within(&format!("{name}.pad_to_multiple_of"), grid.pad_to_multiple_of, MANY)?;
    must(
        policy.max_tokens <= grid.rows(),
        "policy.max_tokens must be no more than its grids have places",
    )
}

fn check_yarn(yarn: &Yarn) -> Checked {
    for length in yarn.original {
        within("policy.rotary.yarn.original", length, 1..=1 << 20)?;
    }
    must(
        yarn.beta_slow > 0.0 && yarn.beta_fast > yarn.beta_slow && yarn.beta_fast.is_finite(),
        "policy.rotary.yarn.beta_slow must be above zero and below beta_fast",
    )?;
    must(yarn.scale > 0.0 && yarn.scale.is_finite(), "policy.rotary.yarn.scale must be above zero")
}

fn divides(size: FrameSize, by: usize) -> bool {
    (size.height as usize).is_multiple_of(by) && (size.width as usize).is_multiple_of(by)
}

fn must(holds: bool, what: &str) -> Checked {
    if holds { Ok(()) } else { Err(PackError::Sizes(what.to_owned())) }
}

fn within(name: &str, size: usize, range: RangeInclusive<usize>) -> Checked {
    let what = || format!("{name} is {size} and must be {} to {}", range.start(), range.end());
    if range.contains(&size) { Ok(()) } else { Err(PackError::Sizes(what())) }
}
