//! A linear map between each latent position and the pixels under it, beside the networks.
//!
//! Not in the release. Begun with principal components it is a usable autoencoder before the
//! networks have learned anything; they then add what a linear map cannot say.

use burn::module::Module;
use burn::nn::{Linear, LinearConfig};
use burn::tensor::{Device, Tensor};

use super::VideoVaeConfig;

/// The first frame counts as a group of equal frames, so that a scene at rest has the same latents
/// in every step.
#[derive(Module, Debug)]
pub(super) struct LinearPath {
    analysis: Linear,
    synthesis: Linear,
    /// Frames, rows and columns of the pixels under one latent position.
    pub(super) group: [usize; 3],
}

impl LinearPath {
    pub(super) fn new(config: &VideoVaeConfig, device: &Device) -> Self {
        let (time, space) = (config.temporal_compression(), config.spatial_compression());
        let pixels = 3 * time * space * space;
        Self {
            analysis: LinearConfig::new(pixels, config.z_dim).init(device),
            synthesis: LinearConfig::new(config.z_dim, pixels).init(device),
            group: [time, space, space],
        }
    }

    /// How far each latent channel moves the pixels under it, 1 in the mean.
    pub(super) fn reach(&self) -> Vec<f32> {
        // burn keeps the weight as (in, out): one row a channel.
        let lengths = self.synthesis.weight.val().without_autodiff().square().sum_dim(1).sqrt();
        let lengths: Vec<f32> = lengths.into_data().convert::<f32>().try_into_vec().expect("f32");
        let mean = lengths.iter().sum::<f32>() / lengths.len() as f32;
        lengths.iter().map(|length| length / mean).collect()
    }

    /// Video `[batch, 3, 1 + frames, height, width]` to latents before normalisation
    /// `[batch, z, steps, height, width]`.
    pub(super) fn analyse(&self, video: Tensor<5>) -> Tensor<5> {
        let [_, _, _, height, width] = video.dims();
        let [_, rows, columns] = self.group;
        let latents = self.analysis.forward(groups(video, self.group));
        let [batch, steps, _, z] = latents.dims();
        latents.permute([0, 3, 1, 2]).reshape([batch, z, steps, height / rows, width / columns])
    }

    /// Undoes [`LinearPath::analyse`] as well as the latents allow.
    pub(super) fn synthesise(&self, latents: Tensor<5>) -> Tensor<5> {
        let [batch, z, steps, height, width] = latents.dims();
        let latents = latents.reshape([batch, z, steps, height * width]).permute([0, 2, 3, 1]);
        let [time, rows, columns] = self.group;
        let pixels = self.synthesis.forward(latents).reshape([
            batch,
            steps,
            height * width,
            3,
            time * rows * columns,
        ]);
        let pixels = pixels.permute([0, 3, 1, 4, 2]).reshape([
            batch * 3 * steps,
            time,
            rows,
            columns,
            height,
            width,
        ]);
        let video = pixels.permute([0, 1, 4, 2, 5, 3]).reshape([
            batch,
            3,
            steps * time,
            height * rows,
            width * columns,
        ]);
        let first = video.clone().narrow(2, 0, time).mean_dim(2);
        if steps == 1 {
            return first;
        }
        Tensor::cat(vec![first, video.narrow(2, time, (steps - 1) * time)], 2)
    }
}

/// The pixels under each latent position, `[batch, step, position, 3 * frames * rows * columns]`.
pub(super) fn groups(video: Tensor<5>, [time, rows, columns]: [usize; 3]) -> Tensor<4> {
    let first = video.clone().narrow(2, 0, 1).repeat_dim(2, time - 1);
    let video = Tensor::cat(vec![first, video], 2);
    let [batch, colours, frames, height, width] = video.dims();
    let steps = frames / time;
    let shape = [batch * colours * steps, time, height / rows, rows, width / columns, columns];
    let positions = height / rows * (width / columns);
    video
        .reshape(shape)
        .permute([0, 1, 3, 5, 2, 4])
        .reshape([batch, colours, steps, time * rows * columns, positions])
        .permute([0, 2, 4, 1, 3])
        .reshape([batch, steps, positions, colours * time * rows * columns])
}
