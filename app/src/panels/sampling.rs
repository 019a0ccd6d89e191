//! Asks how freely codes are drawn and how long video is refined.

use std::ops::RangeInclusive;

use eframe::egui::emath::Numeric;
use eframe::egui::{self, Align, DragValue, Id, Label, Layout, Modal, Ui, vec2};
use engine::rollout::Sampling;

use crate::studio::model::{Action, Model, Overlay};
use crate::theme::Theme;
use crate::widgets::control::{KeyButton, modal_frame};

const WIDTH: f32 = 420.0;

pub fn show(model: &mut Model, ctx: &egui::Context) {
    let (Some(session), Some(mut sampling)) = (&model.session, model.view.sampling.clone()) else {
        model.view.overlay = Overlay::None;
        return;
    };
    let now = session.sampling().clone();
    // Seed and scale are not the dialog's.
    let own = Sampling { seed: now.seed, scale: now.scale, ..session.pack().sampling.clone() };
    let (draws, refines) = (session.pack().has_policy, session.pack().has_refiner);
    let theme = model.theme.clone();
    let modal = Modal::new(Id::unique("sampling")).frame(modal_frame(&theme)).show(ctx, |ui| {
        ui.set_width(WIDTH);
        ui.spacing_mut().item_spacing = vec2(8.0, 6.0);
        ui.label(theme.strong_text("Sampling", 15.0));
        if draws {
            let how = "0 takes the likeliest code; 1 draws as the policy says. Clips that are there keep their codes";
            number(ui, &theme, "Temperature", &mut sampling.temperature, 0.01, 0.0..=2.0, how);
        }
        if refines {
            let how = "Steps of the sampler for a clip: more take longer";
            number(ui, &theme, "Steps", &mut sampling.refine_steps, 0.1, 1..=100, how);
            let how = "How far refined video is led away from the negative context; 0 takes half the time";
            number(ui, &theme, "Guidance", &mut sampling.guidance, 0.05, 0.0..=20.0, how);
            let text = "Other steps or guidance refine all clips of the rollout again. Those refined before stay on the disk and come back with their settings";
            ui.add(Label::new(theme.muted_text(text)).wrap());
        }
        ui.add_space(4.0);
        ui.horizontal(|ui| {
            let apply = KeyButton::new("Apply", "").primary().enabled(sampling != now);
            let apply = apply.show(ui, &theme).clicked();
            let reset = KeyButton::new("As the pack has it", "").enabled(sampling != own);
            if reset.show(ui, &theme).clicked() {
                sampling = own;
            }
            let close = KeyButton::new("Close", "").label("Close the dialog").show(ui, &theme);
            if apply {
                model.actions.push(Action::SetSampling(sampling.clone()));
            }
            close.clicked() || apply
        })
        .inner
    });
    let closed = modal.inner || modal.should_close();
    if closed && model.view.overlay == Overlay::Sampling {
        model.view.overlay = Overlay::None;
    }
    model.view.sampling = Some(sampling);
}

/// A row with a number that is dragged or typed, and what it does below.
fn number<N: Numeric>(
    ui: &mut Ui,
    theme: &Theme,
    name: &str,
    value: &mut N,
    speed: f64,
    range: RangeInclusive<N>,
    how: &str,
) {
    ui.horizontal(|ui| {
        let label = ui.label(name);
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            ui.add(DragValue::new(value).speed(speed).range(range)).labelled_by(label.id);
        });
    });
    ui.add(Label::new(theme.muted_text(how)).wrap());
}
