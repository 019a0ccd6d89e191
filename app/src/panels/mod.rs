//! The panels of the window, one file each, and the list of them.

mod branches;
mod code;
mod gallery;
mod import;
mod job_bar;
mod keys;
mod map;
mod menu;
mod next;
mod palette;
mod queue;
mod remote;
mod sampling;
mod selection;
mod stage;
mod start;
mod timeline;
mod toasts;
mod top_bar;
mod transport;
mod verified;

use eframe::egui::{Ui, Vec2, vec2};

use crate::studio::model::Model;

pub use import::show as show_import;
pub use keys::show as show_keys;
pub use palette::show as show_palette;
pub use remote::show as show_remote;
pub use sampling::show as show_sampling;
pub use stage::paint_alone as show_stage_alone;
pub use timeline::height as timeline_height;
pub use toasts::show as show_toasts;
pub use verified::show as show_verified;

/// A panel of the window. Tests walk [`Panel::ALL`], so a new panel is tested by being listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Panel {
    TopBar,
    Start,
    Branches,
    Stage,
    Transport,
    Timeline,
    Next,
    Code,
    Map,
    Selection,
    JobBar,
    Gallery,
}

impl Panel {
    pub const ALL: [Self; 12] = [
        Self::TopBar,
        Self::Start,
        Self::Branches,
        Self::Stage,
        Self::Transport,
        Self::Timeline,
        Self::Next,
        Self::Code,
        Self::Map,
        Self::Selection,
        Self::JobBar,
        Self::Gallery,
    ];

    /// Stable name, for files and tests.
    pub fn id(self) -> &'static str {
        match self {
            Self::TopBar => "top_bar",
            Self::Start => "start",
            Self::Branches => "branches",
            Self::Stage => "stage",
            Self::Transport => "transport",
            Self::Timeline => "timeline",
            Self::Next => "next",
            Self::Code => "code",
            Self::Map => "map",
            Self::Selection => "selection",
            Self::JobBar => "job_bar",
            Self::Gallery => "gallery",
        }
    }

    /// A usual size in points.
    pub fn usual_size(self) -> Vec2 {
        match self {
            Self::TopBar => vec2(1200.0, 44.0),
            Self::Start => vec2(244.0, 240.0),
            Self::Branches => vec2(244.0, 360.0),
            Self::Stage => vec2(520.0, 360.0),
            Self::Transport => vec2(908.0, 44.0),
            Self::Timeline => vec2(640.0, 180.0),
            Self::Next => vec2(360.0, 280.0),
            Self::Code => vec2(360.0, 220.0),
            Self::Map => vec2(360.0, 360.0),
            Self::Selection => vec2(480.0, 400.0),
            Self::JobBar => vec2(1000.0, 34.0),
            Self::Gallery => vec2(800.0, 520.0),
        }
    }

    pub fn show(self, model: &mut Model, ui: &mut Ui) {
        match self {
            Self::TopBar => top_bar::show(model, ui),
            Self::Start => start::show(model, ui),
            Self::Branches => branches::show(model, ui),
            Self::Stage => stage::show(model, ui),
            Self::Transport => transport::show(model, ui),
            Self::Timeline => timeline::show(model, ui),
            Self::Next => next::show(model, ui),
            Self::Code => code::show(model, ui),
            Self::Map => map::show(model, ui),
            Self::Selection => selection::show(model, ui),
            Self::JobBar => job_bar::show(model, ui),
            Self::Gallery => gallery::show(model, ui),
        }
    }
}
