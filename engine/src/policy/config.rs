//! Sizes of the policy network, with presets for the released and for our own.

use burn::tensor::Device;
use serde::{Deserialize, Serialize};

use super::position::Grid;
use super::rotary::{RotaryAxes, RotaryConfig, RotaryPairing};
use super::transformer::Policy;

/// Where cross-attention to a context stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CrossAttentionConfig {
    /// In the layers whose index is a multiple of this, layer 0 included.
    pub every: usize,
    /// Width of a context token.
    pub context_dim: usize,
}

/// Sizes of a [`Policy`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PolicyConfig {
    /// Codes that can be predicted: rows of the output projection.
    pub vocabulary: usize,
    /// Rows of the token embedding: the vocabulary and special tokens behind it.
    pub embeddings: usize,
    pub layers: usize,
    pub dim: usize,
    /// Heads of the queries.
    pub heads: usize,
    /// Heads of keys and values; each serves `heads / kv_heads` neighbouring query heads.
    pub kv_heads: usize,
    pub head_dim: usize,
    pub feed_forward_dim: usize,
    /// Of the block and final norms; the query and key norms always use 1e-5.
    pub norm_epsilon: f64,
    /// Whether queries and keys are normalised per head.
    pub qk_norm: bool,
    /// Longest sequence, special tokens included.
    pub max_tokens: usize,
    pub rotary: RotaryConfig,
    /// Sinusoids added before every layer.
    pub additive_positions: Option<Grid>,
    pub cross_attention: Option<CrossAttentionConfig>,
}

impl PolicyConfig {
    /// The 4B base model of Cosmos-Predict1, 33 frames at 640x1024.
    pub fn cosmos_ar_4b() -> Self {
        Self {
            vocabulary: 64_000,
            embeddings: 64_000,
            layers: 16,
            dim: 4096,
            heads: 32,
            kv_heads: 8,
            head_dim: 128,
            feed_forward_dim: 14_336,
            norm_epsilon: 1e-5,
            qk_norm: true,
            max_tokens: 12_800,
            rotary: RotaryConfig {
                theta: 500_000.0,
                axes: RotaryAxes::Grid(Grid {
                    shape: [5, 40, 64],
                    begin: false,
                    pad_to_multiple_of: 64,
                }),
                pairing: RotaryPairing::Halves,
                yarn: None,
            },
            additive_positions: None,
            cross_attention: None,
        }
    }

    /// The text-conditioned 5B variant: cross-attention in every layer, additive positions and a
    /// begin token.
    pub fn cosmos_ar_5b() -> Self {
        let grid = Grid { shape: [5, 40, 64], begin: true, pad_to_multiple_of: 64 };
        let base = Self::cosmos_ar_4b();
        Self {
            embeddings: 64_064,
            max_tokens: 12_864,
            rotary: RotaryConfig { axes: RotaryAxes::Grid(grid), ..base.rotary },
            additive_positions: Some(grid),
            cross_attention: Some(CrossAttentionConfig { every: 1, context_dim: 1024 }),
            ..base
        }
    }

    /// The small pack's: 7 clips, 4 steps a clip and 4 codes a step.
    pub fn craft_mini() -> Self {
        Self::small(1000, [7, 4, 4])
    }

    /// The layout of the 5B variant, small enough to be trained by anyone, over a grid of clips,
    /// steps a clip and codes a step, behind one begin token.
    pub fn small(vocabulary: usize, shape: [usize; 3]) -> Self {
        let grid = Grid { shape, begin: true, pad_to_multiple_of: 1 };
        Self {
            vocabulary,
            embeddings: vocabulary + 1,
            layers: 6,
            dim: 192,
            heads: 6,
            kv_heads: 2,
            head_dim: 32,
            feed_forward_dim: 512,
            norm_epsilon: 1e-5,
            qk_norm: true,
            max_tokens: grid.rows(),
            rotary: RotaryConfig {
                theta: 500_000.0,
                axes: RotaryAxes::Grid(grid),
                pairing: RotaryPairing::Halves,
                yarn: None,
            },
            additive_positions: Some(grid),
            cross_attention: Some(CrossAttentionConfig { every: 1, context_dim: 192 }),
        }
    }

    /// A network of these sizes with fresh weights.
    ///
    /// # Panics
    /// Panics when the sizes contradict each other.
    pub fn init(&self, device: &Device) -> Policy {
        let Self { heads, kv_heads, head_dim, max_tokens, .. } = *self;
        assert!(
            kv_heads > 0 && heads.is_multiple_of(kv_heads),
            "{heads} query heads cannot share {kv_heads} key/value heads evenly"
        );
        assert!(head_dim.is_multiple_of(2), "head size {head_dim} cannot be turned in pairs");
        let grids = match self.rotary.axes {
            RotaryAxes::Line => [self.additive_positions, None],
            RotaryAxes::Grid(grid) => [self.additive_positions, Some(grid)],
        };
        for grid in grids.into_iter().flatten() {
            let rows = grid.rows();
            assert!(max_tokens <= rows, "{max_tokens} tokens do not fit on a grid of {rows} rows");
        }
        Policy::new(self, device)
    }
}
