//! Video to the moments of the latent, on frames-first tensors `[batch, time, channel, height, width]`.

use burn::module::Module;
use burn::tensor::{Device, Tensor};

use super::VideoVaeConfig;
use super::bands::in_bands;
use super::causal_conv::CausalConv3d;
use super::layers::{Downsample, Head, Middle, ResidualBlock};
use super::stream::Stream;

/// One entry of the encoder's list of layers, numbered as in the reference's checkpoint.
#[derive(Module, Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "a dozen entries a network, and modules are not boxed"
)]
enum DownLayer {
    Residual(ResidualBlock),
    Resample(Downsample),
}

/// Video to the moments of the latent.
#[derive(Module, Debug)]
pub(super) struct Encoder {
    conv_in: CausalConv3d,
    downsamples: Vec<DownLayer>,
    middle: Middle,
    head: Head,
}

impl Encoder {
    pub(super) fn new(config: &VideoVaeConfig, device: &Device) -> Self {
        let widths = config.widths();
        let mut width = config.dim;
        let mut downsamples = Vec::new();
        for (level, &outputs) in widths.iter().enumerate() {
            for _ in 0..config.num_res_blocks {
                let block = ResidualBlock::new(width, outputs, device);
                downsamples.push(DownLayer::Residual(block));
                width = outputs;
            }
            if level + 1 < widths.len() {
                let in_time = config.temporal_downsample[level];
                let layer = Downsample::new(width, in_time, device);
                downsamples.push(DownLayer::Resample(layer));
            }
        }
        Self {
            conv_in: CausalConv3d::new(config.pixel_channels(), config.dim, [3; 3], device),
            downsamples,
            middle: Middle::new(width, device),
            head: Head::new(width, 2 * config.z_dim, device),
        }
    }

    /// One chunk: `[batch, frames, pixel channel, height, width]` to
    /// `[batch, latent steps, 2 * z, height / 8, width / 8]`.
    pub(super) fn forward(&self, chunk: Tensor<5>, stream: &mut Stream) -> Tensor<5> {
        let mut x = in_bands(chunk, self.conv_in.outputs(), stream, |x, stream| {
            self.conv_in.forward(x, stream)
        });
        for layer in &self.downsamples {
            x = match layer {
                DownLayer::Residual(block) => block.forward(x, stream),
                DownLayer::Resample(resample) => resample.forward(x, stream),
            };
        }
        let x = self.middle.forward(x, stream);
        let x = self.head.forward(x, stream);
        stream.end_chunk();
        x
    }
}
