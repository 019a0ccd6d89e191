//! The dialog for temperature, steps and guidance.

use eframe::egui::Key;
use egui_kittest::kittest::Queryable as _;
use engine::rollout::Sampling;
use engine::worker::Request;
use videoworld_studio::commands::Command;
use videoworld_studio::studio::model::{Action, Overlay};

use crate::fake::{Shared, pack};
use crate::flow::{place, press, started};

/// Steps that the last clip was asked to be refined in.
fn steps_asked_for(script: &Shared) -> Option<usize> {
    script.borrow().requests.iter().rev().find_map(|request| match request {
        Request::Refine { sampling, .. } => Some(sampling.refine_steps),
        _ => None,
    })
}

#[test]
fn other_steps_refine_the_rollout_again_and_hold_for_the_next_one() {
    let script = Shared::default();
    let mut harness = started(&script);
    press(&mut harness, Key::N);
    let (clip, _) = place(&harness);
    let own = pack().sampling;
    assert_eq!(steps_asked_for(&script), Some(own.refine_steps));
    let refined = |harness: &egui_kittest::Harness<'_, videoworld_studio::studio::Studio>| {
        let session = harness.state().model().session.as_ref().expect("a rollout");
        session.view(clip).is_refined()
    };
    assert!(refined(&harness));

    let model = harness.state_mut().model_mut();
    model.actions.push(Action::Run(Command::Sampling));
    harness.run_steps(2);
    harness.get_by_label("Temperature");
    harness.get_by_label("Guidance");
    let edited = &mut harness.state_mut().model_mut().view.sampling;
    edited.as_mut().expect("the dialog is open").refine_steps += 3;
    harness.run_steps(1);
    harness.get_by_label("Apply").click();
    harness.run_steps(50);
    assert_eq!(harness.state().model().view.overlay, Overlay::None);
    assert!(refined(&harness));
    assert_eq!(steps_asked_for(&script), Some(own.refine_steps + 3));

    let model = harness.state_mut().model_mut();
    model.actions.push(Action::Start(1));
    harness.run_steps(4);
    let session = harness.state().model().session.as_ref().expect("a rollout");
    let wanted = Sampling { refine_steps: own.refine_steps + 3, ..own };
    assert_eq!(session.sampling(), &wanted, "the next rollout is refined so as well");
}
