//! Pictures of one's own: read and resized beside the window, which says so meanwhile.

use std::sync::Arc;
use std::time::{Duration, Instant};

use eframe::egui::{Color32, ColorImage, Event, Key};
use egui_kittest::Harness;
use egui_kittest::kittest::Queryable as _;
use engine::media::Fit;
use videoworld_studio::commands::Command;
use videoworld_studio::studio::Studio;
use videoworld_studio::studio::model::Action;

use crate::fake::{Shared, options};
use crate::flow::{open, place, press, started};

fn paste(harness: &mut Harness<'_, Studio>, width: usize, height: usize) {
    let pixels = vec![Color32::from_rgb(200, 120, 40); width * height];
    harness.event(Event::PasteImage(Arc::new(ColorImage::new([width, height], pixels))));
    harness.run_steps(1);
}

fn wait_for(harness: &mut Harness<'_, Studio>, what: impl Fn(&Studio) -> bool) {
    let asked = Instant::now();
    while !what(harness.state()) {
        assert!(asked.elapsed() < Duration::from_secs(60), "it does not come");
        std::thread::sleep(Duration::from_millis(5));
        harness.run_steps(1);
    }
}

#[test]
fn a_large_picture_does_not_hold_the_window_up() {
    let mut harness = open(&Shared::default(), options());
    paste(&mut harness, 8000, 6000);
    assert!(harness.state().model().session.is_none(), "it takes a while");
    harness.run_steps(1);
    harness.get_by_label("Reading clipboard…");
    wait_for(&mut harness, |studio| studio.model().session.is_some());
    wait_for(&mut harness, |studio| studio.model().reading.is_none());
    assert!(harness.query_by_label_contains("Reading").is_none());
    let session = harness.state().model().session.as_ref().expect("a rollout was begun");
    assert_eq!(session.rollout.start.dimensions(), (96, 64));
    assert_eq!(session.picture.pixels.dimensions(), (8000, 6000));
    // Another fit is made of the whole picture again.
    harness.state_mut().model_mut().actions.push(Action::Run(Command::ToggleFit));
    harness.run_steps(2);
    harness.get_by_label("Reading clipboard…");
    wait_for(&mut harness, |studio| {
        studio.model().session.as_ref().is_some_and(|session| session.fit == Fit::Letterbox)
    });
    let session = harness.state().model().session.as_ref().expect("a rollout was begun");
    assert_eq!(session.rollout.start.get_pixel(0, 0).0, [0; 3], "with bars");
}

#[test]
fn a_picture_of_the_models_shape_has_one_fit_and_keeps_its_rollout() {
    let mut harness = started(&Shared::default());
    press(&mut harness, Key::N);
    let before = place(&harness);
    harness.state_mut().model_mut().actions.push(Action::Run(Command::ToggleFit));
    harness.run_steps(4);
    assert_eq!(place(&harness), before);
}
