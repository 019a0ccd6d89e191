//! What is known about each frame, exactly.

use serde::{Deserialize, Serialize};

use super::{
    Action, Task,
    blocks::Block,
    paper::{Fold, Layer},
    render::{Craft, Scene},
};
use crate::media::Frame;

/// The frames of one clip and what is known about each.
#[derive(Debug, Clone, Default)]
pub struct CraftClip {
    pub frames: Vec<Frame>,
    pub labels: Vec<FrameLabel>,
}

/// What is known about one frame.
#[derive(Debug, Clone, Serialize)]
pub struct FrameLabel {
    /// None for free motions.
    pub task: Option<Task>,
    pub action: Action,
    /// Key steps finished.
    pub key_step: usize,
    /// How far the clip is, 0 to 1.
    pub progress: f32,
    pub state: State,
    /// Only when asked for.
    #[serde(skip)]
    pub masks: Option<Masks>,
}

/// How much of each pixel a thing covers, 0 to 255.
#[derive(Debug, Clone, PartialEq)]
pub struct Masks {
    pub paper: image::GrayImage,
    pub blocks: image::GrayImage,
    pub hand: image::GrayImage,
}

/// The exact state of what lies on the table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    Paper {
        /// Layers from the table up, before the fold on its way.
        layers: Vec<Layer>,
        /// The fold on its way and how far it is.
        fold: Option<(Fold, f32)>,
    },
    Blocks {
        blocks: Vec<Block>,
        /// The block in the hand.
        held: Option<usize>,
    },
}

impl State {
    pub(super) fn of(scene: &Scene) -> Self {
        match &scene.craft {
            Craft::Paper { stack, fold, .. } => {
                Self::Paper { layers: stack.layers.clone(), fold: *fold }
            }
            Craft::Blocks { blocks, held } => Self::Blocks { blocks: blocks.clone(), held: *held },
        }
    }
}
