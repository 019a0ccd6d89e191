//! While a dialog is open the keys are its own.

use eframe::egui::{Key, Modifiers};
use egui_kittest::Harness;
use egui_kittest::kittest::Queryable as _;
use engine::worker::Request;
use videoworld_studio::commands::Command;
use videoworld_studio::studio::Studio;
use videoworld_studio::studio::model::{Action, Overlay};

use crate::fake::{Refining, Shared};
use crate::flow::{place, press, started};

fn show(harness: &mut Harness<'_, Studio>, command: Command) {
    harness.state_mut().model_mut().actions.push(Action::Run(command));
    harness.run_steps(3);
}

fn key(harness: &mut Harness<'_, Studio>, key: Key) {
    harness.key_press(key);
    harness.run_steps(3);
}

#[test]
fn keys_mean_nothing_behind_a_dialog() {
    let script = Shared::default();
    script.borrow_mut().refining = Refining::Stuck(14);
    let mut harness = started(&script);
    press(&mut harness, Key::N);
    harness.get_by_label("Cancel").click();
    harness.run_steps(4);
    let at = |harness: &Harness<'_, Studio>| harness.state().model().session.as_ref().unwrap().at();
    for command in [Command::Sampling, Command::Keys, Command::OpenGallery] {
        show(&mut harness, command);
        let overlay = harness.state().model().view.overlay;
        assert_ne!(overlay, Overlay::None, "{command:?}");
        let (before, asked) = ((place(&harness), at(&harness)), script.borrow().requests.len());
        for other in [Key::Space, Key::N, Key::ArrowLeft, Key::Home, Key::Backspace, Key::F5] {
            key(&mut harness, other);
            assert_eq!((place(&harness), at(&harness)), before, "{other:?} over {overlay:?}");
        }
        harness.key_press_modifiers(Modifiers::COMMAND, Key::Enter);
        harness.run_steps(3);
        let model = harness.state().model();
        assert!(!model.player.playing && !model.view.presenting);
        assert_eq!(script.borrow().requests.len(), asked, "nothing is asked for");
        assert_eq!(model.view.overlay, overlay, "and it stays open");
        key(&mut harness, Key::Escape);
        assert_eq!(harness.state().model().view.overlay, Overlay::None);
    }
    key(&mut harness, Key::Home);
    assert_eq!(at(&harness), 0, "then they mean what they meant");
}

#[test]
fn the_key_that_opens_a_dialog_closes_it() {
    let mut harness = started(&Shared::default());
    let keys = [
        (Modifiers::NONE, Key::F1, Overlay::Keys),
        (Modifiers::COMMAND, Key::P, Overlay::Palette),
        (Modifiers::NONE, Key::G, Overlay::Gallery),
    ];
    for (modifiers, key, overlay) in keys {
        for wanted in [overlay, Overlay::None] {
            harness.key_press_modifiers(modifiers, key);
            harness.run_steps(3);
            assert_eq!(harness.state().model().view.overlay, wanted);
        }
    }
}

#[test]
fn escape_closes_the_topmost_dialog_and_nothing_behind_it() {
    let mut harness = started(&Shared::default());
    key(&mut harness, Key::F11);
    show(&mut harness, Command::Keys);
    show(&mut harness, Command::VerifyDevice);
    let open = |harness: &Harness<'_, Studio>| {
        let model = harness.state().model();
        let over = model.view.overlay != Overlay::None;
        (usize::from(over) + usize::from(model.verified.is_some()), model.view.full_screen)
    };
    assert_eq!(open(&harness), (2, true));
    for left in [(1, true), (0, true), (0, false)] {
        key(&mut harness, Key::Escape);
        assert_eq!(open(&harness), left);
    }
}

#[test]
fn enter_and_space_press_the_focused_button_alone() {
    let script = Shared::default();
    let mut harness = started(&script);
    for press in [Key::Enter, Key::Space] {
        let view = &mut harness.state_mut().model_mut().view;
        (view.overlay, view.address) = (Overlay::Remote, "workstation".to_owned());
        harness.run_steps(2);
        harness.get_by_label("Close the dialog").focus();
        harness.run_steps(2);
        key(&mut harness, press);
        let model = harness.state().model();
        assert_eq!(model.view.overlay, Overlay::None, "{press:?} closes it");
        assert!(!model.player.playing);
        let moves = |request: &Request| matches!(request, Request::Move(_));
        assert!(!script.borrow().requests.iter().any(moves), "and connects to nothing");
    }
}
