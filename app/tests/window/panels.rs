//! Every panel in its empty, working, ready and failed state, and the whole window, as pictures.

use std::rc::Rc;

use eframe::egui::{self, vec2};
use egui_kittest::Harness;
use videoworld_studio::commands::Command;
use videoworld_studio::panels::Panel;
use videoworld_studio::studio::model::{Action, Compare, Model};
use videoworld_studio::studio::world::Drawing;
use videoworld_studio::studio::{Parts, Studio, StudioOptions};
use videoworld_studio::theme::{self, ThemeChoice};
use videoworld_studio::widgets::{frame_view, scatter};

use crate::fake::{FakeEngine, Refining, Shared};
use crate::{scene, snapshot};

/// What the window is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nothing chosen yet.
    Empty,
    /// A clip is being refined and a preview is there.
    Working,
    /// Three clips, all refined, candidates found.
    Ready,
    /// The engine died (or, without a rollout, the pack could not be opened).
    Failed,
}

const STATES: [State; 4] = [State::Empty, State::Working, State::Ready, State::Failed];

fn options() -> StudioOptions {
    StudioOptions {
        frame: None,
        pack: engine::pack::PackSource::Embedded,
        device: engine::gpu::DeviceChoice::Cpu,
        settings: None,
    }
}

fn studio(cc: &eframe::CreationContext<'_>, script: &Shared) -> Studio {
    let parts = Parts {
        engine: Box::new(FakeEngine(script.clone())),
        drawing: Drawing::start(scene::PaintedWorld, || {}),
    };
    Studio::new(cc, parts, options())
}

/// A window brought into a state, not rendered.
fn window(state: State, size: egui::Vec2, render: bool) -> Harness<'static, Studio> {
    let script = Shared::default();
    if state == State::Failed {
        script.borrow_mut().mute_candidates = true;
    }
    let shared = Rc::clone(&script);
    let builder = Harness::builder()
        .with_size(size)
        .with_max_steps(40)
        .with_step_dt(1.0 / 16.0)
        .with_render_cursor(false);
    let builder = if render { builder.wgpu() } else { builder };
    let mut harness = builder.build_eframe(move |cc| studio(cc, &shared));
    for _ in 0..200 {
        harness.run_steps(1);
        let model = harness.state().model();
        if model.gallery.len() == 15 && !model.map.map.points.is_empty() {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    assert_eq!(harness.state().model().gallery.len(), 15, "the gallery was not drawn");
    if state == State::Empty {
        return harness;
    }
    act(&mut harness, Action::Start(0));
    for _ in 0..3 {
        step_to_end(&mut harness);
    }
    if state == State::Working {
        script.borrow_mut().refining = Refining::Stuck(14);
        act(&mut harness, Action::Run(Command::Back));
        act(&mut harness, Action::Run(Command::Branch));
        harness.run_steps(40);
        act(&mut harness, Action::Seek(42));
    }
    if state == State::Failed {
        script.borrow_mut().die();
    }
    // Pictures of examples arrive from their thread.
    for _ in 0..30 {
        harness.run_steps(1);
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    harness
}

fn act(harness: &mut Harness<'_, Studio>, action: Action) {
    harness.state_mut().model_mut().actions.push(action);
    harness.run_steps(2);
}

/// Steps and waits until the clip has played.
fn step_to_end(harness: &mut Harness<'_, Studio>) {
    act(harness, Action::Run(Command::Step));
    harness.run_steps(45);
    assert!(!harness.state().model().player.playing, "the clip plays once and rests");
}

/// Shows one panel of a studio that was brought into a state.
struct PanelHost {
    studio: Studio,
    panel: Panel,
}

impl eframe::App for PanelHost {
    fn ui(&mut self, ui: &mut egui::Ui, _frame: &mut eframe::Frame) {
        let model: &mut Model = self.studio.model_mut();
        let fill = if matches!(
            self.panel,
            Panel::Stage | Panel::Transport | Panel::Timeline | Panel::Gallery
        ) {
            model.theme.window
        } else {
            model.theme.panel
        };
        egui::Frame::new().fill(fill).inner_margin(12).show(ui, |ui| {
            ui.set_min_size(self.panel.usual_size());
            ui.set_max_size(self.panel.usual_size());
            self.panel.show(model, ui);
        });
    }
}

#[test]
fn panels_look_as_they_did() {
    let mut failures = Vec::new();
    for state in STATES {
        let mut studio = window(state, vec2(1600.0, 1000.0), false).into_state();
        // Textures belong to the window they were made in.
        studio.model_mut().thumbs = Default::default();
        let mut harness =
            Harness::builder().with_render_cursor(false).wgpu().build_eframe(move |cc| {
                theme::install_fonts(&cc.egui_ctx);
                studio.model().theme.apply(&cc.egui_ctx);
                if let Some(render) = &cc.wgpu_render_state {
                    frame_view::install(render);
                    scatter::install(render);
                }
                PanelHost { studio, panel: Panel::ALL[0] }
            });
        for panel in Panel::ALL {
            harness.state_mut().panel = panel;
            harness.set_size(panel.usual_size() + vec2(24.0, 24.0));
            harness.run_steps(2);
            let picture = harness.render().expect("software Vulkan renders");
            let name = format!("{}_{}", panel.id(), format!("{state:?}").to_lowercase());
            failures.extend(snapshot::compare(&name, &picture).err());
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn the_window_looks_as_it_did() {
    let mut failures = Vec::new();
    let mut shoot = |harness: &mut Harness<'_, Studio>, name: &str| {
        harness.run_steps(2);
        let picture = harness.render().expect("software Vulkan renders");
        failures.extend(snapshot::compare(name, &picture).err());
    };
    let mut harness = window(State::Working, vec2(1600.0, 1000.0), true);
    harness.state_mut().model_mut().view.compare = Compare::Wipe;
    shoot(&mut harness, "window_working");
    harness.state_mut().model_mut().settings.theme = ThemeChoice::Dark;
    act(&mut harness, Action::Run(Command::NextTheme));
    shoot(&mut harness, "window_light");
    act(&mut harness, Action::Run(Command::Present));
    shoot(&mut harness, "window_present");
    let mut harness = window(State::Empty, vec2(1600.0, 1000.0), true);
    shoot(&mut harness, "window_gallery");
    let mut harness = window(State::Ready, vec2(1600.0, 1000.0), true);
    let (node, position, _) = harness.state().model().inspected().expect("a clip is there");
    harness.state_mut().model_mut().view.alternatives = Some((node, position));
    act(&mut harness, Action::SelectPoint(400));
    for _ in 0..60 {
        harness.run_steps(1);
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    shoot(&mut harness, "window_ready");
    harness.state_mut().model_mut().view.alternatives = None;
    act(&mut harness, Action::Run(Command::Palette));
    shoot(&mut harness, "window_palette");
    act(&mut harness, Action::Run(Command::Keys));
    shoot(&mut harness, "window_keys");
    let mut harness = window(State::Ready, vec2(1280.0, 720.0), true);
    shoot(&mut harness, "window_small");
    let mut harness = window(State::Failed, vec2(1280.0, 720.0), true);
    shoot(&mut harness, "window_failed");
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
