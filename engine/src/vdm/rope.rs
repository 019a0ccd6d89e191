//! Rotary positions in three dimensions: a part of every head turns with time, height and width each.

use burn::tensor::{DType, Device, Tensor, TensorData};
use half::bf16;

/// Angles of all positions of a latent video, and how the heads are turned by them.
#[derive(Debug, Clone, PartialEq)]
pub struct RopeConfig {
    /// Channels of a head.
    pub head_dim: usize,
    /// How many times longer than in pretraining the axis may get: time, height, width.
    pub extrapolation: [f64; 3],
    /// Rounds as the official half-precision run does; its angles are off by up to 0.1 rad.
    pub bf16_buffers: bool,
}

impl RopeConfig {
    /// The angles of every position, row-major over `frames`, `height`, `width`:
    /// `head_dim / 2` numbers each, those of time first, then height, then width.
    pub fn half_angles(&self, frames: usize, height: usize, width: usize) -> Vec<f32> {
        // The reference rounds to thirds of an even head; time takes what remains.
        let in_space = self.head_dim / 6 * 2;
        let in_time = self.head_dim - 2 * in_space;
        let [t, h, w] = self.extrapolation;
        let (t, h, w) = (
            self.frequencies(in_time, t),
            self.frequencies(in_space, h),
            self.frequencies(in_space, w),
        );
        let mut angles = Vec::with_capacity(frames * height * width * self.head_dim / 2);
        for frame in 0..frames {
            for row in 0..height {
                for column in 0..width {
                    for (position, frequencies) in [(frame, &t), (row, &h), (column, &w)] {
                        let turned = frequencies.iter().map(|f| self.round(position as f32 * f));
                        angles.extend(turned);
                    }
                }
            }
        }
        angles
    }

    /// Turns per position of the channel pairs of one axis that has `channels` channels.
    fn frequencies(&self, channels: usize, extrapolation: f64) -> Vec<f32> {
        let size = channels as f64;
        // Neural-tangent scaling of the base: the slowest pair is stretched by the ratio.
        let base = 10_000.0 * extrapolation.powf(size / (size - 2.0));
        let base = if self.bf16_buffers { f64::from(self.round(base as f32)) } else { base };
        let pairs = (0..channels / 2).map(|i| {
            let exponent = self.round((2.0 * i as f64 / size) as f32);
            let period = self.round(base.powf(f64::from(exponent)) as f32);
            self.round(1.0 / period)
        });
        pairs.collect()
    }

    fn round(&self, value: f32) -> f32 {
        if self.bf16_buffers { bf16::from_f32(value).to_f32() } else { value }
    }

    /// The tables for a latent video of this size; angles are computed in single precision and
    /// their sines rounded to that of the heads.
    pub fn init(&self, frames: usize, height: usize, width: usize, to: (&Device, DType)) -> Rope {
        let angles = self.half_angles(frames, height, width);
        let shape = [1, 1, frames * height * width, self.head_dim / 2];
        let table = |f: fn(f32) -> f32| {
            let values: Vec<f32> = angles.iter().map(|a| f(*a)).collect();
            Tensor::from_data(TensorData::new(values, shape), to)
        };
        Rope { cos: table(f32::cos), sin: table(f32::sin) }
    }
}

/// Cosines and sines of all positions, `[1, 1, tokens, head_dim / 2]`.
#[derive(Debug, Clone)]
pub struct Rope {
    cos: Tensor<4>,
    sin: Tensor<4>,
}

impl Rope {
    /// Turns channel `j` together with channel `j + head_dim / 2`. `x` is `[batch, heads, tokens, head_dim]`.
    pub fn turn(&self, x: Tensor<4>) -> Tensor<4> {
        let half = x.dims()[3] / 2;
        let (first, second) = (x.clone().narrow(3, 0, half), x.narrow(3, half, half));
        let turned_first = first.clone() * self.cos.clone() - second.clone() * self.sin.clone();
        let turned_second = second * self.cos.clone() + first * self.sin.clone();
        Tensor::cat(vec![turned_first, turned_second], 3)
    }
}
