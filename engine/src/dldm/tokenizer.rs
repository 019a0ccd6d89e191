//! The whole latent dynamics model: video to features and codes, and back.

use burn::module::Module;
use burn::tensor::{Device, Int, Tensor};

use super::config::DldmConfig;
use super::conv::{CausalConv3d, pointwise_conv};
use super::decoder::{Decoder, Painted};
use super::encoder::Encoder;
use super::quantizer::{Fsq, Quantized};
use super::resnet::ResnetBlock;
use super::standardize::Standardize;

/// What the encoder makes of a video.
#[derive(Debug, Clone)]
pub struct Encoded {
    /// `[batch, channel, step, height, width]`
    pub features: Tensor<5>,
    /// `[batch, dimension, token]`, before the quantiser
    pub z: Tensor<3>,
}

/// Everything a training step looks at.
#[derive(Debug, Clone)]
pub struct TrainOutput {
    /// `[batch, channel, step, height, width]`
    pub features: Tensor<5>,
    /// `[batch, dimension, token]`, before the quantiser
    pub z: Tensor<3>,
    /// `[batch, dimension, token]`, with gradient
    pub codes: Tensor<3>,
    /// `[batch, token]`
    pub indices: Tensor<2, Int>,
    /// `[batch, 3, frame, height, width]`
    pub recon: Tensor<5>,
}

/// The latent dynamics model: codes say what changes between latent steps, the first frame's
/// features say what the scene looks like.
///
/// # Limitations
/// All compression of time happens in the Haar patches; levels that also halve time, which the
/// release does not have, are not built.
#[derive(Module, Debug)]
pub struct Dldm {
    encoder: Encoder,
    decoder: Decoder,
    quant_conv: CausalConv3d,
    post_quant_conv: CausalConv3d,
    /// The connector to the diffusion model.
    quant_to_dit_dim: ResnetBlock,
    standardize: Option<Standardize>,
    #[module(skip)]
    fsq: Fsq,
}

impl Dldm {
    pub(super) fn new(config: &DldmConfig, device: &Device) -> Self {
        let dimensions = config.levels.len();
        let z_channels = config.z_channels;
        Self {
            encoder: Encoder::new(config, device),
            decoder: Decoder::new(config, device),
            quant_conv: pointwise_conv(z_channels, dimensions, device),
            post_quant_conv: pointwise_conv(dimensions, z_channels, device),
            quant_to_dit_dim: ResnetBlock::new(z_channels, config.connector_channels, device),
            standardize: config
                .standardize_z
                .then(|| Standardize::new(dimensions, config.num_queries, device)),
            fsq: Fsq::new(&config.levels),
        }
    }

    /// Features of a video and its queries, ready for [`Dldm::quantize`].
    ///
    /// # Shapes
    /// - video: `[batch, 3, 1 + patch_size * n, height, width]`, n at least 1, values in [-1, 1]
    pub fn encode(&self, video: Tensor<5>) -> Encoded {
        let features = self.encoder.features(video);
        let z = self.query(features.clone());
        let z = match &self.standardize {
            Some(standardize) => standardize.forward(z),
            None => z,
        };
        Encoded { features: features.swap_dims(1, 2), z }
    }

    /// Features of a single frame.
    ///
    /// # Shapes
    /// - frame: `[batch, 3, 1, height, width]`, values in [-1, 1]
    /// - result: `[batch, channel, 1, height, width]`
    pub fn encode_frame(&self, frame: Tensor<5>) -> Tensor<5> {
        self.encoder.features(frame).swap_dims(1, 2)
    }

    /// Rounds queries to codes.
    ///
    /// # Shapes
    /// - z: `[batch, dimension, token]`
    pub fn quantize(&self, z: Tensor<3>) -> Quantized {
        self.fsq.quantize(z)
    }

    /// # Shapes
    /// - indices: `[batch, token]`, result: `[batch, dimension, token]`
    pub fn codes_from_indices(&self, indices: Tensor<2, Int>) -> Tensor<3> {
        self.fsq.codes(indices)
    }

    /// The video that codes make of a scene.
    ///
    /// # Shapes
    /// - features: `[batch, channel, step, height, width]`; only the first step is used
    /// - codes: `[batch, dimension, token]`
    /// - result: `[batch, 3, 1 + patch_size * token / num_queries, height, width]`
    ///
    /// # Panics
    /// When the network paints over the first frame: it then needs that frame, see
    /// [`Dldm::decode_from_frame`].
    pub fn decode(&self, features: Tensor<5>, codes: Tensor<3>) -> Tensor<5> {
        self.decode_output(features.swap_dims(1, 2), codes, None).video
    }

    /// The video that codes make of a scene, given by its first frame.
    ///
    /// # Shapes
    /// - frame: `[batch, 3, 1, height, width]`, codes: `[batch, dimension, token]`
    /// - result: as in [`Dldm::decode`]
    pub fn decode_from_frame(&self, frame: Tensor<5>, codes: Tensor<3>) -> Tensor<5> {
        self.paint(frame, codes).video
    }

    /// As [`Dldm::decode_from_frame`], with the colours that the decoder picked from the frame.
    pub fn paint(&self, frame: Tensor<5>, codes: Tensor<3>) -> Painted {
        let features = self.encoder.features(frame.clone());
        self.decode_output(features, codes, Some(frame))
    }

    /// Tokens for the cross-attention of the diffusion model.
    ///
    /// # Shapes
    /// - codes: `[batch, dimension, token]`, result: `[batch, token, connector channel]`
    pub fn connect(&self, codes: Tensor<3>) -> Tensor<3> {
        let tokens = self.quant_to_dit_dim.forward(self.code_tokens(codes));
        let [batch, count, channels, _, _] = tokens.dims();
        tokens.reshape([batch, count, channels])
    }

    /// One pass of the warm-up stage: the reconstruction trains everything but the connector.
    ///
    /// # Shapes
    /// - video: as in [`Dldm::encode`]
    pub fn forward_train(&self, video: Tensor<5>) -> TrainOutput {
        self.forward_with(video, |codes| codes)
    }

    /// The codes of a video with gradient, `[batch, dimension, token]`, for a stage that paints them
    /// on other frames than the video's own.
    ///
    /// # Shapes
    /// - video: as in [`Dldm::encode`]
    pub fn codes_in_training(&self, video: Tensor<5>) -> Tensor<3> {
        self.quantize(self.z_in_training(self.encoder.features(video))).codes
    }

    /// The network with codes that training cannot change: neither does the encoder learn, which
    /// also shows the policy its scene, nor what makes codes of its queries.
    pub fn with_fixed_codes(mut self) -> Self {
        self.encoder = self.encoder.no_grad();
        self.quant_conv = self.quant_conv.no_grad();
        self
    }

    /// One pass of the joint stage: the reconstruction trains neither the queries nor what makes
    /// codes of them, which is left to the diffusion loss; it still trains the encoder's trunk.
    ///
    /// # Shapes
    /// - video: as in [`Dldm::encode`]
    pub fn forward_train_detached(&self, video: Tensor<5>) -> TrainOutput {
        self.forward_with(video, Tensor::detach)
    }

    fn forward_with(
        &self,
        video: Tensor<5>,
        to_decoder: impl Fn(Tensor<3>) -> Tensor<3>,
    ) -> TrainOutput {
        let frame = video.clone().narrow(2, 0, 1);
        let features = self.encoder.features(video);
        let z = self.z_in_training(features.clone());
        let Quantized { codes, indices } = self.quantize(z.clone());
        let painted = self.decode_output(features.clone(), to_decoder(codes.clone()), Some(frame));
        let (features, recon) = (features.swap_dims(1, 2), painted.video);
        TrainOutput { features, z, codes, indices, recon }
    }

    /// Queries of features `[batch, step, channel, height, width]`; what standardises them learns
    /// their statistics.
    fn z_in_training(&self, features: Tensor<5>) -> Tensor<3> {
        let z = self.query(features);
        match &self.standardize {
            Some(standardize) => standardize.forward_train(z),
            None => z,
        }
    }

    /// The video as a plain autoencoder sees it: every step's own features, and no codes.
    ///
    /// # Shapes
    /// - video: as in [`Dldm::encode`], result: the same
    pub fn autoencode(&self, video: Tensor<5>) -> Tensor<5> {
        let frame = video.clone().narrow(2, 0, 1);
        let features = self.encoder.features(video);
        let [batch, steps, ..] = features.dims();
        let (dimensions, queries) = (self.fsq.dimensions(), self.decoder.num_queries());
        let silence = Tensor::zeros([batch, dimensions, (steps - 1) * queries], &features.device());
        self.decoder.continue_from(features, self.code_tokens(silence), Some(frame)).video
    }

    /// `[batch, step, channel, height, width]` to `[batch, dimension, token]`.
    fn query(&self, features: Tensor<5>) -> Tensor<3> {
        let z = self.quant_conv.forward(self.encoder.query(features));
        let [batch, tokens, dimensions, _, _] = z.dims();
        z.reshape([batch, tokens, dimensions]).swap_dims(1, 2)
    }

    /// `[batch, dimension, token]` to `[batch, token, z channel, 1, 1]`.
    fn code_tokens(&self, codes: Tensor<3>) -> Tensor<5> {
        let [batch, dimensions, tokens] = codes.dims();
        let codes = codes.swap_dims(1, 2).reshape([batch, tokens, dimensions, 1, 1]);
        self.post_quant_conv.forward(codes)
    }

    /// Features are `[batch, step, channel, height, width]` here.
    fn decode_output(
        &self,
        features: Tensor<5>,
        codes: Tensor<3>,
        frame: Option<Tensor<5>>,
    ) -> Painted {
        self.decoder.forward(features, self.code_tokens(codes), frame)
    }
}
