//! The craft world: paper folding and block building on a table, drawn from a seed.

mod action;
mod background;
mod blocks;
mod canvas;
mod colour;
mod contact_sheet;
mod environment;
mod episode;
mod free;
mod geometry;
mod hand;
pub mod judge;
mod label;
mod motion;
mod paper;
mod plan;
mod render;
mod task;
mod texture;

pub use action::Action;
pub use contact_sheet::contact_sheet;
pub use environment::Split;
pub use episode::{Episode, FPS, FRAMES_PER_CLIP};
pub use label::{CraftClip, FrameLabel, Masks, State};
pub use task::Task;

use crate::media::FrameSize as Size;
