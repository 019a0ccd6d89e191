//! The studio: its window, its panels and its command line. All computing is the engine's.

pub mod cli;
pub mod codes;
#[cfg(feature = "window")]
pub mod commands;
#[cfg(feature = "window")]
pub mod panels;
#[cfg(feature = "window")]
pub mod state;
#[cfg(feature = "window")]
pub mod studio;
#[cfg(feature = "window")]
pub mod theme;
#[cfg(feature = "window")]
pub mod widgets;
