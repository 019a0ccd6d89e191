//! Rollouts: a tree of clips grown from one starting frame, and the calls that predict and paint them.

mod tree;

pub use tree::{ClipChoice, ClipKey, CodePrediction, Node, NodeId, Origin, Path, Rollout};
