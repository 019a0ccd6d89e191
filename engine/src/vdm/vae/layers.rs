//! The layers of the video VAE, on frames-first tensors `[batch, time, channel, height, width]`.

use burn::module::{Module, Param};
use burn::nn::Initializer;
use burn::tensor::activation::silu;
use burn::tensor::{Device, Tensor};

use super::bands::in_bands;
use super::causal_conv::{CausalConv3d, FrameConv};
use super::stream::Stream;
use crate::vdm::attention::attention;

/// Unit length over the channels, then the root of the channel count times a learned factor.
#[derive(Module, Debug)]
pub(super) struct ChannelNorm {
    /// `[channel, 1, 1, 1]`
    gamma: Param<Tensor<4>>,
}

impl ChannelNorm {
    pub(super) fn new(channels: usize, device: &Device) -> Self {
        Self { gamma: Initializer::Ones.init([channels, 1, 1, 1], device) }
    }

    fn channels(&self) -> usize {
        self.gamma.dims()[0]
    }

    pub(super) fn forward(&self, x: Tensor<5>) -> Tensor<5> {
        let [batch, time, channels, height, width] = x.dims();
        let frames = x.reshape([batch * time, channels, height, width]);
        let gamma = self.gamma.val().reshape([1, channels, 1, 1]);
        unit_length(frames, gamma).reshape([batch, time, channels, height, width])
    }
}

/// The same norm, stored as the reference stores it for single frames.
#[derive(Module, Debug)]
struct FrameNorm {
    /// `[channel, 1, 1]`
    gamma: Param<Tensor<3>>,
}

fn unit_length(frames: Tensor<4>, gamma: Tensor<4>) -> Tensor<4> {
    let [_, channels, _, _] = frames.dims();
    // Clamped before the root, so that an all-zero pixel has a finite gradient.
    let length = frames.clone().square().sum_dim(1).clamp_min(1e-24).sqrt();
    frames / length * (gamma * (channels as f64).sqrt())
}

/// Norm, SiLU and causal convolution, twice, added to the input.
#[derive(Module, Debug)]
pub(super) struct ResidualBlock {
    norm_a: ChannelNorm,
    conv_a: CausalConv3d,
    norm_b: ChannelNorm,
    conv_b: CausalConv3d,
    shortcut: Option<CausalConv3d>,
}

impl ResidualBlock {
    pub(super) fn new(inputs: usize, outputs: usize, device: &Device) -> Self {
        let shortcut =
            (inputs != outputs).then(|| CausalConv3d::new(inputs, outputs, [1; 3], device));
        Self {
            norm_a: ChannelNorm::new(inputs, device),
            conv_a: CausalConv3d::new(inputs, outputs, [3; 3], device),
            norm_b: ChannelNorm::new(outputs, device),
            conv_b: CausalConv3d::new(outputs, outputs, [3; 3], device),
            shortcut,
        }
    }

    pub(super) fn forward(&self, x: Tensor<5>, stream: &mut Stream) -> Tensor<5> {
        let widest = self.norm_a.channels().max(self.norm_b.channels());
        in_bands(x, widest, stream, |x, stream| self.of_band(x, stream))
    }

    fn of_band(&self, x: Tensor<5>, stream: &mut Stream) -> Tensor<5> {
        let skip = match &self.shortcut {
            Some(conv) => conv.forward(x.clone(), stream),
            None => x.clone(),
        };
        let h = self.conv_a.forward(silu(self.norm_a.forward(x)), stream);
        let h = self.conv_b.forward(silu(self.norm_b.forward(h)), stream);
        skip + h
    }
}

/// Self-attention of one head among the pixels of each frame, added to the input.
#[derive(Module, Debug)]
pub(super) struct FrameAttention {
    norm: FrameNorm,
    to_qkv: FrameConv,
    proj: FrameConv,
}

impl FrameAttention {
    fn new(channels: usize, device: &Device) -> Self {
        let norm = FrameNorm { gamma: Initializer::Ones.init([channels, 1, 1], device) };
        Self {
            norm,
            to_qkv: FrameConv::new(channels, 3 * channels, 1, device),
            proj: FrameConv::zeros(channels, channels, 1, device),
        }
    }

    fn forward(&self, x: Tensor<5>) -> Tensor<5> {
        let [batch, time, channels, height, width] = x.dims();
        let frames = x.clone().reshape([batch * time, channels, height, width]);
        let gamma = self.norm.gamma.val().reshape([1, channels, 1, 1]);
        let qkv = self
            .to_qkv
            .forward(unit_length(frames, gamma))
            .reshape([batch * time, 1, 3 * channels, height * width])
            .swap_dims(2, 3); // [frame, 1, pixel, 3 * channel]
        let part = |i: usize| qkv.clone().narrow(3, i * channels, channels);
        let mixed = attention(part(0), part(1), part(2), None).swap_dims(2, 3).reshape([
            batch * time,
            channels,
            height,
            width,
        ]);
        x + self.proj.forward(mixed).reshape([batch, time, channels, height, width])
    }
}

/// The coarsest level: residual block, attention, residual block.
#[derive(Module, Debug)]
pub(super) struct Middle {
    first: ResidualBlock,
    attention: FrameAttention,
    last: ResidualBlock,
}

impl Middle {
    pub(super) fn new(channels: usize, device: &Device) -> Self {
        Self {
            first: ResidualBlock::new(channels, channels, device),
            attention: FrameAttention::new(channels, device),
            last: ResidualBlock::new(channels, channels, device),
        }
    }

    pub(super) fn forward(&self, x: Tensor<5>, stream: &mut Stream) -> Tensor<5> {
        let x = self.first.forward(x, stream);
        let x = self.attention.forward(x);
        self.last.forward(x, stream)
    }
}

/// Norm, SiLU and convolution at the end of encoder and decoder.
#[derive(Module, Debug)]
pub(super) struct Head {
    head_norm: ChannelNorm,
    head_conv: CausalConv3d,
}

impl Head {
    pub(super) fn new(inputs: usize, outputs: usize, device: &Device) -> Self {
        Self {
            head_norm: ChannelNorm::new(inputs, device),
            head_conv: CausalConv3d::new(inputs, outputs, [3; 3], device),
        }
    }

    pub(super) fn forward(&self, x: Tensor<5>, stream: &mut Stream) -> Tensor<5> {
        in_bands(x, self.head_norm.channels(), stream, |x, stream| {
            self.head_conv.forward(silu(self.head_norm.forward(x)), stream)
        })
    }
}

/// Half the height and width, and half the frame rate if there is a `time_conv`.
#[derive(Module, Debug)]
pub(super) struct Downsample {
    resample_conv: FrameConv,
    time_conv: Option<CausalConv3d>,
}

impl Downsample {
    pub(super) fn new(channels: usize, in_time: bool, device: &Device) -> Self {
        Self {
            resample_conv: FrameConv::new(channels, channels, 3, device),
            time_conv: in_time.then(|| CausalConv3d::new(channels, channels, [3, 1, 1], device)),
        }
    }

    pub(super) fn forward(&self, x: Tensor<5>, stream: &mut Stream) -> Tensor<5> {
        let channels = x.dims()[2];
        in_bands(x, channels, stream, |x, stream| self.of_band(x, stream))
    }

    fn of_band(&self, x: Tensor<5>, stream: &mut Stream) -> Tensor<5> {
        let [batch, time, channels, height, width] = x.dims();
        let frames = x.reshape([batch * time, channels, height, width]);
        let x = self.resample_conv.forward_halving(frames);
        let x = x.reshape([batch, time, channels, height / 2, width / 2]);
        let Some(conv) = &self.time_conv else {
            return x;
        };
        let last = x.clone().narrow(1, time - 1, 1);
        // The clip's first frame passes as it is: it has no partner to be merged with.
        let out = match stream.recall() {
            Some(past) => conv.forward_every_second(Tensor::cat(vec![past, x], 1)),
            None if time == 1 => x,
            None => {
                let first = x.clone().narrow(1, 0, 1);
                Tensor::cat(vec![first, conv.forward_every_second(x)], 1)
            }
        };
        stream.remember(|| Some(last));
        out
    }
}

/// Twice the height and width with half the channels, and twice the frame rate if there is a `time_conv`.
#[derive(Module, Debug)]
pub(super) struct Upsample {
    resample_conv: FrameConv,
    time_conv: Option<CausalConv3d>,
}

impl Upsample {
    pub(super) fn new(channels: usize, in_time: bool, device: &Device) -> Self {
        Self {
            resample_conv: FrameConv::new(channels, channels / 2, 3, device),
            time_conv: in_time
                .then(|| CausalConv3d::new(channels, 2 * channels, [3, 1, 1], device)),
        }
    }

    pub(super) fn forward(&self, x: Tensor<5>, stream: &mut Stream) -> Tensor<5> {
        // Four times the pixels with half the channels.
        let channels = 2 * x.dims()[2];
        in_bands(x, channels, stream, |x, stream| self.of_band(x, stream))
    }

    fn of_band(&self, x: Tensor<5>, stream: &mut Stream) -> Tensor<5> {
        let x = match &self.time_conv {
            Some(conv) => Self::double_rate(conv, x, stream),
            None => x,
        };
        let [batch, time, channels, height, width] = x.dims();
        let frames = x.reshape([batch * time, channels, height, width]);
        let x = self.resample_conv.forward(double_size(frames));
        x.reshape([batch, time, channels / 2, 2 * height, 2 * width])
    }

    /// Every frame becomes two, except the clip's first. The second frame starts from zeros: it
    /// does not see the first.
    fn double_rate(conv: &CausalConv3d, x: Tensor<5>, stream: &mut Stream) -> Tensor<5> {
        let time = x.dims()[1];
        if !stream.at_start() {
            return Self::split_frames(conv.forward(x, stream));
        }
        if time == 1 {
            stream.remember(|| None);
            return x;
        }
        let first = x.clone().narrow(1, 0, 1);
        let rest = conv.forward(x.narrow(1, 1, time - 1), stream);
        Tensor::cat(vec![first, Self::split_frames(rest)], 1)
    }

    /// The two halves of the channels are consecutive frames.
    fn split_frames(x: Tensor<5>) -> Tensor<5> {
        let [batch, time, channels, height, width] = x.dims();
        x.reshape([batch, 2 * time, channels / 2, height, width])
    }
}

/// Repeats every pixel of `[frame, channel, height, width]` twice in both directions.
fn double_size(frames: Tensor<4>) -> Tensor<4> {
    let [n, channels, height, width] = frames.dims();
    frames
        .reshape([n * channels, height, 1, width, 1])
        .expand([n * channels, height, 2, width, 2])
        .reshape([n, channels, 2 * height, 2 * width])
}
