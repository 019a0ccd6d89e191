//! Another machine's device, from the menu to the badge and back.

use std::sync::Arc;

use eframe::egui::{Event as Input, Key};
use egui_kittest::Harness;
use egui_kittest::kittest::Queryable as _;
use engine::gpu::DeviceChoice;
use engine::pack::PackSource;
use engine::worker::{Event, JobId, PackSummary, Request};
use videoworld_studio::commands::Command;
use videoworld_studio::studio::Studio;
use videoworld_studio::studio::model::{Action, Overlay};

use crate::fake::{Shared, options, pack};
use crate::flow::{open, place, press, started};

const ELSEWHERE: &str = "another machine, ws://workstation:7431";

fn elsewhere() -> PackSummary {
    PackSummary { device: ELSEWHERE.to_owned(), elsewhere: true, ..pack() }
}

fn fill(harness: &mut Harness<'_, Studio>, label: &str, text: &str) {
    harness.get_by_label(label).focus();
    harness.run_steps(1);
    harness.event(Input::Text(text.to_owned()));
    harness.run_steps(1);
}

fn asked_to_move(script: &Shared) -> Option<DeviceChoice> {
    script.borrow().requests.iter().rev().find_map(|request| match request {
        Request::Move(device) => Some(*device),
        _ => None,
    })
}

#[test]
fn the_dialog_connects_and_the_badge_says_where_and_the_menu_brings_it_home() {
    let script = Shared::default();
    let mut harness = started(&script);
    press(&mut harness, Key::N);
    let before = place(&harness);
    script.borrow_mut().pack = elsewhere();
    harness.state_mut().model_mut().view.overlay = Overlay::Remote;
    harness.run_steps(2);
    fill(&mut harness, "Address", "workstation");
    fill(&mut harness, "Token, kept until the window is closed", "secret");
    harness.get_by_label("Connect").click();
    harness.run_steps(4);
    let Some(DeviceChoice::Remote(remote)) = asked_to_move(&script) else {
        panic!("{:?}", script.borrow().requests);
    };
    assert_eq!(remote.to_string(), "ws://workstation:7431");
    assert_eq!(remote.token().as_deref(), Some("secret"));
    let model = harness.state().model();
    assert_eq!(model.view.overlay, Overlay::None);
    assert_eq!(model.settings.remote, "ws://workstation:7431");
    assert!(!serde_json::to_string(&model.settings).unwrap().contains("secret"));
    assert!(model.is_elsewhere());
    harness.get_by_label_contains("another machine");
    assert_eq!(place(&harness), before, "the rollout stays where it was");

    script.borrow_mut().pack = pack();
    harness.state_mut().model_mut().actions.push(Action::Run(Command::ComputeHere));
    harness.run_steps(4);
    assert_eq!(asked_to_move(&script), Some(DeviceChoice::Cpu));
    assert!(!harness.state().model().is_elsewhere());
    assert_eq!(place(&harness), before);
}

#[test]
fn what_is_no_address_is_said_and_nothing_is_asked() {
    let script = Shared::default();
    let mut harness = open(&script, options());
    harness.state_mut().model_mut().view.overlay = Overlay::Remote;
    harness.run_steps(2);
    fill(&mut harness, "Address", "wss://workstation");
    harness.key_press(Key::Enter);
    harness.run_steps(3);
    harness.get_by_label_contains("'wss://workstation' is no address");
    assert_eq!(harness.state().model().view.overlay, Overlay::Remote, "it can be mended");
    assert_eq!(asked_to_move(&script), None);
}

#[test]
fn a_lost_connection_is_said_and_the_rollout_goes_on() {
    let script = Shared::default();
    script.borrow_mut().pack = elsewhere();
    let mut harness = started(&script);
    press(&mut harness, Key::N);
    let before = place(&harness);
    script.borrow_mut().mute_predictions = true;
    press(&mut harness, Key::N);
    let job = JobId(script.borrow().requests.len() as u64);
    let reason = "the connection to ws://workstation:7431 was lost".to_owned();
    let (home, source) = (Arc::new(pack()), PackSource::Embedded);
    script.borrow_mut().mute_predictions = false;
    script
        .borrow_mut()
        .events
        .extend([Event::PackOpened { job, pack: home, source }, Event::Failed { job, reason }]);
    harness.run_steps(4);
    harness.get_by_label_contains("the connection to ws://workstation:7431 was lost");
    assert!(!harness.state().model().is_elsewhere());
    assert!(!harness.state().model().engine_dead);
    assert_eq!(place(&harness), before);
    press(&mut harness, Key::N);
    assert_eq!(place(&harness).1, before.1 + 1, "the next step is taken here");
}

#[cfg(not(feature = "remote"))]
#[test]
fn a_build_without_it_says_how_to_get_it() {
    let script = Shared::default();
    let mut harness = open(&script, options());
    harness.state_mut().model_mut().actions.push(Action::Run(Command::ConnectRemote));
    harness.run_steps(3);
    harness.get_by_label_contains("--features remote");
    assert_eq!(harness.state().model().view.overlay, Overlay::None);
}
