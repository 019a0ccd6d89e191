//! The encoder: a causal convolutional trunk and the queries that read its features.

use burn::module::{Initializer, Module, Param};
use burn::tensor::activation::silu;
use burn::tensor::{Device, Tensor};

use super::attention::SelfAttention;
use super::config::DldmConfig;
use super::conv::{CausalConv3d, FactorizedConv, factorized_conv, pointwise_conv, run_factorized};
use super::norm::CausalNormalize;
use super::patcher::HaarPatcher;
use super::qformer::{PositionEmbedding, QFormer};
use super::resample::HybridDownsample;
use super::resnet::ResnetBlock;

const IMAGE_CHANNELS: usize = 3;

/// Attention within frames, then along time.
type SpaceTimeAttention = (SelfAttention, SelfAttention);

fn space_time_attention(channels: usize, device: &Device) -> SpaceTimeAttention {
    (SelfAttention::spatial(channels, device), SelfAttention::temporal(channels, device))
}

fn attend(attention: &SpaceTimeAttention, x: Tensor<5>) -> Tensor<5> {
    attention.1.forward(attention.0.forward(x))
}

/// The residual blocks at one size.
#[derive(Module, Debug)]
struct DownLevel {
    block: Vec<ResnetBlock>,
    /// One a block, or none at all.
    attn: Vec<SpaceTimeAttention>,
    downsample: Option<HybridDownsample>,
}

impl DownLevel {
    fn forward(&self, x: Tensor<5>) -> Tensor<5> {
        let mut x = x;
        for (i, block) in self.block.iter().enumerate() {
            x = block.forward(x);
            if let Some(attention) = self.attn.get(i) {
                x = attend(attention, x);
            }
        }
        match &self.downsample {
            Some(downsample) => downsample.forward(x),
            None => x,
        }
    }
}

/// The innermost blocks.
#[derive(Module, Debug)]
struct Middle {
    block_1: ResnetBlock,
    attn_1: SpaceTimeAttention,
    block_2: ResnetBlock,
}

/// The learned queries.
#[derive(Module, Debug)]
struct Queries {
    /// `[query, channel]`
    weight: Param<Tensor<2>>,
}

/// The encoder of a [`super::Dldm`].
#[derive(Module, Debug)]
pub struct Encoder {
    conv_in: FactorizedConv,
    down: Vec<DownLevel>,
    mid: Middle,
    norm_out: CausalNormalize,
    pos_embedding: PositionEmbedding,
    act: Queries,
    qformer_ldm: QFormer,
    outproj_ldm: CausalConv3d,
    #[module(skip)]
    patcher: HaarPatcher,
}

impl Encoder {
    pub fn new(config: &DldmConfig, device: &Device) -> Self {
        let patched = IMAGE_CHANNELS * config.patch_size.pow(3);
        let halvings = config.num_halvings();
        let levels = config.num_levels();
        let mut channels = config.channels;
        let down = (0..levels).map(|level| {
            let out = config.level_channels(level);
            let block = (0..config.num_res_blocks).map(|_| {
                let block = ResnetBlock::new(channels, out, device);
                channels = out;
                block
            });
            let block: Vec<ResnetBlock> = block.collect();
            let attended = if config.encoder_has_attention(level) { block.len() } else { 0 };
            let shrinks = level + 1 < levels;
            DownLevel {
                block,
                attn: (0..attended).map(|_| space_time_attention(out, device)).collect(),
                downsample: shrinks
                    .then(|| HybridDownsample::new(out, level < halvings, false, device)),
            }
        });
        let down = down.collect();
        let width = config.feature_channels();
        Self {
            conv_in: factorized_conv(patched, config.channels, device),
            down,
            mid: Middle {
                block_1: ResnetBlock::new(width, width, device),
                attn_1: space_time_attention(width, device),
                block_2: ResnetBlock::new(width, width, device),
            },
            norm_out: CausalNormalize::per_frame(width, device),
            pos_embedding: PositionEmbedding::new(width, device),
            act: Queries {
                weight: Initializer::Normal { mean: 0.0, std: 1.0 }
                    .init([config.num_queries, width], device),
            },
            qformer_ldm: QFormer::new(config.qformer, width, config.num_queries, device),
            outproj_ldm: pointwise_conv(width, config.z_channels, device),
            patcher: HaarPatcher::new(config.patch_size),
        }
    }

    /// The features of a video.
    ///
    /// # Shapes
    /// - video: `[batch, 3, frame, height, width]`
    /// - result: `[batch, step, channel, height, width]`
    pub fn features(&self, video: Tensor<5>) -> Tensor<5> {
        let x = run_factorized(&self.conv_in, self.patcher.patch(video));
        let x = self.down.iter().fold(x, |x, level| level.forward(x));
        let x = attend(&self.mid.attn_1, self.mid.block_1.forward(x));
        silu(self.norm_out.forward(self.mid.block_2.forward(x)))
    }

    /// What the queries read between the steps of features.
    ///
    /// # Shapes
    /// - features: `[batch, step, channel, height, width]`
    /// - result: `[batch, token, z channel, 1, 1]`
    pub fn query(&self, features: Tensor<5>) -> Tensor<5> {
        let [batch, _, channels, height, width] = features.dims();
        let positions = self.pos_embedding.forward(height, width);
        let queries: Tensor<3> = self.act.weight.val().unsqueeze_dim(0);
        let queries = queries.repeat_dim(0, batch);
        let read = self.qformer_ldm.forward(features, positions, queries);
        let tokens = read.dims()[1];
        self.outproj_ldm.forward(read.reshape([batch, tokens, channels, 1, 1]))
    }
}
