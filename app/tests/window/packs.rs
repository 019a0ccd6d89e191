//! Packs that are opened, and what is left where that is cancelled; the memory that they take.

use std::rc::Rc;

use eframe::egui::Key;
use egui_kittest::Harness;
use egui_kittest::kittest::Queryable as _;
use engine::gpu::DeviceChoice;
use engine::pack::PackSource;
use engine::worker::Request;
use videoworld_studio::commands::Command;
use videoworld_studio::studio::Studio;
use videoworld_studio::studio::importer::{Import, ImportState};
use videoworld_studio::studio::model::{Action, PackState};

use crate::fake::{Shared, options, studio};
use crate::flow::{open, place, press, started};

fn act(harness: &mut Harness<'_, Studio>, action: Action) {
    harness.state_mut().model_mut().actions.push(action);
    harness.run_steps(3);
}

/// Begins to open another pack, which never ends.
fn open_another(script: &Shared, harness: &mut Harness<'_, Studio>) {
    script.borrow_mut().mute_openings = true;
    let state = ImportState::Running { progress: None, stopping: false };
    harness.state_mut().model_mut().import = Some(Import { to: "elsewhere".into(), state });
    act(harness, Action::OpenImported);
    let asked = script.borrow().requests.last().cloned();
    assert!(matches!(asked, Some(Request::OpenPack(PackSource::Folder(_)))), "{asked:?}");
}

#[test]
fn a_cancelled_opening_leaves_the_pack_that_was_open() {
    let script = Shared::default();
    let mut harness = started(&script);
    press(&mut harness, Key::N);
    let before = place(&harness);
    open_another(&script, &mut harness);
    harness.get_by_label("Opening the pack");
    harness.get_by_label("Cancel").click();
    harness.run_steps(4);
    harness.get_by_label_contains("craft-mini stays open");
    assert_eq!(place(&harness), before, "the rollout is there");
    press(&mut harness, Key::N);
    assert_eq!(place(&harness).1, before.1 + 1, "and goes on");
}

#[test]
fn whoever_starts_meanwhile_is_told_that_the_opening_ends() {
    let script = Shared::default();
    let mut harness = started(&script);
    open_another(&script, &mut harness);
    act(&mut harness, Action::Start(1));
    harness.get_by_label_contains("craft-mini stays open");
    assert!(!script.borrow().cancelled.is_empty());
}

#[test]
fn where_the_first_opening_is_cancelled_there_is_no_pack_and_the_window_says_so() {
    let script = Shared::default();
    script.borrow_mut().mute_openings = true;
    let shared = Rc::clone(&script);
    let mut harness = Harness::builder()
        .with_size([1600.0, 1000.0])
        .build_eframe(move |cc| studio(cc, &shared, options()));
    harness.run_steps(3);
    let model = harness.state().model();
    assert!(model.obstacle(Command::Step).unwrap().contains("being opened"));
    harness.get_by_label("Cancel").click();
    harness.run_steps(4);
    let model = harness.state().model();
    assert!(matches!(&model.pack, PackState::Failed(reason) if reason.contains("cancelled")));
    assert_eq!(model.obstacle(Command::Step), Some("The pack is not open"));
    assert!(harness.get_all_by_label_contains("no pack is open").count() >= 1);
}

#[test]
fn a_pack_on_its_way_is_not_sent_to_another_machine() {
    let script = Shared::default();
    let mut harness = started(&script);
    open_another(&script, &mut harness);
    harness.state_mut().model_mut().view.address = "workstation".to_owned();
    act(&mut harness, Action::Connect);
    harness.get_by_label_contains("A pack is being opened");
    let moves = |request: &Request| matches!(request, Request::Move(DeviceChoice::Remote(_)));
    assert!(!script.borrow().requests.iter().any(moves));
    assert!(script.borrow().cancelled.is_empty(), "it is opened still");
}

#[test]
fn the_estimate_of_memory_is_there_before_refining_and_what_was_used_after_it() {
    let script = Shared::default();
    let mut harness = open(&script, options());
    harness.get_by_label_contains("estimated 1.3 GB");
    assert!(harness.query_by_label_contains("used").is_none());
    harness.get_by_label("Start Paper airplane, environment 1").click();
    harness.run_steps(4);
    press(&mut harness, Key::N);
    harness.get_by_label_contains("estimated 1.3 GB · used 1.2 GB").hover();
    harness.run_steps(24);
    harness.get_by_label("Memory: 1.2 GB at most, about 1.3 GB had been estimated");
}

#[test]
fn clips_beside_the_line_are_let_go_with_the_engine_and_come_back() {
    let script = Shared::default();
    let mut harness = started(&script);
    press(&mut harness, Key::N);
    let (first, _) = place(&harness);
    press(&mut harness, Key::B);
    script.borrow_mut().forget_clips();
    press(&mut harness, Key::N);
    let session = harness.state().model().session.as_ref().expect("a rollout is there");
    assert!(!session.view(first).is_painted(), "nobody keeps it");
    assert_eq!(session.thumbnail(first).map(|clip| clip.len()), Some(1), "but how it ended");
    for node in session.line() {
        assert!(session.view(node).coarse.is_some(), "the line stays");
    }
    act(&mut harness, Action::GoTo(first));
    harness.run_steps(6);
    let session = harness.state().model().session.as_ref().expect("a rollout is there");
    assert!(session.view(first).coarse.is_some() && session.view(first).is_refined());
}
