//! The window against a scripted engine: driven by its labels and keys, and looked at.

mod codes;
mod dialogs;
mod fake;
mod flow;
#[path = "../fetch/hub.rs"]
mod hub;
mod import;
mod menu;
mod packs;
mod panels;
mod pictures;
mod player;
mod queue;
mod remote;
mod sampling;
mod scene;
mod selection;
mod sessions;
mod snapshot;
