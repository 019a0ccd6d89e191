//! Rollouts that are kept while they grow, and taken up again.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use eframe::App as _;
use eframe::egui::Key;
use egui_kittest::Harness;
use egui_kittest::kittest::Queryable as _;
use engine::pack::Scale;
use engine::rollout::{ClipChoice, Sampling, Session as SavedSession};
use videoworld_studio::studio::model::Action;
use videoworld_studio::studio::{Studio, StudioOptions};

use crate::fake::{Shared, options};
use crate::flow::{open, press};

pub fn keeping_in(folder: &Path) -> StudioOptions {
    StudioOptions { sessions: Some(folder.to_owned()), ..options() }
}

pub fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten();
    let mut files: Vec<PathBuf> = entries
        .map(|entry| entry.expect("the folder can be read").path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "json"))
        .collect();
    files.sort();
    files
}

/// Clips of the rollout in a file.
fn clips_in(path: &Path) -> usize {
    let saved = SavedSession::load(path).expect("what is kept is whole");
    saved.rollout.nodes().len() - 1
}

/// Waits until so many rollouts lie in the folder, the last written one with so many clips.
fn wait_for(folder: &Path, count: usize, clips: usize) {
    let asked = Instant::now();
    loop {
        let found = files(folder);
        let sizes: Vec<usize> = found.iter().map(|path| clips_in(path)).collect();
        if sizes.len() == count && sizes.contains(&clips) {
            return;
        }
        assert!(asked.elapsed() < Duration::from_secs(10), "{sizes:?} in {found:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

pub fn start(harness: &mut Harness<'_, Studio>) {
    harness.get_by_label("Start Paper airplane, environment 1").click();
    harness.run_steps(4);
}

/// Lets the news of the thread arrive.
pub fn wait_for_offer(harness: &mut Harness<'_, Studio>) {
    let asked = Instant::now();
    while harness.state().model().last_session.is_none() {
        assert!(asked.elapsed() < Duration::from_secs(10), "nothing is offered");
        std::thread::sleep(Duration::from_millis(10));
        harness.run_steps(1);
    }
    harness.run_steps(1);
}

fn choices(harness: &Harness<'_, Studio>) -> Vec<ClipChoice> {
    let session = harness.state().model().session.as_ref().expect("a rollout is on the stage");
    session.rollout.nodes().iter().map(|node| node.choice.clone()).collect()
}

#[test]
fn a_rollout_survives_a_crash_and_is_offered() {
    let folder = tempfile::tempdir().unwrap();
    let script = Shared::default();
    let mut harness = open(&script, keeping_in(folder.path()));
    assert!(harness.state().model().last_session.is_none());
    start(&mut harness);
    harness.run_steps(40);
    assert!(files(folder.path()).is_empty(), "a starting frame alone is not kept");
    press(&mut harness, Key::N);
    press(&mut harness, Key::N);
    // Written while the window goes on: a crash comes without a word.
    wait_for(folder.path(), 1, 2);
    let before = choices(&harness);
    let stage = harness.state().model().session.as_ref().unwrap().current();

    let mut next = open(&Shared::default(), keeping_in(folder.path()));
    wait_for_offer(&mut next);
    assert!(next.state().model().session.is_none(), "nothing is opened unasked");
    next.get_by_label("Last time: paper airplane, unseen environment 1, 2 clips");
    next.get_by_label("Restore last session").click();
    next.run_steps(6);
    assert_eq!(choices(&next), before);
    let session = next.state().model().session.as_ref().unwrap();
    assert_eq!(session.current(), stage);
    assert!(session.view(stage).coarse.is_some(), "its clips are painted again");
    assert!(next.state().model().last_session.is_none(), "it is taken up");
    // It goes on in the same file.
    press(&mut next, Key::N);
    wait_for(folder.path(), 1, 3);
}

#[test]
fn leaving_a_rollout_at_once_keeps_it() {
    let folder = tempfile::tempdir().unwrap();
    let script = Shared::default();
    let mut harness = open(&script, keeping_in(folder.path()));
    start(&mut harness);
    harness.key_press(Key::N);
    harness.run_steps(3);
    // Another one before the change was written, and the window's end right after its first clip.
    harness.key_press(Key::G);
    harness.run_steps(2);
    harness.get_by_label("Start Block tower, environment 1").click();
    harness.run_steps(3);
    harness.key_press(Key::N);
    harness.run_steps(3);
    harness.state_mut().on_exit();
    let tasks: Vec<&str> = files(folder.path())
        .iter()
        .map(|path| SavedSession::load(path).unwrap().rollout.task.label())
        .collect();
    assert_eq!(tasks, ["Block tower", "Paper airplane"], "each in a file of its own");
}

#[test]
fn a_session_of_another_pack_is_refused_and_stays() {
    let folder = tempfile::tempdir().unwrap();
    let mut harness = open(&Shared::default(), keeping_in(folder.path()));
    start(&mut harness);
    press(&mut harness, Key::N);
    wait_for(folder.path(), 1, 1);
    let path = files(folder.path()).remove(0);
    let mut saved = SavedSession::load(&path).unwrap();
    saved.pack_id = "00ff".to_owned();
    saved.pack = "another pack".to_owned();
    saved.save(&path).unwrap();
    let mut next = open(&Shared::default(), keeping_in(folder.path()));
    wait_for_offer(&mut next);
    next.get_by_label("Restore last session").click();
    next.run_steps(4);
    assert!(next.state().model().session.is_none());
    next.get_by_label_contains("made with another pack, another pack");
    assert!(next.state().model().last_session.is_some() && path.is_file());
}

#[test]
fn a_session_named_on_the_command_line_is_opened() {
    let folder = tempfile::tempdir().unwrap();
    let mut harness = open(&Shared::default(), keeping_in(folder.path()));
    start(&mut harness);
    press(&mut harness, Key::N);
    wait_for(folder.path(), 1, 1);
    let named = folder.path().join("mine.session.json");
    std::fs::rename(files(folder.path()).remove(0), &named).unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let named = StudioOptions { frame: Some(named), ..keeping_in(elsewhere.path()) };
    let mut next = open(&Shared::default(), named);
    let asked = Instant::now();
    while next.state().model().session.is_none() {
        assert!(asked.elapsed() < Duration::from_secs(10), "the session was not opened");
        next.run_steps(1);
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(choices(&next), choices(&harness));
}

fn sampling(harness: &Harness<'_, Studio>) -> Sampling {
    harness.state().model().session.as_ref().expect("a rollout is there").sampling().clone()
}

fn restore(folder: &Path, scale: Scale) -> Harness<'static, Studio> {
    let script = Shared::default();
    script.borrow_mut().pack.sampling.scale = scale;
    let mut harness = open(&script, keeping_in(folder));
    wait_for_offer(&mut harness);
    harness.get_by_label("Restore last session").click();
    harness.run_steps(4);
    harness
}

#[test]
fn a_rollout_comes_back_with_the_sampling_it_was_made_with() {
    let folder = tempfile::tempdir().unwrap();
    let mut harness = open(&Shared::default(), keeping_in(folder.path()));
    start(&mut harness);
    press(&mut harness, Key::N);
    wait_for(folder.path(), 1, 1);
    let path = files(folder.path()).remove(0);
    let set = Sampling { temperature: 0.3, ..sampling(&harness) };
    harness.state_mut().model_mut().actions.push(Action::SetSampling(set));
    // Nothing else of the rollout changes.
    let asked = Instant::now();
    while SavedSession::load(&path).unwrap().sampling.temperature != 0.3 {
        assert!(asked.elapsed() < Duration::from_secs(10), "it is not written");
        harness.run_steps(20);
    }
    // Its keeper would write into the same file.
    drop(harness);
    let half: Scale = "0.5".parse().unwrap();
    let mut saved = SavedSession::load(&path).unwrap();
    saved.sampling =
        Sampling { temperature: 0.3, seed: 11, refine_steps: 12, guidance: 2.5, scale: half };
    saved.save(&path).unwrap();
    let mut next = restore(folder.path(), Scale::default());
    assert_eq!(sampling(&next), saved.sampling);
    next.state_mut().model_mut().actions.push(Action::Start(1));
    next.run_steps(4);
    assert_eq!(sampling(&next).scale, Scale::default(), "others are not as small");
    drop(next);

    saved.sampling.scale = Scale::default();
    saved.save(&path).unwrap();
    let next = restore(folder.path(), half);
    assert_eq!(sampling(&next).scale, half, "memory was counted for no more");
    next.get_by_label_contains("refined at scale 1; here it goes on at 0.5");
}
