//! The sizes of a latent dynamics model, with presets for the release and for our small pack.

use burn::tensor::Device;
use serde::{Deserialize, Serialize};

use super::Dldm;
use super::qformer::QFormerKind;

/// Nominal resolution at which the decoder has attention. The reference overrides its configured
/// resolutions by this constant.
const DECODER_ATTENTION_RESOLUTION: usize = 64;

/// Configuration of a [`Dldm`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DldmConfig {
    /// Width after the first convolution.
    pub channels: usize,
    /// Width of each level as a multiple of `channels`, outermost first.
    pub channels_mult: Vec<usize>,
    /// Residual blocks a level of the encoder; the decoder has one more.
    pub num_res_blocks: usize,
    /// Edge of the Haar patches in time, height and width; all compression of time happens there.
    pub patch_size: usize,
    /// Pixels per feature along height and width, patches included.
    pub spatial_compression: usize,
    /// Width of the queries between QFormer and quantiser, and of the decoder's code tokens.
    pub z_channels: usize,
    /// Levels of the quantiser, one entry a code dimension.
    pub levels: Vec<usize>,
    /// Queries, and so codes, per pair of neighbouring latent time steps.
    pub num_queries: usize,
    pub qformer: QFormerKind,
    /// Width of the tokens that the connector makes for the diffusion model.
    pub connector_channels: usize,
    /// Picture size the levels are named after. It decides only which levels have attention.
    pub resolution: usize,
    /// Nominal resolutions of encoder levels with attention.
    pub attention_resolutions: Vec<usize>,
    /// Whether queries are standardised before the quantiser; see [`super::standardize`].
    pub standardize_z: bool,
    /// Steps of a clip, first frame included, if the decoder learns a place for every step and
    /// token. The release's has none and must tell tokens apart by their content, which takes far
    /// longer to learn.
    pub decoder_places: Option<usize>,
    /// Whether the decoder paints over the first frame, and with it a mask of how much of that
    /// frame is covered, instead of the whole video.
    pub covers_first_frame: bool,
}

impl DldmConfig {
    /// The released tokenizer of VideoWorld 2.
    pub fn videoworld2() -> Self {
        Self {
            channels: 128,
            channels_mult: vec![2, 4, 4],
            num_res_blocks: 2,
            patch_size: 4,
            spatial_compression: 16,
            z_channels: 256,
            levels: vec![8, 5, 5, 5],
            num_queries: 4,
            qformer: QFormerKind::QFormerAdjacentFSingleQ,
            connector_channels: 1024,
            resolution: 1024,
            attention_resolutions: vec![32],
            standardize_z: false,
            decoder_places: None,
            covers_first_frame: false,
        }
    }

    /// Our small pack: 32x48 pixels, 4x6 features a time step.
    pub fn craft_mini() -> Self {
        Self {
            channels: 12,
            channels_mult: vec![2, 4],
            spatial_compression: 8,
            z_channels: 64,
            connector_channels: 128,
            // One level fewer than the release, so that the innermost one is still nominally 64.
            resolution: 512,
            standardize_z: true,
            decoder_places: Some(5),
            covers_first_frame: true,
            ..Self::videoworld2()
        }
    }

    /// A network with fresh weights.
    ///
    /// # Panics
    /// When the sizes contradict each other.
    pub fn init(&self, device: &Device) -> Dldm {
        Dldm::new(self, device)
    }

    /// Channels of the features.
    pub fn feature_channels(&self) -> usize {
        self.channels * self.channels_mult.last().expect("there is at least one level")
    }

    /// Number of distinct codes.
    pub fn vocabulary(&self) -> usize {
        self.levels.iter().product()
    }

    /// Width of a level.
    pub(super) fn level_channels(&self, level: usize) -> usize {
        self.channels * self.channels_mult[level]
    }

    pub(super) fn num_levels(&self) -> usize {
        self.channels_mult.len()
    }

    /// How many times the levels halve height and width.
    pub(super) fn num_halvings(&self) -> usize {
        let ratio = self.spatial_compression / self.patch_size;
        assert!(
            ratio.is_power_of_two() && ratio * self.patch_size == self.spatial_compression,
            "spatial compression {} is not patch size {} times a power of two",
            self.spatial_compression,
            self.patch_size
        );
        let halvings = ratio.ilog2() as usize;
        assert!(
            halvings < self.num_levels(),
            "{halvings} halvings need more than {} levels",
            self.num_levels()
        );
        halvings
    }

    /// Resolution a level is named after.
    fn nominal_resolution(&self, level: usize) -> usize {
        (self.resolution / self.patch_size) >> level
    }

    pub(super) fn encoder_has_attention(&self, level: usize) -> bool {
        let resolution = self.nominal_resolution(level);
        self.attention_resolutions.contains(&resolution)
    }

    pub(super) fn decoder_has_attention(&self, level: usize) -> bool {
        self.nominal_resolution(level) == DECODER_ATTENTION_RESOLUTION
    }
}
