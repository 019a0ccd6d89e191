//! How the device compared with the processor: every part, and what is off.

use eframe::egui::{self, Grid, Id, Label, Modal, ScrollArea, Ui, vec2};
use engine::eval::{Floor, Row, Verified};

use crate::studio::model::{Action, Model};
use crate::theme::Theme;
use crate::widgets::control::{KeyButton, modal_frame};

const WIDTH: f32 = 520.0;
/// Of the table.
const HEIGHT: f32 = 360.0;

pub fn show(model: &mut Model, ctx: &egui::Context) {
    let theme = model.theme.clone();
    let Some(verified) = model.verified.clone() else {
        return;
    };
    let modal = Modal::new(Id::unique("verified")).frame(modal_frame(&theme)).show(ctx, |ui| {
        ui.set_width(WIDTH);
        let (verdict, ink) = if verified.wrong.is_empty() {
            ("Every part agrees".to_owned(), theme.good)
        } else {
            (format!("Off: {}", verified.wrong.join(", ")), theme.bad)
        };
        ui.add(Label::new(theme.strong_text(verdict, 15.0).color(ink)).wrap());
        if !verified.wrong.is_empty() {
            let advice = "What the device computes is not to be trusted: start with --device cpu, or take another driver";
            ui.add(Label::new(theme.muted_text(advice)).wrap());
        }
        ui.add(Label::new(theme.dim_text(verified.table.title.as_str())).wrap());
        ui.add_space(6.0);
        ScrollArea::vertical().max_height(HEIGHT).show(ui, |ui| table(ui, &theme, &verified));
        ui.add_space(8.0);
        KeyButton::new("Close", "").label("Close the comparison").show(ui, &theme).clicked()
    });
    if modal.inner || modal.should_close() {
        model.actions.push(Action::CloseVerified);
    }
}

fn table(ui: &mut Ui, theme: &Theme, verified: &Verified) {
    Grid::new(ui.scope_id().with("parts")).spacing(vec2(28.0, 6.0)).show(ui, |ui| {
        for head in ["Part", "Error", "Allowed", ""] {
            ui.label(theme.dim_text(head));
        }
        ui.end_row();
        for row in &verified.table.rows {
            show_row(ui, theme, row);
            ui.end_row();
        }
    });
}

fn show_row(ui: &mut Ui, theme: &Theme, row: &Row) {
    let error =
        if row.value.is_finite() { format!("{:.0e}", row.value) } else { "no number".into() };
    let allowed = match row.floor {
        Some(Floor::AtMost(most)) => format!("{most:.0e}"),
        Some(Floor::AtLeast(_)) | None => String::new(),
    };
    let (word, ink) =
        if row.reached == Some(false) { ("off", theme.bad) } else { ("agrees", theme.good) };
    ui.label(theme.strong_text(row.measure.as_str(), 12.5));
    ui.label(theme.mono_text(error));
    ui.label(theme.mono_text(allowed));
    ui.label(theme.strong_text(word, 12.5).color(ink));
}
