//! Points and convex polygons of the plane: all that folding needs.

use std::ops::{Add, AddAssign, Mul, Neg, Sub};

use serde::{Deserialize, Serialize};

/// A point or a direction of the plane; x to the right, y down, unit: the height of the picture at zoom 1.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Point {
    pub x: f32,
    pub y: f32,
}

/// Short form of [`Point`].
pub const fn pt(x: f32, y: f32) -> Point {
    Point { x, y }
}

impl Point {
    pub fn dot(self, other: Self) -> f32 {
        self.x * other.x + self.y * other.y
    }

    pub fn cross(self, other: Self) -> f32 {
        self.x * other.y - self.y * other.x
    }

    pub fn length(self) -> f32 {
        self.dot(self).sqrt()
    }

    /// The same direction at length one; zero stays zero.
    pub fn unit(self) -> Self {
        let length = self.length();
        if length > 0.0 { self * (1.0 / length) } else { self }
    }

    /// A quarter turn, x towards y.
    pub fn perp(self) -> Self {
        pt(-self.y, self.x)
    }

    pub fn rotated(self, angle: f32) -> Self {
        let (sin, cos) = angle.sin_cos();
        pt(self.x * cos - self.y * sin, self.x * sin + self.y * cos)
    }

    pub fn lerp(self, other: Self, t: f32) -> Self {
        self + (other - self) * t
    }
}

impl Add for Point {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        pt(self.x + other.x, self.y + other.y)
    }
}

impl AddAssign for Point {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Sub for Point {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        pt(self.x - other.x, self.y - other.y)
    }
}

impl Mul<f32> for Point {
    type Output = Self;
    fn mul(self, factor: f32) -> Self {
        pt(self.x * factor, self.y * factor)
    }
}

impl Neg for Point {
    type Output = Self;
    fn neg(self) -> Self {
        pt(-self.x, -self.y)
    }
}

/// A line with a positive side.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Line {
    pub origin: Point,
    /// Unit normal, towards the positive side.
    pub normal: Point,
}

impl Line {
    /// The line through two points whose positive side holds `towards`.
    pub fn through(a: Point, b: Point, towards: Point) -> Self {
        let normal = (b - a).perp().unit();
        let normal = if normal.dot(towards - a) < 0.0 { -normal } else { normal };
        Self { origin: a, normal }
    }

    /// Signed distance, positive on the positive side.
    pub fn distance(&self, point: Point) -> f32 {
        (point - self.origin).dot(self.normal)
    }

    pub fn reflect(&self, point: Point) -> Point {
        point - self.normal * (2.0 * self.distance(point))
    }

    /// The line moved along its normal.
    pub fn moved(&self, by: f32) -> Self {
        Self { origin: self.origin + self.normal * by, normal: self.normal }
    }
}

/// A convex polygon by its corners.
pub type Polygon = Vec<Point>;

/// Area of a polygon, whichever way it turns.
pub fn area(polygon: &[Point]) -> f32 {
    let mut twice = 0.0;
    for (i, &a) in polygon.iter().enumerate() {
        twice += a.cross(polygon[(i + 1) % polygon.len()]);
    }
    0.5 * twice.abs()
}

/// The mean of the corners.
pub fn centre(polygon: &[Point]) -> Point {
    let sum = polygon.iter().fold(Point::default(), |sum, &p| sum + p);
    sum * (1.0 / polygon.len().max(1) as f32)
}

/// The part of a convex polygon on the positive side of a line, empty when there is none.
pub fn clip(polygon: &[Point], line: &Line) -> Polygon {
    const TOUCH: f32 = 1e-5;
    let mut kept = Vec::with_capacity(polygon.len() + 1);
    let mut inside = false;
    for (i, &a) in polygon.iter().enumerate() {
        let b = polygon[(i + 1) % polygon.len()];
        let (da, db) = (line.distance(a), line.distance(b));
        inside |= da > TOUCH;
        if da >= 0.0 {
            kept.push(a);
        }
        if (da > 0.0 && db < 0.0) || (da < 0.0 && db > 0.0) {
            kept.push(a.lerp(b, da / (da - db)));
        }
    }
    if inside && kept.len() >= 3 { kept } else { Vec::new() }
}

/// Both parts of a convex polygon: (positive side, negative side).
pub fn split(polygon: &[Point], line: &Line) -> (Polygon, Polygon) {
    let opposite = Line { origin: line.origin, normal: -line.normal };
    (clip(polygon, line), clip(polygon, &opposite))
}

/// Convex hull (monotone chain).
pub fn hull(points: &[Point]) -> Polygon {
    let mut sorted = points.to_vec();
    sorted.sort_by(|a, b| a.x.total_cmp(&b.x).then(a.y.total_cmp(&b.y)));
    let mut chain: Polygon = Vec::with_capacity(2 * sorted.len());
    for pass in 0..2 {
        let start = chain.len();
        let mut add = |p: Point| {
            while chain.len() >= start + 2 {
                let (a, b) = (chain[chain.len() - 2], chain[chain.len() - 1]);
                if (b - a).cross(p - b) > 0.0 {
                    break;
                }
                chain.pop();
            }
            chain.push(p);
        };
        if pass == 0 {
            sorted.iter().copied().for_each(&mut add);
        } else {
            sorted.iter().rev().copied().for_each(&mut add);
        }
        chain.pop();
    }
    chain
}

/// A convex polygon grown outwards by `by` (each corner along its two edges' normals).
pub fn grown(polygon: &[Point], by: f32) -> Polygon {
    let middle = centre(polygon);
    let count = polygon.len();
    (0..count)
        .map(|i| {
            let (before, here, after) =
                (polygon[(i + count - 1) % count], polygon[i], polygon[(i + 1) % count]);
            let outward = |a: Point, b: Point| {
                let normal = (b - a).perp().unit();
                if normal.dot(middle - a) > 0.0 { -normal } else { normal }
            };
            let (first, second) = (outward(before, here), outward(here, after));
            let sum = first + second;
            // A mitre, cut where the corner is too sharp for one.
            let reach = (2.0 / sum.dot(sum).max(0.5)).min(2.0);
            here + sum * (by * reach)
        })
        .collect()
}

/// A capsule from `a` to `b` that is `ra` wide (half) at one end and `rb` at the other.
pub fn capsule(a: Point, b: Point, ra: f32, rb: f32) -> Polygon {
    const ROUND: usize = 7;
    let angle = (b - a).y.atan2((b - a).x);
    let mut points = Vec::with_capacity(2 * ROUND);
    for i in 0..ROUND {
        let turn = std::f32::consts::PI * (i as f32 / (ROUND - 1) as f32 - 0.5);
        points.push(b + pt(rb, 0.0).rotated(angle + turn));
    }
    for i in 0..ROUND {
        let turn = std::f32::consts::PI * (i as f32 / (ROUND - 1) as f32 + 0.5);
        points.push(a + pt(ra, 0.0).rotated(angle + turn));
    }
    points
}

/// An ellipse with its axes turned by `angle`.
pub fn ellipse(middle: Point, rx: f32, ry: f32, angle: f32) -> Polygon {
    const CORNERS: usize = 20;
    (0..CORNERS)
        .map(|i| {
            let turn = std::f32::consts::TAU * i as f32 / CORNERS as f32;
            middle + pt(rx * turn.cos(), ry * turn.sin()).rotated(angle)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splitting_keeps_the_area() {
        let square = vec![pt(0.0, 0.0), pt(1.0, 0.0), pt(1.0, 1.0), pt(0.0, 1.0)];
        let line = Line::through(pt(0.2, -0.3), pt(0.7, 1.4), pt(5.0, 0.0));
        let (right, left) = split(&square, &line);
        assert!((area(&right) + area(&left) - 1.0).abs() < 1e-5);
        assert!(right.iter().all(|&p| line.distance(p) > -1e-5));
        assert!(area(&left) > 0.1 && area(&right) > 0.1);
    }

    #[test]
    fn a_hull_drops_inner_points() {
        let points = [pt(0.0, 0.0), pt(2.0, 0.0), pt(1.0, 0.5), pt(2.0, 2.0), pt(0.0, 2.0)];
        assert_eq!(hull(&points).len(), 4);
    }
}
