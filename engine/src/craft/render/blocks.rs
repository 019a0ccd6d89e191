//! Paints blocks, the farthest first, with lit tops and sides and their shadows.

use super::{Renderer, Scene};
use crate::craft::{
    blocks::{Block, DEPTH, RISE, Shape},
    canvas::Thing,
    colour::Colour,
    geometry::{Point, Polygon, centre, ellipse, hull, pt},
};

impl Renderer<'_> {
    pub(super) fn paint_blocks(&mut self, scene: &Scene, blocks: &[Block], held: Option<usize>) {
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
            return ellipse(base, 0.5 * block.width, 0.5 * DEPTH * block.depth, 0.0);
        }
        vec![base - back - side, base - back + side, base + back + side, base + back - side]
    }

    fn eye(&mut self, at: Point, radius: f32) {
        let dot = ellipse(at, radius, radius, 0.0);
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
            this.canvas.outline(&seen, this.px(0.005), 0.35, colour * 0.6);
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
                self.canvas.outline(&body, self.px(0.004), 0.3, colour * 0.45);
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
