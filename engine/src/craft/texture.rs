//! Procedural table tops: a brightness pattern around 1 at a point of the table.

use serde::{Deserialize, Serialize};

use super::geometry::{Point, pt};

/// What the table is made of. The first five are for training, the rest for tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Texture {
    Planks,
    Felt,
    Linen,
    Terrazzo,
    Slate,
    Walnut,
    Denim,
    Marble,
    Cork,
}

impl Texture {
    pub const TRAIN: [Self; 5] =
        [Self::Planks, Self::Felt, Self::Linen, Self::Terrazzo, Self::Slate];
    pub const TEST: [Self; 4] = [Self::Walnut, Self::Denim, Self::Marble, Self::Cork];

    /// Whether it is wood, which comes in brown only.
    pub fn is_wood(self) -> bool {
        matches!(self, Self::Planks | Self::Walnut | Self::Cork)
    }

    /// Brightness at a point, about 0.75 to 1.2; `seed` moves the pattern.
    pub fn at(self, p: Point, seed: u32) -> f32 {
        match self {
            Self::Planks => planks(p, seed),
            Self::Felt => {
                1.0 + 0.10 * (fbm(p * 95.0, seed) - 0.5)
                    + 0.10 * (noise(p * 260.0, seed ^ 7) - 0.5)
                    + 0.06 * (noise(p * 6.0, seed ^ 5) - 0.5)
            }
            Self::Linen => {
                let wander = pt(noise(p * 9.0, seed), noise(p * 9.0, seed ^ 3)) * 0.6;
                let q = p * 150.0 + wander;
                let warp = (q.x.sin() * q.y.sin()).signum() * (q.x * 0.5).sin().abs();
                let threads = noise(pt(p.x * 14.0, p.y * 240.0), seed ^ 11)
                    + noise(pt(p.x * 240.0, p.y * 14.0), seed ^ 13);
                0.98 + 0.05 * warp + 0.14 * (threads - 1.0)
            }
            Self::Terrazzo => terrazzo(p, seed),
            Self::Slate => {
                let cloud = fbm(pt(p.x * 5.0, p.y * 9.0), seed);
                let scratch = (fbm(pt(p.x * 3.0, p.y * 60.0), seed ^ 5) - 0.5).max(0.1) - 0.1;
                0.9 + 0.24 * cloud + 0.35 * scratch + 0.05 * (noise(p * 160.0, seed ^ 9) - 0.5)
            }
            Self::Walnut => {
                let bend = fbm(pt(p.x * 1.3, p.y * 2.2), seed) * 3.4;
                let rings = ((p.y * 9.0 + bend) * std::f32::consts::TAU).sin();
                let pores = noise(pt(p.x * 18.0, p.y * 220.0), seed ^ 3);
                0.97 + 0.07 * rings + 0.16 * (pores - 0.5) + 0.1 * (fbm(p * 4.0, seed ^ 8) - 0.5)
            }
            Self::Denim => {
                let twill = ((p.x + p.y * 0.9) * 330.0 + 2.0 * noise(p * 12.0, seed)).sin();
                let slub = noise(pt(p.x * 60.0, p.y * 9.0), seed ^ 21);
                0.98 + 0.08 * twill + 0.14 * (slub - 0.5) + 0.08 * (noise(p * 5.0, seed) - 0.5)
            }
            Self::Marble => {
                let warp = fbm(p * 2.4, seed) * 2.6;
                let vein = (1.0 - ((p.x * 1.7 + p.y * 2.3 + warp) * 3.1).sin().abs()).powi(5);
                let fine = (1.0 - ((p.x * 5.3 - p.y * 3.1 + warp * 2.0) * 2.0).sin().abs()).powi(9);
                1.06 - 0.24 * vein - 0.1 * fine - 0.08 * fbm(p * 7.0, seed ^ 2)
            }
            Self::Cork => {
                let grains = cells(p * 42.0, seed);
                0.9 + 0.2 * grains.1 + 0.12 * (noise(p * 130.0, seed) - 0.5)
                    - if grains.1 < 0.12 { 0.2 } else { 0.0 }
            }
        }
    }
}

fn planks(p: Point, seed: u32) -> f32 {
    let width = 0.23;
    let row = (p.y / width + 0.35).floor();
    let inside = (p.y / width + 0.35) - row;
    let own = hash(row as i32, 17, seed);
    let shifted = pt(p.x + own * 7.0, p.y + own * 3.0);
    let bend = noise(pt(shifted.x * 1.6, shifted.y * 4.0), seed) * 2.0;
    let grain = noise(pt(shifted.x * 2.5, shifted.y * 46.0 + bend * 4.0), seed ^ 3);
    let fine = noise(pt(shifted.x * 12.0, shifted.y * 190.0), seed ^ 5);
    let seam = (inside.min(1.0 - inside) * width / 0.006).min(1.0);
    let butt = ((p.x + own * 3.1).rem_euclid(1.3) / 0.006).min(1.0);
    (0.88 + 0.14 * own + 0.18 * (grain - 0.5) + 0.10 * (fine - 0.5) + 0.04)
        * (0.72 + 0.28 * seam.min(butt))
}

fn terrazzo(p: Point, seed: u32) -> f32 {
    let (which, edge) = cells(p * 17.0, seed);
    let chip = ((edge - 0.3 - 0.3 * which) * 7.0).clamp(0.0, 1.0);
    let bright = if which > 0.45 { 0.16 } else { -0.14 };
    0.98 + bright * chip + 0.05 * (noise(p * 130.0, seed) - 0.5)
}

/// A pseudo-random number of a lattice point, 0 to 1.
pub fn hash(x: i32, y: i32, seed: u32) -> f32 {
    let mut h = (x as u32).wrapping_mul(0x9E37_79B1)
        ^ (y as u32).wrapping_mul(0x85EB_CA77)
        ^ seed.wrapping_mul(0xC2B2_AE3D);
    h = (h ^ (h >> 15)).wrapping_mul(0x2C1B_3C6D);
    h = (h ^ (h >> 12)).wrapping_mul(0x297A_2D39);
    (h ^ (h >> 15)) as f32 / u32::MAX as f32
}

/// Smooth noise, 0 to 1, one lattice point a unit.
pub fn noise(p: Point, seed: u32) -> f32 {
    let (x, y) = (p.x.floor(), p.y.floor());
    let smooth = |t: f32| t * t * (3.0 - 2.0 * t);
    let (u, v) = (smooth(p.x - x), smooth(p.y - y));
    let (x, y) = (x as i32, y as i32);
    let top = hash(x, y, seed) * (1.0 - u) + hash(x + 1, y, seed) * u;
    let low = hash(x, y + 1, seed) * (1.0 - u) + hash(x + 1, y + 1, seed) * u;
    top * (1.0 - v) + low * v
}

/// Four octaves of noise, 0 to 1.
fn fbm(p: Point, seed: u32) -> f32 {
    let (mut sum, mut size, mut q) = (0.0, 0.5, p);
    for octave in 0..4 {
        sum += size * noise(q, seed.wrapping_add(octave * 101));
        size *= 0.5;
        q = q.rotated(0.6) * 2.03;
    }
    sum / 0.9375
}

/// Scattered cells: (a number of the nearest cell, how far inside of it, 0 at its edge).
fn cells(p: Point, seed: u32) -> (f32, f32) {
    let (x, y) = (p.x.floor() as i32, p.y.floor() as i32);
    let (mut first, mut second, mut which) = (9.0_f32, 9.0_f32, 0.0);
    for dy in -1..=1 {
        for dx in -1..=1 {
            let (cx, cy) = (x + dx, y + dy);
            let at = pt(cx as f32 + hash(cx, cy, seed), cy as f32 + hash(cx, cy, seed ^ 0x55));
            let distance = (p - at).length();
            if distance < first {
                second = first;
                first = distance;
                which = hash(cx, cy, seed ^ 0xAA);
            } else {
                second = second.min(distance);
            }
        }
    }
    (which, second - first)
}
