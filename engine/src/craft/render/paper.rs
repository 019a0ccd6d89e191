//! Paints paper: layers with contact shadows and creases, and the part that bends over.

use super::{Renderer, Scene, TILT};
use crate::craft::{
    canvas::Thing,
    colour::Colour,
    environment::Print,
    geometry::{Line, Point, Polygon, pt, split},
    paper::{Bend, Fold, Layer, Lifted, SHEET, Stack},
};

/// Length along both edges of the sheet's curled corner.
const CURL: f32 = 0.125;

impl Renderer<'_> {
    pub(super) fn paint_paper(
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
        if front { self.environment.front } else { self.environment.back }
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
        self.canvas.fill_with(seen, 1.0, Some(Thing::Paper), |pixel| {
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
                        self.view.pixel(lifted.at + self.cast(lifted.height + 0.012))
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
                let layer = if below { &layers[layers.len() - 1 - at] } else { &layers[at] };
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
    let (piece, rest) = split(&layer.polygon, &line);
    if piece.len() != 3 || rest.is_empty() {
        return None;
    }
    layer.polygon = rest;
    let piece = Layer { polygon: piece, ..layer.clone() };
    Some((line, piece))
}
