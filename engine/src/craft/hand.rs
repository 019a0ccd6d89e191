//! A simple hand seen from above: where it is on its way, and how it is painted.

use super::{
    canvas::{Canvas, Thing},
    colour::Colour,
    environment::Environment,
    geometry::{Point, Polygon, capsule, ellipse, pt},
};

/// A hand at one moment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Hand {
    /// Where thumb and fingers meet, on the picture plane.
    pub at: Point,
    /// Height over the table, for its shadow.
    pub height: f32,
    /// 0 pinching to 1 relaxed and spread.
    pub open: f32,
}

/// The hand's parts in paint order.
struct Shape {
    thumb: [Polygon; 2],
    sleeve: [Polygon; 2],
    palm: Polygon,
    wrist: Polygon,
    fingers: Vec<(Point, Point, f32, f32)>,
    scale: f32,
    turn: f32,
    flip: f32,
    origin: Point,
}

impl Hand {
    /// Where the forearm points: outwards from the table's middle, towards the viewer.
    fn arm(&self, handed: f32) -> Point {
        let side = (self.at.x * 3.2).tanh();
        pt(side * 1.05 + 0.22 * handed, 0.62 + 0.3 * (1.0 - side.abs())).unit()
    }

    fn shape(&self, environment: &Environment) -> Shape {
        let arm = self.arm(environment.handed);
        let scale = environment.hand_size * (1.0 + 0.25 * self.height);
        let turn = arm.y.atan2(arm.x);
        let flip = environment.handed;
        let origin = self.at;
        let place = |x: f32, y: f32| origin + pt(x * scale, y * flip * scale).rotated(turn);
        let tapered = |a: (f32, f32), b: (f32, f32), ra: f32, rb: f32| {
            capsule(place(a.0, a.1), place(b.0, b.1), ra * scale, rb * scale)
        };
        let o = self.open;
        let spread = |tip: (f32, f32), wide: (f32, f32)| {
            place(tip.0 + (wide.0 - tip.0) * o, tip.1 + (wide.1 - tip.1) * o)
        };
        let thumb_joint = (0.078, 0.060 + 0.010 * o);
        let thumb_tip = (0.012 + 0.028 * o, 0.016 + 0.050 * o);
        let fingers = vec![
            (place(0.105, -0.048), spread((0.036, -0.050), (0.038, -0.078)), 0.0185, 0.0145),
            (place(0.092, -0.026), spread((0.012, -0.032), (0.004, -0.040)), 0.0200, 0.0160),
            (place(0.088, 0.000), spread((0.000, -0.010), (-0.008, -0.003)), 0.0205, 0.0165),
            (place(0.095, 0.026), spread((0.002, 0.010), (0.004, 0.032)), 0.0200, 0.0160),
        ];
        Shape {
            thumb: [
                tapered((0.130, 0.042), thumb_joint, 0.027, 0.0215),
                tapered(thumb_joint, thumb_tip, 0.0215, 0.0165),
            ],
            sleeve: [
                tapered((0.262, 0.0), (0.95, 0.0), 0.058, 0.095),
                ellipse(place(0.212, 0.0), 0.019 * scale, 0.062 * scale, turn),
            ],
            palm: ellipse(place(0.132, 0.0), 0.063 * scale, 0.058 * scale, turn),
            wrist: tapered((0.140, 0.0), (0.26, 0.0), 0.047, 0.043),
            fingers,
            scale,
            turn,
            flip,
            origin,
        }
    }

    /// All outlines of the hand moved by `by`, for its shadow.
    pub fn outlines(&self, environment: &Environment, by: Point) -> Vec<Polygon> {
        let shape = self.shape(environment);
        let mut all = vec![shape.palm, shape.wrist];
        all.extend(shape.thumb);
        all.extend(shape.sleeve);
        let fingers = shape.fingers.iter();
        all.extend(
            fingers.map(|&(a, b, ra, rb)| capsule(a, b, ra * shape.scale, rb * shape.scale)),
        );
        for point in all.iter_mut().flatten() {
            *point += by;
        }
        all
    }

    /// Paints the thumb, which is below what the hand holds.
    pub fn paint_thumb(&self, view: &dyn Fn(Point) -> Point, canvas: &mut Canvas, e: &Environment) {
        let shape = self.shape(e);
        let skin = e.skin * 0.94;
        for part in &shape.thumb {
            paint(view, canvas, part, e.skin * 0.6);
        }
        let inner = |p: &Polygon| super::geometry::grown(p, -0.0035 * shape.scale);
        for part in &shape.thumb {
            paint(view, canvas, &inner(part), skin);
        }
    }

    /// Paints the rest of the hand, which is above what it holds.
    pub fn paint(&self, view: &dyn Fn(Point) -> Point, canvas: &mut Canvas, e: &Environment) {
        let shape = self.shape(e);
        let s = shape.scale;
        let edge = e.skin * 0.58;
        let lit = e.skin * 1.09;
        let light = e.light.towards * (0.006 * s);
        let rim = 0.0038 * s;
        paint(view, canvas, &super::geometry::grown(&shape.wrist, rim * 0.6), edge);
        paint(view, canvas, &super::geometry::grown(&shape.palm, rim * 0.6), edge);
        paint(view, canvas, &shape.wrist, e.skin * 0.95);
        for &(a, b, ra, rb) in &shape.fingers {
            paint(view, canvas, &capsule(a, b, ra * s, rb * s), edge);
            let inner = capsule(a, b, ra * s - rim, rb * s - rim);
            paint(view, canvas, &inner, e.skin);
            let bright = capsule(a + light, b + light, ra * s * 0.5, rb * s * 0.45);
            blend(view, canvas, &bright, 0.5, lit);
            let back = (a - b).unit();
            let nail =
                ellipse(b + back * (0.003 * s), 0.0085 * s, 0.0068 * s, back.y.atan2(back.x));
            blend(view, canvas, &nail, 0.55, Colour([1.0, 0.82, 0.76]).mix(e.skin, 0.35));
        }
        paint(view, canvas, &shape.palm, e.skin);
        let place =
            |x: f32, y: f32| shape.origin + pt(x * s, y * shape.flip * s).rotated(shape.turn);
        let middle = place(0.130, 0.0) + light * 1.6;
        blend(view, canvas, &ellipse(middle, 0.042 * s, 0.036 * s, shape.turn), 0.45, lit);
        for y in [-0.048, -0.025, 0.001, 0.026] {
            let knuckle = ellipse(place(0.092, y), 0.009 * s, 0.008 * s, shape.turn);
            blend(view, canvas, &knuckle, 0.22, e.skin * 0.8);
        }
        let dark = e.sleeve * 0.62;
        paint(view, canvas, &super::geometry::grown(&shape.sleeve[0], rim * 0.7), dark);
        paint(view, canvas, &shape.sleeve[0], e.sleeve);
        let along = place(0.23, 0.0) + light * 3.0;
        let away = place(0.95, 0.0) + light * 5.0;
        blend(view, canvas, &capsule(along, away, 0.026 * s, 0.045 * s), 0.35, e.sleeve * 1.3);
        paint(view, canvas, &super::geometry::grown(&shape.sleeve[1], rim * 0.5), dark);
        paint(view, canvas, &shape.sleeve[1], e.sleeve * 1.16);
    }
}

fn paint(view: &dyn Fn(Point) -> Point, canvas: &mut Canvas, polygon: &Polygon, colour: Colour) {
    let seen: Polygon = polygon.iter().map(|&p| view(p)).collect();
    canvas.fill(&seen, 1.0, Some(Thing::Hand), colour);
}

fn blend(
    view: &dyn Fn(Point) -> Point,
    canvas: &mut Canvas,
    polygon: &Polygon,
    alpha: f32,
    colour: Colour,
) {
    let seen: Polygon = polygon.iter().map(|&p| view(p)).collect();
    canvas.fill(&seen, alpha, Some(Thing::Hand), colour);
}
