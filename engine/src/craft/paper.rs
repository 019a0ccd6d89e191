//! A sheet of paper as a stack of convex layers, and the folds that make an airplane and a boat of it.

use std::f32::consts::{FRAC_PI_2, PI};

use serde::{Deserialize, Serialize};

use super::{
    Action,
    geometry::{Line, Point, Polygon, area, clip, pt, split},
};

/// Width and height of the open sheet.
pub const SHEET: (f32, f32) = (0.47, 0.64);

/// One convex piece of the sheet, lying flat.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Layer {
    pub polygon: Polygon,
    /// Whether the sheet's front looks up.
    pub front_up: bool,
    /// Which half of the airplane it belongs to once it was halved: 1 for the half that was turned over.
    pub half: u8,
    /// Where the plane's origin and axes lie on the open sheet, for patterns that turn with the paper.
    pub sheet: [Point; 3],
}

/// The layers from the table up.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Stack {
    pub layers: Vec<Layer>,
}

/// Which layers a fold takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Takes {
    All,
    Half(u8),
}

/// A fold: what lies on the positive side of the line is turned over it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Fold {
    pub line: Line,
    /// Turned under the stack instead of over it.
    pub behind: bool,
    pub takes: Takes,
    /// Marks what was turned as the second half.
    pub halves: bool,
}

/// A point of the moving part while it turns: where it is over the table and how high.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Lifted {
    pub at: Point,
    pub height: f32,
}

/// The cross-section of the moving part while it bends over the crease.
#[derive(Debug, Clone)]
pub struct Bend {
    /// Distance from the crease where each strip ends.
    pub ends: Vec<f32>,
    /// How far each strip has turned, 0 to pi.
    pub turned: Vec<f32>,
    /// Distance in the plane and height at the end of each strip.
    reached: Vec<(f32, f32)>,
}

impl Stack {
    /// The open sheet, front up.
    pub fn open() -> Self {
        let (w, h) = (SHEET.0 / 2.0, SHEET.1 / 2.0);
        Self {
            layers: vec![Layer {
                polygon: vec![pt(-w, -h), pt(w, -h), pt(w, h), pt(-w, h)],
                front_up: true,
                half: 0,
                sheet: [pt(0.0, 0.0), pt(1.0, 0.0), pt(0.0, 1.0)],
            }],
        }
    }

    /// Area of all layers together: that of the open sheet, always.
    pub fn area(&self) -> f32 {
        self.layers.iter().map(|layer| area(&layer.polygon)).sum()
    }

    /// Splits the stack by a fold: (what stays, what moves), both from the table up and not yet turned.
    pub fn parted(&self, fold: &Fold) -> (Vec<Layer>, Vec<Layer>) {
        let (mut still, mut moving) = (Vec::new(), Vec::new());
        for layer in &self.layers {
            let taken = match fold.takes {
                Takes::All => true,
                Takes::Half(half) => layer.half == half,
            };
            if !taken {
                still.push(layer.clone());
                continue;
            }
            let (over, under) = split(&layer.polygon, &fold.line);
            let part = |polygon| Layer { polygon, ..layer.clone() };
            if !under.is_empty() {
                still.push(part(under));
            }
            if !over.is_empty() {
                moving.push(part(over));
            }
        }
        (still, moving)
    }

    /// The stack after a fold.
    pub fn folded(&self, fold: &Fold) -> Self {
        let (still, moving) = self.parted(fold);
        let turned = moving.into_iter().rev().map(|layer| layer.turned(fold));
        let layers = if fold.behind {
            turned.chain(still).collect()
        } else {
            still.into_iter().chain(turned).collect()
        };
        Self { layers }
    }
}

impl Layer {
    fn turned(mut self, fold: &Fold) -> Self {
        for point in &mut self.polygon {
            *point = fold.line.reflect(*point);
        }
        self.front_up = !self.front_up;
        if fold.halves {
            self.half = 1;
        }
        self.sheet = reflected_frame(&self.sheet, &fold.line);
        self
    }

    /// Where a point of the plane lies on the open sheet.
    pub fn on_sheet(&self, point: Point) -> Point {
        self.sheet[0] + self.sheet[1] * point.x + self.sheet[2] * point.y
    }
}

/// The map plane -> sheet after the plane was reflected at a line.
fn reflected_frame(sheet: &[Point; 3], line: &Line) -> [Point; 3] {
    let map = |p: Point| sheet[0] + sheet[1] * p.x + sheet[2] * p.y;
    let origin = map(line.reflect(pt(0.0, 0.0)));
    [origin, map(line.reflect(pt(1.0, 0.0))) - origin, map(line.reflect(pt(0.0, 1.0))) - origin]
}

impl Fold {
    fn new(line: Line) -> Self {
        Self { line, behind: false, takes: Takes::All, halves: false }
    }

    fn behind(line: Line) -> Self {
        Self { behind: true, ..Self::new(line) }
    }

    /// A fold over any line.
    pub fn free(line: Line, behind: bool) -> Self {
        Self { behind, ..Self::new(line) }
    }

    /// The fold that an action makes; `to_left` tells which way the airplane was halved.
    pub fn of(action: Action, to_left: bool) -> Option<Self> {
        let (w, h) = (SHEET.0 / 2.0, SHEET.1 / 2.0);
        let apex = pt(0.0, -h);
        let side = |left: bool| if left { -1.0 } else { 1.0 };
        let corner = |left: bool| {
            let s = side(left);
            Self::new(Line::through(apex, pt(s * w, w - h), pt(s * w, -h)))
        };
        let edge = |left: bool| {
            let s = side(left);
            let far = apex + pt(s * (PI / 8.0).sin(), (PI / 8.0).cos());
            Self::new(Line::through(apex, far, pt(s * w, w - h)))
        };
        let halve = |left: bool| Self {
            halves: true,
            ..Self::new(Line::through(apex, pt(0.0, h), pt(-side(left) * w, 0.0)))
        };
        let wing = |rear: bool| {
            let s = side(to_left);
            Self {
                takes: Takes::Half(u8::from(!rear)),
                behind: rear,
                ..Self::new(Line::through(pt(s * 0.014, -h), pt(s * 0.07, h), pt(s * w, h)))
            }
        };
        let level = |y: f32| Line::through(pt(-1.0, y), pt(1.0, y), pt(0.0, 1.0));
        let tip = |left: bool| {
            let s = side(left);
            let base = pt(0.0, -h + 0.10);
            Self::new(Line::through(base, base + pt(s, 0.92), apex))
        };
        Some(match action {
            Action::FoldLeftCorner => corner(true),
            Action::FoldRightCorner => corner(false),
            Action::FoldLeftEdge => edge(true),
            Action::FoldRightEdge => edge(false),
            Action::HalveToLeft => halve(true),
            Action::HalveToRight => halve(false),
            Action::FoldFrontWing => wing(false),
            Action::FoldRearWing => wing(true),
            Action::FoldBottomBehind => Self::behind(level(0.17)),
            Action::FoldHullUp => Self::new(level(HULL)),
            Action::FoldTipLeft => tip(true),
            Action::FoldTipRight => tip(false),
            _ => return None,
        })
    }

    /// The point of the moving layers that a hand takes: the middle of what is farthest from the crease.
    pub fn grip(&self, moving: &[Layer]) -> Point {
        let far = self.reach(moving);
        let points = moving.iter().flat_map(|layer| &layer.polygon).copied();
        let tips: Vec<_> = points.filter(|&p| self.line.distance(p) > far - 0.02).collect();
        super::geometry::centre(&tips)
    }

    /// Distance from the crease to the farthest point that moves.
    pub fn reach(&self, moving: &[Layer]) -> f32 {
        let points = moving.iter().flat_map(|layer| &layer.polygon);
        points.map(|&p| self.line.distance(p)).fold(0.0_f32, f32::max)
    }
}

/// Where the boat's hull is folded up: its lower edge.
const HULL: f32 = 0.04;

impl Bend {
    /// The shape of a moving part that reaches `reach` from the crease, `done` (0 to 1) of its way over.
    /// The tip leads, as paper does that is pulled by its edge.
    pub fn new(reach: f32, done: f32) -> Self {
        const STRIPS: usize = 7;
        const LAG: f32 = 0.55;
        let mut bend = Self {
            ends: Vec::with_capacity(STRIPS),
            turned: Vec::with_capacity(STRIPS),
            reached: Vec::with_capacity(STRIPS),
        };
        let (mut at, mut height) = (0.0, 0.0);
        let step = reach / STRIPS as f32;
        for i in 0..STRIPS {
            let outward = (i as f32 + 0.5) / STRIPS as f32;
            let turned = PI * (done * (1.0 + LAG) - LAG * (1.0 - outward)).clamp(0.0, 1.0);
            at += step * turned.cos();
            height += step * turned.sin();
            bend.ends.push(step * (i + 1) as f32);
            bend.turned.push(turned);
            bend.reached.push((at, height));
        }
        bend
    }

    /// Where a point of the moving part is now.
    pub fn place(&self, line: &Line, point: Point) -> Lifted {
        let distance = line.distance(point).max(0.0);
        let foot = point - line.normal * distance;
        let strip = self.ends.partition_point(|&end| end < distance);
        let strip = strip.min(self.ends.len() - 1);
        let (start, (x, z)) = match strip {
            0 => (0.0, (0.0, 0.0)),
            _ => (self.ends[strip - 1], self.reached[strip - 1]),
        };
        let (sin, cos) = self.turned[strip].sin_cos();
        let along = distance - start;
        Lifted { at: foot + line.normal * (x + along * cos), height: z + along * sin }
    }

    /// One strip of a polygon, flat, or empty.
    pub fn strip(&self, line: &Line, polygon: &[Point], strip: usize) -> Polygon {
        let start = if strip == 0 { 0.0 } else { self.ends[strip - 1] };
        let lower = clip(polygon, &line.moved(start));
        let end = line.moved(self.ends[strip]);
        let end = Line { origin: end.origin, normal: -end.normal };
        if lower.is_empty() { lower } else { clip(&lower, &end) }
    }

    /// Whether a strip shows its lower side.
    pub fn shows_below(&self, strip: usize) -> bool {
        self.turned[strip] > FRAC_PI_2
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::craft::{Task, plan};

    #[test]
    fn no_fold_loses_paper() {
        for task in [Task::Airplane, Task::Boat] {
            for order in plan::orders(task) {
                let mut stack = Stack::open();
                let to_left = order.contains(&Action::HalveToLeft);
                for &action in &order {
                    let before = stack.layers.len();
                    let fold = Fold::of(action, to_left).expect("papers are folded");
                    stack = stack.folded(&fold);
                    assert!(stack.layers.len() > before, "{action:?} folds nothing");
                    assert!((stack.area() - SHEET.0 * SHEET.1).abs() < 1e-4);
                }
            }
        }
    }

    #[test]
    fn the_order_of_folds_does_not_change_the_outline() {
        let end = |order: &[Action]| {
            let to_left = order.contains(&Action::HalveToLeft);
            let folds = order.iter().filter_map(|&a| Fold::of(a, to_left));
            folds.fold(Stack::open(), |stack, fold| stack.folded(&fold))
        };
        let bounds = |stack: &Stack| {
            let points = stack.layers.iter().flat_map(|l| &l.polygon);
            points.fold([f32::MAX, f32::MAX, f32::MIN, f32::MIN], |b, p| {
                [b[0].min(p.x), b[1].min(p.y), b[2].max(p.x), b[3].max(p.y)]
            })
        };
        let orders = plan::orders(Task::Airplane);
        let left: Vec<_> = orders.iter().filter(|o| o.contains(&Action::HalveToLeft)).collect();
        let first = bounds(&end(left[0]));
        for order in left {
            for (a, b) in bounds(&end(order)).iter().zip(&first) {
                assert!((a - b).abs() < 1e-4);
            }
        }
    }

    #[test]
    fn a_bend_starts_flat_and_ends_turned_over() {
        let line = Line::through(pt(0.0, 0.0), pt(0.0, 1.0), pt(1.0, 0.0));
        let point = pt(0.2, 0.3);
        let start = Bend::new(0.25, 0.0).place(&line, point);
        assert!((start.at - point).length() < 1e-5 && start.height.abs() < 1e-5);
        let end = Bend::new(0.25, 1.0).place(&line, point);
        assert!((end.at - line.reflect(point)).length() < 1e-4 && end.height.abs() < 1e-4);
        let middle = Bend::new(0.25, 0.5).place(&line, point);
        assert!(middle.height > 0.05);
    }
}
