//! A scripted engine, a small painted world and picture comparison, for tests of the window.

pub mod fake;
pub mod scene;
pub mod snapshot;
