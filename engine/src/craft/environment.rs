//! All that surrounds an action and must not matter to it: table, colours, light, camera, hand.

use rand::{RngExt, SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::{
    colour::Colour,
    geometry::{Point, pt},
    texture::Texture,
};

/// Training or test environments: no texture, hue or camera cell belongs to both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Split {
    Train,
    Test,
}

/// A faint print on a side of the paper.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Print {
    Plain,
    Stripes(f32),
    Dots,
    Squares,
}

/// A thing that lies at the edge of the picture.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Distractor {
    pub kind: DistractorKind,
    pub at: Point,
    pub angle: f32,
    pub colour: Colour,
}

/// Kinds of [`Distractor`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DistractorKind {
    Pencil,
    Cup,
    Eraser,
    Coin,
}

/// Where the camera stands.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Camera {
    pub zoom: f32,
    /// Turn of the picture in radians.
    pub roll: f32,
    pub centre: Point,
    /// How far a block's far side is seen to the right of its near side, per unit of depth.
    pub slant: f32,
    pub shake: f32,
}

/// Where the light comes from and how it falls.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Light {
    /// Direction towards the lamp over the table, length one.
    pub towards: Point,
    /// Length of a shadow per height.
    pub slope: f32,
    pub strength: f32,
    pub colour: Colour,
    pub softness: f32,
    /// How much brighter the lamp's side of the table is.
    pub gradient: f32,
    /// A window's light on the table: (direction of the bars, offset, strength).
    pub window: Option<(f32, f32, f32)>,
}

/// One environment: everything but what is done.
#[derive(Debug, Clone, PartialEq)]
pub struct Environment {
    pub id: u64,
    pub split: Split,
    pub texture: Texture,
    pub texture_seed: u32,
    pub table: Colour,
    pub front: Colour,
    pub back: Colour,
    pub front_print: Print,
    pub blocks: [Colour; 6],
    pub skin: Colour,
    pub sleeve: Colour,
    /// 1 for a right hand, -1 for a left one.
    pub handed: f32,
    pub hand_size: f32,
    pub light: Light,
    pub camera: Camera,
    pub distractors: Vec<Distractor>,
    pub shake_seed: u32,
    /// Indices of the hue cells, camera cells and skin used: what the splits must not share.
    pub cells: Vec<(&'static str, u32)>,
}

const HUES: u32 = 24;

/// Draws values from cells that alternate between the splits.
struct Draw {
    rng: ChaCha8Rng,
    split: Split,
    cells: Vec<(&'static str, u32)>,
}

impl Draw {
    /// A value of `low..high` cut into `cells` cells of which every second one belongs to this split.
    fn cell(&mut self, name: &'static str, low: f32, high: f32, cells: u32) -> f32 {
        let own = 2 * self.rng.random_range(0..cells / 2) + u32::from(self.split == Split::Test);
        self.cells.push((name, own));
        let inside = self.rng.random_range(0.1_f32..0.9);
        low + (high - low) * (own as f32 + inside) / cells as f32
    }

    fn hue(&mut self) -> f32 {
        self.cell("hue", 0.0, 1.0, HUES)
    }

    fn range(&mut self, low: f32, high: f32) -> f32 {
        self.rng.random_range(low..high)
    }
}

impl Environment {
    /// The environment of a seed.
    pub fn sample(split: Split, seed: u64) -> Self {
        let id = mixed(seed, 0xE9_51 + u64::from(split == Split::Test));
        let mut draw = Draw { rng: ChaCha8Rng::seed_from_u64(id), split, cells: Vec::new() };
        let texture = match split {
            Split::Train => Texture::TRAIN[draw.rng.random_range(0..Texture::TRAIN.len())],
            Split::Test => Texture::TEST[draw.rng.random_range(0..Texture::TEST.len())],
        };
        let table = table_colour(&mut draw, texture);
        let (front, back) = paper_colours(&mut draw, table);
        let front_print = match draw.rng.random_range(0..6) {
            0 => Print::Stripes(draw.range(0.0, 3.1)),
            1 => Print::Dots,
            2 => Print::Squares,
            _ => Print::Plain,
        };
        let blocks = block_colours(&mut draw, table);
        let skin = loop {
            let kept = draw.cells.len();
            let tone = draw.cell("skin", 0.0, 1.0, 10);
            let skin = Colour::hsl(0.065, 0.62 - 0.15 * tone, 0.80 - 0.48 * tone);
            if skin.distance(table) > 0.24 {
                break skin;
            }
            draw.cells.truncate(kept);
        };
        let sleeve = loop {
            let hue = draw.hue();
            let sleeve = Colour::pigment(hue, draw.range(0.15, 0.55), draw.range(0.16, 0.5));
            if sleeve.distance(skin) > 0.3 && sleeve.distance(table) > 0.2 {
                break sleeve;
            }
        };
        let light = light(&mut draw);
        let camera = Camera {
            zoom: draw.cell("zoom", 0.95, 1.07, 12),
            roll: draw.cell("roll", -0.09, 0.09, 12),
            centre: pt(draw.range(-0.035, 0.035), draw.range(-0.025, 0.025)),
            slant: {
                let slant = draw.cell("slant", 0.18, 0.4, 8);
                if draw.rng.random() { slant } else { -slant }
            },
            shake: draw.range(0.0005, 0.0025),
        };
        let distractors = distractors(&mut draw);
        Self {
            id,
            split,
            texture,
            texture_seed: draw.rng.random(),
            table,
            front,
            back,
            front_print,
            blocks,
            skin,
            sleeve,
            handed: if draw.rng.random_bool(0.8) { 1.0 } else { -1.0 },
            hand_size: draw.range(1.12, 1.26),
            light,
            camera,
            distractors,
            shake_seed: draw.rng.random(),
            cells: draw.cells,
        }
    }
}

/// A well-mixed number from a seed and what it is for.
pub fn mixed(seed: u64, purpose: u64) -> u64 {
    let mut z = seed ^ purpose.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = z.wrapping_add(purpose);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

fn table_colour(draw: &mut Draw, texture: Texture) -> Colour {
    if texture.is_wood() {
        // One hue cell of the browns for each split.
        let own = if draw.split == Split::Train { 2 } else { 1 };
        draw.cells.push(("hue", own));
        let hue = (own as f32 + draw.range(0.1, 0.9)) / HUES as f32;
        return Colour::hsl(hue, draw.range(0.28, 0.5), draw.range(0.26, 0.52));
    }
    let hue = draw.hue();
    match texture {
        Texture::Marble => Colour::hsl(hue, draw.range(0.06, 0.25), draw.range(0.45, 0.75)),
        Texture::Terrazzo => Colour::hsl(hue, draw.range(0.06, 0.3), draw.range(0.4, 0.72)),
        Texture::Slate => Colour::hsl(hue, draw.range(0.04, 0.2), draw.range(0.18, 0.42)),
        _ => Colour::pigment(hue, draw.range(0.25, 0.55), draw.range(0.2, 0.46)),
    }
}

/// Front and back: far from each other and from the table.
fn paper_colours(draw: &mut Draw, table: Colour) -> (Colour, Colour) {
    loop {
        let kept = draw.cells.len();
        let pale = |draw: &mut Draw| {
            let hue = draw.hue();
            Colour::hsl(hue, draw.range(0.2, 0.7), draw.range(0.86, 0.95))
        };
        let strong = |draw: &mut Draw| {
            let hue = draw.hue();
            Colour::pigment(hue, draw.range(0.55, 0.85), draw.range(0.42, 0.62))
        };
        let (front, back) = match draw.rng.random_range(0..4) {
            0 => (strong(draw), pale(draw)),
            1 => (strong(draw), strong(draw)),
            _ => (pale(draw), strong(draw)),
        };
        if front.distance(back) > 0.45 && front.distance(table) > 0.4 && back.distance(table) > 0.4
        {
            return (front, back);
        }
        draw.cells.truncate(kept);
    }
}

fn block_colours(draw: &mut Draw, table: Colour) -> [Colour; 6] {
    let mut found: Vec<Colour> = Vec::with_capacity(6);
    let mut least = 0.42;
    while found.len() < 6 {
        let kept = draw.cells.len();
        let hue = draw.hue();
        let colour = Colour::pigment(hue, draw.range(0.5, 0.82), draw.range(0.45, 0.72));
        let far = |other: &Colour| other.distance(colour) > least;
        if found.iter().all(far) && table.distance(colour) > 0.36 {
            found.push(colour);
        } else {
            draw.cells.truncate(kept);
            least -= 0.002;
        }
    }
    std::array::from_fn(|i| found[i])
}

fn light(draw: &mut Draw) -> Light {
    // The lamp stands on the far side of the table, so that shadows fall towards the viewer.
    let angle = draw.range(-2.75, -0.4);
    let warmth = draw.range(-1.0, 1.0);
    Light {
        towards: pt(angle.cos(), angle.sin()),
        slope: draw.range(0.45, 0.85),
        strength: draw.range(0.94, 1.12),
        colour: Colour([1.0 + 0.07 * warmth, 1.0, 1.0 - 0.10 * warmth]),
        softness: draw.range(0.014, 0.03),
        gradient: draw.range(0.08, 0.26),
        window: draw
            .rng
            .random_bool(0.4)
            .then(|| (draw.range(0.5, 1.2), draw.range(-0.3, 0.3), draw.range(0.10, 0.22))),
    }
}

fn distractors(draw: &mut Draw) -> Vec<Distractor> {
    use DistractorKind::*;
    let mut places =
        [pt(-0.66, -0.40), pt(0.66, -0.40), pt(-0.02, -0.47), pt(0.69, 0.02), pt(-0.70, -0.02)];
    places.shuffle(&mut draw.rng);
    let count = draw.rng.random_range(1..4);
    let mut kinds = [Pencil, Cup, Eraser, Coin];
    kinds.shuffle(&mut draw.rng);
    (0..count)
        .map(|i| {
            let hue = draw.hue();
            // A cup is big: it stays in a far corner.
            let corner = places[i].y < -0.3 && places[i].x.abs() > 0.5;
            let kind = if kinds[i] == Cup && !corner { Coin } else { kinds[i] };
            Distractor {
                kind,
                at: places[i] + pt(draw.range(-0.03, 0.03), draw.range(-0.02, 0.02)),
                angle: if places[i].y < -0.45 {
                    draw.range(-0.12, 0.12)
                } else {
                    draw.range(-0.6, 0.6) + if places[i].y > -0.2 { 1.5 } else { 0.0 }
                },
                colour: Colour::pigment(hue, draw.range(0.3, 0.7), draw.range(0.35, 0.65)),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn the_splits_share_no_texture_hue_camera_or_skin() {
        let cells = |split| {
            let mut textures = HashSet::new();
            let mut cells = HashSet::new();
            for seed in 0..400 {
                let environment = Environment::sample(split, seed);
                textures.insert(environment.texture);
                cells.extend(environment.cells);
            }
            (textures, cells)
        };
        let (train_textures, train) = cells(Split::Train);
        let (test_textures, test) = cells(Split::Test);
        assert!(train_textures.is_disjoint(&test_textures));
        assert!(train.is_disjoint(&test));
        assert!(train.len() > 20 && test.len() > 20);
    }

    #[test]
    fn colours_can_be_told_apart() {
        for seed in 0..200 {
            let e = Environment::sample(Split::Test, seed);
            assert!(e.front.distance(e.back) > 0.45);
            assert!(e.front.distance(e.table) > 0.4 && e.back.distance(e.table) > 0.4);
        }
    }
}
