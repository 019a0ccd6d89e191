//! Painting over the first frame: a mask of what is covered, and colours picked from the frame.
//!
//! Not part of the reference, whose decoder paints every pixel anew and had the training for it.
//! Adding paint to the first frame cannot wipe out its edges, as paint is blurred by nature: a block
//! that was taken away leaves its outline. Under a mask it is gone. And what appears has colours
//! that the frame shows elsewhere, a block's at its old place, the back of a paper at a curled
//! corner: they are looked up instead of being carried through every layer.

use std::f32::consts::PI;

use burn::module::{Initializer, Module, Param};
use burn::tensor::activation::{sigmoid, silu, softmax};
use burn::tensor::{Device, Tensor, TensorData};

use super::conv::{
    CausalConv3d, CausalConv3dConfig, FactorizedConv, pointwise_conv, run_factorized,
};
use super::patcher::HaarPatcher;

/// Subtracted from the logit of the mask: fresh weights leave the first frame in sight.
const MASK_BIAS: f32 = 3.0;
/// Channels in which queries and keys of the colours meet.
const KEY_CHANNELS: usize = 32;
/// Channels that say where in the frame a key lies.
const PLACE_CHANNELS: usize = 6;
/// Pixels of the frame along an edge whose mean is one colour to pick, and for which the features
/// hold one query.
pub const COLOUR_EDGE: usize = 2;
const IMAGE_CHANNELS: usize = 3;

/// Colours that a decoder picked from the first frame.
#[derive(Debug, Clone)]
pub struct Picked {
    /// One a step and pixel, `[batch, 3, step, height, width]`.
    pub colours: Tensor<5>,
    /// How much of every place each of them is, `[batch, step * height * width, place]`.
    pub shares: Tensor<3>,
    /// The colours of the places, `[batch, 3, place]`.
    pub places: Tensor<3>,
}

/// What a decoder lays its paint over the first frame with.
#[derive(Module, Debug)]
pub struct Cover {
    mask: FactorizedConv,
    query: CausalConv3d,
    key_in: CausalConv3d,
    /// What lies around a key's pixels: a few of one colour cannot know that they are the curled
    /// corner of a paper, whose colour is that of its back.
    key_around: [CausalConv3d; 2],
    key_out: CausalConv3d,
    /// How much of the picked colour shows under the paint.
    strength: Param<Tensor<1>>,
}

impl Cover {
    /// For decoder features of so many `channels`; `faint` makes convolutions that say little.
    pub fn new(
        channels: usize,
        patch_size: usize,
        faint: impl Fn(usize) -> FactorizedConv,
        device: &Device,
    ) -> Self {
        let parts = patch_size / COLOUR_EDGE;
        let key_in = CausalConv3dConfig {
            stride: COLOUR_EDGE,
            ..CausalConv3dConfig::new(IMAGE_CHANNELS + PLACE_CHANNELS, KEY_CHANNELS, [1, 3, 3])
        };
        let around = CausalConv3dConfig::new(KEY_CHANNELS, KEY_CHANNELS, [1, 3, 3]);
        Self {
            mask: faint(patch_size.pow(3)),
            query: pointwise_conv(channels, parts * parts * KEY_CHANNELS, device),
            key_in: key_in.init(device),
            key_around: [(); 2].map(|()| around.init(device)),
            key_out: pointwise_conv(KEY_CHANNELS, KEY_CHANNELS, device),
            strength: Initializer::Ones.init([1], device),
        }
    }

    /// The video of `paint` laid over `frame`, and the colours picked for it.
    ///
    /// # Shapes
    /// - frame: `[batch, 3, 1, height, width]`, features: `[batch, step, channel, cell, cell]`
    /// - paint and the video: `[batch, 3, frame, height, width]`
    pub fn lay(
        &self,
        frame: Tensor<5>,
        features: Tensor<5>,
        paint: Tensor<5>,
        patcher: &HaarPatcher,
    ) -> (Tensor<5>, Picked) {
        let mask = run_factorized(&self.mask, features.clone());
        let mask = sigmoid(patcher.unpatch(mask) - MASK_BIAS);
        let picked = self.pick(&frame, features);
        let colour = hold(&picked.colours, patcher.patch_size(), paint.dims()[2]);
        let strength = self.strength.val().unsqueeze_dims(&[0, 1, 2, 3]);
        (frame * (-mask.clone() + 1.0) + mask * colour * strength + paint, picked)
    }

    /// The colours of `frame` that the features ask for.
    fn pick(&self, frame: &Tensor<5>, features: Tensor<5>) -> Picked {
        let [batch, channels, _, height, width] = frame.dims();
        let placed = Tensor::cat(vec![frame.clone(), places(batch, height, width, frame)], 1);
        let keys = self.key_in.forward(placed.swap_dims(1, 2));
        let [near, far] = &self.key_around;
        let around = far.forward(silu(near.forward(silu(keys.clone()))));
        let keys = self.key_out.forward(silu(keys + around));
        let [_, _, _, key_rows, key_columns] = keys.dims();
        let count = key_rows * key_columns;
        let keys: Tensor<3> = keys.reshape([batch, KEY_CHANNELS, count]);

        let edge = COLOUR_EDGE;
        let split = [batch * channels, key_rows, edge, key_columns * edge];
        let rows: Tensor<4> = frame.clone().reshape(split).mean_dim(2);
        let colours: Tensor<4> = rows.reshape([batch, channels, count, edge]).mean_dim(3);
        let colours: Tensor<3> = colours.reshape([batch, channels, count]);

        let queries = self.query.forward(features);
        let [_, steps, asked, rows, columns] = queries.dims();
        // Each cell asks for the colours of its parts, row by row.
        let parts = (asked / KEY_CHANNELS).isqrt();
        let queries: Tensor<7> =
            queries.reshape([batch, steps, parts, parts, KEY_CHANNELS, rows, columns]);
        let queries = queries.permute([0, 4, 1, 5, 2, 6, 3]);
        let queries: Tensor<5> =
            queries.reshape([batch, KEY_CHANNELS, steps, rows * parts, columns * parts]);
        // Between two queries the colour changes at once where their scores cross, so that edges
        // are as sharp as before and no longer stairs of 2x2 pixels.
        let queries: Tensor<3> =
            finer(finer(queries, 3), 4).reshape([batch, KEY_CHANNELS, steps * height * width]);
        let scores = queries.swap_dims(1, 2).matmul(keys) / (KEY_CHANNELS as f32).sqrt();
        let shares = softmax(scores, 2);
        let picked = colours.clone().matmul(shares.clone().swap_dims(1, 2));
        let picked = picked.reshape([batch, channels, steps, height, width]);
        Picked { colours: picked, shares, places: colours }
    }
}

/// Twice as many values along a dimension, each a quarter of the way from one to the next.
fn finer(x: Tensor<5>, dim: usize) -> Tensor<5> {
    let mut shape = x.dims();
    let count = shape[dim];
    let before = Tensor::cat(vec![x.clone().narrow(dim, 0, 1), x.clone()], dim);
    let after = Tensor::cat(vec![x.clone(), x.clone().narrow(dim, count - 1, 1)], dim);
    let beside = [before.narrow(dim, 0, count), after.narrow(dim, 1, count)];
    let pairs = beside.map(|next| (x.clone() * 0.75 + next * 0.25).unsqueeze_dim(dim + 1));
    shape[dim] = COLOUR_EDGE * count;
    Tensor::<6>::cat(pairs.to_vec(), dim + 1).reshape(shape)
}

/// Colours held over the frames of their step, of which the first is a step of its own.
fn hold(picked: &Tensor<5>, frames_per_step: usize, frames: usize) -> Tensor<5> {
    let [batch, channels, steps, height, width] = picked.dims();
    let colour: Tensor<6> = picked.clone().unsqueeze_dim(3);
    let colour = colour.expand([batch, channels, steps, frames_per_step, height, width]);
    let colour: Tensor<5> =
        colour.reshape([batch, channels, steps * frames_per_step, height, width]);
    colour.narrow(2, frames_per_step - 1, frames)
}

/// Where every pixel lies, from -1 to 1 and around a circle, `[batch, 6, 1, height, width]`.
fn places(batch: usize, height: usize, width: usize, like: &Tensor<5>) -> Tensor<5> {
    let at = |i: usize, of: usize| (2 * i + 1) as f32 / of as f32 - 1.0;
    let mut values = Vec::with_capacity(PLACE_CHANNELS * height * width);
    for way in [|v: f32| v, |v: f32| (PI * v).sin(), |v: f32| (PI * v).cos()] {
        values.extend((0..height).flat_map(|y| (0..width).map(move |_| way(at(y, height)))));
        values.extend((0..height).flat_map(|_| (0..width).map(|x| way(at(x, width)))));
    }
    let values = TensorData::new(values, [1, PLACE_CHANNELS, 1, height, width]);
    Tensor::<5>::from_data(values, &like.device()).repeat_dim(0, batch)
}

#[cfg(test)]
mod tests {
    use burn::tensor::Distribution;

    use super::*;

    #[test]
    fn picked_colours_are_those_of_the_frame_channel_by_channel() {
        let device = Device::flex();
        let faint = |out| super::super::conv::factorized_conv(6, out, &device);
        let cover = Cover::new(6, 4, faint, &device);
        let features = Tensor::random([2, 3, 6, 4, 6], Distribution::Normal(0.0, 1.0), &device);
        let colours = TensorData::new(vec![0.1_f32, 0.2, 0.3, -0.4, -0.5, -0.6], [2, 3, 1, 1, 1]);
        let colours = Tensor::<5>::from_data(colours, &device);
        let frame = colours.clone().expand([2, 3, 1, 16, 24]);
        let picked = cover.pick(&frame, features).colours;
        assert_eq!(picked.dims(), [2, 3, 3, 16, 24]);
        let error = (picked - colours).abs().max().into_scalar::<f32>();
        assert!(error < 1e-5, "{error}");
    }

    #[test]
    fn a_cell_asks_for_the_colours_of_its_own_parts() {
        let device = Device::flex();
        let faint = |out| super::super::conv::factorized_conv(6, out, &device);
        let cover = Cover::new(6, 4, faint, &device);
        let frame = Tensor::random([1, 3, 1, 16, 24], Distribution::Uniform(-1.0, 1.0), &device);
        let silent = Tensor::<5>::zeros([1, 2, 6, 4, 6], &device);
        let asking = Tensor::ones([1, 1, 6, 1, 1], &device) * 5.0;
        let asks = silent.clone().slice_assign([0..1, 1..2, 0..6, 2..3, 3..4], asking);
        let change = (cover.pick(&frame, asks).colours - cover.pick(&frame, silent).colours).abs();
        // Its 4x4 pixels and those next to them, which lie between two queries.
        let own = change.clone().slice([0..1, 0..3, 1..2, 7..13, 11..17]);
        assert!(own.clone().max_dim(1).min().into_scalar::<f32>() > 1e-5);
        let all: f32 = change.sum().into_scalar();
        let own: f32 = own.sum().into_scalar();
        assert!((all - own).abs() < 1e-5 * all, "{all} {own}");
    }

    #[test]
    fn values_between_two_lie_a_quarter_of_the_way() {
        let device = Device::flex();
        let values = TensorData::new(vec![0.0_f32, 4.0, 2.0], [1, 1, 1, 3, 1]);
        let fine = finer(Tensor::from_data(values, &device), 3);
        assert_eq!(fine.dims(), [1, 1, 1, 6, 1]);
        let fine: Vec<f32> = fine.into_data().try_into_vec().expect("floats");
        assert_eq!(fine, [0.0, 1.0, 3.0, 3.5, 2.5, 2.0]);
    }

    #[test]
    fn colours_are_held_over_the_frames_of_their_step() {
        let device = Device::flex();
        let values: Vec<f32> = (0..3 * 2 * 3).map(|i| i as f32).collect();
        let picked = Tensor::<5>::from_data(TensorData::new(values, [1, 1, 3, 2, 3]), &device);
        let video: Vec<f32> = hold(&picked, 4, 9).into_data().try_into_vec().expect("floats");
        for (i, value) in video.iter().enumerate() {
            let (frame, place) = (i / 6, i % 6);
            assert_eq!(*value, (frame.div_ceil(4) * 6 + place) as f32, "frame {frame}");
        }
    }
}
