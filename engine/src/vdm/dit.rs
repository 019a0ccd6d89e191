//! The video transformer of Cosmos-Predict2 Video2World: latents, noise levels and context tokens
//! to the velocity of the rectified flow.
//!
//! Habits of the reference that matter: the patch embedding reads its inputs channel-slowest while
//! the output is channel-fastest; the noise level enters as the bare sinusoid of `sigma / (1 + sigma)`
//! and may differ from frame to frame; context tokens that are zero are not masked.

use burn::module::Module;
use burn::nn::{Linear, RmsNorm, RmsNormConfig};
use burn::tensor::activation::silu;
use burn::tensor::{DType, Device, Int, Tensor, TensorData};
use serde::{Deserialize, Serialize};

use super::attention::CrossMask;
use super::block::{
    Block, Modulation, NORM_EPSILON, NoiseLevel, Surroundings, linear, modulated_norm, noise_level,
};
use super::rope::RopeConfig;
use crate::weights::KeyTable;

/// How the transformer's layers are called in the reference, for itself and for its control branch.
pub(super) const RENAMES: [(&str, &str); 8] = [
    (".trunk.", "."),
    (".patch_embed.", ".x_embedder.proj.1."),
    (".time_hidden.", ".t_embedder.1.linear_1."),
    (".time_shared.", ".t_embedder.1.linear_2."),
    (".time_norm.", ".t_embedding_norm."),
    (".down.", ".1."),
    (".up.", ".2."),
    (".gamma", ".weight"),
];

/// Keys that hold constants, statistics or nothing.
pub(super) const IGNORED: [(&str, &str); 8] = [
    ("accum_video_sample_counter", "statistics of the training run"),
    ("accum_image_sample_counter", "statistics of the training run"),
    ("accum_iteration", "statistics of the training run"),
    ("accum_train_in_hours", "statistics of the training run"),
    ("pos_embedder.seq", "constant, computed by RopeConfig"),
    ("pos_embedder.dim_spatial_range", "constant, computed by RopeConfig"),
    ("pos_embedder.dim_temporal_range", "constant, computed by RopeConfig"),
    ("_extra_state", "empty entry of Transformer-Engine"),
];

/// The reference's keys of the video transformer.
pub const DIT_KEYS: KeyTable = KeyTable { prefix: "net.", renames: &RENAMES, ignored: &IGNORED };

/// Configuration of a [`Dit`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DitConfig {
    /// Channels of the latent, in and out.
    pub latent_channels: usize,
    /// Side of the squares of latents that become a token.
    pub patch: usize,
    /// Width of the transformer.
    pub model_channels: usize,
    pub num_blocks: usize,
    pub num_heads: usize,
    /// Width of the feed-forward as a multiple of `model_channels`.
    pub mlp_ratio: f64,
    /// Width of the narrow layer of every modulation.
    pub adaln_lora_dim: usize,
    /// Channels of a context token.
    pub crossattn_emb_channels: usize,
    /// Context tokens that [`Dit::pad_context`] fills up to with zeros.
    pub context_tokens: usize,
    pub cross_mask: CrossMask,
    /// Of the rotary positions: time, height, width.
    pub rope_extrapolation: [f64; 3],
    /// Rounds rotary angles as the official half-precision run does.
    pub rope_bf16_buffers: bool,
}

impl DitConfig {
    /// The transformer of the release, `net.` in `VideoWorld2_dLDM_DiT.pth`.
    pub fn videoworld2_2b() -> Self {
        Self {
            latent_channels: 16,
            patch: 2,
            model_channels: 2048,
            num_blocks: 28,
            num_heads: 16,
            mlp_ratio: 4.0,
            adaln_lora_dim: 256,
            crossattn_emb_channels: 1024,
            context_tokens: 512,
            cross_mask: CrossMask::Full,
            rope_extrapolation: [1.0, 3.0, 3.0],
            rope_bf16_buffers: false,
        }
    }

    /// Small enough for two processor cores.
    pub fn craft_mini() -> Self {
        Self {
            latent_channels: 32,
            model_channels: 192,
            num_blocks: 6,
            num_heads: 6,
            adaln_lora_dim: 64,
            crossattn_emb_channels: 128,
            context_tokens: 16,
            rope_extrapolation: [1.0, 1.0, 1.0],
            ..Self::videoworld2_2b()
        }
    }

    /// Creates the network with fresh weights.
    pub fn init(&self, device: &Device) -> Dit {
        let outputs = self.patch * self.patch * self.latent_channels;
        Dit {
            trunk: self.init_trunk(self.num_blocks, device),
            final_layer: FinalLayer {
                linear: linear(self.model_channels, outputs, device),
                adaln_modulation: Modulation::new(self, 2, device),
            },
        }
    }

    pub(super) fn init_trunk(&self, num_blocks: usize, device: &Device) -> Trunk {
        let width = self.model_channels;
        // Two more channels: the condition mask and the padding mask.
        let inputs = (self.latent_channels + 2) * self.patch * self.patch;
        Trunk {
            patch_embed: linear(inputs, width, device),
            time_hidden: linear(width, width, device),
            time_shared: linear(width, 3 * width, device),
            time_norm: RmsNormConfig::new(width).with_epsilon(NORM_EPSILON).init(device),
            blocks: (0..num_blocks).map(|_| Block::new(self, device)).collect(),
            config: self.clone(),
        }
    }

    /// Channels of one attention head.
    pub fn head_dim(&self) -> usize {
        self.model_channels / self.num_heads
    }

    /// The rotary positions of this transformer.
    pub fn rope(&self) -> RopeConfig {
        RopeConfig {
            head_dim: self.head_dim(),
            extrapolation: self.rope_extrapolation,
            bf16_buffers: self.rope_bf16_buffers,
        }
    }
}

/// What the transformer and its control branch look at.
#[derive(Debug, Clone)]
pub struct DitInput {
    /// Scaled noisy latents, given frames already in their place: `[batch, channel, frames, height, width]`.
    pub latents: Tensor<5>,
    /// One where a latent is given: `[batch, 1, frames, height, width]`.
    pub condition_mask: Tensor<5>,
    /// One where the picture is padding, at any resolution: `[batch, 1, any, any]`. None: no padding.
    pub padding_mask: Option<Tensor<4>>,
    /// `sigma / (1 + sigma)` of every frame, `[batch, frames]`, or of the whole clip, `[batch, 1]`.
    pub timesteps: Tensor<2>,
    /// Context tokens, `[batch, tokens, channels]`.
    pub context: Tensor<3>,
}

/// All of the transformer but its output: what the control branch has in common with it.
#[derive(Module, Debug)]
pub(super) struct Trunk {
    patch_embed: Linear,
    time_hidden: Linear,
    time_shared: Linear,
    time_norm: RmsNorm,
    pub(super) blocks: Vec<Block>,
    #[module(skip)]
    pub(super) config: DitConfig,
}

/// The video transformer.
#[derive(Module, Debug)]
pub struct Dit {
    trunk: Trunk,
    final_layer: FinalLayer,
}

#[derive(Module, Debug)]
struct FinalLayer {
    linear: Linear,
    adaln_modulation: Modulation,
}

impl Dit {
    pub fn config(&self) -> &DitConfig {
        &self.trunk.config
    }

    /// The network's answer, `[batch, channel, frames, height, width]`. Inputs and answer are in
    /// single precision whatever the weights are in.
    ///
    /// `control` holds what is added after the first blocks, one tensor a block,
    /// `[batch, frames, tokens per frame, width]`; empty for none.
    pub fn forward(&self, input: &DitInput, control: &[Tensor<4>]) -> Tensor<5> {
        let [batch, _, frames, height, width] = input.latents.dims();
        let (mut x, around) = self.trunk.enter(input);
        for (i, block) in self.trunk.blocks.iter().enumerate() {
            x = block.forward(x, &around);
            if let Some(residual) = control.get(i) {
                x = x + residual.clone();
            }
        }
        let [shift, scale] = self
            .final_layer
            .adaln_modulation
            .forward(&around.noise)
            .try_into()
            .expect("the final modulation has two parts");
        let x = modulated_norm(x, shift, scale).cast(self.trunk.precision());
        let x = self.final_layer.linear.forward(x).cast(DType::F32);
        let (p, channels) = (self.config().patch, self.config().latent_channels);
        x.reshape([batch, frames, height / p, width / p, p, p, channels])
            .permute([0, 6, 1, 2, 4, 3, 5]) // [batch, channel, frame, row, in row, column, in column]
            .reshape([batch, channels, frames, height, width])
    }

    /// Fills context tokens `[batch, tokens, channels]` up with zeros to the configured count.
    ///
    /// # Panics
    /// Panics if there are more tokens than that.
    pub fn pad_context(&self, context: Tensor<3>) -> Tensor<3> {
        let [batch, tokens, channels] = context.dims();
        let wanted = self.config().context_tokens;
        assert!(tokens <= wanted, "{tokens} context tokens, at most {wanted} are possible");
        if tokens == wanted {
            return context;
        }
        let zeros = Tensor::zeros([batch, wanted - tokens, channels], &context.device());
        Tensor::cat(vec![context, zeros], 1)
    }
}

impl Trunk {
    /// What the layers compute in; linear weights may be in fewer bits, norms never are.
    pub(super) fn precision(&self) -> DType {
        self.time_norm.gamma.dtype()
    }

    /// The tokens `[batch, frames, tokens per frame, width]`, and what the blocks need beside them.
    pub(super) fn enter(&self, input: &DitInput) -> (Tensor<4>, Surroundings) {
        let [_, _, frames, height, width] = input.latents.dims();
        let device = input.latents.device();
        let (rows, columns) = (height / self.config.patch, width / self.config.patch);
        let padding = padding_channel(input.padding_mask.as_ref(), &input.latents);
        let channels = vec![input.latents.clone(), input.condition_mask.clone(), padding];
        let squares = patches(Tensor::cat(channels, 1), self.config.patch);
        let precision = self.precision();
        let x = self.patch_embed.forward(squares.cast(precision)).cast(DType::F32);
        let context_tokens = input.context.dims()[1];
        let hidden = self.config.cross_mask.hidden(frames, rows * columns, context_tokens, &device);
        let around = Surroundings {
            noise: self.noise(input.timesteps.clone()),
            context: input.context.clone().cast(precision),
            rope: self.config.rope().init(frames, rows, columns, (&device, precision)),
            hidden,
        };
        (x, around)
    }

    fn noise(&self, timesteps: Tensor<2>) -> NoiseLevel {
        let [batch, frames] = timesteps.dims();
        let width = self.config.model_channels;
        let wave = sinusoid(timesteps, width).reshape([batch, frames, 1, width]);
        let wave = wave.cast(self.precision());
        let shared = self.time_shared.forward(silu(self.time_hidden.forward(wave.clone())));
        noise_level(self.time_norm.forward(wave), shared)
    }
}

/// Cosines, then sines, of every timestep at `width / 2` frequencies: `[batch, frames, width]`.
fn sinusoid(timesteps: Tensor<2>, width: usize) -> Tensor<3> {
    let half = width / 2;
    let rates = (0..half).map(|i| (-(10_000.0_f64.ln()) * i as f64 / half as f64).exp() as f32);
    let rates = TensorData::new(rates.collect::<Vec<_>>(), [1, 1, half]);
    let rates = Tensor::from_data(rates, &timesteps.device());
    let angles = timesteps.unsqueeze_dim::<3>(2) * rates;
    Tensor::cat(vec![angles.clone().cos(), angles.sin()], 2)
}

/// The padding mask as one more channel of the latents.
pub(super) fn padding_channel(mask: Option<&Tensor<4>>, latents: &Tensor<5>) -> Tensor<5> {
    let [batch, _, frames, height, width] = latents.dims();
    let device = latents.device();
    let Some(mask) = mask else {
        return Tensor::zeros([batch, 1, frames, height, width], &device);
    };
    let [_, _, mask_height, mask_width] = mask.dims();
    let nearest = |wanted: usize, given: usize| {
        let indices: Vec<i64> = (0..wanted).map(|i| (i * given / wanted) as i64).collect();
        Tensor::<1, Int>::from_data(TensorData::new(indices, [wanted]), &device)
    };
    mask.clone()
        .select(2, nearest(height, mask_height))
        .select(3, nearest(width, mask_width))
        .unsqueeze_dim::<5>(2)
        .expand([batch, 1, frames, height, width])
}

/// Squares of latents as tokens, channel slowest: `[batch, frames, tokens per frame, channel * p * p]`.
pub(super) fn patches(x: Tensor<5>, p: usize) -> Tensor<4> {
    let [batch, channels, frames, height, width] = x.dims();
    let (rows, columns) = (height / p, width / p);
    x.reshape([batch, channels, frames, rows, p, columns, p])
        .permute([0, 2, 3, 5, 1, 4, 6])
        .reshape([batch, frames, rows * columns, channels * p * p])
}
