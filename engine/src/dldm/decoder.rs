//! The decoder: the first frame's features, repeated, take from the codes what happens next.
//! Mirrors `LDM_V2` of the reference.

use burn::module::{Initializer, Module, Param};
use burn::tensor::activation::silu;
use burn::tensor::{Device, Tensor};

use super::attention::{CrossAttention, SelfAttention};
use super::config::DldmConfig;
use super::conv::{CausalConv3dConfig, FactorizedConv, factorized_conv, run_factorized};
use super::cover::{Cover, Picked};
use super::norm::CausalNormalize;
use super::patcher::HaarPatcher;
use super::resample::HybridUpsample;
use super::resnet::ResnetBlock;

const IMAGE_CHANNELS: usize = 3;
/// Scale of the last layers' fresh weights when the network covers the first frame: near nothing.
const COVER_GAIN: f64 = 0.05;

/// Attention to the codes, within frames, and along time.
type CodeAttention = (CrossAttention, SelfAttention, SelfAttention);

fn code_attention(channels: usize, context_channels: usize, device: &Device) -> CodeAttention {
    (
        CrossAttention::new(channels, context_channels, device),
        SelfAttention::spatial(channels, device),
        SelfAttention::temporal(channels, device),
    )
}

fn attend(attention: &CodeAttention, x: Tensor<5>, context: &Tensor<3>) -> Tensor<5> {
    let later = x.dims()[1] - 1;
    // The first frame is given: no code says anything about it.
    let first = x.clone().narrow(1, 0, 1);
    let rest = attention.0.forward(x.narrow(1, 1, later), context.clone());
    let x = Tensor::cat(vec![first, rest], 1);
    attention.2.forward(attention.1.forward(x))
}

/// The residual blocks at one size.
#[derive(Module, Debug)]
struct UpLevel {
    block: Vec<ResnetBlock>,
    /// One a block, or none at all.
    attn: Vec<CodeAttention>,
    upsample: Option<HybridUpsample>,
}

impl UpLevel {
    fn forward(&self, x: Tensor<5>, context: &Tensor<3>) -> Tensor<5> {
        let mut x = x;
        for (i, block) in self.block.iter().enumerate() {
            x = block.forward(x);
            if let Some(attention) = self.attn.get(i) {
                x = attend(attention, x, context);
            }
        }
        match &self.upsample {
            Some(upsample) => upsample.forward(x),
            None => x,
        }
    }
}

/// The innermost blocks.
#[derive(Module, Debug)]
struct Middle {
    block_1: ResnetBlock,
    attn_1: CodeAttention,
    block_2: ResnetBlock,
}

/// What a decoder that learns places adds to its state and its context.
#[derive(Module, Debug)]
struct Places {
    /// `[step, channel]`
    steps: Param<Tensor<2>>,
    /// `[token, channel]`
    tokens: Param<Tensor<2>>,
}

impl Places {
    fn new(steps: usize, queries: usize, channels: usize, device: &Device) -> Self {
        let normal = Initializer::Normal { mean: 0.0, std: 0.3 };
        Self {
            steps: normal.init([steps, channels], device),
            tokens: normal.init([(steps - 1) * queries, channels], device),
        }
    }
}

/// What a decoder makes of codes.
#[derive(Debug, Clone)]
pub struct Painted {
    /// `[batch, 3, frame, height, width]`
    pub video: Tensor<5>,
    /// Where it paints over the first frame, the colours it picked from it.
    pub picked: Option<Picked>,
}

/// The decoder of a [`super::Dldm`].
#[derive(Module, Debug)]
pub struct Decoder {
    conv_in: FactorizedConv,
    mid: Middle,
    /// Outermost first, as in the encoder.
    up: Vec<UpLevel>,
    norm_out: CausalNormalize,
    conv_out: FactorizedConv,
    /// Where the decoder paints over the first frame.
    cover: Option<Cover>,
    places: Option<Places>,
    num_queries: usize,
    #[module(skip)]
    patcher: HaarPatcher,
}

impl Decoder {
    pub fn new(config: &DldmConfig, device: &Device) -> Self {
        let patched = IMAGE_CHANNELS * config.patch_size.pow(3);
        let halvings = config.num_halvings();
        let levels = config.num_levels();
        let width = config.feature_channels();
        let mut channels = width;
        let up = (0..levels).rev().map(|level| {
            let out = config.level_channels(level);
            let block = (0..=config.num_res_blocks).map(|_| {
                let block = ResnetBlock::new(channels, out, device);
                channels = out;
                block
            });
            let block: Vec<ResnetBlock> = block.collect();
            let attended = if config.decoder_has_attention(level) { block.len() } else { 0 };
            let doubles = levels - 1 - level < halvings;
            UpLevel {
                block,
                attn: (0..attended).map(|_| code_attention(out, width, device)).collect(),
                upsample: (level > 0).then(|| HybridUpsample::new(out, doubles, false, device)),
            }
        });
        let mut up: Vec<UpLevel> = up.collect();
        up.reverse();

        let faint = |out: usize| {
            let mut conv = factorized_conv(channels, out, device);
            let last = CausalConv3dConfig::new(out, out, [3, 1, 1]);
            conv[1] = CausalConv3dConfig { gain: COVER_GAIN, ..last }.init(device);
            conv
        };
        let (conv_out, cover) = match config.covers_first_frame {
            true => (faint(patched), Some(Cover::new(channels, config.patch_size, faint, device))),
            false => (factorized_conv(channels, patched, device), None),
        };
        Self {
            conv_in: factorized_conv(config.z_channels, width, device),
            mid: Middle {
                block_1: ResnetBlock::new(width, width, device),
                attn_1: code_attention(width, width, device),
                block_2: ResnetBlock::new(width, width, device),
            },
            up,
            norm_out: CausalNormalize::per_frame(channels, device),
            conv_out,
            cover,
            places: config
                .decoder_places
                .map(|steps| Places::new(steps, config.num_queries, width, device)),
            num_queries: config.num_queries,
            patcher: HaarPatcher::new(config.patch_size),
        }
    }

    pub fn num_queries(&self) -> usize {
        self.num_queries
    }

    /// # Shapes
    /// - features: `[batch, step, channel, height, width]`; only the first step is used
    /// - tokens: `[batch, token, z channel, 1, 1]`
    /// - frame: `[batch, 3, 1, height, width]`, the first one; only looked at, and then needed,
    ///   where the decoder paints over it
    pub fn forward(
        &self,
        features: Tensor<5>,
        tokens: Tensor<5>,
        frame: Option<Tensor<5>>,
    ) -> Painted {
        let steps = tokens.dims()[1] / self.num_queries + 1;
        self.continue_from(features.narrow(1, 0, 1).repeat_dim(1, steps), tokens, frame)
    }

    /// [`Decoder::forward`] from a state for each step, as many as the tokens make.
    ///
    /// # Panics
    /// When it paints over the first frame and there is none.
    pub fn continue_from(
        &self,
        state: Tensor<5>,
        tokens: Tensor<5>,
        frame: Option<Tensor<5>>,
    ) -> Painted {
        let context = run_factorized(&self.conv_in, tokens);
        let [batch, num_tokens, width, _, _] = context.dims();
        let context: Tensor<3> = context.reshape([batch, num_tokens, width]);
        assert!(
            num_tokens > 0 && num_tokens % self.num_queries == 0,
            "{num_tokens} codes are not whole steps of {}",
            self.num_queries
        );
        let (x, context) = match &self.places {
            None => (state, context),
            Some(places) => {
                let steps = places.steps.val().narrow(0, 0, state.dims()[1]);
                let tokens = places.tokens.val().narrow(0, 0, num_tokens);
                (state + steps.unsqueeze_dims(&[0, 3, 4]), context + tokens.unsqueeze_dim(0))
            }
        };
        let x = attend(&self.mid.attn_1, self.mid.block_1.forward(x), &context);
        let x = self.mid.block_2.forward(x);
        let x = self.up.iter().rev().fold(x, |x, level| level.forward(x, &context));
        let x = silu(self.norm_out.forward(x));
        let paint = self.patcher.unpatch(run_factorized(&self.conv_out, x.clone()));
        match &self.cover {
            Some(cover) => {
                let frame = frame.expect(
                    "this model paints over the first frame: use decode_from_frame, not decode",
                );
                let (video, picked) = cover.lay(frame, x, paint, &self.patcher);
                Painted { video, picked: Some(picked) }
            }
            None => Painted { video: paint, picked: None },
        }
    }
}
