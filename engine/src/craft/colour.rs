//! Colours in linear light, and the way to and from 8-bit sRGB.

use std::{
    ops::{Add, Mul},
    sync::LazyLock,
};

/// Linear red, green and blue, 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Colour(pub [f32; 3]);

impl Add for Colour {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(std::array::from_fn(|c| self.0[c] + other.0[c]))
    }
}

impl Mul<f32> for Colour {
    type Output = Self;
    fn mul(self, factor: f32) -> Self {
        Self(self.0.map(|v| v * factor))
    }
}

impl Mul for Colour {
    type Output = Self;
    fn mul(self, other: Self) -> Self {
        Self(std::array::from_fn(|c| self.0[c] * other.0[c]))
    }
}

impl Colour {
    /// From hue, saturation and lightness (0 to 1), as painters name colours.
    pub fn hsl(hue: f32, saturation: f32, lightness: f32) -> Self {
        let chroma = saturation * lightness.min(1.0 - lightness);
        let channel = |n: f32| {
            let k = (n + hue.rem_euclid(1.0) * 12.0) % 12.0;
            lightness - chroma * (k - 3.0).min(9.0 - k).clamp(-1.0, 1.0)
        };
        Self([channel(0.0), channel(8.0), channel(4.0)].map(decoded))
    }

    /// Like [`Colour::hsl`], with the greens and magentas that glow on a screen calmed to what dyes give.
    pub fn pigment(hue: f32, saturation: f32, lightness: f32) -> Self {
        let near = |middle: f32, width: f32| (1.0 - (hue - middle).abs() / width).max(0.0);
        let (green, pink) = (near(0.31, 0.16), near(0.84, 0.10));
        Self::hsl(
            hue,
            saturation * (1.0 - 0.36 * green - 0.22 * pink),
            lightness * (1.0 - 0.17 * green),
        )
    }

    pub fn mix(self, other: Self, t: f32) -> Self {
        self * (1.0 - t) + other * t
    }

    /// Distance as the eye sees it, roughly: 0 to 1.7, between gamma-coded values.
    pub fn distance(self, other: Self) -> f32 {
        let squares = (0..3).map(|c| (encoded(self.0[c]) - encoded(other.0[c])).powi(2));
        squares.sum::<f32>().sqrt()
    }

    /// As 8-bit sRGB.
    pub fn srgb8(self) -> [u8; 3] {
        self.0.map(|v| {
            let index = v.clamp(0.0, 1.0) * (TABLE as f32 - 1.0) + 0.5;
            ENCODED[index as usize]
        })
    }
}

const TABLE: usize = 1 << 13;

static ENCODED: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let entry = |i: usize| (encoded(i as f32 / (TABLE as f32 - 1.0)) * 255.0).round() as u8;
    (0..TABLE).map(entry).collect()
});

fn decoded(v: f32) -> f32 {
    if v <= 0.04045 { v / 12.92 } else { ((v + 0.055) / 1.055).powf(2.4) }
}

fn encoded(v: f32) -> f32 {
    if v <= 0.003_130_8 { v.max(0.0) * 12.92 } else { 1.055 * v.powf(1.0 / 2.4) - 0.055 }
}
