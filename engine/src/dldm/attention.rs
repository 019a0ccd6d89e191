//! The single-head attentions of encoder and decoder: within a frame, along time at a pixel, and
//! from pixels to code tokens.

use burn::module::Module;
use burn::nn::{Linear, LinearConfig};
use burn::tensor::activation::softmax;
use burn::tensor::{Bool, Device, Tensor, TensorData};

use super::conv::{CausalConv3d, pointwise_conv};
use super::norm::CausalNormalize;

/// Score of what a query must not see. Large enough that its weight underflows to zero.
const HIDDEN_SCORE: f32 = -1e9;

/// Softmax over the last dimension of scores, without those that are hidden.
pub(super) fn masked_softmax<const D: usize>(
    scores: Tensor<D>,
    hidden: Tensor<D, Bool>,
) -> Tensor<D> {
    softmax(scores.mask_fill(hidden, HIDDEN_SCORE), D - 1)
}

/// A mask `[1, row, 1, column]` of what is hidden, from what is visible.
pub(super) fn hidden_unless(
    rows: usize,
    columns: usize,
    visible: impl Fn(usize, usize) -> bool,
    device: &Device,
) -> Tensor<4, Bool> {
    let cells = (0..rows).flat_map(|r| (0..columns).map(move |c| (r, c)));
    let hidden: Vec<bool> = cells.map(|(r, c)| !visible(r, c)).collect();
    Tensor::from_data(TensorData::new(hidden, [1, rows, 1, columns]), device)
}

/// What a [`SelfAttention`] looks along.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Along {
    /// All pixels of one frame.
    Space,
    /// One pixel in all frames up to its own.
    Time,
}

/// Self-attention within every frame, or causally along time at every pixel.
#[derive(Module, Debug)]
pub struct SelfAttention {
    norm: CausalNormalize,
    q: CausalConv3d,
    k: CausalConv3d,
    v: CausalConv3d,
    proj_out: CausalConv3d,
    #[module(skip)]
    along: Along,
}

impl SelfAttention {
    /// Attention within every frame.
    pub fn spatial(channels: usize, device: &Device) -> Self {
        Self::new(channels, Along::Space, device)
    }

    /// Attention along time at every pixel, to no later frame.
    pub fn temporal(channels: usize, device: &Device) -> Self {
        Self::new(channels, Along::Time, device)
    }

    fn new(channels: usize, along: Along, device: &Device) -> Self {
        let conv = || pointwise_conv(channels, channels, device);
        Self {
            norm: CausalNormalize::per_frame(channels, device),
            q: conv(),
            k: conv(),
            v: conv(),
            proj_out: conv(),
            along,
        }
    }

    /// # Shapes
    /// - x, result: `[batch, time, channel, height, width]`
    pub fn forward(&self, x: Tensor<5>) -> Tensor<5> {
        let [batch, time, channels, height, width] = x.dims();
        let normal = self.norm.forward(x.clone());
        let v = self.v.forward(normal.clone());
        let seen = if self.along == Along::Time && time == 1 {
            v // A lone frame sees only itself.
        } else {
            let q = self.q.forward(normal.clone()) * (channels as f32).powf(-0.5);
            let k = self.k.forward(normal);
            let flat = [batch, time, channels, height * width];
            let (q, k, v) = (q.reshape(flat), k.reshape(flat), v.reshape(flat));
            let seen = match self.along {
                Along::Space => attend_space(q, k, v),
                Along::Time => attend_time(q, k, v),
            };
            seen.reshape([batch, time, channels, height, width])
        };
        x + self.proj_out.forward(seen)
    }
}

/// All of q, k, v and the result are `[batch, time, channel, pixel]`.
fn attend_space(q: Tensor<4>, k: Tensor<4>, v: Tensor<4>) -> Tensor<4> {
    let weights = softmax(q.swap_dims(2, 3).matmul(k), 3); // [batch, time, query, key]
    v.matmul(weights.swap_dims(2, 3))
}

/// All of q, k, v and the result are `[batch, time, channel, pixel]`.
fn attend_time(q: Tensor<4>, k: Tensor<4>, v: Tensor<4>) -> Tensor<4> {
    let time = q.dims()[1];
    let device = q.device();
    let by_pixel = |x: Tensor<4>| x.permute([0, 3, 1, 2]); // [batch, pixel, time, channel]
    let scores = by_pixel(q).matmul(k.permute([0, 3, 2, 1])); // [batch, pixel, query, key]
    let hidden = hidden_unless(time, time, |query, key| key <= query, &device);
    let weights = masked_softmax(scores, hidden.swap_dims(1, 2));
    weights.matmul(by_pixel(v)).permute([0, 2, 3, 1])
}

/// Attention from the pixels of each frame to the code tokens up to that frame's.
#[derive(Module, Debug)]
pub struct CrossAttention {
    norm: CausalNormalize,
    q_proj: CausalConv3d,
    /// Keys first, then values.
    kv_proj: Linear,
    proj_out: CausalConv3d,
}

impl CrossAttention {
    pub fn new(channels: usize, context_channels: usize, device: &Device) -> Self {
        Self {
            norm: CausalNormalize::per_frame(channels, device),
            q_proj: pointwise_conv(channels, channels, device),
            kv_proj: LinearConfig::new(context_channels, 2 * channels).init(device),
            proj_out: pointwise_conv(channels, channels, device),
        }
    }

    /// # Shapes
    /// - x, result: `[batch, time, channel, height, width]`
    /// - context: `[batch, time * n, context channel]`; frame `i` sees the first `(i + 1) * n`
    pub fn forward(&self, x: Tensor<5>, context: Tensor<3>) -> Tensor<5> {
        let [batch, time, channels, height, width] = x.dims();
        let tokens = context.dims()[1];
        assert!(tokens.is_multiple_of(time), "{tokens} tokens do not divide among {time} frames");
        let device = x.device();

        let q = self.q_proj.forward(self.norm.forward(x.clone()));
        let q = q * (channels as f32).powf(-0.5);
        let pixels = height * width;
        let q: Tensor<4> = q.reshape([batch, time, channels, pixels]);
        let q: Tensor<3> = q.swap_dims(2, 3).reshape([batch, time * pixels, channels]);
        let kv = self.kv_proj.forward(context);
        let k = kv.clone().narrow(2, 0, channels);
        let v = kv.narrow(2, channels, channels);

        let scores: Tensor<3> = q.matmul(k.swap_dims(1, 2)); // [batch, time * pixel, token]
        let scores: Tensor<4> = scores.reshape([batch, time, pixels, tokens]);
        let per_frame = tokens / time;
        let visible = |frame, token| token < (frame + 1) * per_frame;
        let weights = masked_softmax(scores, hidden_unless(time, tokens, visible, &device));
        let weights: Tensor<3> = weights.reshape([batch, time * pixels, tokens]);
        let seen: Tensor<4> = weights.matmul(v).reshape([batch, time, pixels, channels]);
        let seen = seen.swap_dims(2, 3).reshape([batch, time, channels, height, width]);
        x + self.proj_out.forward(seen)
    }
}
