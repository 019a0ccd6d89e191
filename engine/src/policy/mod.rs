//! The policy: an autoregressive transformer that predicts the latent dynamics codes of a task.
//!
//! Its network is that of NVIDIA's Cosmos-Predict1 (`cosmos_predict1/autoregressive`), which
//! VideoWorld 2 reuses: a Llama-like decoder with grouped-query attention, normalised queries and
//! keys, rotary positions and optional cross-attention. [`Planner`] adds what the code world needs:
//! the first frame and the task as context, and drawing codes one after the other.

mod attention;
mod cache;
mod config;
mod generate;
mod planner;
mod position;
mod rotary;
mod sampling;
mod transformer;

pub use attention::{Attention, AttentionConfig, Context, KeyValues, Mask};
pub use cache::{KvCache, LayerCache};
pub use config::{CrossAttentionConfig, PolicyConfig};
pub use generate::{Choice, generate};
pub use planner::{CodeSampling, Planner, PlannerConfig, next_code_accuracy, next_code_loss};
pub use position::Grid;
pub use rotary::{Rotary, RotaryAxes, RotaryConfig, RotaryPairing, RotaryTable, Yarn};
pub use sampling::{Filter, Sampling, exponential_noise};
pub use transformer::{Block, FeedForward, Policy};

use crate::weights::KeyTable;

/// Keys of [`Policy`], as `Transformer` of the reference names them.
///
/// A checkpoint file may put `model.` in front of every key; strip that before loading.
pub const KEYS: KeyTable = KeyTable {
    prefix: "",
    renames: RENAMES,
    ignored: &[("_extra_state", "book-keeping of Transformer Engine")],
};

/// Keys of [`Planner`]: the policy's under `policy.transformer.`, the conditioner's beside them.
pub const PLANNER_KEYS: KeyTable = KeyTable { prefix: "policy.", renames: RENAMES, ignored: &[] };

const RENAMES: &[(&str, &str)] = &[
    (".token_embedding.", ".tok_embeddings."),
    (".query_norm.", ".q_norm."),
    (".key_norm.", ".k_norm."),
    (".feed_forward_norm.", ".ffn_norm."),
    (".query.", ".wq."),
    (".key.", ".wk."),
    (".value.", ".wv."),
    (".projection.", ".wo."),
    (".gate.", ".w1."),
    (".down.", ".w2."),
    (".up.", ".w3."),
    (".gamma", ".weight"),
];
