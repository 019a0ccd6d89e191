//! One code under inspection: its digits, how often it is used, and where it occurs.

use eframe::egui::{
    Align2, Color32, CursorIcon, Rect, Role, Sense, Stroke, StrokeKind, Ui, WidgetInfo, vec2,
};

use crate::studio::map::EXAMPLES;
use crate::studio::model::{Action, Model};
use crate::theme::{Theme, sans};
use crate::widgets::control::{placeholder, section_header};
use crate::widgets::digits;

const GAP: f32 = 4.0;

pub fn show(model: &mut Model, ui: &mut Ui) {
    let theme = model.theme.clone();
    let Some((node, position, prediction)) = model.inspected() else {
        section_header(ui, &theme, "Code", "");
        placeholder(ui, &theme, "No code selected", "Click one in the strip below the picture");
        return;
    };
    let Some(pack) = model.pack().cloned() else {
        return;
    };
    let rows = pack.codes_per_step.max(1);
    let query = position % rows;
    let clips_before = model
        .session
        .as_ref()
        .map_or(0, |session| session.rollout.line(node).len().saturating_sub(1));
    let step = clips_before * pack.steps_per_clip + position / rows + 1;
    let usage = model.map.usage(query, prediction.code);
    let map = model.map.map.clone();
    let mut remark = format!("step {step}, query {}", query + 1);
    if !map.points.is_empty() {
        remark += &format!(" · used {}×", usage.count);
        if let Some((action, share)) = usage.action {
            let name = map.actions.get(action).map_or("", String::as_str);
            remark += &format!(" · {name} {:.0} %", share * 100.0);
        }
    }
    section_header(ui, &theme, &format!("Code {}", prediction.code), &remark);
    ui.spacing_mut().item_spacing.y = 4.0;
    digits::show(ui, &theme, prediction.code, &pack.levels);
    ui.add_space(2.0);
    // One row whatever it holds, so that the map below does not move.
    let (row, _) =
        ui.allocate_exact_size(vec2(ui.available_width(), row_height(ui)), Sense::hover());
    let missing = if map.points.is_empty() {
        Some("Without a reference set it is not known where this code occurs")
    } else if usage.count == 0 {
        Some("It never occurs at this query in the reference set")
    } else {
        None
    };
    match missing {
        Some(reason) => {
            let at = row.left_center();
            ui.painter().text(at, Align2::LEFT_CENTER, reason, sans(12.0), theme.dim);
        }
        None => examples(model, ui, &theme, row, &usage.examples),
    }
}

fn example_width(available: f32) -> f32 {
    (available - GAP * (EXAMPLES - 1) as f32) / EXAMPLES as f32
}

fn row_height(ui: &Ui) -> f32 {
    example_width(ui.available_width()) * 0.64
}

/// How the clips end where the code occurs. A click shows the clip on the map.
fn examples(model: &mut Model, ui: &mut Ui, theme: &Theme, area: Rect, points: &[usize]) {
    let width = example_width(area.width());
    let map = model.map.map.clone();
    for (place, point) in points.iter().enumerate() {
        let corner = area.min + vec2(place as f32 * (width + GAP), 0.0);
        let rect = Rect::from_min_size(corner, vec2(width, area.height()));
        let found = &map.points[*point];
        let action = map.actions.get(found.action).map_or("unknown", String::as_str);
        let response = ui.interact(rect, ui.scope_id().with(("example", place)), Sense::click());
        let label = format!("{action}, {}", found.clip.task.label());
        response
            .widget_info(|| WidgetInfo::labeled(Role::Button, true, format!("Example: {label}")));
        match model.map.clips.get(&found.clip) {
            Some(Some(clip)) => {
                let last = clip.len().saturating_sub(1);
                let frame = (found.step + 1) * last / map.steps.max(1);
                model.thumbs.paint(ui, rect, clip, frame, 4.0, Color32::WHITE);
            }
            Some(None) | None => {
                ui.painter().rect_filled(rect, 4.0, theme.raised);
            }
        }
        if response.hovered() || response.has_focus() {
            let stroke = Stroke::new(1.0, theme.muted);
            ui.painter().rect_stroke(rect, 4.0, stroke, StrokeKind::Inside);
        }
        if response.on_hover_cursor(CursorIcon::PointingHand).on_hover_text(label).clicked() {
            model.actions.push(Action::SelectPoint(*point));
        }
    }
}
