//! Rollouts: a tree of clips grown from one starting frame, and the calls that predict and paint them.

mod cache;
#[cfg(test)]
pub(crate) mod fake;
mod key;
mod models;
mod neural;
mod picture;
mod runner;
mod sampling;
mod session;
mod store;
mod tree;

pub use cache::ClipCache;
pub use models::{GoOn, Models, PackSummary, RefineRequest, RefineStep};
pub use neural::PackModels;
pub use picture::{PictureError, code_strip, map_picture};
pub use runner::{RunError, Runner};
pub use sampling::{Candidate, ClipQuality, Sampling, Stage, Unwatched, Watch};
pub use session::{Session, SessionError, Unfinished};
pub use store::{ClipStore, Decodes, HostVideo, StoredClip};
pub use tree::{ClipChoice, ClipKey, CodePrediction, NewClip, Node, NodeId, Origin, Path, Rollout};
