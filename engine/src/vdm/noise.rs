//! The reference's initial noise: the same normal numbers on every machine.
//!
//! Mersenne Twister and Marsaglia's polar method in the order of numpy's legacy
//! `RandomState(seed).standard_normal`, so that a seed gives the reference's video.

use burn::tensor::{Device, Tensor, TensorData};
use rand_mt::Mt;

/// A stream of normal numbers.
#[derive(Debug)]
pub struct LegacyNormal {
    twister: Mt,
    spare: Option<f64>,
}

impl LegacyNormal {
    pub fn new(seed: u32) -> Self {
        Self { twister: Mt::new(seed), spare: None }
    }

    /// A uniform number in 0 to 1 with 53 random bits.
    fn uniform(&mut self) -> f64 {
        let high = f64::from(self.twister.next_u32() >> 5);
        let low = f64::from(self.twister.next_u32() >> 6);
        (high * 67_108_864.0 + low) / 9_007_199_254_740_992.0
    }
}

impl Iterator for LegacyNormal {
    type Item = f64;

    fn next(&mut self) -> Option<f64> {
        if let Some(spare) = self.spare.take() {
            return Some(spare);
        }
        loop {
            let x = 2.0 * self.uniform() - 1.0;
            let y = 2.0 * self.uniform() - 1.0;
            let r2 = x * x + y * y;
            if r2 > 0.0 && r2 < 1.0 {
                let factor = (-2.0 * r2.ln() / r2).sqrt();
                self.spare = Some(factor * x);
                return Some(factor * y);
            }
        }
    }
}

/// Unit noise of a seed in row-major order.
pub fn legacy_noise<const D: usize>(seed: u32, shape: [usize; D], device: &Device) -> Tensor<D> {
    let count = shape.iter().product();
    let values: Vec<f32> = LegacyNormal::new(seed).take(count).map(|v| v as f32).collect();
    Tensor::from_data(TensorData::new(values, shape), device)
}
