//! The window against a scripted engine: driven by its labels and keys, and looked at.

mod fake;
mod flow;
mod menu;
mod panels;
mod player;
mod scene;
mod selection;
mod sessions;
mod snapshot;
