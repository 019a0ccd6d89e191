//! Halving and doubling of a video, each by a convolution beside a parameter-free way.

use burn::module::Module;
use burn::tensor::{Device, Tensor};

use super::conv::{CausalConv3d, CausalConv3dConfig, pointwise_conv};

/// Halves height and width, time, or both: strided convolution plus average pool.
#[derive(Module, Debug)]
pub struct HybridDownsample {
    conv1: Option<CausalConv3d>,
    conv2: Option<CausalConv3d>,
    conv3: CausalConv3d,
}

impl HybridDownsample {
    pub fn new(channels: usize, space: bool, time: bool, device: &Device) -> Self {
        let spatial = CausalConv3dConfig {
            stride: 2,
            padding: 0,
            ..CausalConv3dConfig::new(channels, channels, [1, 3, 3])
        };
        let temporal = CausalConv3dConfig {
            time_stride: 2,
            ..CausalConv3dConfig::new(channels, channels, [3, 1, 1])
        };
        Self {
            conv1: space.then(|| spatial.init(device).padded_at_end()),
            conv2: time.then(|| temporal.init(device)),
            conv3: pointwise_conv(channels, channels, device),
        }
    }

    /// # Shapes
    /// - x: `[batch, time, channel, height, width]`, height and width even
    /// - result: half the height and width; `(time + 1) / 2` frames
    pub fn forward(&self, x: Tensor<5>) -> Tensor<5> {
        let mut x = x;
        if let Some(conv) = &self.conv1 {
            // The zeros padded at the end never reach the average of an even size.
            x = conv.forward(x.clone()) + halve_space(x);
        }
        if let Some(conv) = &self.conv2 {
            let first = x.clone().narrow(1, 0, 1);
            let longer = Tensor::cat(vec![first, x], 1);
            x = conv.forward(longer.clone()) + halve_time(longer);
        }
        self.conv3.forward(x)
    }
}

/// Doubles height and width, time, or both: nearest neighbour plus a convolution of it.
#[derive(Module, Debug)]
pub struct HybridUpsample {
    conv1: Option<CausalConv3d>,
    conv2: Option<CausalConv3d>,
    conv3: CausalConv3d,
}

impl HybridUpsample {
    pub fn new(channels: usize, space: bool, time: bool, device: &Device) -> Self {
        let conv = |kernel| CausalConv3dConfig::new(channels, channels, kernel).init(device);
        Self {
            conv1: time.then(|| conv([3, 1, 1])),
            conv2: space.then(|| conv([1, 3, 3])),
            conv3: pointwise_conv(channels, channels, device),
        }
    }

    /// # Shapes
    /// - x: `[batch, time, channel, height, width]`
    /// - result: twice the height and width; `2 * time - 1` frames
    pub fn forward(&self, x: Tensor<5>) -> Tensor<5> {
        let mut x = x;
        if let Some(conv) = &self.conv1 {
            x = double_time(x);
            x = conv.forward(x.clone()) + x;
        }
        if let Some(conv) = &self.conv2 {
            x = double_space(x);
            x = conv.forward(x.clone()) + x;
        }
        self.conv3.forward(x)
    }
}

fn halve_space(x: Tensor<5>) -> Tensor<5> {
    let [batch, time, channels, height, width] = x.dims();
    assert!(height % 2 == 0 && width % 2 == 0, "{height}x{width} features cannot be halved");
    let frames = batch * time * channels;
    let quads: Tensor<5> = x.reshape([frames, height / 2, 2, width / 2, 2]);
    let halves = quads.mean_dim(4).mean_dim(2);
    halves.reshape([batch, time, channels, height / 2, width / 2])
}

fn halve_time(x: Tensor<5>) -> Tensor<5> {
    let [batch, time, channels, height, width] = x.dims();
    let x = x.narrow(1, 0, time / 2 * 2);
    let pairs: Tensor<4> = x.reshape([batch, time / 2, 2, channels * height * width]);
    pairs.mean_dim(2).reshape([batch, time / 2, channels, height, width])
}

fn double_space(x: Tensor<5>) -> Tensor<5> {
    let [batch, time, channels, height, width] = x.dims();
    let frames = batch * time * channels;
    let x: Tensor<5> = x.reshape([frames, height, 1, width, 1]);
    let x = x.expand([frames, height, 2, width, 2]);
    x.reshape([batch, time, channels, 2 * height, 2 * width])
}

/// Every frame twice, without the very first; a single frame stays single.
fn double_time(x: Tensor<5>) -> Tensor<5> {
    let [batch, time, channels, height, width] = x.dims();
    if time == 1 {
        return x;
    }
    let x: Tensor<4> = x.reshape([batch, time, 1, channels * height * width]);
    let x = x.expand([batch, time, 2, channels * height * width]);
    let x: Tensor<5> = x.reshape([batch, 2 * time, channels, height, width]);
    x.narrow(1, 1, 2 * time - 1)
}
