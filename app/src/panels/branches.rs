//! The tree of clips: every step and every branch, with how it ends.

use eframe::egui::{
    self, Align2, Color32, CursorIcon, Pos2, Rect, Role, ScrollArea, Sense, Shape, Stroke,
    StrokeKind, Ui, WidgetInfo,
    epaint::CubicBezierShape,
    pos2,
    text::{LayoutJob, TextWrapping},
    vec2,
};
use engine::rollout::{Node, NodeId, Origin, Rollout};

use crate::studio::model::{Action, Model};
use crate::studio::session::Session;
use crate::theme::{Theme, sans};
use crate::widgets::control::{placeholder, section_header};

const ROW: f32 = 56.0;
const THUMB: egui::Vec2 = vec2(58.0, 38.0);
const INDENT: f32 = 22.0;
/// Below this width only the pictures are shown.
const NAMES_FROM: f32 = 140.0;

/// Where a node is drawn: its row, and how many branches lie left of it.
struct Place {
    node: NodeId,
    column: usize,
}

pub fn show(model: &mut Model, ui: &mut Ui) {
    let theme = model.theme.clone();
    let Some(session) = &model.session else {
        section_header(ui, &theme, "Branches", "");
        placeholder(ui, &theme, "Nothing grown yet", "Every step and branch will stand here");
        return;
    };
    let places = arrange(&session.rollout);
    let columns = places.iter().map(|place| place.column).max().unwrap_or(0) + 1;
    let steps = places.len() - 1;
    let plural = if steps == 1 { "step" } else { "steps" };
    if ui.available_width() >= NAMES_FROM {
        section_header(ui, &theme, "Branches", &format!("{columns} · {steps} {plural}"));
    }
    ScrollArea::vertical().auto_shrink([false, false]).show(ui, |ui| {
        let room = (ui.available_width() - NAMES_FROM).max(ui.available_width() - THUMB.x - 2.0);
        let indent = INDENT.min(room.clamp(0.0, 90.0) / columns as f32);
        let size = vec2(ui.available_width(), places.len() as f32 * ROW);
        let (area, _) = ui.allocate_exact_size(size, Sense::hover());
        let thumb_at = |row: usize, place: &Place| {
            let corner =
                area.min + vec2(place.column as f32 * indent + 1.0, row as f32 * ROW + 4.0);
            Rect::from_min_size(corner, THUMB)
        };
        paint_lines(model, ui, &theme, &places, &thumb_at);
        for (row, place) in places.iter().enumerate() {
            let thumb = thumb_at(row, place);
            let line = Rect::from_min_max(thumb.min, pos2(area.right(), thumb.max.y));
            if ui.is_rect_visible(line) {
                show_node(model, ui, &theme, place.node, thumb, line);
            }
        }
    });
}

/// Lays the tree out: a node's first child goes on in its column, others open a column of their
/// own right below it.
fn arrange(rollout: &Rollout) -> Vec<Place> {
    let mut places = Vec::new();
    let mut columns = 0;
    let mut stack = vec![(Rollout::ROOT, 0)];
    while let Some((node, column)) = stack.pop() {
        places.push(Place { node, column });
        let children = &rollout.node(node).children;
        let Some((first, others)) = children.split_first() else {
            continue;
        };
        stack.push((*first, column));
        for other in others.iter().rev() {
            columns += 1;
            stack.push((*other, columns));
        }
    }
    places
}

fn paint_lines(
    model: &Model,
    ui: &Ui,
    theme: &Theme,
    places: &[Place],
    thumb_at: &dyn Fn(usize, &Place) -> Rect,
) {
    let Some(session) = &model.session else {
        return;
    };
    let line = session.line();
    for (row, place) in places.iter().enumerate() {
        let Some(parent) = session.rollout.node(place.node).parent else {
            continue;
        };
        let Some(parent_row) = places.iter().position(|other| other.node == parent) else {
            continue;
        };
        let from = thumb_at(parent_row, &places[parent_row]);
        let to = thumb_at(row, place);
        let on_line = line.contains(&place.node);
        let colour = if on_line { theme.muted } else { theme.line_strong };
        let stroke = Stroke::new(if on_line { 1.5 } else { 1.0 }, colour);
        let start = pos2(from.left() + 14.0, from.bottom());
        let end = pos2(to.left() + 14.0, to.top());
        ui.painter().add(connection(start, end, stroke));
    }
}

/// A straight line down a column, or a curve into another one that then goes down.
fn connection(start: Pos2, end: Pos2, stroke: Stroke) -> Shape {
    if (start.x - end.x).abs() < 1.0 {
        return Shape::line_segment([start, end], stroke);
    }
    let bend = pos2(end.x, start.y + 18.0);
    let curve = CubicBezierShape::from_points_stroke(
        [start, start + vec2(0.0, 12.0), bend - vec2(0.0, 14.0), bend],
        false,
        Color32::TRANSPARENT,
        stroke,
    );
    Shape::Vec(vec![curve.into(), Shape::line_segment([bend, end], stroke)])
}

fn show_node(model: &mut Model, ui: &mut Ui, theme: &Theme, node: NodeId, thumb: Rect, line: Rect) {
    let Some(session) = &model.session else {
        return;
    };
    let current = session.current() == node;
    let (title, remark) = describe(session, session.rollout.node(node));
    let picture = session.thumbnail(node);
    let response = ui.interact(line, ui.scope_id().with(("node", node.0)), Sense::click());
    response.widget_info(|| {
        WidgetInfo::selected(Role::Button, true, current, format!("Go to {title}, {remark}"))
    });
    let hot = response.hovered() || response.has_focus();
    match picture {
        Some(picture) => {
            let last = picture.len().saturating_sub(1);
            model.thumbs.paint(ui, thumb, &picture, last, 5.0, Color32::WHITE);
        }
        None => {
            ui.painter().rect_filled(thumb, 5.0, theme.raised);
        }
    }
    let stroke = match (current, hot) {
        (true, _) => Stroke::new(2.0, theme.accent),
        (false, true) => Stroke::new(1.0, theme.muted),
        (false, false) => Stroke::new(1.0, theme.line),
    };
    let painter = ui.painter();
    painter.rect_stroke(thumb, 5.0, stroke, StrokeKind::Inside);
    if line.width() < NAMES_FROM {
        if response.on_hover_text(format!("{title}, {remark}")).clicked() {
            model.actions.push(Action::GoTo(node));
        }
        return;
    }
    let left = thumb.right() + 10.0;
    let ink = if current { theme.accent } else { theme.text };
    painter.text(pos2(left, thumb.center().y - 8.0), Align2::LEFT_CENTER, title, sans(12.5), ink);
    // The names of recorded codes can be long.
    let mut remark = LayoutJob::simple_singleline(remark, sans(11.0), theme.muted);
    remark.wrap = TextWrapping::truncate_at_width(line.right() - left);
    let remark = painter.layout_job(remark);
    let top = thumb.center().y + 8.0 - remark.size().y / 2.0;
    painter.galley(pos2(left, top), remark, theme.muted);
    if response.on_hover_cursor(CursorIcon::PointingHand).clicked() {
        model.actions.push(Action::GoTo(node));
    }
}

fn describe(session: &Session, node: &Node) -> (String, String) {
    let depth = session.rollout.line(node.id).len();
    let siblings = node.parent.map_or(0, |parent| session.rollout.node(parent).children.len());
    let waiting = !session.view(node.id).is_painted() && depth > 0;
    let remark = match &node.origin {
        Origin::Start => session.rollout.source.clone(),
        _ if waiting => "queued".to_owned(),
        Origin::Policy if siblings > 1 => format!("policy, seed {}", node.choice.seed),
        Origin::Policy => {
            let mean = mean_probability(node);
            mean.map_or_else(|| "policy".to_owned(), |p| format!("policy {:.0} %", p * 100.0))
        }
        Origin::Chosen { code, .. } => format!("you chose {code}"),
        Origin::Recorded { source } => source.clone(),
    };
    let title = if depth == 0 { "start".to_owned() } else { format!("step {depth}") };
    (title, remark)
}

/// Geometric mean of the probabilities of a clip's codes.
fn mean_probability(node: &Node) -> Option<f32> {
    let logs: Vec<f32> = node
        .predictions
        .iter()
        .map(|prediction| prediction.probability.ln())
        .filter(|log| log.is_finite())
        .collect();
    (!logs.is_empty()).then(|| (logs.iter().sum::<f32>() / logs.len() as f32).exp())
}
