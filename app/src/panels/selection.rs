//! Points of the map that a line was drawn around: how they split by action and environment, and
//! the clips they came from.

use eframe::egui::{
    Align, Align2, Color32, CursorIcon, Event, Layout, Painter, Pos2, Rect, Response, Role,
    ScrollArea, Sense, Shape, Stroke, StrokeKind, Ui, WidgetInfo, pos2, vec2,
};

use super::map::shown_category;
use crate::studio::map::{CodeMap, MapColour, Selection};
use crate::studio::model::{Action, Model};
use crate::studio::reference_frame;
use crate::theme::{Theme, mono, sans};
use crate::widgets::control::{fill_bar, icon_button, placeholder};
use crate::widgets::icon::Icon;
use crate::widgets::scatter::{self, Camera};

/// Categories that have a row of their own.
const ROWS: usize = 6;
const ROW: f32 = 20.0;
/// Clips that are listed; all of a large selection would fill the memory.
const CLIPS: usize = 60;
const COLUMNS: usize = 4;
const GAP: f32 = 8.0;

/// Follows a drag that began with Shift and selects what it encloses. True while it goes on.
pub fn follow_lasso(
    model: &mut Model,
    ui: &Ui,
    plot: Rect,
    response: &Response,
    camera: &Camera,
    positions: &[[f32; 2]],
) -> bool {
    let (shift, pressed_at) =
        ui.input(|input| (input.modifiers.shift, input.pointer.press_origin()));
    if response.drag_started() && shift {
        model.map.lasso = Some(pressed_at.into_iter().collect());
    }
    let Some(line) = &mut model.map.lasso else {
        return false;
    };
    // A quick hand moves several times a frame, and every corner counts.
    let moves = ui.input(|input| {
        let at = |event: &Event| match event {
            Event::PointerMoved(at) => Some(*at),
            _ => None,
        };
        input.events.iter().filter_map(at).collect::<Vec<_>>()
    });
    line.extend(moves);
    if !response.dragged() {
        let inside = scatter::enclosed(positions, camera, plot, line);
        model.map.lasso = None;
        model.actions.push(Action::SelectPoints(inside));
    }
    true
}

pub fn paint_lasso(model: &Model, painter: &Painter, theme: &Theme) {
    if let Some(line) = &model.map.lasso {
        painter.add(Shape::closed_line(line.clone(), Stroke::new(1.4, theme.accent)));
    }
}

pub fn show(model: &mut Model, ui: &mut Ui) {
    let theme = model.theme.clone();
    let map = model.map.map.clone();
    let Some(selection) = model.map.selection.clone() else {
        let hint = "Draw a line around points of the map, with Shift held";
        placeholder(ui, &theme, "Nothing is selected", hint);
        return;
    };
    ui.horizontal(|ui| {
        ui.label(theme.section_title("Selection"));
        let (steps, clips) = (selection.points.len(), selection.clips.len());
        ui.label(theme.dim_text(format!("{steps} steps of {clips} clips")));
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            if icon_button(ui, &theme, Icon::Close, "End the selection", false).clicked() {
                model.actions.push(Action::SelectPoints(Vec::new()));
            }
        });
    });
    ui.columns(2, |columns| {
        let kinds = [
            (MapColour::Action, &selection.actions, &map.actions),
            (MapColour::Environment, &selection.environments, &map.environments),
        ];
        for (ui, (kind, counts, names)) in columns.iter_mut().zip(kinds) {
            split(ui, &theme, kind, counts, names, selection.points.len());
        }
    });
    ui.add_space(4.0);
    let left_out = selection.clips.len().saturating_sub(CLIPS);
    let remark =
        if left_out > 0 { format!("the first {CLIPS}, {left_out} more") } else { String::new() };
    ui.horizontal(|ui| {
        ui.label(theme.muted_text("Clips, those with most of these steps first"));
        ui.label(theme.dim_text(remark));
    });
    ScrollArea::vertical()
        .auto_shrink([false, false])
        .show(ui, |ui| clips(model, ui, &theme, &map, &selection));
}

/// How many of the points fall into each category.
fn split(
    ui: &mut Ui,
    theme: &Theme,
    kind: MapColour,
    counts: &[(usize, usize)],
    names: &[String],
    total: usize,
) {
    ui.spacing_mut().item_spacing.y = 0.0;
    ui.label(theme.muted_text(format!("By {}", kind.label().to_lowercase())));
    let named = counts.iter().take(ROWS).map(|(category, count)| {
        let name = names.get(*category).map_or("", String::as_str);
        (name.to_owned(), *count, theme.category(shown_category(kind, *category)))
    });
    let others = counts.iter().skip(ROWS);
    let rest = (others.clone().count(), others.map(|(_, count)| count).sum::<usize>());
    let rest = (rest.0 > 0).then(|| (format!("{} others", rest.0), rest.1, theme.dim));
    for (name, count, colour) in named.chain(rest) {
        let (row, response) =
            ui.allocate_exact_size(vec2(ui.available_width(), ROW), Sense::hover());
        let part = count as f32 / total.max(1) as f32;
        let says = format!("{name}: {count} steps, {:.0} %", part * 100.0);
        response.widget_info(|| WidgetInfo::labeled(Role::Label, true, &says));
        let middle = row.center().y;
        let painter = ui.painter();
        painter.circle_filled(pos2(row.left() + 5.0, middle), 3.5, colour);
        let room = Rect::from_min_max(row.min, pos2(row.right() - 118.0, row.bottom()));
        let at = pos2(row.left() + 14.0, middle);
        let name_painter = painter.with_clip_rect(room);
        name_painter.text(at, Align2::LEFT_CENTER, &name, sans(11.5), theme.text);
        let bar = Rect::from_min_size(pos2(row.right() - 112.0, middle - 2.0), vec2(64.0, 4.0));
        fill_bar(ui, bar, part, theme.line, theme.measure);
        let at = pos2(row.right() - 4.0, middle);
        let text = format!("{count}");
        ui.painter().text(at, Align2::RIGHT_CENTER, text, mono(11.0), theme.muted);
        response.on_hover_text(says);
    }
}

/// The clips as pictures; a click plays one where it stands.
fn clips(model: &mut Model, ui: &mut Ui, theme: &Theme, map: &CodeMap, selection: &Selection) {
    let width = (ui.available_width() - GAP * (COLUMNS - 1) as f32) / COLUMNS as f32;
    let size = vec2(width, width * 2.0 / 3.0);
    let count = selection.clips.len().min(CLIPS);
    let rows = count.div_ceil(COLUMNS);
    let height = rows as f32 * (size.y + GAP);
    let (area, _) = ui.allocate_exact_size(vec2(ui.available_width(), height), Sense::hover());
    let playing = model.map.selected.and_then(|point| map.points.get(point)).map(|p| p.clip);
    for (index, (point, steps)) in selection.clips.iter().take(count).enumerate() {
        let place = vec2((index % COLUMNS) as f32, (index / COLUMNS) as f32);
        let corner: Pos2 = area.min + place * (size + vec2(GAP, GAP));
        let rect = Rect::from_min_size(corner, size);
        if !ui.is_rect_visible(rect) {
            continue;
        }
        let found = &map.points[*point];
        let plays = playing == Some(found.clip);
        let action = map.actions.get(found.action).map_or("", String::as_str);
        let seen = if found.clip.unseen { "unseen" } else { "training" };
        let says = format!(
            "Play {}, {action}, {seen} environment {}, {steps} selected steps",
            found.clip.task.label().to_lowercase(),
            found.clip.seed
        );
        let response = ui.interact(rect, ui.scope_id().with(("clip", index)), Sense::click());
        response.widget_info(|| WidgetInfo::selected(Role::Button, true, plays, &says));
        ui.painter().rect_filled(rect, 4.0, theme.vacant());
        match model.map.clips.get(&found.clip) {
            Some(Some(clip)) => {
                let now = ui.input(|input| input.time);
                let since = model.map.playing_since.unwrap_or(now);
                let frame = if plays {
                    reference_frame(since, now, model.player.speed)
                } else {
                    clip.len() / 2
                };
                model.thumbs.paint(ui, rect, clip, frame, 4.0, Color32::WHITE);
            }
            Some(None) => {}
            None => model.actions.push(Action::DrawClip(found.clip)),
        }
        if plays || response.hovered() || response.has_focus() {
            let colour = if plays { theme.accent } else { theme.muted };
            let stroke = Stroke::new(2.0, colour);
            ui.painter().rect_stroke(rect, 4.0, stroke, StrokeKind::Inside);
        }
        let response = response.on_hover_cursor(CursorIcon::PointingHand).on_hover_text(says);
        if response.clicked() {
            model.actions.push(Action::SelectPoint(*point));
        }
    }
}
