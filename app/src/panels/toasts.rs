//! Messages in the lower right corner.

use eframe::egui::{self, Align2, Area, Frame, Id, Label, Order, Stroke, Ui, vec2};

use crate::commands::Command;
use crate::studio::model::{Action, Model};
use crate::studio::toasts::Toast;
use crate::theme::{SURFACE_RADIUS, Theme};
use crate::widgets::control::{KeyButton, icon_button};
use crate::widgets::icon::Icon;

const WIDTH: f32 = 380.0;

pub fn show(model: &mut Model, ctx: &egui::Context) {
    if model.toasts.is_empty() {
        return;
    }
    let theme = model.theme.clone();
    let toasts: Vec<Toast> = model.toasts.iter().cloned().collect();
    Area::new(Id::unique("toasts"))
        .order(Order::Foreground)
        .anchor(Align2::RIGHT_BOTTOM, vec2(-16.0, -50.0))
        .show(ctx, |ui| {
            for toast in toasts {
                show_toast(model, ui, &theme, &toast);
            }
        });
}

fn show_toast(model: &mut Model, ui: &mut Ui, theme: &Theme, toast: &Toast) {
    let edge = if toast.error { theme.bad } else { theme.line_strong };
    Frame::new()
        .fill(theme.raised)
        .stroke(Stroke::new(1.0, edge))
        .corner_radius(SURFACE_RADIUS)
        .inner_margin(12)
        .show(ui, |ui| {
            ui.set_width(WIDTH);
            ui.horizontal_top(|ui| {
                ui.scope(|ui| {
                    ui.set_width(WIDTH - 44.0);
                    let text = theme.strong_text(toast.text.as_str(), 13.0);
                    ui.add(Label::new(text).wrap());
                });
                if icon_button(ui, theme, Icon::Close, "Hide message", false).clicked() {
                    model.actions.push(Action::DismissToast(toast.id));
                }
            });
            if toast.details.is_empty() && !toast.restart {
                return;
            }
            ui.horizontal(|ui| {
                if toast.restart
                    && KeyButton::new("Restart engine", "").primary().show(ui, theme).clicked()
                {
                    model.run(Command::RestartEngine);
                }
                if !toast.details.is_empty()
                    && KeyButton::new("Copy details", "").show(ui, theme).clicked()
                {
                    model.actions.push(Action::CopyText(toast.details.clone()));
                }
            });
        });
}
