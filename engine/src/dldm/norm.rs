//! Group normalisation that keeps frames apart.

use burn::module::{Initializer, Module, Param};
use burn::tensor::{Device, Tensor};

const EPSILON: f32 = 1e-6;

/// Scale and offset a channel.
#[derive(Module, Debug)]
pub struct Affine {
    weight: Param<Tensor<1>>,
    bias: Param<Tensor<1>>,
}

/// Group normalisation. With one group (all of the network) the statistics are per frame; with
/// more the reference takes them over time as well.
#[derive(Module, Debug)]
pub struct CausalNormalize {
    norm: Affine,
    num_groups: usize,
}

impl CausalNormalize {
    /// One group: statistics per frame.
    pub fn per_frame(channels: usize, device: &Device) -> Self {
        Self::new(channels, 1, device)
    }

    pub fn new(channels: usize, num_groups: usize, device: &Device) -> Self {
        assert!(channels.is_multiple_of(num_groups), "{channels} channels in {num_groups} groups");
        let norm = Affine {
            weight: Initializer::Ones.init([channels], device),
            bias: Initializer::Zeros.init([channels], device),
        };
        Self { norm, num_groups }
    }

    /// # Shapes
    /// - x, result: `[batch, time, channel, height, width]`
    pub fn forward(&self, x: Tensor<5>) -> Tensor<5> {
        let shape @ [batch, time, channels, height, width] = x.dims();
        let groups = self.num_groups;
        if groups == 1 {
            let rows = x.reshape([batch * time, channels * height * width]);
            let (centred, inverse_std) = centre(rows);
            let x = centred.reshape([batch * time, channels, height * width]);
            let scale = inverse_std.reshape([batch * time, 1, 1]) * self.weight();
            return (x * scale + self.bias()).reshape(shape);
        }
        let size = channels / groups;
        let grouped: Tensor<5> = x.reshape([batch, time, groups, size, height * width]);
        let grouped = grouped.swap_dims(1, 2); // [batch, group, time, channel, pixel]
        let (centred, inverse_std) =
            centre(grouped.reshape([batch * groups, time * size * height * width]));
        let normal: Tensor<5> = (centred * inverse_std)
            .reshape([batch, groups, time, size, height * width])
            .swap_dims(1, 2);
        let x: Tensor<3> = normal.reshape([batch * time, channels, height * width]);
        (x * self.weight() + self.bias()).reshape(shape)
    }

    fn weight(&self) -> Tensor<3> {
        self.norm.weight.val().reshape([1, -1, 1])
    }

    fn bias(&self) -> Tensor<3> {
        self.norm.bias.val().reshape([1, -1, 1])
    }
}

/// Rows minus their mean, and one over their standard deviation.
fn centre(rows: Tensor<2>) -> (Tensor<2>, Tensor<2>) {
    let centred = rows.clone() - rows.mean_dim(1);
    let variance = centred.clone().square().mean_dim(1);
    (centred, (variance + EPSILON).sqrt().recip())
}
