//! Every panel in its empty, working, ready and failed state, and the whole window, as pictures.

use std::ops::ControlFlow;
use std::rc::Rc;
use std::sync::Arc;

use eframe::egui::{self, vec2};
use egui_kittest::Harness;
use egui_kittest::kittest::Queryable as _;
use engine::import;
use engine::rollout::Unfinished;
use engine::worker::{Progress, Stage};
use videoworld_studio::commands::Command;
use videoworld_studio::panels::Panel;
use videoworld_studio::studio::Studio;
use videoworld_studio::studio::importer::{Import, ImportState};
use videoworld_studio::studio::keeper::Kept;
use videoworld_studio::studio::model::{Action, Compare, Model, Overlay};
use videoworld_studio::studio::player::Mark;
use videoworld_studio::theme::{self, ThemeChoice};
use videoworld_studio::widgets::{frame_view, scatter};

use crate::codes::without_policy;
use crate::fake::{Refining, Shared, options, studio};
use crate::import::weights;
use crate::snapshot;

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
    let mut harness = builder.build_eframe(move |cc| studio(cc, &shared, options()));
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

impl PanelHost {
    fn open(mut studio: Studio) -> Harness<'static, Self> {
        // Textures belong to the window they were made in.
        studio.model_mut().thumbs = Default::default();
        Harness::builder().with_render_cursor(false).wgpu().build_eframe(move |cc| {
            theme::install_fonts(&cc.egui_ctx);
            studio.model().theme.apply(&cc.egui_ctx);
            if let Some(render) = &cc.wgpu_render_state {
                frame_view::install(render);
                scatter::install(render);
            }
            Self { studio, panel: Panel::ALL[0] }
        })
    }
}

/// Compares a panel with its picture; `Err` says what differs.
fn shoot_panel(
    harness: &mut Harness<'_, PanelHost>,
    panel: Panel,
    state: &str,
) -> Result<(), String> {
    harness.state_mut().panel = panel;
    harness.set_size(panel.usual_size() + vec2(24.0, 24.0));
    harness.run_steps(2);
    let picture = harness.render().expect("software Vulkan renders");
    snapshot::compare(&format!("{}_{state}", panel.id()), &picture)
}

#[test]
fn panels_look_as_they_did() {
    let mut failures = Vec::new();
    for state in STATES {
        let studio = window(state, vec2(1600.0, 1000.0), false).into_state();
        let mut harness = PanelHost::open(studio);
        for panel in Panel::ALL {
            let name = format!("{state:?}").to_lowercase();
            failures.extend(shoot_panel(&mut harness, panel, &name).err());
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// A window in which work is under way, and what that work says of itself.
fn at_work(progress: Progress) -> Studio {
    let mut studio = window(State::Working, vec2(1600.0, 1000.0), false).into_state();
    let jobs = &mut studio.model_mut().jobs;
    let running = jobs.running().expect("a clip is being refined").id;
    jobs.get_mut(running).expect("it is running").progress = Some(progress);
    studio
}

#[test]
fn panels_look_as_they_did_in_states_of_their_own() {
    let mut failures = Vec::new();
    let mut shoot = |studio: Studio, panels: &[(Panel, &str)]| {
        let mut harness = PanelHost::open(studio);
        for (panel, state) in panels {
            failures.extend(shoot_panel(&mut harness, *panel, state).err());
        }
    };
    let size = vec2(1600.0, 1000.0);
    let mut harness = window(State::Ready, size, false);
    act(&mut harness, Action::SetMark(Mark::In, 6));
    act(&mut harness, Action::SetMark(Mark::Out, 27));
    act(&mut harness, Action::Run(Command::ToggleLoop));
    let session = harness.state().model().session.as_ref().expect("a rollout is there");
    let saved = Arc::new(session.saved(Unfinished::default()));
    shoot(harness.into_state(), &[(Panel::Timeline, "marked"), (Panel::Transport, "marked")]);

    let mut harness = window(State::Empty, size, false);
    let kept = Kept { path: "kept.json".into(), saved };
    harness.state_mut().model_mut().last_session = Some(kept);
    shoot(harness.into_state(), &[(Panel::Gallery, "last_session")]);

    let mut harness = window(State::Working, size, false);
    act(&mut harness, Action::Run(Command::PauseWork));
    shoot(harness.into_state(), &[(Panel::JobBar, "paused")]);
    let progress = |stage, done, total| Progress { stage, done, total, left: None };
    shoot(at_work(progress(Stage::WarmingUp, 0, 1)), &[(Panel::JobBar, "warming_up")]);
    shoot(at_work(progress(Stage::DecodingVideo, 3, 5)), &[(Panel::JobBar, "decoding")]);

    let (_, harness) = without_policy();
    shoot(harness.into_state(), &[(Panel::Next, "no_policy")]);
    let (_, mut harness) = without_policy();
    act(&mut harness, Action::PlayCodes("airplane_03".to_owned()));
    for _ in 0..2 {
        step_to_end(&mut harness);
    }
    let recorded = [Panel::Next, Panel::Timeline, Panel::Branches].map(|panel| (panel, "recorded"));
    shoot(harness.into_state(), &recorded);

    let mut harness = window(State::Ready, size, false);
    act(&mut harness, Action::SelectPoints((100..400).collect()));
    let picture_is_missing = |harness: &Harness<'_, Studio>| {
        let model = harness.state().model();
        let selection = model.map.selection.as_ref().expect("points are selected");
        let clip_of = |point: usize| model.map.map.points[point].clip;
        let drawn =
            |point: usize| model.map.clips.get(&clip_of(point)).is_some_and(|c| c.is_some());
        !selection.clips.iter().all(|(point, _)| drawn(*point))
    };
    for _ in 0..200 {
        harness.run_steps(1);
        if !picture_is_missing(&harness) {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    shoot(harness.into_state(), &[(Panel::Selection, "lasso"), (Panel::Map, "lasso")]);
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
    harness.state_mut().model_mut().view.overlay = Overlay::None;
    act(&mut harness, Action::SelectPoints((0..200).collect()));
    for _ in 0..60 {
        harness.run_steps(1);
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    shoot(&mut harness, "window_selection");
    let mut harness = window(State::Ready, vec2(1280.0, 720.0), true);
    shoot(&mut harness, "window_small");
    harness.get_by_label("Rollout").click();
    harness.run_steps(2);
    shoot(&mut harness, "window_menu");
    let mut harness = window(State::Ready, vec2(1280.0, 720.0), true);
    harness.state_mut().model_mut().import = Some(Import {
        to: "/home/me/videoworld2".into(),
        state: ImportState::Running {
            progress: Some(import::Progress {
                stage: import::Stage::Writing("dit.safetensors"),
                done: 3,
                total: 5,
            }),
            stopping: false,
        },
    });
    shoot(&mut harness, "window_importing");
    let folder = tempfile::tempdir().expect("a folder");
    let report = import::import(
        &weights(),
        &folder.path().join("pack"),
        import::sizes(&weights()).expect("the embedded pack has a manifest"),
        &mut |_| ControlFlow::Continue(()),
    );
    let state = ImportState::Done(report.expect("the embedded pack's networks are whole"));
    harness.state_mut().model_mut().import =
        Some(Import { to: "/home/me/videoworld2".into(), state });
    harness.run_steps(4);
    shoot(&mut harness, "window_imported");
    let mut harness = window(State::Ready, vec2(1280.0, 720.0), true);
    act(&mut harness, Action::Run(Command::VerifyDevice));
    harness.run_steps(2);
    shoot(&mut harness, "window_verified");
    let mut harness = window(State::Ready, vec2(1280.0, 720.0), true);
    let model = harness.state_mut().model_mut();
    model.view.overlay = Overlay::Remote;
    (model.view.address, model.view.token) = ("ws://workstation:7431".into(), "secret".into());
    shoot(&mut harness, "window_remote");
    let mut harness = window(State::Ready, vec2(1280.0, 720.0), true);
    act(&mut harness, Action::Run(Command::Sampling));
    harness.run_steps(2);
    shoot(&mut harness, "window_sampling");
    let mut harness = window(State::Working, vec2(1280.0, 720.0), true);
    step_to_end(&mut harness);
    harness.get_by_label("Queue").click();
    harness.run_steps(3);
    shoot(&mut harness, "window_queue");
    let mut harness = window(State::Failed, vec2(1280.0, 720.0), true);
    shoot(&mut harness, "window_failed");
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
