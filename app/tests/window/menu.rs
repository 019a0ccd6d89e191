//! The menus: what they give, and what they say of what they cannot give.

use eframe::egui::Key;
use egui_kittest::Harness;
use egui_kittest::kittest::{NodeT as _, Queryable as _};
use engine::worker::Request;
use videoworld_studio::commands::Command;
use videoworld_studio::studio::Studio;
use videoworld_studio::studio::map::MapColour;
use videoworld_studio::studio::model::Action;

use crate::fake::{Refining, Shared, options};
use crate::flow::{open, place, press, started};

#[test]
fn a_menu_runs_its_commands_and_shows_their_keys() {
    let script = Shared::default();
    let mut harness = started(&script);
    press(&mut harness, Key::N);
    let (first, _) = place(&harness);
    harness.get_by_label("Rollout").click();
    harness.run_steps(2);
    harness.get_by_label_contains("Undo move").click();
    harness.run_steps(4);
    assert_ne!(place(&harness).0, first, "the menu undid the move");
    assert!(harness.query_by_label_contains("Undo move").is_none(), "the menu closed");
}

#[test]
fn escape_closes_a_menu_and_nothing_else() {
    let script = Shared::default();
    let mut harness = started(&script);
    harness.key_press(Key::F11);
    harness.run_steps(2);
    harness.get_by_label("Rollout").click();
    harness.run_steps(2);
    harness.key_press(Key::Escape);
    harness.run_steps(2);
    assert!(harness.query_by_label_contains("Undo move").is_none(), "the menu is closed");
    assert!(harness.state().model().view.full_screen, "and the window is as it was");
    harness.key_press(Key::Escape);
    harness.run_steps(2);
    assert!(!harness.state().model().view.full_screen);
}

#[test]
fn what_cannot_be_done_is_grey_and_says_why() {
    let script = Shared::default();
    let mut harness = open(&script, options());
    harness.get_by_label("File").click();
    harness.run_steps(2);
    let save = harness.get_by_label_contains("Save session…");
    assert!(save.accesskit_node().is_disabled());
    let open_picture = harness.get_all_by_label_contains("Open picture…").last().unwrap();
    assert!(!open_picture.accesskit_node().is_disabled());
    save.hover();
    harness.run_steps(24);
    harness.get_by_label_contains("Choose a starting frame first");
}

#[test]
fn a_key_that_cannot_act_says_why() {
    let script = Shared::default();
    let mut harness = open(&script, options());
    harness.key_press(Key::B);
    harness.run_steps(2);
    harness.get_by_label_contains("Choose a starting frame first");
}

#[test]
fn presenting_shows_no_menu() {
    let script = Shared::default();
    let mut harness = started(&script);
    assert!(harness.query_by_label("Rollout").is_some());
    harness.key_press(Key::F5);
    harness.run_steps(2);
    assert!(harness.query_by_label("Rollout").is_none());
}

#[test]
fn work_is_paused_and_goes_on_at_the_users_word() {
    let script = Shared::default();
    script.borrow_mut().refining = Refining::Stuck(14);
    let mut harness = started(&script);
    press(&mut harness, Key::N);
    harness.get_by_label("Pause work").click();
    harness.run_steps(4);
    assert!(script.borrow().paused);
    harness.get_by_label("paused");
    harness.get_by_label("Resume").click();
    harness.run_steps(4);
    assert!(!script.borrow().paused);
    harness.key_press(Key::P);
    harness.run_steps(4);
    assert!(script.borrow().paused);
    press(&mut harness, Key::N);
    assert!(!script.borrow().paused, "a wish for the next clip is not left waiting");
    assert_eq!(place(&harness).1, 3);
}

#[test]
fn what_cannot_be_refined_says_what_is_in_the_way() {
    let script = Shared::default();
    let mut harness = started(&script);
    let why = |harness: &Harness<'_, Studio>| {
        harness.state().model().obstacle(Command::Refine).map(str::to_owned)
    };
    assert_eq!(why(&harness).as_deref(), Some("There is no clip to refine yet"));
    press(&mut harness, Key::N);
    assert_eq!(why(&harness).as_deref(), Some("Every clip of this branch is refined"));
    script.borrow_mut().refining = Refining::Stuck(14);
    press(&mut harness, Key::N);
    harness.get_by_label("Cancel").click();
    harness.run_steps(4);
    assert_eq!(why(&harness), None);
    script.borrow_mut().die();
    harness.run_steps(4);
    assert!(why(&harness).is_some_and(|why| why.contains("restart it")));
}

#[test]
fn a_task_that_was_not_learned_is_the_obstacle() {
    let script = Shared::default();
    let mut harness = open(&script, options());
    // The pack knows airplane and tower.
    harness.get_by_label("Start Paper boat, environment 1").click();
    harness.run_steps(4);
    harness.key_press(Key::N);
    harness.run_steps(2);
    harness.get_by_label_contains("has not learned this task; choose another one");
    harness.get_by_label_contains("has not learned it");
    let candidates = |request: &Request| matches!(request, Request::Candidates { .. });
    assert!(!script.borrow().requests.iter().any(candidates), "nor are candidates asked for");
}

#[test]
fn showing_the_whole_map_keeps_its_colours() {
    let mut harness = started(&Shared::default());
    harness.key_press(Key::M);
    harness.run_steps(2);
    let colour = harness.state().model().map.colour;
    assert_ne!(colour, MapColour::default());
    let model = harness.state_mut().model_mut();
    model.actions.extend([Action::SelectPoints(vec![1, 2]), Action::Run(Command::MapReset)]);
    harness.run_steps(3);
    let map = &harness.state().model().map;
    assert!(map.selection.is_none());
    assert_eq!(map.colour, colour);
}
