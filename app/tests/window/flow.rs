//! The window driven as a user would: by its labels and keys, against a scripted engine.

use std::rc::Rc;
use std::time::Duration;

use eframe::egui::{Key, Modifiers};
use egui_kittest::Harness;
use egui_kittest::kittest::Queryable as _;
use engine::rollout::{NodeId, Rollout};
use engine::worker::Request;
use videoworld_studio::commands::Command;
use videoworld_studio::studio::model::PackState;
use videoworld_studio::studio::{Studio, StudioOptions};

use crate::fake::{Refining, Shared, options, studio};

/// A window with its gallery drawn.
pub fn open(script: &Shared, options: StudioOptions) -> Harness<'static, Studio> {
    open_at(script, options, 1.0 / 16.0)
}

/// The same with so many seconds from one repaint to the next.
fn open_at(script: &Shared, options: StudioOptions, dt: f32) -> Harness<'static, Studio> {
    let shared = Rc::clone(script);
    let mut harness = Harness::builder()
        .with_size([1600.0, 1000.0])
        .with_max_steps(60)
        .with_step_dt(dt)
        .build_eframe(move |cc| studio(cc, &shared, options));
    for _ in 0..200 {
        harness.run_steps(1);
        if harness.state().model().gallery.len() == 15 {
            return harness;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("the gallery was not drawn");
}

/// A window with a rollout begun from the first frame of the gallery.
pub fn started(script: &Shared) -> Harness<'static, Studio> {
    started_at(script, 1.0 / 16.0)
}

/// The same with so many seconds from one repaint to the next.
pub fn started_at(script: &Shared, dt: f32) -> Harness<'static, Studio> {
    let mut harness = open_at(script, options(), dt);
    harness.get_by_label("Start Paper airplane, environment 1").click();
    harness.run_steps(4);
    assert!(harness.state().model().session.is_some(), "a click on a frame starts a rollout");
    harness
}

/// Presses a key and lets the clip play.
pub fn press(harness: &mut Harness<'_, Studio>, key: Key) {
    harness.key_press(key);
    harness.run_steps(50);
}

pub fn place(harness: &Harness<'_, Studio>) -> (NodeId, usize) {
    let session = harness.state().model().session.as_ref().expect("a rollout was begun");
    (session.current(), session.rollout.nodes().len())
}

#[test]
fn step_twice_back_and_branch() {
    let script = Shared::default();
    let mut harness = started(&script);
    harness.get_by_label("Step").click();
    harness.run_steps(50);
    assert_eq!(place(&harness).1, 2, "one step grew one clip");
    press(&mut harness, Key::N);
    let (second, count) = place(&harness);
    assert_eq!(count, 3);
    harness.get_by_label("Back").click();
    harness.run_steps(4);
    let (first, _) = place(&harness);
    assert_ne!(first, second);
    harness.get_by_label("Branch").click();
    harness.run_steps(50);
    let session = harness.state().model().session.as_ref().unwrap();
    let twins = &session.rollout.node(Rollout::ROOT).children;
    assert_eq!(twins.len(), 2, "the branch stands beside the first clip");
    assert_eq!(session.current(), twins[1], "and is on the stage");
    assert_eq!(session.frame(), session.last_frame(), "it was played to its end");
    harness.get_by_label_contains("Go to step 1, policy, seed 8");
}

#[test]
fn going_back_and_forth_decodes_nothing_twice() {
    let script = Shared::default();
    let mut harness = started(&script);
    for _ in 0..3 {
        press(&mut harness, Key::N);
    }
    harness.run_steps(10);
    let before = (script.borrow().coarse_decodes, script.borrow().refined_decodes);
    for key in [Key::Backspace, Key::Backspace, Key::N, Key::Home, Key::End, Key::N] {
        if key == Key::N
            && harness.state().model().session.as_ref().unwrap().next_on_line().is_none()
        {
            continue;
        }
        press(&mut harness, key);
    }
    harness.key_press_modifiers(Modifiers::COMMAND, Key::Z);
    harness.run_steps(4);
    harness.key_press_modifiers(Modifiers::COMMAND, Key::Y);
    harness.run_steps(4);
    let after = (script.borrow().coarse_decodes, script.borrow().refined_decodes);
    assert_eq!(before, after);
}

#[test]
fn play_runs_to_the_end_of_the_task() {
    let script = Shared::default();
    let mut harness = started(&script);
    harness.key_press(Key::Space);
    harness.run_steps(400);
    let model = harness.state().model();
    let session = model.session.as_ref().unwrap();
    assert_eq!(session.line().len(), 7);
    assert!(session.is_complete(session.current()));
    assert!(!model.player.playing, "it rests at the end");
}

#[test]
fn another_code_grows_a_branch_that_keeps_the_codes_before_it() {
    let script = Shared::default();
    let mut harness = started(&script);
    press(&mut harness, Key::N);
    harness.get_by_label_contains("at step 2, query 1").click();
    harness.run_steps(4);
    let label = "Choose code 10, probability 20.0 %";
    harness.get_by_label(label).click();
    harness.run_steps(50);
    let session = harness.state().model().session.as_ref().unwrap();
    let children = session.rollout.node(Rollout::ROOT).children.clone();
    assert_eq!(children.len(), 2);
    let codes = |at: usize| session.rollout.node(children[at]).choice.codes.clone();
    assert_eq!(codes(0)[..4], codes(1)[..4], "the codes before the choice are kept");
    assert_eq!(codes(1)[4], 10);
}

#[test]
fn a_candidate_is_taken_by_its_key_without_decoding() {
    let script = Shared::default();
    let mut harness = started(&script);
    harness.run_steps(4);
    harness.get_by_label_contains("Candidate 2: code 1");
    let before = script.borrow().coarse_decodes;
    harness.key_press(Key::Num2);
    harness.run_steps(2);
    let session = harness.state().model().session.as_ref().unwrap();
    assert_eq!(session.rollout.node(session.current()).choice.codes[0], 1);
    let extends = |request: &Request| matches!(request, Request::Extend { .. });
    assert!(!script.borrow().requests.iter().any(extends));
    // What follows may be painted ahead; the candidate's own clip was there.
    assert!(session.view(session.current()).coarse.is_some());
    assert!(script.borrow().coarse_decodes <= before + 6);
}

#[test]
fn the_users_step_does_not_wait_for_refinement() {
    let script = Shared::default();
    script.borrow_mut().refining = Refining::Stuck(14);
    let mut harness = started(&script);
    press(&mut harness, Key::N);
    harness.get_by_label("Refining");
    press(&mut harness, Key::N);
    assert_eq!(place(&harness).1, 3, "the second clip came although the first was being refined");
    assert!(!script.borrow().cancelled.is_empty(), "refinement gave way");
    harness.get_by_label("Refining");
}

#[test]
fn cancel_stops_and_keeps_what_is_there() {
    let script = Shared::default();
    script.borrow_mut().refining = Refining::Stuck(14);
    let mut harness = started(&script);
    press(&mut harness, Key::N);
    harness.get_by_label("Cancel").click();
    harness.run_steps(6);
    let model = harness.state().model();
    assert!(model.jobs.is_empty(), "nothing is begun again by itself");
    let session = model.session.as_ref().unwrap();
    let view = session.view(session.current());
    assert!(view.coarse.is_some() && view.refined.is_some(), "coarse clip and preview are kept");
    harness.get_by_label_contains("Stopped");
}

#[test]
fn a_dead_engine_keeps_the_rollout_and_can_be_restarted() {
    let script = Shared::default();
    let mut harness = started(&script);
    press(&mut harness, Key::N);
    let before = place(&harness);
    script.borrow_mut().die();
    harness.run_steps(4);
    harness.get_by_label_contains("graphics device was lost");
    harness.get_by_label("Copy details");
    assert_eq!(place(&harness), before);
    let buttons: Vec<_> = harness.get_all_by_label("Restart engine").collect();
    buttons[0].click();
    harness.run_steps(4);
    assert_eq!(script.borrow().restarts, 1);
    assert!(harness.query_by_label_contains("graphics device was lost").is_none());
    press(&mut harness, Key::N);
    assert_eq!(place(&harness).1, before.1 + 1);
}

#[test]
fn while_the_engine_restarts_the_window_says_what_it_reads() {
    let script = Shared::default();
    let mut harness = started(&script);
    press(&mut harness, Key::N);
    let before = place(&harness);
    script.borrow_mut().die();
    script.borrow_mut().mute_openings = true;
    harness.run_steps(4);
    assert!(harness.state().model().obstacle(Command::Step).is_some());
    harness.state_mut().model_mut().run(Command::RestartEngine);
    harness.run_steps(4);
    assert!(harness.get_all_by_label("Reading weights").count() > 0);
    assert!(harness.query_by_label("Cancel").is_none(), "nothing of it can be cancelled");
    assert_eq!(harness.state().model().obstacle(Command::Step), None);
    script.borrow_mut().mute_openings = false;
    script.borrow_mut().reopen();
    press(&mut harness, Key::N);
    assert!(harness.query_by_label("Reading weights").is_none());
    assert_eq!(place(&harness).1, before.1 + 1);
}

#[test]
fn a_restart_without_its_pack_leaves_the_rollout_and_opens_one_again() {
    let script = Shared::default();
    let mut harness = started(&script);
    press(&mut harness, Key::N);
    let before = place(&harness);
    script.borrow_mut().die();
    script.borrow_mut().pack_error = Some("dit.safetensors is gone".to_owned());
    harness.run_steps(4);
    harness.state_mut().model_mut().run(Command::RestartEngine);
    harness.run_steps(4);
    let model = harness.state().model();
    assert!(matches!(&model.pack, PackState::Failed(reason) if reason.contains("is gone")));
    assert!(!model.engine_dead);
    assert_eq!(model.obstacle(Command::OpenPack), None);
    assert_eq!(model.obstacle(Command::Step), Some("The pack is not open"));
    assert_eq!(place(&harness), before, "the rollout stays on the stage");
    script.borrow_mut().pack_error = None;
    harness.get_by_label("Restart engine").click();
    harness.run_steps(4);
    assert_eq!(script.borrow().restarts, 1, "the engine runs already");
    assert_eq!(place(&harness), before, "and goes on with its pack");
    press(&mut harness, Key::N);
    assert_eq!(place(&harness).1, before.1 + 1);
}

#[test]
fn a_pack_that_cannot_be_opened_says_why() {
    let script = Shared::default();
    script.borrow_mut().pack_error = Some("dit.safetensors is damaged".to_owned());
    let shared = Rc::clone(&script);
    let mut harness = Harness::builder()
        .with_size([1280.0, 720.0])
        .build_eframe(move |cc| studio(cc, &shared, options()));
    harness.run_steps(3);
    assert!(harness.get_all_by_label_contains("dit.safetensors is damaged").count() >= 1);
    harness.get_by_label("Open pack…");
}

#[test]
fn single_keys_are_letters_while_a_text_field_has_the_focus() {
    let script = Shared::default();
    let mut harness = started(&script);
    let before = script.borrow().requests.len();
    harness.key_press_modifiers(Modifiers::COMMAND, Key::P);
    harness.run_steps(3);
    harness.key_press(Key::N);
    harness.run_steps(3);
    let extends = |request: &Request| matches!(request, Request::Extend { .. });
    assert!(!script.borrow().requests[before..].iter().any(extends));
    harness.key_press(Key::Escape);
    harness.run_steps(3);
    press(&mut harness, Key::N);
    assert!(script.borrow().requests[before..].iter().any(extends));
}

#[test]
fn the_palette_runs_what_is_typed() {
    let script = Shared::default();
    let mut harness = started(&script);
    harness.get_by_label("Search commands").click();
    harness.run_steps(3);
    harness.event(eframe::egui::Event::Text("wipe".to_owned()));
    harness.run_steps(3);
    harness.key_press(Key::Enter);
    harness.run_steps(3);
    let view = &harness.state().model().view;
    assert_eq!(view.compare, videoworld_studio::studio::model::Compare::Wipe);
}

#[test]
fn a_point_of_the_map_shows_where_it_came_from_and_plays() {
    let script = Shared::default();
    let mut harness = started(&script);
    press(&mut harness, Key::N);
    let plot = harness.get_by_label_contains("Code map of").rect();
    let model = harness.state().model();
    let point = model.map.map.points[0].at;
    let positions: Vec<[f32; 2]> = model.map.map.points.iter().map(|p| p.at).collect();
    let camera = videoworld_studio::widgets::scatter::Camera::fit(&positions, plot.size());
    let at = camera.screen(plot, point);
    harness.hover_at(at);
    harness.run_steps(2);
    for pressed in [true, false] {
        harness.event(eframe::egui::Event::PointerButton {
            pos: at,
            button: eframe::egui::PointerButton::Primary,
            pressed,
            modifiers: Modifiers::NONE,
        });
    }
    for _ in 0..30 {
        harness.run_steps(1);
        std::thread::sleep(Duration::from_millis(5));
    }
    let map = &harness.state().model().map;
    let selected = map.selected.expect("the click selected a point");
    assert!(map.clips.get(&map.map.points[selected].clip).is_some_and(Option::is_some));
    assert!(map.playing_since.is_some(), "its clip plays");
    harness.get_by_label("Play the clip of this step again");
}
