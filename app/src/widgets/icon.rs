//! Icons drawn as shapes, so that they are sharp at every size and need no font.

use eframe::egui::{Color32, Painter, Pos2, Rect, Shape, Stroke, StrokeKind, Vec2, pos2, vec2};

/// What an icon shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Icon {
    First,
    PreviousFrame,
    Play,
    Pause,
    NextFrame,
    Last,
    Search,
    Brand,
    ChevronDown,
    Frame,
    Close,
}

/// Draws `icon` in a square around `centre` with sides of `size` points.
pub fn paint(painter: &Painter, icon: Icon, centre: Pos2, size: f32, colour: Color32) {
    let half = size / 2.0;
    let at = |x: f32, y: f32| pos2(centre.x + x * half, centre.y + y * half);
    let filled = |points: Vec<Pos2>| {
        painter.add(Shape::convex_polygon(points, colour, Stroke::NONE));
    };
    let bar = |x0: f32, x1: f32| {
        painter.rect_filled(Rect::from_min_max(at(x0, -0.8), at(x1, 0.8)), 1.0, colour);
    };
    let stroke = Stroke::new((size / 9.0).max(1.2), colour);
    match icon {
        Icon::Play => filled(vec![at(-0.55, -0.85), at(0.8, 0.0), at(-0.55, 0.85)]),
        Icon::Pause => {
            bar(-0.65, -0.2);
            bar(0.2, 0.65);
        }
        Icon::NextFrame => {
            filled(vec![at(-0.75, -0.75), at(0.35, 0.0), at(-0.75, 0.75)]);
            bar(0.5, 0.75);
        }
        Icon::PreviousFrame => {
            filled(vec![at(0.75, -0.75), at(-0.35, 0.0), at(0.75, 0.75)]);
            bar(-0.75, -0.5);
        }
        Icon::First => {
            filled(vec![at(0.05, -0.7), at(-0.6, 0.0), at(0.05, 0.7)]);
            filled(vec![at(0.8, -0.7), at(0.15, 0.0), at(0.8, 0.7)]);
            bar(-0.85, -0.65);
        }
        Icon::Last => {
            filled(vec![at(-0.05, -0.7), at(0.6, 0.0), at(-0.05, 0.7)]);
            filled(vec![at(-0.8, -0.7), at(-0.15, 0.0), at(-0.8, 0.7)]);
            bar(0.65, 0.85);
        }
        Icon::Search => {
            painter.circle_stroke(at(-0.15, -0.15), half * 0.6, stroke);
            painter.line_segment([at(0.3, 0.3), at(0.85, 0.85)], stroke);
        }
        Icon::Brand => {
            filled(vec![at(1.0, -0.9), at(-1.0, -0.05), at(-0.2, 0.2)]);
            let shade = colour.gamma_multiply(0.72);
            painter.add(Shape::convex_polygon(
                vec![at(1.0, -0.9), at(-0.2, 0.2), at(0.15, 0.95)],
                shade,
                Stroke::NONE,
            ));
        }
        Icon::ChevronDown => {
            painter.line(vec![at(-0.6, -0.3), at(0.0, 0.35), at(0.6, -0.3)], stroke);
        }
        Icon::Frame => {
            let frame = Rect::from_center_size(centre, vec2(size, size * 0.72));
            painter.rect_stroke(frame, 2.0, stroke, StrokeKind::Inside);
            painter.line_segment([at(-0.6, 0.4), at(-0.1, -0.1)], stroke);
            painter.line_segment([at(-0.1, -0.1), at(0.6, 0.4)], stroke);
        }
        Icon::Close => {
            painter.line_segment([at(-0.6, -0.6), at(0.6, 0.6)], stroke);
            painter.line_segment([at(0.6, -0.6), at(-0.6, 0.6)], stroke);
        }
    }
}

/// The two arrows of a wipe handle.
pub fn paint_wipe_handle(painter: &Painter, centre: Pos2, colour: Color32) {
    for side in [-1.0, 1.0] {
        let tip = centre + Vec2::new(side * 7.0, 0.0);
        painter.line(
            vec![tip + vec2(-side * 3.5, -3.5), tip, tip + vec2(-side * 3.5, 3.5)],
            Stroke::new(1.4, colour),
        );
    }
    painter
        .line_segment([centre - vec2(6.0, 0.0), centre + vec2(6.0, 0.0)], Stroke::new(1.4, colour));
}
