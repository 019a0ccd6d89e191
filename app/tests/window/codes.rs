//! Recorded codes in place of a policy: from the pack, and from files.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use eframe::egui::Key;
use egui_kittest::Harness;
use egui_kittest::kittest::{NodeT as _, Queryable as _};
use engine::rollout::{NodeId, Origin, Rollout};
use engine::worker::Request;
use videoworld_studio::studio::model::Action;
use videoworld_studio::studio::{Studio, StudioOptions};

use crate::fake::{Shared, options, pack_with_codes};
use crate::flow::{open, place, press, started};

const NO_CODES: &str = "This pack has no policy: choose recorded codes";

/// A window with a pack that has no policy, and a rollout begun.
pub fn without_policy() -> (Shared, Harness<'static, Studio>) {
    let script = Shared::default();
    script.borrow_mut().pack = pack_with_codes();
    let harness = started(&script);
    (script, harness)
}

/// Chooses codes of the pack in the panel.
fn choose(harness: &mut Harness<'_, Studio>, label: &str) {
    harness.get_by_label("Codes to play").click();
    harness.run_steps(3);
    harness.get_by_label(label).click();
    harness.run_steps(4);
}

fn origins(harness: &Harness<'_, Studio>) -> Vec<Origin> {
    let session = harness.state().model().session.as_ref().expect("a rollout was begun");
    session.line().iter().map(|node| session.rollout.node(*node).origin.clone()).collect()
}

fn codes_of(harness: &Harness<'_, Studio>, node: NodeId) -> Vec<u16> {
    let session = harness.state().model().session.as_ref().expect("a rollout was begun");
    session.rollout.node(node).choice.codes.clone()
}

fn predicted(script: &Shared) -> bool {
    let asks =
        |request: &Request| matches!(request, Request::Extend { .. } | Request::Candidates { .. });
    script.borrow().requests.iter().any(asks)
}

/// A file as `encode` writes it.
fn write_codes(path: &Path, levels: [usize; 4], clips: &[Vec<u16>]) {
    let clips: Vec<_> = clips.iter().map(|codes| serde_json::json!({ "codes": codes })).collect();
    let file = serde_json::json!({ "format": 1, "levels": levels, "clips": clips });
    std::fs::write(path, file.to_string()).expect("written");
}

fn wait_for(harness: &mut Harness<'_, Studio>, what: impl Fn(&Studio) -> bool) {
    let asked = Instant::now();
    while !what(harness.state()) {
        assert!(asked.elapsed() < Duration::from_secs(10), "nothing came");
        std::thread::sleep(Duration::from_millis(10));
        harness.run_steps(1);
    }
    harness.run_steps(2);
}

fn with_file(path: PathBuf) -> StudioOptions {
    StudioOptions { frame: Some(path), ..options() }
}

#[test]
fn without_policy_and_codes_step_and_play_say_what_to_do() {
    let (script, mut harness) = without_policy();
    harness.get_by_label("This pack has no policy");
    for key in [Key::N, Key::Space, Key::B] {
        harness.key_press(key);
        harness.run_steps(3);
        harness.get_by_label_contains(NO_CODES);
        let toasts = &mut harness.state_mut().model_mut().toasts;
        let shown: Vec<u64> = toasts.iter().map(|toast| toast.id).collect();
        shown.into_iter().for_each(|id| toasts.dismiss(id));
    }
    assert_eq!(place(&harness), (Rollout::ROOT, 1));
    assert!(!predicted(&script), "nobody is asked who is not there");
}

#[test]
fn codes_of_the_pack_are_stepped_through_and_say_where_they_came_from() {
    let (script, mut harness) = without_policy();
    choose(&mut harness, "airplane_03 · 3 clips");
    harness.get_by_label("Step plays clip 1 of 3");
    press(&mut harness, Key::N);
    let (first, count) = place(&harness);
    assert_eq!(count, 2);
    let wanted = pack_with_codes().recorded.unwrap().rollouts["airplane_03"].clone();
    assert_eq!(codes_of(&harness, first), wanted[0]);
    harness.get_by_label("Go to step 1, airplane_03 in predicted.pt");
    let label = format!("Code {} at step 1, query 1", wanted[0][0]);
    assert!(harness.query_by_label(&label).is_some(), "no probability is made up");
    press(&mut harness, Key::N);
    press(&mut harness, Key::N);
    assert_eq!(place(&harness).1, 4);
    assert_eq!(codes_of(&harness, place(&harness).0), wanted[2]);
    harness.get_by_label("These codes are at their end");
    press(&mut harness, Key::N);
    harness.get_by_label_contains("These codes are at their end; go back");
    assert_eq!(place(&harness).1, 4);
    assert!(!predicted(&script));
    let session = harness.state().model().session.as_ref().unwrap();
    assert!(session.view(session.current()).is_refined(), "they are refined like others");
}

#[test]
fn play_runs_to_the_end_of_the_codes_one_clip_at_a_time() {
    let (_, mut harness) = without_policy();
    choose(&mut harness, "airplane_03 · 3 clips");
    harness.key_press(Key::Space);
    harness.run_steps(200);
    let model = harness.state().model();
    let session = model.session.as_ref().unwrap();
    assert_eq!((session.line().len(), session.rollout.nodes().len()), (3, 4));
    assert!(session.is_complete(session.current()) && !model.player.playing);
    let source = "airplane_03 in predicted.pt".to_owned();
    assert_eq!(origins(&harness), vec![Origin::Recorded { source }; 3]);
}

#[test]
fn back_branch_and_other_codes_grow_the_tree() {
    let (_, mut harness) = without_policy();
    choose(&mut harness, "airplane_03 · 3 clips");
    press(&mut harness, Key::N);
    let (first, _) = place(&harness);
    press(&mut harness, Key::B);
    let (twin, count) = place(&harness);
    assert_eq!(count, 3);
    assert_eq!(codes_of(&harness, first), codes_of(&harness, twin), "other noise, the same codes");
    press(&mut harness, Key::Backspace);
    assert_eq!(place(&harness).0, Rollout::ROOT);
    choose(&mut harness, "tower_11 · 2 clips");
    press(&mut harness, Key::N);
    let (tower, count) = place(&harness);
    assert_eq!(count, 4);
    assert_ne!(codes_of(&harness, tower), codes_of(&harness, first));
    press(&mut harness, Key::Backspace);
    choose(&mut harness, "airplane_03 · 3 clips");
    press(&mut harness, Key::N);
    assert_eq!(place(&harness), (twin, 4), "the clip that is there is shown, not made again");
    // The same codes elsewhere: they are kept for the next starting frame.
    harness.state_mut().model_mut().actions.push(Action::Start(1));
    harness.run_steps(3);
    press(&mut harness, Key::N);
    assert_eq!(codes_of(&harness, place(&harness).0), codes_of(&harness, first));
}

#[test]
fn with_a_policy_one_can_go_there_and_back() {
    let script = Shared::default();
    script.borrow_mut().pack.recorded = pack_with_codes().recorded;
    let mut harness = started(&script);
    press(&mut harness, Key::N);
    choose(&mut harness, "tower_11 · 2 clips");
    assert!(harness.query_by_label_contains("Candidate 1").is_none());
    harness.key_press(Key::Num1);
    harness.run_steps(2);
    harness.get_by_label_contains("Recorded codes have no candidates");
    press(&mut harness, Key::N);
    let recorded = Origin::Recorded { source: "tower_11 in predicted.pt".to_owned() };
    assert_eq!(origins(&harness), [Origin::Policy, recorded.clone()]);
    press(&mut harness, Key::Backspace);
    choose(&mut harness, "Policy's codes");
    press(&mut harness, Key::N);
    assert_eq!(origins(&harness), [Origin::Policy, Origin::Policy]);
    press(&mut harness, Key::Backspace);
    harness.get_by_label_contains("Candidate 1");
    choose(&mut harness, "tower_11 · 2 clips");
    press(&mut harness, Key::N);
    assert_eq!(origins(&harness), [Origin::Policy, recorded]);
    assert_eq!(place(&harness).1, 4);
}

#[test]
fn the_menu_holds_the_codes_of_the_pack() {
    let (_, mut harness) = without_policy();
    harness.get_by_label("Rollout").click();
    harness.run_steps(2);
    harness.get_by_label("Codes").click();
    harness.run_steps(4);
    assert!(harness.get_by_label_contains("Policy's codes").accesskit_node().is_disabled());
    harness.get_by_label("tower_11").click();
    harness.run_steps(4);
    harness.get_by_label("Step plays clip 1 of 2");
}

#[test]
fn a_file_named_on_the_command_line_is_played_from_the_next_frame() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mine.json");
    let clips = [vec![5; 16], vec![6; 16]];
    write_codes(&path, [8, 5, 5, 5], &clips);
    let script = Shared::default();
    let mut harness = open(&script, with_file(path));
    wait_for(&mut harness, |studio| studio.model().codes.is_some());
    harness.get_by_label_contains("Choose a starting frame to play the codes of mine.json");
    harness.get_by_label("Start Paper airplane, environment 1").click();
    harness.run_steps(4);
    press(&mut harness, Key::N);
    assert_eq!(codes_of(&harness, place(&harness).0), clips[0]);
    harness.get_by_label("Go to step 1, mine.json");
    assert!(!predicted(&script), "the policy is not asked while codes are played");
}

#[test]
fn files_that_are_no_codes_of_the_pack_are_refused_in_one_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("c.json");
    let refused = |said: &str| {
        let mut harness = open(&Shared::default(), with_file(path.clone()));
        wait_for(&mut harness, |studio| !studio.model().toasts.is_empty());
        harness.get_by_label_contains(said);
        assert!(harness.state().model().codes.is_none());
    };
    write_codes(&path, [7, 5, 5, 5], &[vec![5; 16]]);
    refused("digits of other levels");
    write_codes(&path, [8, 5, 5, 5], &[vec![5; 16], vec![5; 2]]);
    refused("clip 2 in c.json has 2 codes, this pack has 16 a clip");
    write_codes(&path, [8, 5, 5, 5], &[vec![1000; 16]]);
    refused("outside this pack's vocabulary of 1000");
    std::fs::write(&path, "{}").unwrap();
    refused("nor is it a file of codes");
}
