//! Starting frames to choose from, and the other ways to bring one.

use eframe::egui::{
    self, Align2, Color32, CursorIcon, Rect, Role, ScrollArea, Sense, Stroke, StrokeKind, Ui,
    WidgetInfo, pos2, vec2,
};

use crate::commands::Command;
use crate::studio::model::{Action, Model, PackState};
use crate::theme::{SURFACE_RADIUS, Theme, sans};
use crate::widgets::control::{KeyButton, icon_button, placeholder};
use crate::widgets::icon::Icon;

const GAP: f32 = 14.0;
const CAPTION: f32 = 40.0;

pub fn show(model: &mut Model, ui: &mut Ui) {
    let theme = model.theme.clone();
    ui.label(theme.strong_text("Choose where to start", 22.0));
    let hint = "Environments that training never saw. Or bring a picture of your own: drop it, paste it, open it";
    ui.add(egui::Label::new(theme.muted_text(hint).size(13.0)).wrap());
    ui.horizontal(|ui| {
        let key = Command::OpenFrame.key(ui.ctx());
        if KeyButton::new("Open picture…", &key).show(ui, &theme).clicked() {
            model.run(Command::OpenFrame);
        }
        recent(model, ui, &theme);
    });
    last_session(model, ui, &theme);
    ui.add_space(8.0);
    if let PackState::Failed(reason) = model.pack.clone() {
        placeholder(ui, &theme, "No pack is open", &reason);
        ui.vertical_centered(|ui| {
            if KeyButton::new("Open pack…", "").show(ui, &theme).clicked() {
                model.run(Command::OpenPack);
            }
        });
        return;
    }
    if model.gallery.is_empty() {
        let hint = "The starting frames are being drawn";
        placeholder(ui, &theme, "One moment", hint);
        return;
    }
    ScrollArea::vertical().auto_shrink([false, false]).show(ui, |ui| cards(model, ui, &theme));
}

/// Offers to go on with the rollout of the last time, in one line.
fn last_session(model: &mut Model, ui: &mut Ui, theme: &Theme) {
    let shown = model.last_session.as_ref().filter(|_| !model.view.last_session_hidden);
    let Some(last) = shown else {
        return;
    };
    let rollout = &last.saved.rollout;
    let clips = rollout.nodes().len() - 1;
    let plural = if clips == 1 { "clip" } else { "clips" };
    let mut text = format!(
        "Last time: {}, {}, {clips} {plural}",
        rollout.task.label().to_lowercase(),
        rollout.source
    );
    let unfinished = &last.saved.unfinished;
    if !unfinished.refine.is_empty() {
        text += &format!(", {} of them still to refine", unfinished.refine.len());
    }
    if unfinished.to_the_end {
        text += ", on the way to the end of the task";
    }
    ui.horizontal(|ui| {
        let restore = Command::RestoreSession;
        let obstacle = model.obstacle(restore);
        let button = KeyButton::new(restore.text().0, "").enabled(obstacle.is_none());
        let response = button.show(ui, theme).on_hover_text(obstacle.unwrap_or(restore.text().1));
        if response.clicked() {
            model.run(restore);
        }
        if icon_button(ui, theme, Icon::Close, "Hide this offer", false).clicked() {
            model.actions.push(Action::HideLastSession);
        }
        ui.add(egui::Label::new(theme.muted_text(text).size(13.0)).truncate());
    });
}

fn recent(model: &mut Model, ui: &mut Ui, theme: &Theme) {
    for path in model.settings.recent.iter().take(3).cloned().collect::<Vec<_>>() {
        let name =
            path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        let short: String = name.chars().take(24).collect();
        let button = KeyButton::new(&short, "").show(ui, theme);
        if button.on_hover_text(path.display().to_string()).clicked() {
            model.actions.push(Action::OpenRecent(path));
        }
    }
}

fn cards(model: &mut Model, ui: &mut Ui, theme: &Theme) {
    let width = ui.available_width();
    let columns = ((width + GAP) / 250.0).floor().clamp(2.0, 5.0) as usize;
    let card_width = (width - GAP * (columns - 1) as f32) / columns as f32;
    let picture_height = card_width * 2.0 / 3.0;
    let pitch = picture_height + CAPTION + GAP;
    let count = model.gallery.len();
    let rows = count.div_ceil(columns);
    let (area, _) = ui.allocate_exact_size(vec2(width, rows as f32 * pitch), Sense::hover());
    for index in 0..count {
        let corner =
            vec2((index % columns) as f32 * (card_width + GAP), (index / columns) as f32 * pitch);
        let card =
            Rect::from_min_size(area.min + corner, vec2(card_width, picture_height + CAPTION));
        if ui.is_rect_visible(card) {
            show_card(model, ui, theme, index, card, picture_height);
        }
    }
}

fn show_card(
    model: &mut Model,
    ui: &mut Ui,
    theme: &Theme,
    index: usize,
    card: Rect,
    picture_height: f32,
) {
    let (starting, picture) = model.gallery[index].clone();
    let name = starting.task.label();
    let response = ui.interact(card, ui.scope_id().with(("start", index)), Sense::click());
    let label = format!("Start {name}, environment {}", starting.seed);
    response.widget_info(|| WidgetInfo::labeled(Role::Button, true, &label));
    let hot = response.hovered() || response.has_focus();
    let radius = f32::from(SURFACE_RADIUS);
    let fill = if hot { theme.raised_hover } else { theme.raised };
    let edge = if hot { theme.accent } else { theme.line };
    let learned = model.pack().is_none_or(|pack| pack.tasks.contains(&starting.task));
    ui.painter().rect(card, radius, fill, Stroke::new(1.0, edge), StrokeKind::Inside);
    let place = Rect::from_min_size(card.min, vec2(card.width(), picture_height)).shrink(1.0);
    let tint = if learned { Color32::WHITE } else { Color32::from_gray(140) };
    model.thumbs.paint(ui, place, &picture, 0, radius - 1.0, tint);
    let middle = place.bottom() + CAPTION / 2.0;
    let painter = ui.painter();
    painter.text(
        pos2(card.left() + 12.0, middle),
        Align2::LEFT_CENTER,
        name,
        sans(13.0),
        theme.text,
    );
    let remark =
        if learned { format!("environment {}", starting.seed) } else { "not learned".to_owned() };
    painter.text(
        pos2(card.right() - 12.0, middle),
        Align2::RIGHT_CENTER,
        remark,
        sans(11.5),
        theme.muted,
    );
    if response.on_hover_cursor(CursorIcon::PointingHand).clicked() {
        model.actions.push(Action::Start(index));
    }
}
