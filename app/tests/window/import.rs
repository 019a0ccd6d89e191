//! Weights imported in the window: the networks of the embedded pack lie in the release's layout.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use eframe::egui::Key;
use eframe::egui::accesskit::Role;
use egui_kittest::Harness;
use egui_kittest::kittest::{NodeT as _, Queryable as _};
use engine::import::Hub;
use engine::pack::{Pack, PackSource};
use engine::worker::Request;
use videoworld_studio::studio::Studio;
use videoworld_studio::studio::importer::{Import, ImportState};
use videoworld_studio::studio::model::Action;

use crate::fake::{Shared, options};
use crate::flow::open;
use crate::hub::{LocalHub, Manners};

pub fn weights() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../assets/pack/craft-mini")
}

fn begin(harness: &mut Harness<'_, Studio>, from: PathBuf, to: &Path) {
    let import = Action::Import { from, to: to.to_owned() };
    harness.state_mut().model_mut().actions.push(import);
    harness.run_steps(2);
}

fn wait_until_ended(harness: &mut Harness<'_, Studio>) {
    let asked = Instant::now();
    while harness.state().model().import.as_ref().is_some_and(Import::is_running) {
        assert!(asked.elapsed() < Duration::from_secs(60), "the import does not end");
        std::thread::sleep(Duration::from_millis(10));
        harness.run_steps(1);
    }
    harness.run_steps(2);
}

fn entries(folder: &Path) -> usize {
    std::fs::read_dir(folder).expect("a folder").count()
}

#[test]
fn an_import_tells_what_it_made_and_offers_to_open_it() {
    let folder = tempfile::tempdir().unwrap();
    let to = folder.path().join("mine");
    let script = Shared::default();
    let mut harness = open(&script, options());
    begin(&mut harness, weights(), &to);
    wait_until_ended(&mut harness);
    harness.get_by_label("The weights are imported");
    harness.get_by_label_contains("tensors not needed, 0 unknown");
    harness.get_by_label_contains("reference.json: not used");
    assert!(Pack::open(&to).is_ok());
    harness.get_by_label("Open the pack").click();
    harness.run_steps(3);
    let asked = |request: &Request| matches!(request, Request::OpenPack(PackSource::Folder(folder)) if *folder == to);
    assert!(script.borrow().requests.iter().any(asked));
    assert!(harness.state().model().import.is_none());
}

#[test]
fn a_cancelled_import_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut harness = open(&Shared::default(), options());
    // In one frame: the thread cannot have come to its end.
    harness
        .state_mut()
        .model_mut()
        .actions
        .push(Action::Import { from: weights(), to: folder.path().join("mine") });
    harness.state_mut().model_mut().actions.push(Action::StopImport);
    harness.run_steps(1);
    wait_until_ended(&mut harness);
    harness.get_by_label_contains("The import was stopped");
    assert_eq!(entries(folder.path()), 0);
}

#[test]
fn a_running_import_has_its_button_and_is_the_only_one() {
    let mut harness = open(&Shared::default(), options());
    let state = ImportState::Running { progress: None, stopping: false };
    harness.state_mut().model_mut().import = Some(Import { to: "mine".into(), state });
    harness.run_steps(2);
    harness.get_by_label("Importing weights");
    harness.get_by_label("File").click();
    harness.run_steps(2);
    let again = harness.get_by_label_contains("Import weights…");
    assert!(again.accesskit_node().is_disabled(), "one at a time");
    harness.key_press(Key::Escape);
    harness.run_steps(2);
    harness.get_by_label("Cancel the import").click();
    harness.run_steps(3);
    harness.get_by_label("Stopping and removing what was written");
    assert!(harness.get_by_label("Cancel the import").accesskit_node().is_disabled());
}

#[test]
fn closing_the_window_stops_an_import() {
    let folder = tempfile::tempdir().unwrap();
    let mut harness = open(&Shared::default(), options());
    let import = Action::Import { from: weights(), to: folder.path().join("mine") };
    harness.state_mut().model_mut().actions.push(import);
    harness.run_steps(1);
    drop(harness);
    assert_eq!(entries(folder.path()), 0, "dropping the window waits for the thread");
}

#[test]
fn an_import_that_fails_says_why_in_one_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let mut harness = open(&Shared::default(), options());
    let empty = folder.path().join("empty");
    std::fs::create_dir(&empty).unwrap();
    begin(&mut harness, empty, &folder.path().join("mine"));
    wait_until_ended(&mut harness);
    harness.get_by_label_contains("it holds no files at all");
    assert!(harness.state().model().import.is_none());
    begin(&mut harness, weights(), folder.path());
    wait_until_ended(&mut harness);
    harness.get_by_label_contains("is taken; choose another folder");
    assert_eq!(entries(folder.path()), 1);
}

/// A window that asks whether it may fetch from a hub.
fn asking(hub: &LocalHub, folder: &Path) -> Harness<'static, Studio> {
    let mut harness = open(&Shared::default(), options());
    let from = folder.join("downloads");
    // The release's networks are larger than those the hub has.
    std::fs::create_dir(&from).expect("a folder");
    std::fs::copy(weights().join("manifest.json"), from.join("manifest.json")).expect("copied");
    let hub = Hub::new(Some(&hub.endpoint())).expect("an address");
    let state = ImportState::Asking { from, hub };
    harness.state_mut().model_mut().import = Some(Import { to: folder.join("mine"), state });
    harness.run_steps(2);
    harness
}

#[test]
fn nothing_is_fetched_before_a_yes() {
    let folder = tempfile::tempdir().unwrap();
    let hub = LocalHub::of_pack(&weights());
    let mut harness = asking(&hub, folder.path());
    harness.get_by_label("Fetch the published weights?");
    let source = hub.endpoint();
    harness.get_by_label_contains(&format!("5.0 GB to 10.0 GB, estimated, from {source} into"));
    harness.get_by_label("Do not fetch").click();
    harness.run_steps(3);
    assert!(harness.state().model().import.is_none());
    assert!(hub.asked().is_empty());
    let place = Action::AskToFetch { from: folder.path().join("a"), to: folder.path().join("b") };
    harness.state_mut().model_mut().actions.push(place);
    harness.run_steps(3);
    harness.get_by_label("Fetch the published weights?");
    assert!(!folder.path().join("a").exists(), "asking alone does nothing");
}

#[test]
fn a_fetch_in_the_window_ends_with_a_pack() {
    let folder = tempfile::tempdir().unwrap();
    let hub = LocalHub::of_pack(&weights());
    let mut harness = asking(&hub, folder.path());
    harness.get_by_label("Fetch the weights").click();
    harness.run_steps(2);
    assert!(harness.state().model().import.is_some());
    wait_until_ended(&mut harness);
    harness.get_by_label("The weights are imported");
    assert!(Pack::open(&folder.path().join("mine")).is_ok());
    assert_eq!(hub.ranges("Wan2.1_VAE.pth"), ["bytes=0-"]);
}

#[test]
fn a_fetch_stopped_in_the_window_keeps_what_came() {
    let folder = tempfile::tempdir().unwrap();
    let hub = LocalHub::of_pack(&weights());
    hub.behave(Manners { falls_silent: Some(70_000), ..Manners::default() });
    let mut harness = asking(&hub, folder.path());
    harness.get_by_label("Fetch the weights").click();
    let part = folder.path().join("downloads/.VideoWorld2_dLDM_VAE.pt.part");
    let begun = Instant::now();
    while std::fs::metadata(&part).map_or(0, |part| part.len()) < 70_000 {
        assert!(begun.elapsed() < Duration::from_secs(60), "nothing comes");
        std::thread::sleep(Duration::from_millis(10));
        harness.run_steps(1);
    }
    harness.run_steps(2);
    harness.get_by_label("Fetching the published weights");
    harness.get_by_role_and_label(Role::ProgressIndicator, "Fetching VideoWorld2_dLDM_VAE.pt");
    harness.get_by_label("Cancel the import").click();
    let asked = Instant::now();
    wait_until_ended(&mut harness);
    assert!(asked.elapsed() < Duration::from_secs(10), "a silent hub holds nothing up");
    harness.get_by_label_contains("The fetch was stopped; the next one goes on there");
    assert_eq!(std::fs::metadata(&part).unwrap().len(), 70_000);
    assert!(!folder.path().join("mine").exists());
}
