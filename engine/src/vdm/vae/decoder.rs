//! Latent to video, on frames-first tensors `[batch, time, channel, height, width]`.

use burn::module::Module;
use burn::tensor::{Device, Tensor};

use super::VideoVaeConfig;
use super::causal_conv::CausalConv3d;
use super::layers::{Head, Middle, ResidualBlock, Upsample};
use super::stream::Stream;

/// One entry of the decoder's list of layers, numbered as in the reference's checkpoint.
#[derive(Module, Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "a dozen entries a network, and modules are not boxed"
)]
enum UpLayer {
    Residual(ResidualBlock),
    Resample(Upsample),
}

/// Latent to video.
#[derive(Module, Debug)]
pub(super) struct Decoder {
    conv_in: CausalConv3d,
    middle: Middle,
    upsamples: Vec<UpLayer>,
    head: Head,
}

impl Decoder {
    pub(super) fn new(config: &VideoVaeConfig, device: &Device) -> Self {
        let widths: Vec<usize> = config.widths().into_iter().rev().collect();
        let coarsest = widths[0];
        let mut width = coarsest;
        let mut upsamples = Vec::new();
        for (level, &outputs) in widths.iter().enumerate() {
            for _ in 0..=config.num_res_blocks {
                let block = ResidualBlock::new(width, outputs, device);
                upsamples.push(UpLayer::Residual(block));
                width = outputs;
            }
            if level + 1 < widths.len() {
                let in_time = config.temporal_downsample[widths.len() - 2 - level];
                upsamples.push(UpLayer::Resample(Upsample::new(width, in_time, device)));
                width /= 2;
            }
        }
        Self {
            conv_in: CausalConv3d::new(config.z_dim, coarsest, [3; 3], device),
            middle: Middle::new(coarsest, device),
            upsamples,
            head: Head::new(width, config.pixel_channels(), device),
        }
    }

    /// One chunk: `[batch, latent steps, z, height / 8, width / 8]` to
    /// `[batch, frames, pixel channel, height, width]`.
    pub(super) fn forward(&self, chunk: Tensor<5>, stream: &mut Stream) -> Tensor<5> {
        let x = self.conv_in.forward(chunk, stream);
        let mut x = self.middle.forward(x, stream);
        for layer in &self.upsamples {
            x = match layer {
                UpLayer::Residual(block) => block.forward(x, stream),
                UpLayer::Resample(resample) => resample.forward(x, stream),
            };
        }
        let x = self.head.forward(x, stream);
        stream.end_chunk();
        x
    }
}
