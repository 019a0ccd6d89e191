//! From a scene to a picture: camera, paper, blocks, shadows and hand.

use super::{
    Size,
    background::Background,
    blocks::{Block, DEPTH, RISE, Shape},
    canvas::{Canvas, Thing},
    colour::Colour,
    environment::{Camera, Environment, Print},
    geometry::{Line, Point, Polygon, centre, hull, pt},
    hand::Hand,
    paper::{Bend, Fold, Layer, Lifted, SHEET, Stack},
    texture::noise,
};
use crate::media::Frame;

/// How far a point of height 1 is seen above its foot in paper scenes.
pub const TILT: f32 = 0.42;
/// Length along both edges of the sheet's curled corner.
const CURL: f32 = 0.125;

/// From the picture plane of the world to pixels and back.
#[derive(Debug, Clone, Copy)]
pub struct View {
    scale: f32,
    roll: f32,
    offset: Point,
}

/// Everything there is to see at one moment.
#[derive(Debug, Clone)]
pub struct Scene {
    pub craft: Craft,
    pub hand: Option<Hand>,
    /// Frame number since the start of the episode, for the camera's shake.
    pub time: usize,
}

/// What lies on the table.
#[derive(Debug, Clone)]
pub enum Craft {
    Paper {
        stack: Stack,
        /// A fold on its way and how far it is, 0 to 1.
        fold: Option<(Fold, f32)>,
        /// How strongly the free corner curls, 0 to 1.
        curl: f32,
        /// Whether it is the left lower corner that curls.
        curl_left: bool,
    },
    Blocks {
        blocks: Vec<Block>,
        held: Option<usize>,
    },
}

/// Renders scenes of one environment at one size.
pub struct Renderer<'a> {
    environment: &'a Environment,
    view: View,
    background: Background,
    canvas: Canvas,
}

impl View {
    pub fn new(camera: &Camera, size: Size) -> Self {
        let (w, h) = (size.width as f32, size.height as f32);
        let scale = h * camera.zoom;
        Self {
            scale,
            roll: camera.roll,
            offset: pt(0.5 * w, 0.5 * h) - (camera.centre * scale).rotated(camera.roll),
        }
    }

    pub fn pixel(&self, p: Point) -> Point {
        (p * self.scale).rotated(self.roll) + self.offset
    }

    pub fn direction(&self, p: Point) -> Point {
        (p * self.scale).rotated(self.roll)
    }

    pub fn on_table(&self, pixel: Point) -> Point {
        (pixel - self.offset).rotated(-self.roll) * (1.0 / self.scale)
    }

    /// Pixels to one unit of the world.
    pub fn scale(&self) -> f32 {
        self.scale
    }

    fn polygon(&self, polygon: &[Point]) -> Polygon {
        polygon.iter().map(|&p| self.pixel(p)).collect()
    }
}

impl<'a> Renderer<'a> {
    pub fn new(environment: &'a Environment, size: Size, masks: bool) -> Self {
        Self {
            environment,
            view: View::new(&environment.camera, size),
            background: Background::new(environment, size),
            canvas: Canvas::new(size, masks),
        }
    }

    /// Paints a scene.
    pub fn render(&mut self, scene: &Scene) -> Frame {
        let camera = &self.environment.camera;
        let wander = |axis: u32| {
            let at = pt(scene.time as f32 * 0.13, axis as f32 * 7.5);
            noise(at, self.environment.shake_seed) - 0.5
        };
        let shake = pt(wander(0), wander(1)) * (2.0 * camera.shake * self.view.scale);
        let steady = self.view;
        self.view.offset += shake;
        self.canvas.start(|x, y| self.background.at(x, y, shake));
        match &scene.craft {
            Craft::Paper {
                stack,
                fold,
                curl,
                curl_left,
            } => self.paint_paper(scene, stack, fold.as_ref(), (*curl, *curl_left)),
            Craft::Blocks { blocks, held } => self.paint_blocks(scene, blocks, *held),
        }
        let frame = self.canvas.finish(&self.background.light);
        self.view = steady;
        frame
    }

    /// The part of each pixel that a thing covers in the picture last rendered, 0 to 255.
    pub fn mask(&self, thing: Thing) -> image::GrayImage {
        self.canvas.mask(thing)
    }

    fn px(&self, length: f32) -> f32 {
        length * self.view.scale
    }

    /// Where the shadow of a point at a height falls, relative to the point's foot.
    fn cast(&self, height: f32) -> Point {
        self.environment.light.towards * (-self.environment.light.slope * height)
    }

    fn hand_shadow(&mut self, hand: &Hand) {
        let by = self.cast(hand.height + 0.035) + pt(0.0, hand.height * TILT);
        let outlines = hand.outlines(self.environment, by);
        let seen: Vec<_> = outlines.iter().map(|p| self.view.polygon(p)).collect();
        let blur = self.px(self.environment.light.softness + 0.08 * hand.height);
        self.canvas.shadow(&seen, blur, 0.34);
    }

    fn hand_over(&mut self, hand: &Hand) {
        let view = self.view;
        hand.paint(&|p| view.pixel(p), &mut self.canvas, self.environment);
    }

    fn hand_under(&mut self, hand: &Hand) {
        let view = self.view;
        hand.paint_thumb(&|p| view.pixel(p), &mut self.canvas, self.environment);
    }

    fn paint_paper(
        &mut self,
        scene: &Scene,
        stack: &Stack,
        fold: Option<&(Fold, f32)>,
        (curl, curl_left): (f32, bool),
    ) {
        let (mut still, moving) = match fold {
            Some((fold, _)) => stack.parted(fold),
            None => (stack.layers.clone(), Vec::new()),
        };
        let mut corner = None;
        if curl > 0.0 {
            corner = lift_corner(&mut still, curl_left);
        }
        let soft = self.px(self.environment.light.softness);
        let by = self.cast(0.022);
        let mut ground: Vec<Polygon> = Vec::new();
        for layer in &still {
            let moved: Polygon = layer.polygon.iter().map(|&p| p + by).collect();
            ground.push(self.view.polygon(&moved));
        }
        self.canvas.shadow(&ground, soft, 0.42);
        if let Some((fold, done)) = fold
            && fold.behind
        {
            let bend = Bend::new(fold.reach(&moving), *done);
            self.paint_flap(&fold.line, &bend, &moving, true);
        }
        for layer in &still {
            self.paint_layer(layer);
        }
        if let Some((line, layer)) = corner {
            let piece = [layer];
            let reach = CURL * std::f32::consts::FRAC_1_SQRT_2;
            let bend = Bend::new(reach, 0.62 * curl);
            self.flap_shadow(&line, &bend, &piece, 0.35);
            self.paint_flap(&line, &bend, &piece, false);
        }
        if let Some(hand) = &scene.hand {
            self.hand_shadow(hand);
            self.hand_under(hand);
        }
        if let Some((fold, done)) = fold
            && !fold.behind
        {
            let bend = Bend::new(fold.reach(&moving), *done);
            let strength = 0.4 * (done * 6.0).min(1.0);
            self.flap_shadow(&fold.line, &bend, &moving, strength);
            self.paint_flap(&fold.line, &bend, &moving, false);
        }
        if let Some(hand) = &scene.hand {
            self.hand_over(hand);
        }
    }

    fn paint_layer(&mut self, layer: &Layer) {
        let seen = self.view.polygon(&layer.polygon);
        self.canvas.rim(&seen, self.px(0.010), 0.30);
        self.paint_sheet(layer, &seen, layer.front_up, 1.0);
        let edge = self.side_colour(layer.front_up);
        let width = self.px(0.0042);
        self.canvas.outline(&seen, width, 0.55, edge * 0.72);
    }

    fn side_colour(&self, front: bool) -> Colour {
        if front {
            self.environment.front
        } else {
            self.environment.back
        }
    }

    /// One flat polygon of paper; patterns follow the sheet through the flat layer it belongs to.
    fn paint_sheet(&mut self, layer: &Layer, seen: &Polygon, front: bool, shade: f32) {
        let colour = self.side_colour(front) * shade;
        let print = self.environment.front_print;
        if !front || print == Print::Plain {
            self.canvas.fill(seen, 1.0, Some(Thing::Paper), colour);
            return;
        }
        let view = self.view;
        let ink = colour.mix(self.environment.back, 0.16);
        self.canvas
            .fill_with(seen, 1.0, Some(Thing::Paper), |pixel| {
                let p = layer.on_sheet(view.on_table(pixel));
                if printed(print, p) { ink } else { colour }
            });
    }

    fn flap_shadow(&mut self, line: &Line, bend: &Bend, layers: &[Layer], strength: f32) {
        let mut cast = Vec::new();
        let mut highest = 0.0_f32;
        for layer in layers {
            for strip in 0..bend.ends.len() {
                let flat = bend.strip(line, &layer.polygon, strip);
                if flat.is_empty() {
                    continue;
                }
                let moved: Polygon = flat
                    .iter()
                    .map(|&p| {
                        let lifted = bend.place(line, p);
                        highest = highest.max(lifted.height);
                        self.view
                            .pixel(lifted.at + self.cast(lifted.height + 0.012))
                    })
                    .collect();
                cast.push(moved);
            }
        }
        let blur = self.px(self.environment.light.softness * 0.7 + 0.05 * highest);
        self.canvas.shadow(&cast, blur, strength);
    }

    /// The bent, moving part, painted from the lowest piece up.
    fn paint_flap(&mut self, line: &Line, bend: &Bend, layers: &[Layer], behind: bool) {
        let count = bend.ends.len();
        let e = self.environment;
        let lamp_height = 1.0 / e.light.slope;
        let length = (1.0 + lamp_height * lamp_height).sqrt();
        let flat_light = lamp_height / length;
        for i in 0..count {
            // Behind the stack the tip is lowest, over it the crease is.
            let strip = if behind { count - 1 - i } else { i };
            let below = bend.shows_below(strip);
            let (sin, cos) = bend.turned[strip].sin_cos();
            let upward = if behind { -1.0 } else { 1.0 };
            let facing = if below { -1.0 } else { 1.0 };
            let tilt = line.normal.dot(e.light.towards);
            let lit = facing * (-sin * upward * tilt + cos * lamp_height) / length;
            let shade = 0.46 + 0.54 * lit.max(0.0) / flat_light;
            for at in 0..layers.len() {
                let layer = if below {
                    &layers[layers.len() - 1 - at]
                } else {
                    &layers[at]
                };
                let flat = bend.strip(line, &layer.polygon, strip);
                if flat.is_empty() {
                    continue;
                }
                let seen: Polygon = flat
                    .iter()
                    .map(|&p| self.view.pixel(self.seen(bend.place(line, p), behind)))
                    .collect();
                let front = layer.front_up != below;
                self.paint_strip(layer, &flat, &seen, front, shade.min(1.18));
                let edge = self.side_colour(front) * (0.72 * shade);
                let width = self.px(0.0042);
                for (j, &a) in flat.iter().enumerate() {
                    let k = (j + 1) % flat.len();
                    let across = (line.distance(a) - line.distance(flat[k])).abs();
                    let outer = line.distance(a) > bend.ends[count - 1] - 1e-3;
                    if across > 1e-4 || outer {
                        self.canvas.line(seen[j], seen[k], width, 0.55, edge);
                    }
                }
            }
        }
    }

    /// A strip of the bent part; `flat` is where it lay, corner by corner.
    fn paint_strip(
        &mut self,
        layer: &Layer,
        flat: &Polygon,
        seen: &Polygon,
        front: bool,
        shade: f32,
    ) {
        let colour = self.side_colour(front) * shade;
        let print = self.environment.front_print;
        let thing = Some(Thing::Paper);
        // Bent strips are flat themselves: three corners tell how pixels lie on the sheet.
        let (u, v) = (seen[1] - seen[0], seen[2] - seen[0]);
        let turn = u.cross(v);
        if !front || print == Print::Plain || turn.abs() < 1e-3 {
            self.canvas.fill(seen, 1.0, thing, colour);
            return;
        }
        let corner = layer.on_sheet(flat[0]);
        let along = layer.on_sheet(flat[1]) - corner;
        let across = layer.on_sheet(flat[2]) - corner;
        let ink = colour.mix(self.environment.back * shade, 0.16);
        let start = seen[0];
        self.canvas.fill_with(seen, 1.0, thing, |pixel| {
            let p = pixel - start;
            let sheet = corner + along * (p.cross(v) / turn) + across * (u.cross(p) / turn);
            if printed(print, sheet) { ink } else { colour }
        });
    }

    fn seen(&self, lifted: Lifted, behind: bool) -> Point {
        let height = if behind { 0.0 } else { lifted.height };
        lifted.at - pt(0.0, TILT * height)
    }

    fn paint_blocks(&mut self, scene: &Scene, blocks: &[Block], held: Option<usize>) {
        let soft = self.px(self.environment.light.softness);
        for block in blocks {
            let foot = self.foot(block, 0.0);
            let mut cast = Vec::new();
            for height in [block.lift, block.lift + block.height] {
                let by = self.cast(height * 0.8);
                let by = pt(by.x, by.y * DEPTH);
                cast.extend(foot.iter().map(|&p| p + by));
            }
            let seen = self.view.polygon(&hull(&cast));
            let blur = soft + self.px(0.05 * block.lift);
            self.canvas.shadow(&[seen], blur, 0.36);
        }
        if let Some(hand) = &scene.hand {
            self.hand_shadow(hand);
        }
        let mut order: Vec<usize> = (0..blocks.len()).collect();
        let key = |i: &usize| (blocks[*i].at.y * 200.0).round() + 0.4 * blocks[*i].lift;
        order.sort_by(|a, b| key(a).total_cmp(&key(b)));
        for i in order {
            if held == Some(i)
                && let Some(hand) = &scene.hand
            {
                self.hand_under(hand);
            }
            self.paint_block(&blocks[i]);
        }
        if let Some(hand) = &scene.hand {
            if held.is_none() {
                self.hand_under(hand);
            }
            self.hand_over(hand);
        }
    }

    /// Half the way from a block's near side to its far side, on the picture plane.
    fn half_depth(&self, block: &Block) -> Point {
        pt(self.environment.camera.slant, -DEPTH) * (0.5 * block.depth)
    }

    /// The outline of a block's foot at a height over the table.
    fn foot(&self, block: &Block, height: f32) -> Polygon {
        let base = block.at - pt(0.0, RISE * height);
        let back = self.half_depth(block);
        let side = pt(0.5 * block.width, 0.0);
        if matches!(block.shape, Shape::Drum | Shape::Head) {
            return super::geometry::ellipse(
                base,
                0.5 * block.width,
                0.5 * DEPTH * block.depth,
                0.0,
            );
        }
        vec![
            base - back - side,
            base - back + side,
            base + back + side,
            base + back - side,
        ]
    }

    fn eye(&mut self, at: Point, radius: f32) {
        let dot = super::geometry::ellipse(at, radius, radius, 0.0);
        let seen = self.view.polygon(&dot);
        let ink = Colour([0.012, 0.012, 0.016]);
        self.canvas.fill(&seen, 0.9, Some(Thing::Block), ink);
    }

    fn paint_block(&mut self, block: &Block) {
        let colour = self.environment.blocks[block.colour % 6];
        let low = self.foot(block, block.lift);
        let high = self.foot(block, block.lift + block.height);
        let seen_low = self.view.polygon(&low);
        if block.lift < 1e-3 {
            self.canvas.rim(&seen_low, self.px(0.018), 0.38);
        }
        let lamp = self.environment.light.towards;
        let right = self.environment.camera.slant > 0.0;
        let side_light = if right { lamp.x } else { -lamp.x };
        // The lamp stands behind: tops are brightest, fronts in half light.
        let top = colour.mix(Colour([1.0; 3]), 0.10) * 1.12;
        let front = colour * (0.74 - 0.10 * lamp.y.abs());
        let side = colour * (0.62 + 0.24 * side_light);
        let thing = Some(Thing::Block);
        let quad = |a: Point, b: Point, c: Point, d: Point| vec![a, b, c, d];
        let paint = |this: &mut Self, polygon: Polygon, colour: Colour| {
            let seen = this.view.polygon(&polygon);
            let bottom = seen.iter().map(|p| p.y).fold(f32::MIN, f32::max);
            let tall = bottom - seen.iter().map(|p| p.y).fold(f32::MAX, f32::min);
            this.canvas.fill_with(&seen, 1.0, thing, |p| {
                colour * (1.06 - 0.16 * (1.0 - (bottom - p.y) / tall.max(1.0)).powi(2))
            });
            this.canvas
                .outline(&seen, this.px(0.005), 0.35, colour * 0.6);
        };
        match block.shape {
            Shape::Cuboid | Shape::Muzzle => {
                if right {
                    paint(self, quad(low[1], low[2], high[2], high[1]), side);
                } else {
                    paint(self, quad(low[0], low[3], high[3], high[0]), side);
                }
                paint(self, quad(low[0], low[1], high[1], high[0]), front);
                paint(self, high.clone(), top);
                let (a, b) = (self.view.pixel(high[0]), self.view.pixel(high[1]));
                self.canvas.line(a, b, self.px(0.006), 0.5, top * 1.2);
                if block.shape == Shape::Muzzle {
                    let eye = low[0].lerp(high[1], 0.62);
                    self.eye(eye, 0.017);
                    self.eye(low[0] + pt(0.022, -0.045), 0.008);
                }
            }
            Shape::Roof => {
                let near = (high[0] + high[1]) * 0.5;
                let far = (high[2] + high[3]) * 0.5;
                let slope = colour * (0.86 + 0.2 * side_light);
                let other = colour * (0.86 - 0.2 * side_light);
                if right {
                    paint(self, quad(near, far, low[3], low[0]), other);
                    paint(self, quad(near, far, low[2], low[1]), slope);
                } else {
                    paint(self, quad(near, far, low[2], low[1]), other);
                    paint(self, quad(near, far, low[3], low[0]), slope);
                }
                paint(self, vec![low[0], low[1], near], front);
            }
            Shape::Drum | Shape::Head => {
                let mut points = low.clone();
                points.extend(&high);
                let body = self.view.polygon(&hull(&points));
                let middle = self.view.pixel(centre(&low)).x;
                let radius = self.px(0.5 * block.width);
                self.canvas.fill_with(&body, 1.0, thing, |p| {
                    let across = (p.x - middle) / radius;
                    let lit = 0.70 + 0.22 * across * lamp.x - 0.16 * across * across;
                    colour * lit
                });
                self.canvas
                    .outline(&body, self.px(0.004), 0.3, colour * 0.45);
                let lid = self.view.polygon(&high);
                self.canvas.fill(&lid, 1.0, thing, top);
                self.canvas.outline(&lid, self.px(0.005), 0.4, top * 1.15);
                if block.shape == Shape::Head {
                    let face = (low[5] + high[5]) * 0.5;
                    for x in [-0.028, 0.028] {
                        self.eye(face + pt(x, -0.018), 0.013);
                    }
                    for i in -3..4 {
                        let x = i as f32 * 0.009;
                        self.eye(face + pt(x, 0.033 - x * x * 14.0), 0.005);
                    }
                }
            }
        }
    }
}

fn printed(print: Print, p: Point) -> bool {
    let wave = |v: f32| (v * 22.0).rem_euclid(1.0);
    match print {
        Print::Plain => false,
        Print::Stripes(angle) => wave(p.rotated(angle).x) < 0.35,
        Print::Dots => pt(wave(p.x) - 0.5, wave(p.y) - 0.5).length() < 0.24,
        Print::Squares => wave(p.x) < 0.12 || wave(p.y) < 0.12,
    }
}

/// Takes the open sheet's free corner off its layer, if it is still there, for it to be painted curled.
fn lift_corner(layers: &mut [Layer], left: bool) -> Option<(Line, Layer)> {
    let s = if left { -1.0 } else { 1.0 };
    let tip = pt(s * SHEET.0 / 2.0, SHEET.1 / 2.0);
    let line = Line::through(tip - pt(s * CURL, 0.0), tip - pt(0.0, CURL), tip);
    let layer = layers
        .iter_mut()
        .find(|layer| layer.front_up && layer.polygon.iter().any(|&p| (p - tip).length() < 1e-4))?;
    let (piece, rest) = super::geometry::split(&layer.polygon, &line);
    if piece.len() != 3 || rest.is_empty() {
        return None;
    }
    layer.polygon = rest;
    let piece = Layer {
        polygon: piece,
        ..layer.clone()
    };
    Some((line, piece))
}
