//! In and out point, and the keys that play forward, backward and faster.

use std::time::Duration;

use eframe::egui::{Key, Modifiers};
use egui_kittest::Harness;
use egui_kittest::kittest::Queryable as _;
use videoworld_studio::studio::Studio;
use videoworld_studio::studio::player::Mark;

use crate::fake::Shared;
use crate::flow::{press, started, started_at};

fn at(harness: &Harness<'_, Studio>) -> i64 {
    harness.state().model().session.as_ref().expect("a rollout was begun").at()
}

fn keys(harness: &mut Harness<'_, Studio>, key: Key, times: usize) {
    for _ in 0..times {
        harness.key_press(key);
        harness.run_steps(1);
    }
}

/// Frames that are shown while so many steps pass.
fn frames_shown(harness: &mut Harness<'_, Studio>, steps: usize) -> Vec<i64> {
    (0..steps)
        .map(|_| {
            harness.run_steps(1);
            at(harness)
        })
        .collect()
}

/// One clip of 16 frames, in point 4, out point 10, on the out point.
fn marked() -> Harness<'static, Studio> {
    let mut harness = started(&Shared::default());
    press(&mut harness, Key::N);
    keys(&mut harness, Key::Home, 1);
    keys(&mut harness, Key::ArrowRight, 4);
    keys(&mut harness, Key::I, 1);
    keys(&mut harness, Key::ArrowRight, 6);
    keys(&mut harness, Key::O, 1);
    assert_eq!(harness.state().model().player.marks.range(), 4..=10);
    harness
}

#[test]
fn the_player_stays_between_the_marks() {
    let mut harness = marked();
    harness.get_by_label("In point");
    harness.get_by_label("Out point");
    harness.key_press(Key::Space);
    harness.run_steps(1);
    let forward = frames_shown(&mut harness, 80);
    assert_eq!((forward.iter().min(), forward.iter().max()), (Some(&4), Some(&10)));
    assert!(harness.state().model().player.playing, "it loops");
    assert!(forward.windows(2).filter(|pair| pair[1] < pair[0]).count() >= 3, "{forward:?}");
    keys(&mut harness, Key::J, 1);
    let backward = frames_shown(&mut harness, 80);
    assert_eq!((backward.iter().min(), backward.iter().max()), (Some(&4), Some(&10)));
    keys(&mut harness, Key::K, 1);
    let resting = frames_shown(&mut harness, 20);
    assert!(resting.iter().all(|frame| *frame == resting[0]), "{resting:?}");
    harness.key_press_modifiers(Modifiers::SHIFT, Key::I);
    harness.run_steps(2);
    assert!(!harness.state().model().player.marks.any());
    assert!(harness.query_by_label("In point").is_none());
}

#[test]
fn a_step_plays_beyond_the_marks_and_rests() {
    let mut harness = marked();
    press(&mut harness, Key::N);
    assert_eq!(at(&harness), 32, "the new clip is played to its end");
    assert!(!harness.state().model().player.playing);
}

#[test]
fn a_handle_is_dragged_to_another_frame() {
    let mut harness = marked();
    let handle = harness.get_by_label("In point").rect().center();
    let other = harness.get_by_label("Out point").rect().center();
    let by_frame = (other.x - handle.x) / 6.0;
    harness.hover_at(handle);
    harness.run_steps(1);
    harness.drag_at(handle);
    harness.run_steps(1);
    for step in 1..=3 {
        harness.hover_at(handle + eframe::egui::vec2(by_frame * step as f32, 0.0));
        harness.run_steps(1);
    }
    // What a drag asks for is done in the frame after.
    harness.run_steps(1);
    let marks = harness.state().model().player.marks;
    assert_eq!(marks.get(Mark::In), Some(7));
    // Never onto or over the other handle.
    harness.hover_at(other + eframe::egui::vec2(100.0, 0.0));
    harness.run_steps(2);
    harness.drop_at(other);
    harness.run_steps(2);
    assert_eq!(harness.state().model().player.marks.range(), 9..=10);
}

#[test]
fn forward_and_backward_double_their_speed() {
    let mut harness = started(&Shared::default());
    press(&mut harness, Key::N);
    keys(&mut harness, Key::J, 1);
    let slow = frames_shown(&mut harness, 8);
    assert_eq!(slow.first().unwrap() - slow.last().unwrap(), 4 - 1, "{slow:?}");
    keys(&mut harness, Key::J, 1);
    assert_eq!(harness.state().model().player.speed, 2.0);
    keys(&mut harness, Key::L, 1);
    let player = &harness.state().model().player;
    assert!(player.playing && !player.backward);
    assert_eq!(player.speed, 1.0, "turning round is at normal speed");
    keys(&mut harness, Key::L, 2);
    assert_eq!(harness.state().model().player.speed, 4.0);
    harness.run_steps(30);
    assert_eq!(at(&harness), 16, "it rests at the end of what is painted");
    assert!(!harness.state().model().player.playing);
    keys(&mut harness, Key::K, 1);
    assert_eq!(harness.state().model().player.speed, 1.0);
    keys(&mut harness, Key::J, 3);
    harness.run_steps(30);
    assert_eq!(at(&harness), 0, "and at the start");
    assert!(!harness.state().model().player.playing);
}

#[test]
fn a_clip_plays_at_its_own_rate_however_often_the_window_draws_itself() {
    for dt in [1.0 / 60.0, 1.0 / 16.0, 0.3] {
        let script = Shared::default();
        let mut harness = started_at(&script, dt);
        keys(&mut harness, Key::N, 1);
        harness.run_steps((4.0 / dt) as usize);
        keys(&mut harness, Key::Home, 1);
        assert_eq!(at(&harness), 0);
        keys(&mut harness, Key::L, 1);
        let before = at(&harness);
        let steps = (1.2 / dt).round();
        harness.run_steps(steps as usize);
        let wanted = steps * dt * 8.0;
        let shown = (at(&harness) - before) as f32;
        assert!((shown - wanted).abs() <= 1.0, "{shown} of {wanted} frames, {dt} s apart");
    }
}

/// How long the window waits for its next repaint by itself.
fn next_repaint(harness: &Harness<'_, Studio>) -> Duration {
    let windows = harness.output().viewport_output.values();
    windows.map(|window| window.repaint_delay).min().expect("there is a window")
}

#[test]
fn a_resting_window_asks_for_no_repaint() {
    let mut harness = started(&Shared::default());
    press(&mut harness, Key::N);
    keys(&mut harness, Key::Home, 1);
    keys(&mut harness, Key::L, 1);
    assert!(next_repaint(&harness) < Duration::from_millis(200), "it plays");
    keys(&mut harness, Key::K, 1);
    // Until messages are gone and pictures have come.
    harness.run_steps(200);
    assert_eq!(next_repaint(&harness), Duration::MAX, "{:?}", harness.ctx.repaint_causes());
}
