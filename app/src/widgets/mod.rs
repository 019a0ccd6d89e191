//! Building blocks of the panels. They know pictures, numbers and colours, and nothing of rollouts.

pub mod code_strip;
pub mod control;
pub mod digits;
pub mod entropy_line;
pub mod frame_view;
mod gpu;
pub mod icon;
pub mod scatter;
pub mod thumbnail;
