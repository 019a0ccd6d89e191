//! All keys at a glance.

use eframe::egui::{self, Align2, Id, Modal, Sense, Ui, pos2, vec2};

use crate::commands::Command;
use crate::studio::model::{Model, Overlay};
use crate::theme::{Theme, sans};
use crate::widgets::control::{key_cap_left_of, modal_frame};

const COLUMNS: usize = 3;
const COLUMN: f32 = 250.0;
const ROW: f32 = 24.0;

pub fn show(model: &mut Model, ctx: &egui::Context) {
    let theme = model.theme.clone();
    let modal = Modal::new(Id::unique("keys")).frame(modal_frame(&theme)).show(ctx, |ui| {
        ui.label(theme.strong_text("Keys", 16.0));
        list(ui, &theme);
    });
    if modal.should_close() && model.view.overlay == Overlay::Keys {
        model.view.overlay = Overlay::None;
    }
}

fn list(ui: &mut Ui, theme: &Theme) {
    let with_keys: Vec<(Command, String)> = Command::ALL
        .into_iter()
        .map(|command| (command, command.key(ui.ctx())))
        .filter(|(_, key)| !key.is_empty())
        .collect();
    let rows = with_keys.len().div_ceil(COLUMNS);
    let size = vec2(COLUMN * COLUMNS as f32, rows as f32 * ROW);
    let (area, _) = ui.allocate_exact_size(size, Sense::hover());
    for (index, (command, key)) in with_keys.iter().enumerate() {
        let corner = area.min + vec2((index / rows) as f32 * COLUMN, (index % rows) as f32 * ROW);
        let middle = corner.y + ROW / 2.0;
        key_cap_left_of(ui, pos2(corner.x + 94.0, middle), key, theme.text);
        ui.painter().text(
            pos2(corner.x + 104.0, middle),
            Align2::LEFT_CENTER,
            command.text().0,
            sans(12.0),
            theme.muted,
        );
    }
}
