//! What does not move: the table, the things at its edge, and the light that falls on all.

use super::{
    Size,
    canvas::Canvas,
    colour::Colour,
    environment::{Distractor, DistractorKind, Environment},
    geometry::{Point, Polygon, capsule, ellipse, pt},
    render::View,
    texture::noise,
};

/// The table as painted once for an environment and a size, a few pixels wider than the picture all around.
pub struct Background {
    pub margin: usize,
    width: usize,
    pixels: Vec<Colour>,
    /// Light on each pixel of the picture proper.
    pub light: Vec<Colour>,
}

impl Background {
    pub fn new(environment: &Environment, size: Size) -> Self {
        let margin = (0.004 * size.height as f32).ceil() as usize + 2;
        let wide =
            Size { height: size.height + 2 * margin as u32, width: size.width + 2 * margin as u32 };
        let view = View::new(&environment.camera, size);
        let shift = pt(margin as f32, margin as f32);
        // Fine texture is averaged away rather than left to flicker at small sizes.
        let samples = match size.height {
            0..=72 => 4,
            73..=128 => 3,
            _ => 2,
        };
        let table = |x: usize, y: usize| {
            let mut sum = 0.0;
            for i in 0..samples * samples {
                let sub = pt((i % samples) as f32 + 0.5, (i / samples) as f32 + 0.5);
                let pixel = pt(x as f32, y as f32) + sub * (1.0 / samples as f32) - shift;
                sum += environment.texture.at(view.on_table(pixel), environment.texture_seed);
            }
            environment.table * (sum / (samples * samples) as f32)
        };
        let mut canvas = Canvas::new(wide, false);
        canvas.start(table);
        for distractor in &environment.distractors {
            let place = |p: Point| view.pixel(distractor.at + p.rotated(distractor.angle)) + shift;
            paint_distractor(&mut canvas, distractor, environment, &view, &place);
        }
        Self {
            margin,
            width: wide.width as usize,
            pixels: canvas.resolved(),
            light: light_map(environment, size, &view),
        }
    }

    /// The table's colour at a pixel of a picture that is shifted by `shake` pixels.
    pub fn at(&self, x: usize, y: usize, shake: Point) -> Colour {
        let p = pt(x as f32, y as f32) - shake + pt(self.margin as f32, self.margin as f32);
        let (x, y) = (p.x.floor(), p.y.floor());
        let (u, v) = (p.x - x, p.y - y);
        let at = y as usize * self.width + x as usize;
        let row = |at: usize| self.pixels[at].mix(self.pixels[at + 1], u);
        row(at).mix(row(at + self.width), v)
    }
}

/// Lamp, falloff towards the corners and the window's bars of light.
fn light_map(e: &Environment, size: Size, view: &View) -> Vec<Colour> {
    let (w, h) = (size.width as f32, size.height as f32);
    let mut light = Vec::with_capacity((size.width * size.height) as usize);
    for y in 0..size.height {
        for x in 0..size.width {
            let centred = pt((x as f32 + 0.5 - 0.5 * w) / h, (y as f32 + 0.5 - 0.5 * h) / h);
            let lamp = 1.0 + e.light.gradient * centred.dot(e.light.towards);
            let corner = 1.0 - 0.22 * centred.dot(centred).min(1.0);
            let mut strength = e.light.strength * lamp * corner;
            if let Some((angle, offset, bright)) = e.light.window {
                let table = view.on_table(pt(x as f32, y as f32));
                let across = table.rotated(-angle).y + offset;
                let soft = |d: f32| 1.0 / (1.0 + (-d / 0.022).exp());
                let pane = |from: f32, to: f32| soft(across - from) * soft(to - across);
                let panes = pane(-0.36, -0.04) + pane(0.03, 0.35);
                strength *= 1.0 - 0.5 * bright + bright * panes;
            }
            light.push(e.light.colour * strength);
        }
    }
    light
}

fn paint_distractor(
    canvas: &mut Canvas,
    distractor: &Distractor,
    e: &Environment,
    view: &View,
    place: &dyn Fn(Point) -> Point,
) {
    let away = view.direction(e.light.towards * (-0.03 * e.light.slope));
    let blur = e.light.softness * view.scale();
    let seen = |polygon: Polygon| polygon.into_iter().map(place).collect::<Polygon>();
    let shadowed = |canvas: &mut Canvas, polygon: &Polygon, height: f32| {
        let cast: Polygon = polygon.iter().map(|&p| p + away * height).collect();
        canvas.shadow(&[cast, polygon.clone()], blur, 0.4);
    };
    let colour = distractor.colour;
    match distractor.kind {
        DistractorKind::Pencil => {
            let r = 0.013;
            let body = seen(vec![pt(-0.17, -r), pt(0.11, -r), pt(0.11, r), pt(-0.17, r)]);
            shadowed(canvas, &body, 0.5);
            canvas.fill(&body, 1.0, None, colour);
            let top =
                seen(vec![pt(-0.17, -r), pt(0.11, -r), pt(0.11, -0.3 * r), pt(-0.17, -0.3 * r)]);
            canvas.fill(&top, 1.0, None, colour * 1.35);
            let low = seen(vec![pt(-0.17, 0.4 * r), pt(0.11, 0.4 * r), pt(0.11, r), pt(-0.17, r)]);
            canvas.fill(&low, 1.0, None, colour * 0.7);
            let cone = seen(vec![pt(0.11, -r), pt(0.155, 0.0), pt(0.11, r)]);
            canvas.fill(&cone, 1.0, None, Colour::hsl(0.09, 0.45, 0.72));
            let lead = seen(vec![pt(0.141, -0.3 * r), pt(0.155, 0.0), pt(0.141, 0.3 * r)]);
            canvas.fill(&lead, 1.0, None, colour * 0.3);
            let ferrule = seen(vec![pt(-0.19, -r), pt(-0.165, -r), pt(-0.165, r), pt(-0.19, r)]);
            canvas.fill(&ferrule, 1.0, None, Colour([0.5, 0.5, 0.48]));
            let rubber = seen(capsule(pt(-0.205, 0.0), pt(-0.19, 0.0), r, r));
            canvas.fill(&rubber, 1.0, None, Colour::hsl(0.98, 0.45, 0.68));
        }
        DistractorKind::Cup => {
            let outside = seen(ellipse(pt(0.0, 0.0), 0.115, 0.115, 0.0));
            let saucer = seen(ellipse(pt(0.0, 0.0), 0.165, 0.165, 0.0));
            shadowed(canvas, &saucer, 0.6);
            canvas.fill(&saucer, 1.0, None, colour.mix(Colour([0.9; 3]), 0.65));
            let well = seen(ellipse(pt(0.0, 0.0), 0.135, 0.135, 0.0));
            canvas.fill(&well, 1.0, None, colour.mix(Colour([0.9; 3]), 0.55));
            shadowed(canvas, &outside, 1.2);
            let handle = seen(capsule(pt(0.09, 0.02), pt(0.155, 0.035), 0.018, 0.018));
            canvas.fill(&handle, 1.0, None, colour * 0.8);
            canvas.fill(&outside, 1.0, None, colour);
            let inside = seen(ellipse(pt(0.0, 0.0), 0.100, 0.100, 0.0));
            canvas.fill(&inside, 1.0, None, colour * 0.5);
            let coffee = seen(ellipse(pt(0.0, 0.004), 0.094, 0.092, 0.0));
            canvas.fill(&coffee, 1.0, None, Colour::hsl(0.07, 0.55, 0.16));
            let gleam = seen(ellipse(pt(-0.03, -0.045), 0.035, 0.012, -0.5));
            canvas.fill(&gleam, 0.25, None, Colour([0.9, 0.85, 0.8]));
        }
        DistractorKind::Eraser => {
            let quad = |x0: f32, x1: f32| {
                vec![pt(x0, -0.032), pt(x1, -0.032), pt(x1, 0.032), pt(x0, 0.032)]
            };
            let whole = seen(quad(-0.065, 0.06));
            shadowed(canvas, &whole, 0.8);
            canvas.fill(&whole, 1.0, None, Colour([0.8, 0.78, 0.74]));
            canvas.fill(&seen(quad(-0.065, 0.02)), 1.0, None, colour);
            let stripe = seen(vec![
                pt(-0.065, -0.012),
                pt(0.02, -0.012),
                pt(0.02, 0.012),
                pt(-0.065, 0.012),
            ]);
            canvas.fill(&stripe, 1.0, None, colour * 1.7);
        }
        DistractorKind::Coin => {
            let metal = Colour::hsl(0.115, 0.45, 0.5 + 0.1 * noise(distractor.at * 99.0, 1));
            let disc = seen(ellipse(pt(0.0, 0.0), 0.042, 0.042, 0.0));
            shadowed(canvas, &disc, 0.35);
            canvas.fill(&disc, 1.0, None, metal);
            canvas.fill(&seen(ellipse(pt(0.0, 0.0), 0.034, 0.034, 0.0)), 1.0, None, metal * 0.8);
            canvas.fill(
                &seen(ellipse(pt(0.002, 0.002), 0.031, 0.031, 0.0)),
                1.0,
                None,
                metal * 1.12,
            );
            canvas.fill(&seen(ellipse(pt(0.0, 0.0), 0.008, 0.02, 0.4)), 0.5, None, metal * 0.6);
        }
    }
}
