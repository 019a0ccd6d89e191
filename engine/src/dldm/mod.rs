//! The discrete latent dynamics model (dLDM): what happens in a video, as a few codes a step.
//!
//! A causal encoder makes features of the video, learned queries read from each pair of
//! neighbouring latent steps what changed, and finite scalar quantisation turns that into codes.
//! The decoder replays codes on the features of a first frame; the connector hands them to the
//! diffusion model. Mirrors `latent_dynamics/` of the reference.
//!
//! Inside, videos are `[batch, time, channel, height, width]`; everything public takes and gives
//! `[batch, channel, time, height, width]`.

pub mod attention;
pub mod config;
pub mod conv;
mod cover;
pub mod losses;
pub mod norm;
pub mod patcher;
pub mod qformer;
pub mod quantizer;
pub mod resample;
pub mod resnet;
pub mod standardize;

mod decoder;
mod encoder;
#[cfg(test)]
mod tests;
mod tokenizer;

use crate::weights::KeyTable;

pub use config::DldmConfig;
pub(crate) use cover::COLOUR_EDGE;
pub use cover::Picked;
pub use decoder::Painted;
pub use qformer::QFormerKind;
pub use quantizer::{Fsq, Quantized};
pub use tokenizer::{Dldm, Encoded, TrainOutput};

const CONSTANT: &str = "a constant of the wavelet transform";

/// Our parameter paths under the reference's keys.
pub const KEYS: KeyTable = KeyTable {
    prefix: "network.",
    renames: LAYER_RENAMES,
    ignored: &[(".wavelets", CONSTANT), ("._arange", CONSTANT), (".patch_size_buffer", CONSTANT)],
};

/// burn's layer norm spells its parameters differently.
pub const LAYER_RENAMES: &[(&str, &str)] = &[(".gamma", ".weight"), (".beta", ".bias")];
