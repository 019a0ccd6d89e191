//! The studio: its window, its panels and its command line. All computing is the engine's.

pub mod cli;
