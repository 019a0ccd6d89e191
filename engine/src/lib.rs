//! VideoWorld 2 at any size: its networks, their training, rollouts and maps. Knows no user interface.

pub mod atlas;
pub mod checkpoint;
pub mod craft;
pub mod dldm;
pub mod eval;
mod flop;
pub mod gpu;
pub mod import;
#[cfg(feature = "gpu")]
pub mod kernels;
pub mod media;
pub mod memory;
pub mod pack;
pub mod policy;
pub mod remote;
pub mod rollout;
pub mod train;
pub mod vdm;
pub mod weights;
pub mod worker;
