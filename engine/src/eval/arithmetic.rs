//! The arithmetic of the transformers, counted from the shapes of their weights: multiplications and
//! additions. That of convolutions is counted while they run, see `flop`.

use burn::module::Module;

use crate::media::FrameSize;
use crate::policy::{PLANNER_KEYS, Planner};
use crate::vdm::{CONTROL_KEYS, DIT_KEYS, DitConfig, Vdm, VideoVaeConfig};
use crate::weights::{KeyTable, shapes_of};

/// Where a transformer of `config` computes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Positions {
    /// Latent steps; each has a noise level of its own.
    pub steps: usize,
    pub tokens: usize,
    /// Context tokens.
    pub context: usize,
}

impl Positions {
    /// Of latents `[batch, channel, steps, height, width]`, batch 1.
    pub(super) fn of(config: &DitConfig, [_, _, steps, height, width]: [usize; 5]) -> Self {
        let tokens = steps * (height / config.patch) * (width / config.patch);
        Self { steps, tokens, context: config.context_tokens }
    }

    /// Self-attention and cross-attention of one block: scores, and what they weigh.
    pub(super) fn attention(self, config: &DitConfig) -> f64 {
        4.0 * (self.tokens * (self.tokens + self.context) * config.model_channels) as f64
    }

    /// Linear layers of transformer or control branch: two operations a weight and position.
    pub(super) fn linear<M: Module>(self, network: &M, keys: &KeyTable) -> f64 {
        let positions = |key: &str| {
            if key.contains("adaln") || key.contains("t_embedder") {
                self.steps
            } else if key.contains("cross_attn.k_proj") || key.contains("cross_attn.v_proj") {
                self.context
            } else {
                self.tokens
            }
        };
        let shapes = shapes_of(network, keys);
        let matrices = shapes.iter().filter(|(_, shape)| shape.len() == 2);
        matrices.map(|(key, shape)| 2.0 * (shape[0] * shape[1] * positions(key)) as f64).sum()
    }
}

/// Of a clip's latents, `[1, z, steps, height, width]`.
pub(super) fn latent_shape(vae: &VideoVaeConfig, frames: usize, size: FrameSize) -> [usize; 5] {
    let [height, width] =
        [size.height, size.width].map(|side| side as usize / vae.spatial_compression());
    [1, vae.z_dim, vae.latent_steps(frames), height, width]
}

/// One evaluation of transformer and control branch for latents `[batch, channel, steps, height,
/// width]`.
pub(super) fn denoise(vdm: &Vdm, latents: [usize; 5]) -> f64 {
    let config = vdm.dit.config();
    let at = Positions::of(config, latents);
    let blocks = (config.num_blocks + vdm.control.config().num_blocks) as f64;
    at.linear(&vdm.dit, &DIT_KEYS)
        + at.linear(&vdm.control, &CONTROL_KEYS)
        + blocks * at.attention(config)
}

/// One more code of a policy: two operations a weight that every code passes.
pub(super) fn code(planner: &Planner) -> f64 {
    let shapes = shapes_of(planner, &PLANNER_KEYS);
    let passed = shapes.iter().filter(|(key, shape)| {
        let context = key.contains("cross") && (key.contains("wk.") || key.contains("wv."));
        let beside = key.contains("tok_embeddings") || !key.contains("transformer.");
        shape.len() == 2 && !context && !beside
    });
    passed.map(|(_, shape)| 2.0 * (shape[0] * shape[1]) as f64).sum()
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;

    #[test]
    fn a_block_of_the_release_is_counted_by_hand() {
        let blocks = |num_blocks| {
            DitConfig { num_blocks, ..DitConfig::videoworld2_2b() }.init(&Device::flex())
        };
        let config = DitConfig::videoworld2_2b();
        let at = Positions::of(&config, [1, 16, 24, 60, 104]);
        assert_eq!((at.steps, at.tokens, at.context), (24, 24 * 30 * 52, 512));
        let counted = at.linear(&blocks(1), &DIT_KEYS) - at.linear(&blocks(0), &DIT_KEYS);
        let (tokens, width) = (37_440.0, 2048.0);
        // Query, key, value and output; query and output of the context; the feed-forward.
        let of_tokens = tokens * (4.0 + 2.0 + 8.0) * width * width;
        let of_context = 512.0 * 2.0 * 1024.0 * width;
        let of_noise = 24.0 * 3.0 * (width * 256.0 + 256.0 * 3.0 * width);
        assert_eq!(counted, 2.0 * (of_tokens + of_context + of_noise));
        assert_eq!(at.attention(&config), 4.0 * tokens * (tokens + 512.0) * width);
    }
}
