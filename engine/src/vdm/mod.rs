//! VDM: the video diffusion model that paints. A video VAE, a transformer over its latents, a
//! control branch that follows the coarse video, and the sampler.
//!
//! The structure is that of NVIDIA's Cosmos-Predict2 Video2World with the VAE of Wan 2.1, as
//! VideoWorld 2 uses them, at any size.

mod attention;
mod block;
mod control;
mod dit;
mod ground;
mod hint;
mod noise;
mod rope;
mod sampler;
pub mod schedule;
mod sketch;
mod vae;

pub use attention::{CrossMask, attention};
pub(crate) use attention::{MAX_SCORES, attention_in_slices, is_fused};
pub(crate) use block::MAX_HIDDEN;
pub use control::{CONTROL_KEYS, ControlBranch, ControlConfig, control_begins_as};
pub use dit::{DIT_KEYS, Dit, DitConfig, DitInput};
pub use ground::Ground;
pub(crate) use ground::NOISE_SHARE;
pub use hint::grey_hint;
pub use noise::{LegacyNormal, legacy_noise};
pub use rope::{Rope, RopeConfig};
pub use sampler::{Conditioning, SampleRequest, Sampler, StepState, Vdm, VdmConfig, advance};
pub use sketch::Sketch;
pub use vae::{Moments, VAE_KEYS, VideoVae, VideoVaeConfig};
