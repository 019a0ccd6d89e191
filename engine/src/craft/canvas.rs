//! A small software painter: convex polygons at several samples a pixel, soft shadows, masks.

use super::{
    Size,
    colour::Colour,
    geometry::{Point, Polygon, grown},
};
use crate::media::Frame;

/// What a sample shows, for the masks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Thing {
    Table,
    Paper,
    Block,
    Hand,
}

/// The picture while it is painted, in pixel coordinates.
pub struct Canvas {
    width: usize,
    height: usize,
    /// Samples along one side of a pixel.
    samples: usize,
    data: Vec<Colour>,
    things: Option<Vec<Thing>>,
    shade: Vec<f32>,
    blurred: Vec<f32>,
}

impl Canvas {
    pub fn new(size: Size, masks: bool) -> Self {
        let (width, height) = (size.width as usize, size.height as usize);
        let samples = if height <= 72 { 4 } else { 3 };
        let count = width * height * samples * samples;
        Self {
            width,
            height,
            samples,
            data: vec![Colour([0.0; 3]); count],
            things: masks.then(|| vec![Thing::Table; count]),
            shade: vec![0.0; width * height],
            blurred: vec![0.0; width * height],
        }
    }

    /// Starts a picture: one colour a pixel.
    pub fn start(&mut self, pixel: impl Fn(usize, usize) -> Colour) {
        let row = self.width * self.samples;
        for y in 0..self.height {
            let first = y * self.samples * row;
            for x in 0..self.width {
                let colour = pixel(x, y);
                let at = first + x * self.samples;
                self.data[at..at + self.samples].fill(colour);
            }
            for copy in 1..self.samples {
                let to = first + copy * row;
                self.data.copy_within(first..first + row, to);
            }
        }
        if let Some(things) = &mut self.things {
            things.fill(Thing::Table);
        }
    }

    /// Paints a convex polygon; `paint` gives the colour at a pixel position.
    pub fn fill_with(
        &mut self,
        polygon: &[Point],
        alpha: f32,
        thing: Option<Thing>,
        paint: impl Fn(Point) -> Colour,
    ) {
        let samples = self.samples as f32;
        let row_length = self.width * self.samples;
        let rows = self.height * self.samples;
        let Some((top, bottom)) = vertical_range(polygon) else {
            return;
        };
        let first = ((top * samples - 0.5).ceil().max(0.0)) as usize;
        for row in first..rows {
            let y = (row as f32 + 0.5) / samples;
            if y > bottom {
                break;
            }
            let Some((left, right)) = span(polygon, y) else {
                continue;
            };
            let start = (left * samples - 0.5).ceil().max(0.0) as usize;
            let end = (right * samples - 0.5).floor() + 1.0;
            let end = (end.max(0.0) as usize).min(row_length);
            if start >= end {
                continue;
            }
            let line = row * row_length;
            for x in start..end {
                let at = Point { x: (x as f32 + 0.5) / samples, y };
                let colour = paint(at);
                let sample = &mut self.data[line + x];
                *sample = if alpha >= 1.0 { colour } else { sample.mix(colour, alpha) };
            }
            if let (Some(things), Some(thing)) = (&mut self.things, thing) {
                things[line + start..line + end].fill(thing);
            }
        }
    }

    /// Paints a convex polygon in one colour.
    pub fn fill(&mut self, polygon: &[Point], alpha: f32, thing: Option<Thing>, colour: Colour) {
        self.fill_with(polygon, alpha, thing, |_| colour);
    }

    /// Darkens a narrow rim around a convex polygon: the contact shadow of a thin thing.
    pub fn rim(&mut self, polygon: &[Point], reach: f32, strength: f32) {
        const RINGS: usize = 3;
        for ring in (1..=RINGS).rev() {
            let outer = grown(polygon, reach * ring as f32 / RINGS as f32);
            self.fill(&outer, strength / RINGS as f32, None, Colour([0.0, 0.0, 0.01]));
        }
    }

    /// Paints the outline of a convex polygon as a thin line inside of it.
    pub fn outline(&mut self, polygon: &[Point], width: f32, alpha: f32, colour: Colour) {
        for (i, &a) in polygon.iter().enumerate() {
            let b = polygon[(i + 1) % polygon.len()];
            self.line(a, b, width, alpha, colour);
        }
    }

    /// Paints a straight line.
    pub fn line(&mut self, a: Point, b: Point, width: f32, alpha: f32, colour: Colour) {
        let across = (b - a).perp().unit() * (0.5 * width);
        if across.length() > 0.0 {
            let quad = [a + across, b + across, b - across, a - across];
            self.fill(&quad, alpha, None, colour);
        }
    }

    /// Darkens what lies under a set of convex polygons, softly.
    pub fn shadow(&mut self, polygons: &[Polygon], blur: f32, strength: f32) {
        const BANDS: usize = 3;
        let mut bounds = [f32::MAX, f32::MAX, f32::MIN, f32::MIN];
        for p in polygons.iter().flatten() {
            bounds =
                [bounds[0].min(p.x), bounds[1].min(p.y), bounds[2].max(p.x), bounds[3].max(p.y)];
        }
        let radius = (blur * 0.5).round().max(0.0) as usize;
        let reach = 2.0 * radius as f32 + 1.0;
        let limit = |v: f32, most: usize| (v.max(0.0) as usize).min(most);
        let (x0, y0) =
            (limit(bounds[0] - reach, self.width), limit(bounds[1] - reach, self.height));
        let (x1, y1) = (
            limit(bounds[2] + reach + 1.0, self.width),
            limit(bounds[3] + reach + 1.0, self.height),
        );
        if x0 >= x1 || y0 >= y1 || strength <= 0.0 {
            return;
        }
        for y in y0..y1 {
            self.shade[y * self.width + x0..y * self.width + x1].fill(0.0);
        }
        for polygon in polygons {
            for y in y0..y1 {
                for band in 0..BANDS {
                    let level = y as f32 + (band as f32 + 0.5) / BANDS as f32;
                    let Some((left, right)) = span(polygon, level) else {
                        continue;
                    };
                    let from = limit(left.floor(), x1).max(x0);
                    let to = limit(right.ceil(), x1);
                    for x in from..to {
                        let cover = right.min(x as f32 + 1.0) - left.max(x as f32);
                        self.shade[y * self.width + x] += cover.max(0.0) / BANDS as f32;
                    }
                }
            }
        }
        for y in y0..y1 {
            for v in &mut self.shade[y * self.width + x0..y * self.width + x1] {
                *v = v.min(1.0);
            }
        }
        if radius > 0 {
            for _ in 0..2 {
                let width = self.width;
                box_blur(&self.shade, &mut self.blurred, radius, (y0, y1, width), (x0, x1, 1));
                box_blur(&self.blurred, &mut self.shade, radius, (x0, x1, 1), (y0, y1, width));
            }
        }
        let row = self.width * self.samples;
        for y in y0..y1 {
            for x in x0..x1 {
                let dark = strength * self.shade[y * self.width + x];
                if dark < 1e-3 {
                    continue;
                }
                // Shadows are a little blue: the sky lights them.
                let keep = Colour([1.0 - dark, 1.0 - 0.98 * dark, 1.0 - 0.94 * dark]);
                for sub in 0..self.samples {
                    let at = (y * self.samples + sub) * row + x * self.samples;
                    for sample in &mut self.data[at..at + self.samples] {
                        *sample = *sample * keep;
                    }
                }
            }
        }
    }

    /// The samples averaged, one linear colour a pixel.
    pub fn resolved(&self) -> Vec<Colour> {
        let row = self.width * self.samples;
        let scale = 1.0 / (self.samples * self.samples) as f32;
        let mut pixels = Vec::with_capacity(self.width * self.height);
        for y in 0..self.height {
            for x in 0..self.width {
                let mut sum = [0.0_f32; 3];
                for sub in 0..self.samples {
                    let at = (y * self.samples + sub) * row + x * self.samples;
                    for sample in &self.data[at..at + self.samples] {
                        for (total, v) in sum.iter_mut().zip(sample.0) {
                            *total += v;
                        }
                    }
                }
                pixels.push(Colour(sum) * scale);
            }
        }
        pixels
    }

    /// The finished picture: each pixel times the light that falls on it.
    pub fn finish(&self, light: &[Colour]) -> Frame {
        let pixels = self.resolved();
        let bytes = pixels.iter().zip(light).flat_map(|(&p, &l)| (p * l).srgb8());
        Frame::from_raw(self.width as u32, self.height as u32, bytes.collect())
            .expect("three bytes for every pixel")
    }

    /// Which part of each pixel a thing covers, 0 to 255; all zero when no masks were asked for.
    pub fn mask(&self, thing: Thing) -> image::GrayImage {
        let row = self.width * self.samples;
        let full = (self.samples * self.samples) as u32;
        image::GrayImage::from_fn(self.width as u32, self.height as u32, |x, y| {
            let Some(things) = &self.things else {
                return image::Luma([0]);
            };
            let mut count = 0;
            for sub in 0..self.samples {
                let at = (y as usize * self.samples + sub) * row + x as usize * self.samples;
                let line = &things[at..at + self.samples];
                count += line.iter().filter(|&&t| t == thing).count() as u32;
            }
            image::Luma([(count * 255 / full) as u8])
        })
    }
}

fn vertical_range(polygon: &[Point]) -> Option<(f32, f32)> {
    let top = polygon.iter().map(|p| p.y).fold(f32::MAX, f32::min);
    let bottom = polygon.iter().map(|p| p.y).fold(f32::MIN, f32::max);
    (polygon.len() >= 3 && bottom >= top).then_some((top, bottom))
}

/// Where a horizontal line enters and leaves a convex polygon.
fn span(polygon: &[Point], y: f32) -> Option<(f32, f32)> {
    let (mut left, mut right) = (f32::MAX, f32::MIN);
    let mut a = *polygon.last()?;
    for &b in polygon {
        if (a.y <= y) != (b.y <= y) {
            let x = a.x + (b.x - a.x) * (y - a.y) / (b.y - a.y);
            left = left.min(x);
            right = right.max(x);
        }
        a = b;
    }
    (left < right).then_some((left, right))
}

/// A running mean along one axis; each axis is (first, end, stride).
fn box_blur(
    from: &[f32],
    to: &mut [f32],
    radius: usize,
    lines: (usize, usize, usize),
    along: (usize, usize, usize),
) {
    let scale = 1.0 / (2 * radius + 1) as f32;
    for line in lines.0..lines.1 {
        let base = line * lines.2;
        let at = |i: usize| base + i * along.2;
        let mut sum: f32 = (along.0..along.1.min(along.0 + radius)).map(|i| from[at(i)]).sum();
        for i in along.0..along.1 {
            if i + radius < along.1 {
                sum += from[at(i + radius)];
            }
            if i > along.0 + radius {
                sum -= from[at(i - radius - 1)];
            }
            to[at(i)] = sum * scale;
        }
    }
}
