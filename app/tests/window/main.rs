//! The window against a scripted engine: driven by its labels and keys, and looked at.

mod fake;
mod flow;
mod panels;
mod scene;
mod snapshot;
