//! Causal convolutions over video, run as 2D convolutions with time folded into the batch.
//!
//! Inside this network a video is `[batch, time, channel, height, width]`: frames are contiguous,
//! so everything that works per frame needs no permutation. A kernel that is `k` long in time sees
//! `k` frames stacked along the channels.

use burn::module::{Initializer, Module, Param};
use burn::tensor::module::conv2d;
use burn::tensor::ops::ConvOptions;
use burn::tensor::{Device, Tensor};

/// Weight and bias of a convolution.
#[derive(Module, Debug)]
pub struct Kernel {
    /// `[channel out, channel in, time, height, width]`
    weight: Param<Tensor<5>>,
    bias: Param<Tensor<1>>,
}

/// Configuration of a [`CausalConv3d`].
#[derive(Debug, Clone, Copy)]
pub struct CausalConv3dConfig {
    pub channels_in: usize,
    pub channels_out: usize,
    /// Size in time, height and width.
    pub kernel: [usize; 3],
    pub stride: usize,
    pub time_stride: usize,
    /// Zeros on all four sides of a frame.
    pub padding: usize,
    /// Scale of the fresh weights; 1 is the usual one.
    pub gain: f64,
}

impl CausalConv3dConfig {
    /// A convolution with stride 1 that keeps the size of a frame.
    pub fn new(channels_in: usize, channels_out: usize, kernel: [usize; 3]) -> Self {
        Self {
            channels_in,
            channels_out,
            kernel,
            stride: 1,
            time_stride: 1,
            padding: kernel[1] / 2,
            gain: 1.0,
        }
    }

    pub fn init(&self, device: &Device) -> CausalConv3d {
        let [time, height, width] = self.kernel;
        let fan_in = Some(self.channels_in * time * height * width);
        let gain = self.gain / 3.0_f64.sqrt();
        let initializer = Initializer::KaimingUniform { gain, fan_out_only: false };
        let shape = [self.channels_out, self.channels_in, time, height, width];
        let conv3d = Kernel {
            weight: initializer.init_with(shape, fan_in, None, device),
            bias: initializer.init_with([self.channels_out], fan_in, None, device),
        };
        CausalConv3d {
            conv3d,
            stride: self.stride,
            time_stride: self.time_stride,
            padding: [self.padding; 2],
        }
    }
}

/// A convolution that sees no later frame: time is padded by repeating the first frame.
#[derive(Module, Debug)]
pub struct CausalConv3d {
    conv3d: Kernel,
    stride: usize,
    time_stride: usize,
    /// Zeros before and after, along height and width.
    padding: [usize; 2],
}

impl CausalConv3d {
    /// The strided convolution of a down-sampling, padded only at the bottom and the right.
    pub(super) fn padded_at_end(mut self) -> Self {
        self.padding = [0, 1];
        self
    }

    /// # Shapes
    /// - x: `[batch, time, channel in, height, width]`
    /// - result: `[batch, time, channel out, height, width]`, each divided by its stride
    pub fn forward(&self, x: Tensor<5>) -> Tensor<5> {
        let [batch, time, channels, height, width] = x.dims();
        let weight = self.conv3d.weight.val();
        let [out, _, kernel_time, kernel_height, kernel_width] = weight.dims();

        let single = time == 1 && self.time_stride == 1;
        let (x, weight) = if kernel_time == 1 && self.time_stride == 1 {
            (x, weight)
        } else if single {
            // Every tap sees the same frame.
            (x, weight.sum_dim(2))
        } else {
            (self.stack_taps(x, kernel_time), weight.swap_dims(1, 2))
        };
        let [_, steps, stacked, _, _] = x.dims();
        let weight: Tensor<4> = weight.reshape([out, stacked, kernel_height, kernel_width]);

        let frames: Tensor<4> = x.reshape([batch * steps, stacked, height, width]);
        let bias = Some(self.conv3d.bias.val());
        let y = if self.sees_only_centre(height, width, kernel_height, kernel_width) {
            // A token has one pixel: the rest of the kernel only meets padding.
            let centre = weight.narrow(2, kernel_height / 2, 1).narrow(3, kernel_width / 2, 1);
            conv2d(frames, centre, bias, ConvOptions::new([1, 1], [0, 0], [1, 1], 1))
        } else {
            let [before, after] = self.padding;
            let mut options = ConvOptions::new([self.stride; 2], [0, 0], [1, 1], 1);
            options.padding = [(before, after); 2];
            conv2d(frames, weight, bias, options)
        };
        debug_assert!(stacked % channels == 0, "{stacked} channels are not whole taps");
        let [_, _, height, width] = y.dims();
        y.reshape([batch, steps, out, height, width])
    }

    fn sees_only_centre(&self, height: usize, width: usize, kh: usize, kw: usize) -> bool {
        let centred = self.padding == [kh / 2; 2] && kh == kw && kh % 2 == 1;
        height == 1 && width == 1 && self.stride == 1 && centred
    }

    /// Frame `t` of the result holds the frames that the kernel sees at step `t`, the oldest first,
    /// stacked along the channels.
    fn stack_taps(&self, x: Tensor<5>, taps: usize) -> Tensor<5> {
        let time = x.dims()[1];
        let repeats = taps - self.time_stride.min(taps);
        let x = match repeats {
            0 => x,
            _ => Tensor::cat(vec![x.clone().narrow(1, 0, 1).repeat_dim(1, repeats), x], 1),
        };
        let padded = time + repeats;
        assert!(padded >= taps, "{time} frames are too few for {taps} taps in time");
        let steps = (padded - taps) / self.time_stride + 1;
        let tap = |start: usize| match self.time_stride {
            1 => x.clone().narrow(1, start, steps),
            stride => {
                let picked = (0..steps).map(|s| x.clone().narrow(1, start + s * stride, 1));
                Tensor::cat(picked.collect(), 1)
            }
        };
        Tensor::cat((0..taps).map(tap).collect(), 2)
    }
}

/// A 3x3x3 convolution as one over space and one over time, with nothing in between.
pub type FactorizedConv = [CausalConv3d; 2];

/// A [`FactorizedConv`] with fresh weights.
pub fn factorized_conv(channels_in: usize, channels_out: usize, device: &Device) -> FactorizedConv {
    [
        CausalConv3dConfig::new(channels_in, channels_out, [1, 3, 3]).init(device),
        CausalConv3dConfig::new(channels_out, channels_out, [3, 1, 1]).init(device),
    ]
}

/// Runs a [`FactorizedConv`]; shapes as in [`CausalConv3d::forward`].
pub fn run_factorized(conv: &FactorizedConv, x: Tensor<5>) -> Tensor<5> {
    conv[1].forward(conv[0].forward(x))
}

/// A 1x1x1 convolution with fresh weights.
pub fn pointwise_conv(channels_in: usize, channels_out: usize, device: &Device) -> CausalConv3d {
    CausalConv3dConfig::new(channels_in, channels_out, [1, 1, 1]).init(device)
}
