//! Drawing a line around points of the map.

use std::time::Duration;

use eframe::egui::{Event, Key, Modifiers, Pos2};
use egui_kittest::Harness;
use egui_kittest::kittest::Queryable as _;
use videoworld_studio::studio::Studio;
use videoworld_studio::widgets::scatter::Camera;

use crate::fake::Shared;
use crate::flow::{press, started};

/// Drags along corners of the map, as far as they are apart.
fn drag(harness: &mut Harness<'_, Studio>, modifiers: Modifiers, corners: &[[f32; 2]]) {
    let plot = harness.get_by_label_contains("Code map of").rect();
    let map = &harness.state().model().map;
    let positions: Vec<[f32; 2]> = map.map.points.iter().map(|point| point.at).collect();
    let camera = map.camera.unwrap_or_else(|| Camera::fit(&positions, plot.size()));
    let line: Vec<Pos2> = corners.iter().map(|at| camera.screen(plot, *at)).collect();
    harness.event(Event::ModifiersChanged(modifiers));
    harness.hover_at(line[0]);
    harness.run_steps(1);
    harness.drag_at(line[0]);
    for pair in line.windows(2) {
        for step in 1..=8 {
            harness.hover_at(pair[0] + (pair[1] - pair[0]) * (step as f32 / 8.0));
            harness.run_steps(1);
        }
    }
    harness.drop_at(line[line.len() - 1]);
    harness.run_steps(3);
    harness.event(Event::ModifiersChanged(Modifiers::NONE));
    harness.run_steps(1);
}

/// Around the first cluster, whose middle is (6, 0).
const FIRST: [[f32; 2]; 4] = [[4.2, -1.6], [7.8, -1.6], [7.8, 1.6], [4.2, 1.6]];

#[test]
fn a_line_drawn_with_shift_selects_what_it_encloses() {
    let script = Shared::default();
    let mut harness = started(&script);
    press(&mut harness, Key::N);
    drag(&mut harness, Modifiers::SHIFT, &FIRST);
    let map = &harness.state().model().map;
    assert!(map.camera.is_none(), "the map did not move");
    let selection = map.selection.clone().expect("points were enclosed");
    assert_eq!(selection.points, (0..160).collect::<Vec<_>>());
    assert_eq!(selection.actions, [(0, 160)]);
    assert_eq!(selection.environments.len(), 5);
    harness.get_by_label("fold left: 160 steps, 100 %");
    harness.get_by_label("environment 3: 32 steps, 20 %");

    // A click plays the clip where it stands.
    harness.get_by_label_contains("environment 3, 32 selected steps").click();
    for _ in 0..30 {
        harness.run_steps(1);
        std::thread::sleep(Duration::from_millis(5));
    }
    let map = &harness.state().model().map;
    let selected = map.selected.expect("the clip's step is selected");
    assert_eq!(map.map.points[selected].clip.seed, 3);
    assert!(map.playing_since.is_some(), "it plays");
    assert!(map.selection.is_some(), "and the selection stays");

    harness.get_by_label("End the selection").click();
    harness.run_steps(3);
    assert!(harness.state().model().map.selection.is_none());
    assert!(harness.query_by_label_contains("fold left: ").is_none());
}

#[test]
fn a_drag_without_shift_moves_the_map() {
    let script = Shared::default();
    let mut harness = started(&script);
    press(&mut harness, Key::N);
    drag(&mut harness, Modifiers::NONE, &FIRST);
    let map = &harness.state().model().map;
    assert!(map.camera.is_some() && map.selection.is_none());
}
