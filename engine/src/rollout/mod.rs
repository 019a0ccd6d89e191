//! Rollouts: a tree of clips grown from one starting frame, and the calls that predict and paint them.

mod key;
mod models;
mod prediction;
mod runner;
mod sampling;
mod store;
mod tree;

pub use models::{Models, PackSummary, RefineRequest, RefineStep};
pub use prediction::NUM_ALTERNATIVES;
pub use runner::{RunError, Runner};
pub use sampling::{Candidate, ClipQuality, Sampling, Stage, Unwatched, Watch};
pub use store::{ClipStore, Decodes, HostVideo, StoredClip};
pub use tree::{ClipChoice, ClipKey, CodePrediction, Node, NodeId, Origin, Path, Rollout};
