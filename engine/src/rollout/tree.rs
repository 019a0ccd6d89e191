//! The append-only tree of clips that grows from one starting frame.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::craft::Task;
use crate::media::Frame;

/// One predicted code with what else the policy considered there.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CodePrediction {
    /// The code that was taken, `0..vocabulary`.
    pub code: u16,
    /// Its probability under the policy at temperature 1; NaN for recorded codes.
    #[serde(with = "nan_as_null")]
    pub probability: f32,
    /// Entropy of the whole distribution in bits; NaN for recorded codes.
    #[serde(with = "nan_as_null")]
    pub entropy_bits: f32,
    /// The most likely codes with their probabilities, best first.
    pub alternatives: Vec<(u16, f32)>,
}

impl CodePrediction {
    /// A code that no policy predicted.
    pub fn recorded(code: u16) -> Self {
        Self { code, probability: f32::NAN, entropy_bits: f32::NAN, alternatives: Vec::new() }
    }
}

/// JSON knows no NaN.
mod nan_as_null {
    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};

    pub fn serialize<S: Serializer>(value: &f32, serializer: S) -> Result<S::Ok, S::Error> {
        (!value.is_nan()).then_some(*value).serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f32, D::Error> {
        Ok(Option::deserialize(deserializer)?.unwrap_or(f32::NAN))
    }
}

/// How a node's codes came to be.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Origin {
    /// The starting frame itself, no codes.
    Start,
    /// The policy alone.
    Policy,
    /// The user set the code at `position` (0-based within the clip), the policy the rest.
    Chosen { position: usize, code: u16 },
    /// Read from a file or encoded from a video.
    Recorded { source: String },
}

/// What decides the pixels of one clip, given what came before it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ClipChoice {
    /// Flattened step-major: `steps x codes per step`.
    pub codes: Vec<u16>,
    /// Seed of the diffusion noise.
    pub seed: u64,
}

/// A clip to be grown: its codes, how they came to be, and the seed of its noise.
#[derive(Debug, Clone, PartialEq)]
pub struct NewClip {
    pub origin: Origin,
    pub predictions: Vec<CodePrediction>,
    pub seed: u64,
}

/// Names the pixels of one clip, as a hash of all that decides them: of coarse ones pack, starting
/// frame and every code up to it; of refined ones also the seed of each of these clips, the
/// sampler's steps and guidance, and the scale. How the codes came to be, the task and the
/// temperature among it, is no part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ClipKey(pub [u8; 16]);

/// Index of a node in its [`Rollout`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct NodeId(pub u32);

/// One clip of a rollout. The root stands for the starting frame and has no codes.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Node {
    pub id: NodeId,
    pub parent: Option<NodeId>,
    pub children: Vec<NodeId>,
    pub origin: Origin,
    pub predictions: Vec<CodePrediction>,
    pub choice: ClipChoice,
}

/// Everything needed to compute the clip at the end of a way down the tree.
#[derive(Debug, Clone)]
pub struct Path {
    /// The starting frame as the model sees it.
    pub start: Arc<Frame>,
    pub task: Task,
    /// First clip first; empty for the starting frame alone.
    pub clips: Vec<ClipChoice>,
}

impl Path {
    /// The way to its `n`-th clip, 1-based.
    pub fn first_clips(&self, n: usize) -> Self {
        Self { clips: self.clips[..n].to_vec(), ..self.clone() }
    }

    /// This way and one clip more.
    pub fn then(&self, codes: Vec<u16>, seed: u64) -> Self {
        let mut path = self.clone();
        path.clips.push(ClipChoice { codes, seed });
        path
    }
}

/// A starting frame and the tree of clips grown from it.
///
/// Nodes are never removed or changed; undo, redo, branching and comparing only move `current`.
///
/// # Limitations
/// Memory grows with every branch; nodes hold codes alone, so a million of them fit.
#[derive(Debug, Clone)]
pub struct Rollout {
    pub start: Arc<Frame>,
    /// Where the starting frame came from, for people.
    pub source: String,
    pub task: Task,
    nodes: Vec<Node>,
    current: NodeId,
}

impl Rollout {
    pub const ROOT: NodeId = NodeId(0);

    /// A rollout of nothing but its starting frame.
    pub fn new(start: Arc<Frame>, source: impl Into<String>, task: Task) -> Self {
        let root = Node {
            id: Self::ROOT,
            parent: None,
            children: Vec::new(),
            origin: Origin::Start,
            predictions: Vec::new(),
            choice: ClipChoice { codes: Vec::new(), seed: 0 },
        };
        Self { start, source: source.into(), task, nodes: vec![root], current: Self::ROOT }
    }

    /// A rollout from nodes that were written down; `None` when they do not form a tree.
    pub(super) fn rebuild(
        start: Arc<Frame>,
        source: String,
        task: Task,
        written: Vec<(NodeId, NewClip)>,
        current: NodeId,
    ) -> Option<Self> {
        let mut rollout = Self::new(start, source, task);
        for (parent, clip) in written {
            let wanted = rollout.nodes.len();
            if parent.0 as usize >= wanted || rollout.grow(parent, clip).0 as usize != wanted {
                return None;
            }
        }
        ((current.0 as usize) < rollout.nodes.len()).then(|| {
            rollout.current = current;
            rollout
        })
    }

    /// Adds a clip below `parent` and returns its node; one that is already there is found again.
    pub fn grow(&mut self, parent: NodeId, clip: NewClip) -> NodeId {
        let NewClip { origin, predictions, seed } = clip;
        let codes = predictions.iter().map(|p| p.code).collect();
        let choice = ClipChoice { codes, seed };
        let twin = self.node(parent).children.iter().find(|c| self.node(**c).choice == choice);
        if let Some(twin) = twin {
            return *twin;
        }
        let id = NodeId(u32::try_from(self.nodes.len()).expect("fewer than 2^32 clips"));
        self.nodes.push(Node {
            id,
            parent: Some(parent),
            children: Vec::new(),
            origin,
            predictions,
            choice,
        });
        self.nodes[parent.0 as usize].children.push(id);
        id
    }

    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.0 as usize]
    }

    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    pub fn current(&self) -> NodeId {
        self.current
    }

    /// Moves to a node of this tree.
    pub fn go_to(&mut self, id: NodeId) {
        assert!((id.0 as usize) < self.nodes.len(), "node {id:?} is not of this rollout");
        self.current = id;
    }

    /// The nodes from the first clip down to `id`, without the root.
    pub fn line(&self, id: NodeId) -> Vec<NodeId> {
        let mut line = Vec::new();
        let mut at = self.node(id);
        while let Some(parent) = at.parent {
            line.push(at.id);
            at = self.node(parent);
        }
        line.reverse();
        line
    }

    /// The way from the starting frame to `id`.
    pub fn path(&self, id: NodeId) -> Path {
        Path {
            start: self.start.clone(),
            task: self.task,
            clips: self.line(id).iter().map(|n| self.node(*n).choice.clone()).collect(),
        }
    }
}
