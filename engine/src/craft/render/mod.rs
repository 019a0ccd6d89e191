//! From a scene to a picture: camera, paper, blocks, shadows and hand.

mod blocks;
mod paper;

use super::{
    Size,
    background::Background,
    blocks::Block,
    canvas::{Canvas, Thing},
    environment::{Camera, Environment},
    geometry::{Point, Polygon, pt},
    hand::Hand,
    paper::{Fold, Stack},
    texture::noise,
};
use crate::media::Frame;

/// How far a point of height 1 is seen above its foot in paper scenes.
pub const TILT: f32 = 0.42;

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
            Craft::Paper { stack, fold, curl, curl_left } => {
                self.paint_paper(scene, stack, fold.as_ref(), (*curl, *curl_left))
            }
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
}
