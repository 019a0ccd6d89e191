//! The code map: every step of the reference set, and the rollout's way through it.

use std::collections::HashSet;
use std::sync::Arc;

use eframe::egui::{
    self, Align, Align2, Color32, CursorIcon, Layout, Pos2, Rect, Response, Role, Sense, Shape,
    Stroke, StrokeKind, Ui, WidgetInfo, pos2, vec2,
};

use super::selection;
use crate::commands::Command;
use crate::studio::map::{CodeMap, DrawnFor, MapColour};
use crate::studio::model::{Action, Model};
use crate::studio::reference_frame;
use crate::theme::{SURFACE_RADIUS, Theme, sans};
use crate::widgets::control::{placeholder, section_header};
use crate::widgets::scatter::{self, Camera, Points};

const POINT_RADIUS: f32 = 1.6;
/// How many categories the legend names.
const LEGEND_NAMES: usize = 7;
/// Colours that stand for one category; the one after them stands for all others.
const COLOURS: usize = 7;

pub fn show(model: &mut Model, ui: &mut Ui) {
    let theme = model.theme.clone();
    let map = model.map.map.clone();
    section_header(ui, &theme, "Code map", &map.remark);
    if map.points.is_empty() {
        let reason = model.map.missing.clone().unwrap_or_default();
        placeholder(ui, &theme, "No map", &reason);
        return;
    }
    let legend = map.legend(model.map.colour);
    let legend_height = legend_height(ui, &theme, &legend);
    let space = ui.available_rect_before_wrap();
    let bottom = (space.bottom() - legend_height - 8.0).max(space.top() + 120.0);
    let plot = Rect::from_min_max(space.min, pos2(space.right(), bottom));
    let response = ui.allocate_rect(plot, Sense::click_and_drag());
    show_plot(model, ui, &theme, &map, plot, &response);
    show_legend(model, ui, &theme, &legend);
}

fn show_plot(
    model: &mut Model,
    ui: &mut Ui,
    theme: &Theme,
    map: &Arc<CodeMap>,
    plot: Rect,
    response: &Response,
) {
    let count = map.points.len();
    response.widget_info(|| {
        WidgetInfo::labeled(Role::GraphicsObject, true, format!("Code map of {count} steps"))
    });
    let radius = f32::from(SURFACE_RADIUS);
    ui.painter().rect_filled(plot, radius, theme.window);
    let points = drawn_points(model, theme, map);
    let mut camera =
        model.map.camera.unwrap_or_else(|| Camera::fit(&points.positions, plot.size()));
    let drawing = selection::follow_lasso(model, ui, plot, response, &camera, &points.positions);
    if !drawing && steer(ui, &mut camera, plot, response) {
        model.map.camera = Some(camera);
    }
    let hovered = response
        .hover_pos()
        .filter(|_| !drawing)
        .and_then(|pointer| scatter::pick(&points.positions, &camera, plot, pointer));
    scatter::paint(ui, 0, plot.shrink(1.0), camera, POINT_RADIUS, points);
    let painter = ui.painter().with_clip_rect(plot);
    show_way(model, &painter, theme, plot, &camera);
    selection::paint_lasso(model, &painter, theme);
    for (index, colour) in [(hovered, theme.text), (model.map.selected, theme.accent)] {
        if let Some(point) = index.and_then(|index| map.points.get(index)) {
            painter.circle_stroke(camera.screen(plot, point.at), 5.5, Stroke::new(1.6, colour));
        }
    }
    ui.painter().rect_stroke(plot, radius, Stroke::new(1.0, theme.line), StrokeKind::Inside);
    if let Some(index) = hovered {
        let point = &map.points[index];
        let name = |names: &[String], index: usize| names.get(index).cloned().unwrap_or_default();
        let text = format!(
            "{} · step {}\n{}",
            name(&map.actions, point.action),
            point.step + 1,
            name(&map.environments, point.environment),
        );
        response.clone().on_hover_cursor(CursorIcon::PointingHand).on_hover_text_at_pointer(text);
    }
    if response.clicked() {
        match hovered {
            Some(index) => model.actions.push(Action::SelectPoint(index)),
            None => model.actions.push(Action::SelectPoints(Vec::new())),
        }
    }
    if response.double_clicked() && hovered.is_none() {
        model.run(Command::MapReset);
    }
    show_selected(model, ui, theme, map, plot);
}

/// Pan with the mouse, zoom with the wheel. True if the camera moved.
fn steer(ui: &Ui, camera: &mut Camera, plot: Rect, response: &Response) -> bool {
    let mut moved = false;
    if response.dragged() {
        camera.pan(response.drag_delta());
        moved = true;
    }
    if let Some(pointer) = response.hover_pos() {
        let (wheel, pinch) = ui.input(|input| (input.smooth_scroll_delta().y, input.zoom_delta()));
        let factor = pinch * (wheel / 240.0).exp();
        if (factor - 1.0).abs() > 1e-4 {
            camera.zoom(plot, pointer, factor);
            moved = true;
        }
    }
    moved
}

/// Points coloured for now; the same ones as long as nothing about them changes.
fn drawn_points(model: &mut Model, theme: &Theme, map: &CodeMap) -> Arc<Points> {
    let colour = model.map.colour;
    let wanted = DrawnFor {
        colour,
        highlighted: model
            .map
            .selected
            .and_then(|index| map.points.get(index))
            .map(|point| map.category(point, colour)),
        selection: model.map.selection.as_ref().map(|_| model.map.selections),
        theme: model.settings.theme,
    };
    if let Some((drawn_for, points)) = &model.map.drawn
        && *drawn_for == wanted
    {
        return points.clone();
    }
    let selection = model.map.selection.as_ref();
    let selected: Option<HashSet<usize>> =
        selection.map(|selection| selection.points.iter().copied().collect());
    let colours = map.points.iter().enumerate().map(|(index, point)| {
        let category = map.category(point, colour);
        let base = theme.category(shown_category(colour, category));
        let quiet = match &selected {
            Some(selected) => !selected.contains(&index),
            None => wanted.highlighted.is_some_and(|highlighted| highlighted != category),
        };
        if quiet { theme.dim.gamma_multiply(0.45) } else { base.gamma_multiply(0.8) }
    });
    let points = Arc::new(Points {
        colours: colours.collect(),
        positions: map.points.iter().map(|point| point.at).collect(),
    });
    model.map.drawn = Some((wanted, points.clone()));
    points
}

/// The most frequent actions have a colour each and the others share one; environments are too
/// many for that, so their colours go round.
pub(super) fn shown_category(colour: MapColour, category: usize) -> usize {
    match colour {
        MapColour::Environment => category % COLOURS,
        MapColour::Action | MapColour::Step => category,
    }
}

/// The rollout's steps in order, the current one marked.
fn show_way(
    model: &mut Model,
    painter: &egui::Painter,
    theme: &Theme,
    plot: Rect,
    camera: &Camera,
) {
    let Some(session) = &model.session else {
        return;
    };
    let rows = session.pack().codes_per_step.max(1);
    let (position, step) = (session.position(), session.step());
    let line = session.line();
    let mut way: Vec<Pos2> = Vec::new();
    let mut now = None;
    let clips: Vec<Vec<u16>> =
        line.iter().map(|node| session.rollout.node(*node).choice.codes.clone()).collect();
    for (clip, codes) in clips.iter().enumerate() {
        for (index, codes) in codes.chunks(rows).enumerate() {
            let Some(at) = model.map.place(codes) else {
                continue;
            };
            let at = camera.screen(plot, at);
            way.push(at);
            if position == Some(clip) && index == step {
                now = Some(at);
            }
        }
    }
    painter.add(Shape::line(way, Stroke::new(1.4, theme.path.gamma_multiply(0.85))));
    if let Some(now) = now {
        painter.circle(now, 4.5, theme.accent, Stroke::new(1.5, theme.window));
    }
}

/// Where the selected step came from, and its clip.
fn show_selected(model: &mut Model, ui: &mut Ui, theme: &Theme, map: &CodeMap, plot: Rect) {
    let Some(point) = model.map.selected.and_then(|index| map.points.get(index)) else {
        return;
    };
    let card = Rect::from_min_size(plot.left_bottom() + vec2(8.0, -160.0), vec2(182.0, 152.0));
    let radius = f32::from(SURFACE_RADIUS);
    ui.painter().rect(
        card,
        radius,
        theme.overlay.to_opaque(),
        Stroke::new(1.0, theme.line_strong),
        StrokeKind::Inside,
    );
    let picture = Rect::from_min_size(card.min + vec2(4.0, 4.0), vec2(174.0, 110.0));
    let response = ui.interact(card, ui.scope_id().with("selected step"), Sense::click());
    response.widget_info(|| {
        WidgetInfo::labeled(Role::Button, true, "Play the clip of this step again")
    });
    match model.map.clips.get(&point.clip) {
        Some(Some(clip)) => {
            let now = ui.input(|input| input.time);
            let since = model.map.playing_since.unwrap_or(now);
            let frame = reference_frame(since, now, model.player.speed);
            model.thumbs.paint(ui, picture, clip, frame, 5.0, Color32::WHITE);
        }
        Some(None) | None => {
            ui.painter().text(
                picture.center(),
                Align2::CENTER_CENTER,
                "Drawing the clip",
                sans(11.0),
                theme.on_overlay,
            );
        }
    }
    if response.on_hover_text("Play again").clicked() {
        model.map.playing_since = None;
    }
    let seen = if point.clip.unseen { "unseen" } else { "training" };
    let action = map.actions.get(point.action).map_or("", String::as_str);
    let lines = [
        format!("{} · {action}", point.clip.task.label()),
        format!("step {} · {seen} environment {}", point.step + 1, point.clip.seed),
    ];
    for (row, text) in lines.into_iter().enumerate() {
        let at = pos2(card.left() + 7.0, picture.bottom() + 5.0 + 15.0 * row as f32);
        let galley = ui.painter().layout_no_wrap(text, sans(10.5), theme.on_overlay);
        ui.painter().with_clip_rect(card.shrink(3.0)).galley(at, galley, theme.on_overlay);
    }
}

fn legend_entries(legend: &[String]) -> Vec<String> {
    let mut entries: Vec<String> = legend.iter().take(LEGEND_NAMES).cloned().collect();
    if legend.len() > LEGEND_NAMES {
        entries.push(format!("{} others", legend.len() - LEGEND_NAMES));
    }
    entries
}

/// Walks over the legend's entries and gives each its corner; returns the height of all rows.
fn lay_legend(
    ui: &Ui,
    theme: &Theme,
    legend: &[String],
    left: f32,
    mut place: impl FnMut(usize, &str, Pos2),
) -> f32 {
    let width = ui.available_width();
    let (mut x, mut y) = (0.0, 0.0);
    for (index, entry) in legend_entries(legend).iter().enumerate() {
        let galley = ui.painter().layout_no_wrap(entry.clone(), sans(11.5), theme.text);
        let needed = galley.size().x + 26.0;
        if x + needed > width && x > 0.0 {
            x = 0.0;
            y += 20.0;
        }
        place(index, entry, pos2(left + x, y));
        x += needed;
    }
    y + 20.0
}

fn legend_height(ui: &Ui, theme: &Theme, legend: &[String]) -> f32 {
    lay_legend(ui, theme, legend, 0.0, |_, _, _| {}) + 36.0
}

fn show_legend(model: &mut Model, ui: &mut Ui, theme: &Theme, legend: &[String]) {
    ui.horizontal(|ui| {
        ui.spacing_mut().item_spacing.x = 4.0;
        ui.label(theme.dim_text("colour by").size(11.5));
        for colour in MapColour::ALL {
            let chosen = model.map.colour == colour;
            let ink = if chosen { theme.accent } else { theme.muted };
            let text = egui::RichText::new(colour.label()).size(11.5).color(ink);
            let button = egui::Button::new(text).small().frame(false);
            let response = ui.add(button.selected(false));
            let name = format!("Colour by {}", colour.label().to_lowercase());
            response.widget_info(|| WidgetInfo::selected(Role::RadioButton, true, chosen, &name));
            if response.clicked() {
                model.map.colour = colour;
            }
        }
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            ui.label(theme.dim_text("Shift-drag selects").size(11.5));
        });
    });
    let corner = ui.cursor().min;
    let painter = ui.painter().clone();
    let height = lay_legend(ui, theme, legend, corner.x, |index, entry, at| {
        let at = pos2(at.x, corner.y + at.y);
        painter.circle_filled(at + vec2(5.0, 8.0), 3.5, theme.category(index));
        painter.text(at + vec2(14.0, 8.0), Align2::LEFT_CENTER, entry, sans(11.5), theme.text);
    });
    ui.allocate_space(vec2(ui.available_width(), height));
}
