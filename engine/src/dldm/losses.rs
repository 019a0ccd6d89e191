//! The losses a tokenizer is trained with: absolute error and a perceptual distance.
//!
//! Mirrors `losses/continuous.py` of the reference, whose training always passes iteration 0: the
//! weights then stay at their first values and the Gram term is off.

use burn::module::Module;
use burn::nn::PaddingConfig2d;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::tensor::activation::relu;
use burn::tensor::module::max_pool2d;
use burn::tensor::ops::MaxPoolOptions;
use burn::tensor::{Device, Tensor, TensorData};
use serde::{Deserialize, Serialize};

use crate::weights::KeyTable;

/// Convolutions in each of the five slices of VGG-16.
const SLICES: [usize; 5] = [2, 2, 3, 3, 3];
/// Weight of the distance in each slice.
const SLICE_WEIGHTS: [f32; 5] = [1.0 / 2.6, 1.0 / 4.8, 1.0 / 3.7, 1.0 / 5.6, 10.0 / 1.5];
/// Mean and deviation of the pictures VGG was trained on, for pixels in [0, 1].
const MEAN: [f32; 3] = [0.485, 0.456, 0.406];
const DEVIATION: [f32; 3] = [0.229, 0.224, 0.225];

/// The perceptual network's parameters under the reference's keys: layers are numbered through all
/// of VGG-16, activations and pools included.
pub const PERCEPTUAL_KEYS: KeyTable = KeyTable {
    prefix: "loss.loss_modules.perceptual.net.",
    renames: &[
        ("slices.0.0.", "slice1.0."),
        ("slices.0.1.", "slice1.2."),
        ("slices.1.0.", "slice2.5."),
        ("slices.1.1.", "slice2.7."),
        ("slices.2.0.", "slice3.10."),
        ("slices.2.1.", "slice3.12."),
        ("slices.2.2.", "slice3.14."),
        ("slices.3.0.", "slice4.17."),
        ("slices.3.1.", "slice4.19."),
        ("slices.3.2.", "slice4.21."),
        ("slices.4.0.", "slice5.24."),
        ("slices.4.1.", "slice5.26."),
        ("slices.4.2.", "slice5.28."),
    ],
    ignored: &[],
};

/// How the absolute errors of a batch become one number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reduction {
    /// Mean over everything.
    Mean,
    /// Sum over a frame, mean over frames and clips.
    SumPerFrame,
    /// Sum over a clip, mean over clips.
    Sum,
}

/// Absolute error of a reconstruction.
///
/// # Shapes
/// - video, recon: `[batch, 3, frame, height, width]`
pub fn absolute_error(video: Tensor<5>, recon: Tensor<5>, reduction: Reduction) -> Tensor<1> {
    let [batch, _, frames, _, _] = video.dims();
    let error = (video - recon).abs();
    match reduction {
        Reduction::Mean => error.mean(),
        Reduction::SumPerFrame => error.sum() / (batch * frames) as f32,
        Reduction::Sum => error.sum() / batch as f32,
    }
}

/// Divergence of normal distributions from the standard one, meaned over all elements. The
/// reference weights it by 1e-6 where a tokenizer is variational; the discrete one is not.
pub fn kl_divergence(mean: Tensor<5>, log_variance: Tensor<5>) -> Tensor<1> {
    (mean.square() + log_variance.clone().exp() - log_variance - 1.0).mean() * 0.5
}

/// Weights that change at an iteration.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Schedule {
    /// First iteration of the second value.
    pub boundary: usize,
    pub values: [f32; 2],
}

impl Schedule {
    pub fn at(&self, iteration: usize) -> f32 {
        self.values[usize::from(iteration >= self.boundary)]
    }
}

/// Weights of the tokenizer's loss.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct LossWeights {
    pub perceptual: Schedule,
    pub gram: Schedule,
}

impl LossWeights {
    /// Those of the release.
    pub fn videoworld2() -> Self {
        let from = |before, after| Schedule { boundary: 500_000, values: [before, after] };
        Self { perceptual: from(0.1, 0.073), gram: from(0.0, 0.062) }
    }
}

/// The parts of the tokenizer's loss, weighted.
#[derive(Debug, Clone)]
pub struct TokenizerLoss {
    /// Mean absolute error.
    pub absolute: Tensor<1>,
    pub perceptual: Tensor<1>,
    /// Distance of textures; absent while its weight is zero.
    pub gram: Option<Tensor<1>>,
}

impl TokenizerLoss {
    /// The loss of a reconstruction at an iteration.
    ///
    /// # Shapes
    /// - video, recon: `[batch, 3, frame, height, width]`
    pub fn of(
        video: Tensor<5>,
        recon: Tensor<5>,
        perceptual: &Perceptual,
        weights: &LossWeights,
        iteration: usize,
    ) -> Self {
        let distances = perceptual.compare(video.clone(), recon.clone());
        let gram = weights.gram.at(iteration);
        Self {
            absolute: absolute_error(video, recon, Reduction::Mean),
            perceptual: distances.per_frame().mean() * weights.perceptual.at(iteration),
            gram: (gram > 0.0).then(|| distances.gram() * gram),
        }
    }

    pub fn total(&self) -> Tensor<1> {
        let sum = self.absolute.clone() + self.perceptual.clone();
        match &self.gram {
            Some(gram) => sum + gram.clone(),
            None => sum,
        }
    }
}

/// A network of VGG-16's shape whose activations measure perceptual distance.
#[derive(Module, Debug)]
pub struct Perceptual {
    slices: Vec<Vec<Conv2d>>,
}

impl Perceptual {
    /// A network with fresh weights, given the width of each slice; VGG-16 has 64, 128, 256, 512
    /// and 512.
    pub fn new(widths: [usize; 5], device: &Device) -> Self {
        let mut channels = 3;
        let slices = SLICES.iter().zip(widths).map(|(count, width)| {
            let layer = |_| {
                let padding = PaddingConfig2d::Explicit(1, 1, 1, 1);
                let config = Conv2dConfig::new([channels, width], [3, 3]).with_padding(padding);
                channels = width;
                config.init(device)
            };
            (0..*count).map(layer).collect()
        });
        Self { slices: slices.collect() }
    }

    /// The activations after each slice of pictures with values in [-1, 1].
    ///
    /// # Shapes
    /// - pictures: `[picture, 3, height, width]`
    pub fn features(&self, pictures: Tensor<4>) -> Vec<Tensor<4>> {
        let device = pictures.device();
        let row = |values: [f32; 3]| {
            Tensor::<4>::from_data(TensorData::new(values.to_vec(), [1, 3, 1, 1]), &device)
        };
        let mut x = ((pictures + 1.0) * 0.5 - row(MEAN)) / row(DEVIATION);
        let mut features = Vec::with_capacity(self.slices.len());
        for (i, slice) in self.slices.iter().enumerate() {
            if i > 0 {
                x = max_pool2d(x, MaxPoolOptions::new([2, 2]));
            }
            x = slice.iter().fold(x, |x, conv| relu(conv.forward(x)));
            features.push(x.clone());
        }
        features
    }

    /// The activations of two videos, to be compared.
    ///
    /// # Shapes
    /// - video, recon: `[batch, 3, frame, height, width]`
    pub fn compare(&self, video: Tensor<5>, recon: Tensor<5>) -> Comparison {
        let [batch, channels, frames, height, width] = video.dims();
        let pictures = |video: Tensor<5>| {
            video.swap_dims(1, 2).reshape([batch * frames, channels, height, width])
        };
        let video = self.features(pictures(video));
        let recon = self.features(pictures(recon));
        Comparison { batch, slices: video.into_iter().zip(recon).collect() }
    }
}

/// Activations of two videos, frame by frame.
#[derive(Debug, Clone)]
pub struct Comparison {
    batch: usize,
    /// `[batch * frame, channel, height, width]` of either video, one pair a slice
    slices: Vec<(Tensor<4>, Tensor<4>)>,
}

impl Comparison {
    /// Perceptual distance of each frame: weighted mean absolute difference of activations, which
    /// are not normalised.
    ///
    /// # Shapes
    /// - result: `[batch, frame]`
    pub fn per_frame(&self) -> Tensor<2> {
        let distances = self.slices.iter().zip(SLICE_WEIGHTS).map(|((a, b), weight)| {
            let frames = a.dims()[0];
            let rows: Tensor<2> = (a.clone() - b.clone()).abs().reshape([frames as i32, -1]);
            rows.mean_dim(1).reshape([self.batch, frames / self.batch]) * weight
        });
        distances.reduce(|a, b| a + b).expect("there are five slices")
    }

    /// Distance of textures: weighted mean squared difference of the channels' correlations over
    /// all places and frames of a clip.
    pub fn gram(&self) -> Tensor<1> {
        let distances = self.slices.iter().zip(SLICE_WEIGHTS).map(|((a, b), weight)| {
            let difference = self.correlations(a) - self.correlations(b);
            difference.square().mean() * weight
        });
        distances.reduce(|a, b| a + b).expect("there are five slices")
    }

    /// `[batch, channel, channel]`
    fn correlations(&self, features: &Tensor<4>) -> Tensor<3> {
        let [all, channels, height, width] = features.dims();
        let (frames, pixels) = (all / self.batch, height * width);
        let rows: Tensor<4> = features.clone().reshape([self.batch, frames, channels, pixels]);
        let rows: Tensor<3> = rows.swap_dims(1, 2).reshape([self.batch, channels, frames * pixels]);
        rows.clone().matmul(rows.swap_dims(1, 2)) / (frames * pixels) as f32
    }
}
