//! The picture, as large as it fits, with what is compared written on it.

use eframe::egui::{
    Align2, CursorIcon, Rect, Role, Sense, Stroke, StrokeKind, Ui, WidgetInfo, pos2, vec2,
};

use crate::studio::model::{Compare, Model, Side};
use crate::theme::{Theme, sans, strong_font};
use crate::widgets::control::{overlay_label, placeholder};
use crate::widgets::frame_view::{self, Blend, Shot};
use crate::widgets::icon::paint_wipe_handle;
use crate::widgets::thumbnail::fit_inside;

/// How much a difference is brightened.
const DIFFERENCE_GAIN: f32 = 4.0;
const RADIUS: f32 = 9.0;

pub fn show(model: &mut Model, ui: &mut Ui) {
    let theme = model.theme.clone();
    let area = ui.available_rect_before_wrap();
    let (a, b) = model.sides();
    match (a, b, model.view.compare) {
        (Some(a), Some(b), Compare::Wipe) => wipe(model, ui, &theme, area, a, b),
        (Some(a), Some(b), Compare::SideBySide) => side_by_side(model, ui, &theme, area, a, b),
        (Some(a), Some(b), Compare::Difference) => difference(ui, &theme, area, a, b),
        (a, b, _) => match b.or(a) {
            Some((shot, name)) => {
                let place = alone(ui, area, shot);
                label(ui, &theme, place, Align2::LEFT_TOP, &name);
            }
            None => empty(model, ui, &theme, area),
        },
    }
    ui.advance_cursor_after_rect(area);
}

/// The best version alone over the whole of `area`, for a talk.
pub fn paint_alone(model: &Model, ui: &mut Ui, area: Rect) {
    if let Some((shot, _)) = model.best() {
        alone(ui, area, shot);
    }
}

fn alone(ui: &mut Ui, area: Rect, shot: Shot) -> Rect {
    let place = fit_inside(shot.size(), area);
    let response = ui.interact(place, ui.scope_id().with("picture"), Sense::hover());
    response.widget_info(|| WidgetInfo::labeled(Role::Image, true, "Picture on the stage"));
    frame_view::paint(ui, 0, place, RADIUS, shot, None, Blend::Single);
    place
}

fn wipe(model: &mut Model, ui: &mut Ui, theme: &Theme, area: Rect, a: Side, b: Side) {
    let (a, b) = swapped(model, a, b);
    let place = fit_inside(b.0.size(), area);
    let response = ui.interact(place, ui.scope_id().with("wipe"), Sense::click_and_drag());
    if let Some(pointer) = response.interact_pointer_pos() {
        model.view.wipe = ((pointer.x - place.left()) / place.width()).clamp(0.0, 1.0);
    }
    let split = model.view.wipe;
    response.widget_info(|| WidgetInfo::slider(true, f64::from(split), "Wipe between A and B"));
    frame_view::paint(ui, 0, place, RADIUS, a.0, Some(b.0), Blend::Wipe(split));
    let x = place.left() + place.width() * split;
    let painter = ui.painter();
    painter.vline(x, place.y_range(), Stroke::new(1.5, theme.on_overlay));
    let handle = pos2(x, place.center().y);
    painter.circle(handle, 14.0, theme.overlay.to_opaque(), Stroke::new(1.0, theme.on_overlay));
    paint_wipe_handle(painter, handle, theme.on_overlay);
    label(ui, theme, place, Align2::LEFT_TOP, &format!("A · {}", a.1));
    label(ui, theme, place, Align2::RIGHT_TOP, &format!("B · {}", b.1));
    response.on_hover_cursor(CursorIcon::ResizeHorizontal);
}

fn side_by_side(model: &Model, ui: &mut Ui, theme: &Theme, area: Rect, a: Side, b: Side) {
    let (a, b) = swapped(model, a, b);
    let gap = 4.0;
    // Halves beside each other or one above the other, whichever shows more.
    let beside = fit_inside(
        b.0.size(),
        Rect::from_min_size(area.min, vec2((area.width() - gap) / 2.0, area.height())),
    );
    let above = fit_inside(
        b.0.size(),
        Rect::from_min_size(area.min, vec2(area.width(), (area.height() - gap) / 2.0)),
    );
    let halves = if beside.area() >= above.area() {
        area.split_left_right_at_fraction(0.5)
    } else {
        area.split_top_bottom_at_fraction(0.5)
    };
    let sides = [(halves.0, a, "A"), (halves.1, b, "B")];
    for (id, (half, (shot, name), letter)) in sides.into_iter().enumerate() {
        let place = fit_inside(shot.size(), half.shrink(gap / 2.0));
        let response = ui.interact(place, ui.scope_id().with(("side", id)), Sense::hover());
        let text = format!("{letter} · {name}");
        response.widget_info(|| WidgetInfo::labeled(Role::Image, true, &text));
        frame_view::paint(ui, 1 + id as u64, place, RADIUS, shot, None, Blend::Single);
        label(ui, theme, place, Align2::LEFT_TOP, &text);
    }
}

fn difference(ui: &mut Ui, theme: &Theme, area: Rect, a: Side, b: Side) {
    let place = fit_inside(b.0.size(), area);
    let response = ui.interact(place, ui.scope_id().with("difference"), Sense::hover());
    response.widget_info(|| WidgetInfo::labeled(Role::Image, true, "Difference of A and B"));
    frame_view::paint(ui, 0, place, RADIUS, a.0, Some(b.0), Blend::Difference(DIFFERENCE_GAIN));
    let text = format!("|{} − {}| × {DIFFERENCE_GAIN}", a.1, b.1);
    label(ui, theme, place, Align2::LEFT_TOP, &text);
}

fn swapped(model: &Model, a: Side, b: Side) -> (Side, Side) {
    if model.view.swapped { (b, a) } else { (a, b) }
}

fn label(ui: &Ui, theme: &Theme, place: Rect, anchor: Align2, text: &str) {
    let at = match anchor {
        Align2::RIGHT_TOP => place.right_top() + vec2(-12.0, 12.0),
        _ => place.left_top() + vec2(12.0, 12.0),
    };
    overlay_label(ui, theme, at, anchor, text, sans(12.0));
}

fn empty(model: &Model, ui: &mut Ui, theme: &Theme, area: Rect) {
    let (title, hint) = if model.session.is_some() {
        ("Painting the coarse clip", "It plays as soon as it is there")
    } else {
        ("Nothing on the stage", "Choose a starting frame")
    };
    ui.painter().rect(area, RADIUS, theme.stage, Stroke::new(1.0, theme.line), StrokeKind::Inside);
    let middle = Rect::from_center_size(area.center(), vec2(area.width(), 60.0));
    ui.scope_builder(eframe::egui::UiBuilder::new().max_rect(middle), |ui| {
        placeholder(ui, theme, title, hint);
    });
    let name = strong_font(11.0);
    if model.engine_dead {
        let at = area.center_bottom() - vec2(0.0, 16.0);
        overlay_label(ui, theme, at, Align2::CENTER_BOTTOM, "The engine stopped", name);
    }
}
