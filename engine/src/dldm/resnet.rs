//! The residual block of encoder, decoder and connector.

use burn::module::Module;
use burn::tensor::activation::silu;
use burn::tensor::{Device, Tensor};

use super::conv::{CausalConv3d, FactorizedConv, factorized_conv, pointwise_conv, run_factorized};
use super::norm::CausalNormalize;

/// Twice normalisation, swish and a factorised convolution, beside a shortcut.
#[derive(Module, Debug)]
pub struct ResnetBlock {
    norm1: CausalNormalize,
    conv1: FactorizedConv,
    norm2: CausalNormalize,
    conv2: FactorizedConv,
    nin_shortcut: Option<CausalConv3d>,
}

impl ResnetBlock {
    pub fn new(channels_in: usize, channels_out: usize, device: &Device) -> Self {
        let widens = channels_in != channels_out;
        Self {
            norm1: CausalNormalize::per_frame(channels_in, device),
            conv1: factorized_conv(channels_in, channels_out, device),
            norm2: CausalNormalize::per_frame(channels_out, device),
            conv2: factorized_conv(channels_out, channels_out, device),
            nin_shortcut: widens.then(|| pointwise_conv(channels_in, channels_out, device)),
        }
    }

    /// # Shapes
    /// - x: `[batch, time, channel in, height, width]`
    /// - result: `[batch, time, channel out, height, width]`
    pub fn forward(&self, x: Tensor<5>) -> Tensor<5> {
        let h = run_factorized(&self.conv1, silu(self.norm1.forward(x.clone())));
        let h = run_factorized(&self.conv2, silu(self.norm2.forward(h)));
        match &self.nin_shortcut {
            Some(shortcut) => shortcut.forward(x) + h,
            None => x + h,
        }
    }
}
