//! What each stage holds beside weights: the tensors of its widest layer that live at one time.
//!
//! The counts were read off the code and checked against measured peaks on the processor, see
//! `tests/memory.rs` and `bench`. Graphics cards hold the same tensors, but nobody measured how much
//! more their allocator keeps.

use super::{Job, Weights};
use crate::dldm::{COLOUR_EDGE, DldmConfig};
use crate::media::FrameSize;
use crate::pack::Manifest;
use crate::vdm::{DitConfig, MAX_HIDDEN, MAX_SCORES, VdmConfig, VideoVaeConfig};
use crate::weights::Numbers;

/// Of a number in single precision.
pub(super) const NUMBER: usize = size_of::<f32>();

/// Inside the dLDM's widest residual block: input and sum, three frames stacked under a kernel, the
/// same once more as the convolution wants it, what comes out, and a norm on the way.
const DLDM_TENSORS: usize = 10;

/// Of them, those that a kernel sees at a time, stacked in one tensor: three, here and in the video
/// autoencoder.
const STACKED_FRAMES: usize = 3;

/// While colours are picked from the first frame: the scores of every colour for every place of a
/// step, and what the softmax makes of them.
const PICKING_TENSORS: usize = 2;

/// Inside the widest residual block of the video autoencoder, for the rows that pass at a time: the
/// shortcut, what every kernel frame makes of every frame (three times as much), the sum and its
/// successor, one frame's share moved, and a norm on the way.
const VAE_TENSORS: usize = 8;

/// Around them where frames pass in bands: the whole frames that go in and those that come out.
const VAE_WHOLE: usize = 2;

/// Frames that a convolution of the video autoencoder remembers.
const VAE_PAST: usize = 2;

/// Around attention: the tokens, their norm, query, key and value, the copies that attention reads,
/// and its result in slices and joined.
pub(super) const ATTENTION_TENSORS: usize = 10;

/// Around the feed-forward: the tokens, their norm and the result.
const FEED_FORWARD_TENSORS: usize = 4;

/// Of either: the tokens and their norm, which are in single precision whatever the layers are in.
pub(super) const SINGLE_TENSORS: usize = 2;

/// Videos at hand while conditioning is encoded and while a clip is put together: as it came,
/// resized, clamped, and rearranged for the network.
const VIDEOS: usize = 5;

/// More of them while the linear path of an autoencoder lays its share out as frames.
const LINEAR_PATH_VIDEOS: usize = 2;

/// While a tensor is loaded: its bytes, its numbers, and the tensor itself.
const LOADING_TENSORS: usize = 3;

/// What a stage works with, bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Working {
    /// All that lives at one time.
    pub(super) all: usize,
    /// The largest tensor of it.
    pub(super) largest: usize,
}

impl Working {
    pub(super) fn to_load(weights: Weights) -> Self {
        let largest = weights.largest as usize;
        Self { all: LOADING_TENSORS * largest, largest }
    }

    /// One of two, after the other.
    pub(super) fn or(self, other: Self) -> Self {
        Self { all: self.all.max(other.all), largest: self.largest.max(other.largest) }
    }
}

/// The working memory of every stage, bytes.
pub(super) struct Sizes<'a> {
    pub(super) manifest: &'a Manifest,
    pub(super) job: Job,
}

pub(super) fn pixels(size: FrameSize) -> usize {
    size.height as usize * size.width as usize
}

impl Sizes<'_> {
    fn frames(&self) -> usize {
        self.manifest.frames_per_clip
    }

    /// All frames of a refined clip together.
    pub(super) fn refined_pixels(&self) -> usize {
        self.frames() * pixels(self.refined_size())
    }

    fn refined_size(&self) -> FrameSize {
        self.manifest.refined_size(self.job.scale)
    }

    /// One clip in single precision.
    fn video(&self, size: FrameSize) -> usize {
        self.frames() * 3 * pixels(size) * NUMBER
    }

    /// Coarse clips are kept as computed and as shown, refined ones as shown; all are copied once
    /// more when they are written.
    pub(super) fn clips(&self) -> usize {
        let coarse = self.video(self.manifest.coarse_size);
        let refined = if self.job.refined { self.video(self.refined_size()) } else { 0 };
        self.job.clips * (coarse + 2 * (coarse + refined) / NUMBER)
    }

    /// Widest features of the dLDM at its finest level, for so many latent steps.
    fn features(&self, steps: usize) -> usize {
        let DldmConfig { channels, channels_mult, patch_size, .. } = &self.manifest.dldm;
        // The decoder arrives at the finest level with the width of the one before.
        let width = channels * channels_mult.iter().take(2).max().copied().unwrap_or(1);
        steps * width * pixels(self.manifest.coarse_size) / patch_size.pow(2) * NUMBER
    }

    /// Keys and values of every layer, twice while they are extended, and the first frame's
    /// features.
    pub(super) fn policy(&self) -> Working {
        let cached = self.manifest.planner.as_ref().map_or((0, 0), |planner| {
            let policy = &planner.policy;
            let one = policy.kv_heads * policy.head_dim * policy.max_tokens * NUMBER;
            (2 * 2 * policy.layers * one, one)
        });
        let features = self.features(1);
        Working {
            all: cached.0 + DLDM_TENSORS * features,
            largest: cached.1.max(STACKED_FRAMES * features),
        }
    }

    pub(super) fn coarse(&self) -> Working {
        let steps = 1 + self.manifest.steps_per_clip();
        let features = self.features(steps);
        let shares = match self.manifest.dldm.covers_first_frame {
            true => {
                let pixels = pixels(self.manifest.coarse_size);
                steps * pixels * (pixels / COLOUR_EDGE.pow(2)) * NUMBER
            }
            false => 0,
        };
        let video = self.video(self.manifest.coarse_size);
        Working {
            all: (DLDM_TENSORS * features).max(PICKING_TENSORS * shares) + VIDEOS * video,
            largest: (STACKED_FRAMES * features).max(shares).max(video),
        }
    }

    /// One chunk of `frames` frames through the finest level of the video autoencoder, and what its
    /// convolutions remember, `blocks` residual blocks of two a level.
    fn chunk(&self, vae: &VideoVaeConfig, frames: usize, blocks: usize) -> Working {
        let FrameSize { height, width } = self.refined_size();
        let (rows, [height, width]) = vae.rows_at_finest(height as usize, width as usize);
        let row = frames * vae.dim * vae.dim_mult[0] * width;
        let whole = if rows < height { VAE_WHOLE * row * height } else { 0 };
        let levels = vae.dim_mult.iter().enumerate();
        let past = levels.map(|(level, mult)| {
            VAE_PAST * 2 * blocks * vae.dim * mult * ((height * width) >> (2 * level))
        });
        Working {
            all: (VAE_TENSORS * row * rows + whole + past.sum::<usize>()) * NUMBER,
            largest: row * height.max(STACKED_FRAMES * rows) * NUMBER,
        }
    }

    pub(super) fn encode(&self, vae: &VideoVaeConfig) -> Working {
        let video = self.video(self.refined_size());
        let chunk = self.chunk(vae, vae.temporal_window.min(self.frames()), vae.num_res_blocks);
        Working { all: chunk.all + VIDEOS * video, largest: chunk.largest.max(video) }
    }

    /// A latent step at a time; at the end the frames are put together.
    pub(super) fn decode(&self, vae: &VideoVaeConfig) -> Working {
        let video = self.video(self.refined_size());
        let step = vae.temporal_compression().min(self.frames());
        let chunk = self.chunk(vae, step, vae.num_res_blocks + 1);
        let mut whole = Working { all: VIDEOS * video, largest: video };
        if vae.linear_path {
            // It gives the first frame, too, as many as a latent step has.
            let frames = vae.latent_steps(self.frames()) * vae.temporal_compression();
            whole.all += LINEAR_PATH_VIDEOS * video;
            whole.largest = video / self.frames() * frames;
        }
        Working { all: chunk.all + video, largest: chunk.largest }.or(whole)
    }

    /// One evaluation of transformer and control branch. Guidance runs a second one after it.
    pub(super) fn denoise(&self, vdm: &VdmConfig) -> Working {
        let (vae, dit) = (&vdm.vae, &vdm.dit);
        let side = vae.spatial_compression() * dit.patch;
        let steps = vae.latent_steps(self.frames());
        let tokens = steps * pixels(self.refined_size()) / side.pow(2);
        let all = tokens * dit.model_channels * NUMBER;
        let in_layers = |bytes: usize| bytes / NUMBER * self.job.numbers.precision.bytes();
        let around =
            |tensors: usize| SINGLE_TENSORS * all + in_layers((tensors - SINGLE_TENSORS) * all);
        let hidden = (all as f64 * dit.mlp_ratio) as usize;
        let held = hidden.min(MAX_HIDDEN * NUMBER);
        let joined = if held < hidden { all } else { 0 };
        let scores = self.scores(dit.num_heads, tokens);
        let attention = around(ATTENTION_TENSORS) + 2 * scores;
        // Before and behind the activation, and inside it; the results of slices, and joined.
        let feed_forward = around(FEED_FORWARD_TENSORS) + in_layers(3 * held + joined);
        let whole = self.whole_weight(dit);
        // What the control branch adds, and the coarse video's latent cut into patches.
        let hint = (vdm.control.hint_channels + 1) * dit.patch.pow(2) * tokens * NUMBER;
        let control = vdm.control.num_blocks * all;
        let coarse = self.video(self.manifest.coarse_size);
        Working {
            all: control + coarse + whole + attention.max(feed_forward).max(2 * hint),
            largest: all.max(scores).max(in_layers(held)).max(hint).max(whole),
        }
    }

    /// The largest weight made whole again out of 8 bits.
    fn whole_weight(&self, dit: &DitConfig) -> usize {
        let Numbers { precision, eight_bit } = self.job.numbers;
        let hidden = (dit.model_channels as f64 * dit.mlp_ratio) as usize;
        if eight_bit { dit.model_channels * hidden * precision.bytes() } else { 0 }
    }

    /// The scores of attention, which are held before and behind the softmax.
    fn scores(&self, heads: usize, tokens: usize) -> usize {
        if !self.job.holds_scores {
            return 0;
        }
        heads.saturating_mul(tokens).saturating_mul(tokens).min(MAX_SCORES)
            * self.job.numbers.precision.bytes()
    }
}
