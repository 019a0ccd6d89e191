//! Finite scalar quantisation: every code dimension is bounded and rounded to one of a few levels.
//!
//! Mentzer et al. 2023, <https://arxiv.org/abs/2309.15505>, with the reference's constants.

use burn::tensor::{Device, Int, Tensor, TensorData};

/// Widens the range a little, so that the outermost levels are reached before infinity.
const EPSILON: f64 = 1e-3;

/// Codes and their indices.
#[derive(Debug, Clone)]
pub struct Quantized {
    /// `[batch, dimension, token]`, in steps from -1 to at most 1. The gradient goes straight
    /// through the rounding, but not around the bound.
    pub codes: Tensor<3>,
    /// `[batch, token]`, the first dimension the fastest digit.
    pub indices: Tensor<2, Int>,
}

/// A finite scalar quantiser of the given numbers of levels.
#[derive(Debug, Clone)]
pub struct Fsq {
    levels: Vec<usize>,
}

impl Fsq {
    pub fn new(levels: &[usize]) -> Self {
        Self { levels: levels.to_vec() }
    }

    /// How many numbers a code is made of.
    pub fn dimensions(&self) -> usize {
        self.levels.len()
    }

    /// Rounds latents to codes.
    ///
    /// # Shapes
    /// - z: `[batch, dimension, token]`
    pub fn quantize(&self, z: Tensor<3>) -> Quantized {
        let device = z.device();
        let bounded = self.bound(z);
        let rounded = bounded.clone().detach().round();
        let indices = self.indices_of_levels(rounded.clone());
        let straight = bounded.clone() + (rounded - bounded.detach());
        let codes = straight / self.row(&device, |_, l| (l / 2) as f64);
        Quantized { codes, indices }
    }

    /// Squashes latents into the range of the levels, whole numbers being the levels themselves.
    ///
    /// # Shapes
    /// - z, result: `[batch, dimension, token]`
    pub fn bound(&self, z: Tensor<3>) -> Tensor<3> {
        let device = z.device();
        let half = |l: usize| (l as f64 - 1.0) * (1.0 + EPSILON) / 2.0;
        // An even number of levels has none in the middle: shift by half a step.
        let offset = |l: usize| if l.is_multiple_of(2) { 0.5 } else { 0.0 };
        let half_width = self.row(&device, |_, l| half(l));
        let offsets = self.row(&device, |_, l| offset(l));
        let shift = self.row(&device, |_, l| (offset(l) / half(l)).atanh());
        (z + shift).tanh() * half_width - offsets
    }

    /// The codes of indices.
    ///
    /// # Shapes
    /// - indices: `[batch, token]`, result: `[batch, dimension, token]`
    pub fn codes(&self, indices: Tensor<2, Int>) -> Tensor<3> {
        let mut rest: Tensor<3, Int> = indices.unsqueeze_dim(1);
        let mut dimensions = Vec::with_capacity(self.levels.len());
        for &level in &self.levels {
            let half = (level / 2) as f64;
            let digit = rest.clone().remainder_scalar(level as i64);
            dimensions.push((digit.clone().float() - half) / half);
            rest = (rest - digit).div_scalar(level as i64);
        }
        Tensor::cat(dimensions, 1)
    }

    /// Indices of codes, for example of those a caller changed.
    ///
    /// # Shapes
    /// - codes: `[batch, dimension, token]`, result: `[batch, token]`
    pub fn indices(&self, codes: Tensor<3>) -> Tensor<2, Int> {
        let half = self.row(&codes.device(), |_, l| (l / 2) as f64);
        self.indices_of_levels((codes * half).round())
    }

    /// Indices of whole numbers counted from the middle level.
    fn indices_of_levels(&self, centred: Tensor<3>) -> Tensor<2, Int> {
        let device = centred.device();
        let digits = centred + self.row(&device, |_, l| (l / 2) as f64);
        let basis = self.row(&device, |i, _| self.levels[..i].iter().product::<usize>() as f64);
        (digits * basis).sum_dim(1).squeeze_dim::<2>(1).int()
    }

    /// One number a dimension, as `[1, dimension, 1]`.
    fn row(&self, device: &Device, value: impl Fn(usize, usize) -> f64) -> Tensor<3> {
        let numbers = self.levels.iter().enumerate().map(|(i, l)| value(i, *l) as f32);
        let data = TensorData::new(numbers.collect::<Vec<f32>>(), [1, self.levels.len(), 1]);
        Tensor::from_data(data, device)
    }
}
