//! The video VAE of Wan 2.1: 8x8 in space, 4x in time, causal, in chunks of any length.
//!
//! A clip has `1 + 4n` frames and `1 + n` latent steps. Encoding and decoding in chunks gives the
//! numbers of the whole clip at once, but needs memory for one chunk only; large frames pass the
//! layers in bands of rows, of which the same holds. Three habits of the
//! reference matter: the first frame is never merged with or spread over others in time; in
//! decoding, the second latent step starts from zeros instead of the first step's features; and
//! pixels are not clamped.

mod bands;
mod causal_conv;
mod components;
mod decoder;
mod encoder;
mod layers;
mod linear_path;
mod stream;
#[cfg(test)]
mod tests;

use std::ops::ControlFlow;

use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::{DType, Device, Tensor, TensorData};
use ndarray::Axis;
use serde::{Deserialize, Serialize};

use self::causal_conv::CausalConv3d;
use self::components::Components;
use self::decoder::Decoder;
use self::encoder::Encoder;
use self::linear_path::LinearPath;
use self::stream::Stream;
use crate::weights::{KeyTable, Weights, WeightsError};

/// The reference's keys of the video VAE; its file `tokenizer.pth` uses no prefix.
pub const VAE_KEYS: KeyTable = KeyTable {
    prefix: "",
    renames: &[
        // Lists and sequences of the reference are numbered.
        (".Residual.", "."),
        (".Resample.", "."),
        (".middle.first.", ".middle.0."),
        (".middle.attention.", ".middle.1."),
        (".middle.last.", ".middle.2."),
        (".norm_a.", ".residual.0."),
        (".conv_a.", ".residual.2."),
        (".norm_b.", ".residual.3."),
        (".conv_b.", ".residual.6."),
        (".resample_conv.", ".resample.1."),
        (".head_norm.", ".0."),
        (".head_conv.", ".2."),
        // Three convolutions the reference only counts.
        (".conv_in.", ".conv1."),
        (".moments.", ".conv1."),
        (".from_latent.", ".conv2."),
    ],
    ignored: &[],
};

/// Components that say less are not blown up to unit variance.
const SMALLEST_DEVIATION: f32 = 1e-3;

/// Configuration of a [`VideoVae`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VideoVaeConfig {
    /// Channels at the finest level.
    pub dim: usize,
    /// Channels of the latent.
    pub z_dim: usize,
    /// Width of every level as a multiple of `dim`, finest first. Between levels space is halved.
    pub dim_mult: Vec<usize>,
    /// Residual blocks a level in the encoder; the decoder has one more.
    pub num_res_blocks: usize,
    /// For every halving of space, whether time is halved with it.
    pub temporal_downsample: Vec<bool>,
    /// Frames that [`VideoVae::encode`] takes at a time after the first frame; a multiple of four.
    pub temporal_window: usize,
    /// Squares of `patch` x `patch` pixels become channels in front of the encoder (1: none), as in Wan 2.2.
    pub patch: usize,
    /// Beside the networks, a linear map between each latent position and the pixels under it. Not
    /// in the release; see [`VideoVae::begin_with_components`].
    #[serde(default)]
    pub linear_path: bool,
    /// Mean of every latent channel over the training videos.
    pub latent_mean: Vec<f32>,
    /// Standard deviation of every latent channel over the training videos.
    pub latent_std: Vec<f32>,
}

impl VideoVaeConfig {
    /// The tokenizer of the release, `tokenizer/tokenizer.pth`.
    pub fn videoworld2() -> Self {
        Self {
            dim: 96,
            z_dim: 16,
            dim_mult: vec![1, 2, 4, 4],
            num_res_blocks: 2,
            temporal_downsample: vec![false, true, true],
            // The reference takes 16 frames, which gives the same numbers from four times the memory.
            temporal_window: 4,
            patch: 1,
            linear_path: false,
            latent_mean: vec![
                -0.7571, -0.7089, -0.9113, 0.1075, -0.1745, 0.9653, -0.1517, 1.5508, 0.4134,
                -0.0715, 0.5517, -0.3632, -0.1922, -0.9497, 0.2503, -0.2921,
            ],
            latent_std: vec![
                2.8184, 1.4541, 2.3275, 2.6558, 1.2196, 1.7708, 2.6052, 2.0743, 3.2687, 2.1526,
                2.8652, 1.5579, 1.6382, 1.1253, 2.8251, 1.9160,
            ],
        }
    }

    /// Small enough for two processor cores; no layer works at full resolution. At this size twice
    /// the release's latent channels cost little and carry 2 dB more.
    pub fn craft_mini() -> Self {
        Self {
            dim: 16,
            z_dim: 32,
            dim_mult: vec![1, 2, 2],
            num_res_blocks: 1,
            temporal_downsample: vec![true, true],
            temporal_window: 16,
            patch: 2,
            linear_path: true,
            latent_mean: vec![0.0; 32],
            latent_std: vec![1.0; 32],
        }
    }

    /// Creates the network with fresh weights.
    ///
    /// # Panics
    /// Panics if the lists of the configuration do not fit each other.
    pub fn init(&self, device: &Device) -> VideoVae {
        let halvings = self.dim_mult.len() - 1;
        assert_eq!(
            self.temporal_downsample.len(),
            halvings,
            "temporal_downsample needs one entry for every step between levels"
        );
        assert_eq!(self.latent_mean.len(), self.z_dim, "latent_mean against z_dim");
        assert_eq!(self.latent_std.len(), self.z_dim, "latent_std against z_dim");
        let pointwise = |channels| CausalConv3d::new(channels, channels, [1; 3], device);
        VideoVae {
            encoder: Encoder::new(self, device),
            moments: pointwise(2 * self.z_dim),
            from_latent: pointwise(self.z_dim),
            decoder: Decoder::new(self, device),
            linear: self.linear_path.then(|| LinearPath::new(self, device)),
            band: bands::BAND,
            config: self.clone(),
        }
    }

    /// Rows of a frame of `height` x `width` pixels that pass the finest level at a time, and the
    /// rows and columns that the level has.
    pub(crate) fn rows_at_finest(&self, height: usize, width: usize) -> (usize, [usize; 2]) {
        let (height, width) = (height / self.patch, width / self.patch);
        let rows = bands::rows_at_a_time(height, width, self.dim * self.dim_mult[0]);
        (rows, [height, width])
    }

    /// How many pixels a side one latent position covers.
    pub fn spatial_compression(&self) -> usize {
        self.patch << (self.dim_mult.len() - 1)
    }

    /// How many frames one latent step after the first covers.
    pub fn temporal_compression(&self) -> usize {
        1 << self.temporal_downsample.iter().filter(|t| **t).count()
    }

    /// Latent steps of a clip of `frames` frames.
    pub fn latent_steps(&self, frames: usize) -> usize {
        1 + (frames - 1) / self.temporal_compression()
    }

    fn widths(&self) -> Vec<usize> {
        self.dim_mult.iter().map(|m| m * self.dim).collect()
    }

    fn pixel_channels(&self) -> usize {
        3 * self.patch * self.patch
    }
}

/// The video VAE. Videos are `[batch, 3, frames, height, width]` in -1 to 1, latents
/// `[batch, z, steps, height / 8, width / 8]`.
#[derive(Module, Debug)]
pub struct VideoVae {
    encoder: Encoder,
    moments: CausalConv3d,
    from_latent: CausalConv3d,
    decoder: Decoder,
    linear: Option<LinearPath>,
    /// Numbers of a frame that a layer computes at a time.
    #[module(skip)]
    band: usize,
    #[module(skip)]
    config: VideoVaeConfig,
}

/// Makes halves of convolutions' kernels.
#[derive(Default)]
struct HalfKernels {
    name: String,
}

impl ModuleMapper for HalfKernels {
    fn enter_module(&mut self, name: &str, _container: &str) {
        name.clone_into(&mut self.name);
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        match self.name == "weight" && D >= 4 {
            true => param.map(|weight| weight.cast(DType::F16)),
            false => param,
        }
    }
}

/// The posterior over latents before normalisation, `[batch, z, steps, height / 8, width / 8]` each.
#[derive(Debug, Clone)]
pub struct Moments {
    pub mean: Tensor<5>,
    pub log_variance: Tensor<5>,
}

impl VideoVae {
    pub fn config(&self) -> &VideoVaeConfig {
        &self.config
    }

    /// What an error in each normalised latent channel is worth in pixels, 1 in the mean. All are
    /// equal without a linear path, whose first components say far more than its last.
    pub fn channel_weights(&self) -> Vec<f32> {
        self.linear.as_ref().map_or_else(|| vec![1.0; self.config.z_dim], LinearPath::reach)
    }

    /// Keeps the linear path as it is in training: small steps for the networks are large ones for
    /// its finest components.
    pub fn freeze_linear_path(mut self) -> Self {
        self.linear = self.linear.map(LinearPath::no_grad);
        self
    }

    /// With the kernels of its convolutions in halves, which a card's matrix units multiply with pixels
    /// rounded to halves on the way: as far off as the TF32 that PyTorch computes convolutions in. Those
    /// that the units do not fit compute in single precision with the same kernels.
    pub fn with_half_kernels(mut self) -> Self {
        let halves = &mut HalfKernels::default();
        self.encoder = self.encoder.map(halves);
        self.decoder = self.decoder.map(halves);
        self
    }

    /// Sets the statistics that [`VideoVae::normalise`] uses, once they are known from training.
    ///
    /// # Panics
    /// Panics if there is not one value for every latent channel.
    pub fn set_latent_statistics(&mut self, mean: Vec<f32>, std: Vec<f32>) {
        assert_eq!(mean.len(), self.config.z_dim, "mean against z_dim");
        assert_eq!(std.len(), self.config.z_dim, "std against z_dim");
        self.config.latent_mean = mean;
        self.config.latent_std = std;
    }

    /// Video to normalised latents, chunk after chunk: the first frame, then windows of
    /// `temporal_window` frames, then what remains.
    ///
    /// # Panics
    /// Panics unless the frame count is one more than a multiple of four and height and width are
    /// multiples of eight.
    pub fn encode(&self, video: Tensor<5>) -> Tensor<5> {
        self.normalise(self.chunked_moments(video).mean)
    }

    /// The same as [`VideoVae::encode`] with the whole clip at once: more memory, fewer operations,
    /// the way for training.
    ///
    /// # Panics
    /// As [`VideoVae::encode`].
    pub fn encode_whole(&self, video: Tensor<5>) -> Tensor<5> {
        self.normalise(self.whole_moments(video).mean)
    }

    /// Normalised latents to video, one latent step at a time. Values are not clamped.
    pub fn decode(&self, latents: Tensor<5>) -> Tensor<5> {
        let whole = self.decode_watched(latents, |_, _| ControlFlow::Continue(()));
        whole.expect("nothing stops it")
    }

    /// The same as [`VideoVae::decode`]; `on_step` hears after every latent step how many of how
    /// many are decoded, and `None` comes back when it breaks off.
    pub fn decode_watched(
        &self,
        latents: Tensor<5>,
        mut on_step: impl FnMut(usize, usize) -> ControlFlow<()>,
    ) -> Option<Tensor<5>> {
        let latents = self.denormalise(latents);
        let x = self.before_decoder(latents.clone());
        let steps = x.dims()[1];
        let mut stream = Stream::chunked(self.band);
        let mut chunks = Vec::with_capacity(steps);
        for i in 0..steps {
            let step = x.clone().narrow(1, i, 1);
            chunks.push(self.decoder.forward(step, &mut stream));
            if on_step(i + 1, steps).is_break() {
                return None;
            }
        }
        Some(self.finish(Tensor::cat(chunks, 1), latents))
    }

    /// The same as [`VideoVae::decode`] with the whole clip at once: more memory, fewer operations,
    /// the way for training.
    pub fn decode_whole(&self, latents: Tensor<5>) -> Tensor<5> {
        let latents = self.denormalise(latents);
        let x = self.before_decoder(latents.clone());
        self.finish(self.decoder.forward(x, &mut Stream::whole(self.band)), latents)
    }

    /// The network's frames as video, with what the linear path makes of the same latents.
    fn finish(&self, frames: Tensor<5>, latents: Tensor<5>) -> Tensor<5> {
        let video = self.to_video(frames);
        match &self.linear {
            Some(path) => video + path.synthesise(latents),
            None => video,
        }
    }

    /// The posterior of a whole clip, for training.
    ///
    /// # Panics
    /// As [`VideoVae::encode`].
    pub fn whole_moments(&self, video: Tensor<5>) -> Moments {
        let frames = self.to_frames(video.clone());
        let moments =
            self.split_moments(self.encoder.forward(frames, &mut Stream::whole(self.band)));
        self.beside(moments, video)
    }

    /// The posterior of a clip that passes in chunks.
    ///
    /// # Panics
    /// As [`VideoVae::encode`].
    pub fn chunked_moments(&self, video: Tensor<5>) -> Moments {
        let chunks = self.encoded_chunks(video.clone());
        self.beside(self.split_moments(Tensor::cat(chunks, 1)), video)
    }

    /// The network's posterior moved by what the linear path makes of the same video.
    fn beside(&self, moments: Moments, video: Tensor<5>) -> Moments {
        match &self.linear {
            Some(path) => Moments { mean: moments.mean + path.analyse(video), ..moments },
            None => moments,
        }
    }

    /// Makes fresh weights an autoencoder: the linear path takes the principal components of the
    /// pixels of `video`, `[batch, 3, 1 + frames, height, width]`, and the networks, which learn
    /// what is missing, begin silent.
    ///
    /// # Errors
    /// None with the weights of an autoencoder that has a linear path.
    ///
    /// # Panics
    /// Panics if there is no linear path.
    pub fn begin_with_components(self, video: Tensor<5>) -> Result<Self, WeightsError> {
        let path = self.linear.as_ref().expect("asked of an autoencoder with a linear path");
        let groups = linear_path::groups(video, path.group);
        let Components { mean, directions, deviations } = Components::of(groups, self.config.z_dim);
        let (pixels, z) = (mean.len(), self.config.z_dim);
        let deviations = deviations.mapv(|d| d.max(SMALLEST_DEVIATION)).insert_axis(Axis(1));
        // Latents of unit variance.
        let analysis = &directions / &deviations;
        let synthesis = &directions * &deviations;
        let centre = -analysis.dot(&mean);
        let mut weights = Weights::of(&self, &VAE_KEYS);
        let mut set = |name: &str, shape: Vec<usize>, values: Vec<f32>| {
            weights.insert(format!("linear.{name}"), shape, values);
        };
        set("analysis.weight", vec![z, pixels], analysis.iter().copied().collect());
        set("analysis.bias", vec![z], centre.to_vec());
        set("synthesis.weight", vec![pixels, z], synthesis.t().iter().copied().collect());
        set("synthesis.bias", vec![pixels], mean.to_vec());
        for key in ["conv1.weight", "conv1.bias", "decoder.head.2.weight", "decoder.head.2.bias"] {
            weights.silence(key);
        }
        weights.load_into(self, &VAE_KEYS)
    }

    /// Zero mean and unit variance for every latent channel.
    pub fn normalise(&self, latents: Tensor<5>) -> Tensor<5> {
        let inverse_std = self.config.latent_std.iter().map(|s| 1.0 / s).collect();
        let (mean, inverse_std) = (
            self.per_channel(self.config.latent_mean.clone(), &latents),
            self.per_channel(inverse_std, &latents),
        );
        (latents - mean) * inverse_std
    }

    /// Undoes [`VideoVae::normalise`].
    pub fn denormalise(&self, latents: Tensor<5>) -> Tensor<5> {
        let (mean, std) = (
            self.per_channel(self.config.latent_mean.clone(), &latents),
            self.per_channel(self.config.latent_std.clone(), &latents),
        );
        latents * std + mean
    }

    /// What the encoder says of every chunk, `[batch, steps, 2 * z, height / 8, width / 8]` each.
    fn encoded_chunks(&self, video: Tensor<5>) -> Vec<Tensor<5>> {
        let frames = self.to_frames(video);
        let count = frames.dims()[1];
        let mut stream = Stream::chunked(self.band);
        let mut chunks = vec![self.encoder.forward(frames.clone().narrow(1, 0, 1), &mut stream)];
        let mut start = 1;
        while start < count {
            let length = self.config.temporal_window.min(count - start);
            let window = frames.clone().narrow(1, start, length);
            chunks.push(self.encoder.forward(window, &mut stream));
            start += length;
        }
        chunks
    }

    fn split_moments(&self, encoded: Tensor<5>) -> Moments {
        let z = self.config.z_dim;
        let moments = self.moments.forward(encoded, &mut Stream::whole(self.band));
        let moments = moments.swap_dims(1, 2); // [batch, 2 * z, steps, height, width]
        Moments { mean: moments.clone().narrow(1, 0, z), log_variance: moments.narrow(1, z, z) }
    }

    fn before_decoder(&self, latents: Tensor<5>) -> Tensor<5> {
        self.from_latent.forward(latents.swap_dims(1, 2), &mut Stream::whole(self.band))
    }

    fn per_channel(&self, values: Vec<f32>, like: &Tensor<5>) -> Tensor<5> {
        let data = TensorData::new(values, [1, self.config.z_dim, 1, 1, 1]);
        Tensor::from_data(data, &like.device())
    }

    /// Pixels to `[batch, frames, 3 * patch^2, height / patch, width / patch]`.
    fn to_frames(&self, video: Tensor<5>) -> Tensor<5> {
        let [batch, colours, frames, height, width] = video.dims();
        let (space, time) = (self.config.spatial_compression(), self.config.temporal_compression());
        assert!(
            frames % time == 1 % time && height % space == 0 && width % space == 0,
            "a video of {frames} frames of {height}x{width} does not fit: frames must be one more \
             than a multiple of {time}, height and width multiples of {space}"
        );
        let p = self.config.patch;
        let frames_first = video.swap_dims(1, 2);
        if p == 1 {
            return frames_first;
        }
        frames_first
            .reshape([batch * frames, colours, height / p, p, width / p, p])
            .permute([0, 1, 5, 3, 2, 4]) // [frame, colour, column, row, height, width]
            .reshape([batch, frames, colours * p * p, height / p, width / p])
    }

    /// Undoes [`VideoVae::to_frames`].
    fn to_video(&self, frames: Tensor<5>) -> Tensor<5> {
        let [batch, count, channels, height, width] = frames.dims();
        let p = self.config.patch;
        let frames = if p == 1 {
            frames
        } else {
            frames
                .reshape([batch * count, channels / (p * p), p, p, height, width])
                .permute([0, 1, 4, 3, 5, 2]) // [frame, colour, height, row, width, column]
                .reshape([batch, count, channels / (p * p), height * p, width * p])
        };
        frames.swap_dims(1, 2)
    }
}
