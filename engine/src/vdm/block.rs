//! One block of the video transformer: self-attention, cross-attention and feed-forward, each
//! shifted, scaled and gated by the noise level of its frame (adaptive layer norm with low rank).
//!
//! With weights in half precision the layers compute in it, but the stream that they add to, its
//! norms and the modulation stay in single precision: a stream that many blocks add to may outgrow a
//! half, and what each of them adds to a large one would be rounded away.

use burn::module::Module;
use burn::nn::{Initializer, Linear, LinearConfig, RmsNorm, RmsNormConfig};
use burn::tensor::activation::{gelu, silu};
use burn::tensor::{Bool, DType, Device, Tensor, module};

use super::attention::attention;
use super::dit::DitConfig;
use super::rope::Rope;

/// Of every norm of the transformer.
pub(super) const NORM_EPSILON: f64 = 1e-6;

/// A linear layer without bias, drawn with one over the root of its inputs as standard deviation.
pub(super) fn linear(inputs: usize, outputs: usize, device: &Device) -> Linear {
    let std = 1.0 / (inputs as f64).sqrt();
    LinearConfig::new(inputs, outputs)
        .with_bias(false)
        .with_initializer(Initializer::Normal { mean: 0.0, std })
        .init(device)
}

/// What `layer` makes of `x`: of a clip's tokens on the matrix units of a card, where it has some that
/// compute in the numbers at hand.
pub(super) fn through<const D: usize>(layer: &Linear, x: Tensor<D>) -> Tensor<D> {
    #[cfg(feature = "gpu")]
    if let Some(y) = crate::kernels::linear(layer, &x) {
        return y;
    }
    layer.forward(x)
}

fn zero_linear(inputs: usize, outputs: usize, device: &Device) -> Linear {
    LinearConfig::new(inputs, outputs)
        .with_bias(false)
        .with_initializer(Initializer::Zeros)
        .init(device)
}

/// The noise level as the blocks see it, in the precision of their weights.
#[derive(Debug, Clone)]
pub(super) struct NoiseLevel {
    /// SiLU of the embedding, `[batch, frames or 1, 1, width]`.
    pub activated: Tensor<4>,
    /// What the modulations of all blocks share: shift, scale, gate, `[batch, frames or 1, 1, 3 * width]`.
    pub shared: Tensor<4>,
}

/// Noise level to shift, scale and gate (or the first two of them) through a narrow layer.
#[derive(Module, Debug)]
pub(super) struct Modulation {
    down: Linear,
    up: Linear,
}

impl Modulation {
    pub(super) fn new(config: &DitConfig, parts: usize, device: &Device) -> Self {
        let width = config.model_channels;
        Self {
            down: linear(width, config.adaln_lora_dim, device),
            up: zero_linear(config.adaln_lora_dim, parts * width, device),
        }
    }

    /// As many parts of `[batch, frames or 1, 1, width]` as the modulation was made for, in single
    /// precision.
    pub(super) fn forward(&self, noise: &NoiseLevel) -> Vec<Tensor<4>> {
        let own = self.up.forward(self.down.forward(noise.activated.clone()));
        let (size, width) = (own.dims()[3], noise.activated.dims()[3]);
        let all = (own + noise.shared.clone().narrow(3, 0, size)).cast(DType::F32);
        all.split(width, 3)
    }
}

/// Layer norm without weights, then scale and shift, all in single precision. `x` is
/// `[batch, frames, tokens, width]`.
pub(super) fn modulated_norm(x: Tensor<4>, shift: Tensor<4>, scale: Tensor<4>) -> Tensor<4> {
    let ones = Tensor::ones([x.dims()[3]], &x.device());
    module::layer_norm(x, ones, None, NORM_EPSILON) * (scale + 1.0) + shift
}

/// Attention with a norm on every query and key head.
#[derive(Module, Debug)]
struct Attention {
    q_proj: Linear,
    q_norm: RmsNorm,
    k_proj: Linear,
    k_norm: RmsNorm,
    v_proj: Linear,
    output_proj: Linear,
    num_heads: usize,
}

impl Attention {
    fn new(config: &DitConfig, context_channels: usize, device: &Device) -> Self {
        let width = config.model_channels;
        let norm = RmsNormConfig::new(config.head_dim()).with_epsilon(NORM_EPSILON);
        Self {
            q_proj: linear(width, width, device),
            q_norm: norm.init(device),
            k_proj: linear(context_channels, width, device),
            k_norm: norm.init(device),
            v_proj: linear(context_channels, width, device),
            output_proj: linear(width, width, device),
            num_heads: config.num_heads,
        }
    }

    /// `x` is `[batch, tokens, width]`, `context` `[batch, context tokens, channels]`.
    fn forward(
        &self,
        x: Tensor<3>,
        context: Tensor<3>,
        rope: Option<&Rope>,
        hidden: Option<Tensor<4, Bool>>,
    ) -> Tensor<3> {
        let [batch, tokens, width] = x.dims();
        let q = self.q_norm.forward(self.heads(through(&self.q_proj, x)));
        let k = self.k_norm.forward(self.heads(through(&self.k_proj, context.clone())));
        let v = self.heads(through(&self.v_proj, context)).swap_dims(1, 2);
        let (mut q, mut k) = (q.swap_dims(1, 2), k.swap_dims(1, 2));
        if let Some(rope) = rope {
            q = rope.turn(q);
            k = rope.turn(k);
        }
        let mixed = attention(q, k, v, hidden).swap_dims(1, 2);
        through(&self.output_proj, mixed.reshape([batch, tokens, width]))
    }

    /// `[batch, tokens, heads, head_dim]`
    fn heads(&self, x: Tensor<3>) -> Tensor<4> {
        let [batch, tokens, width] = x.dims();
        x.reshape([batch, tokens, self.num_heads, width / self.num_heads])
    }
}

/// Numbers between the two layers of a feed-forward that are held at a time.
pub const MAX_HIDDEN: usize = 1 << 26;

#[derive(Module, Debug)]
struct FeedForward {
    layer1: Linear,
    layer2: Linear,
}

impl FeedForward {
    /// `[batch, frames, tokens per frame, width]` to the same, as many frames at a time as have no
    /// more than so many numbers between the layers.
    fn forward(&self, x: Tensor<4>, max_hidden: usize) -> Tensor<4> {
        let [batch, frames, tokens, _] = x.dims();
        let [hidden, _] = self.layer2.weight.shape().dims();
        let at_a_time = (max_hidden / (batch * tokens * hidden)).max(1);
        let layers = |x: Tensor<4>| through(&self.layer2, gelu(through(&self.layer1, x)));
        if at_a_time >= frames {
            return layers(x);
        }
        let slices = (0..frames)
            .step_by(at_a_time)
            .map(|start| layers(x.clone().narrow(1, start, at_a_time.min(frames - start))));
        Tensor::cat(slices.collect(), 1)
    }
}

/// One block of the video transformer.
#[derive(Module, Debug)]
pub(super) struct Block {
    self_attn: Attention,
    cross_attn: Attention,
    mlp: FeedForward,
    adaln_modulation_self_attn: Modulation,
    adaln_modulation_cross_attn: Modulation,
    adaln_modulation_mlp: Modulation,
}

/// What all blocks share in one forward pass.
pub(super) struct Surroundings {
    pub noise: NoiseLevel,
    pub context: Tensor<3>,
    pub rope: Rope,
    pub hidden: Option<Tensor<4, Bool>>,
}

impl Block {
    pub(super) fn new(config: &DitConfig, device: &Device) -> Self {
        let width = config.model_channels;
        let inner = (width as f64 * config.mlp_ratio) as usize;
        Self {
            self_attn: Attention::new(config, width, device),
            cross_attn: Attention::new(config, config.crossattn_emb_channels, device),
            mlp: FeedForward {
                layer1: linear(width, inner, device),
                layer2: linear(inner, width, device),
            },
            adaln_modulation_self_attn: Modulation::new(config, 3, device),
            adaln_modulation_cross_attn: Modulation::new(config, 3, device),
            adaln_modulation_mlp: Modulation::new(config, 3, device),
        }
    }

    /// `x` and the result are `[batch, frames, tokens per frame, width]` in single precision.
    pub(super) fn forward(&self, x: Tensor<4>, around: &Surroundings) -> Tensor<4> {
        let shape = x.dims();
        let [batch, frames, tokens, width] = shape;
        let sequence = [batch, frames * tokens, width];

        let x = Self::gated(x, &self.adaln_modulation_self_attn, &around.noise, |h| {
            let h: Tensor<3> = h.reshape(sequence);
            self.self_attn.forward(h.clone(), h, Some(&around.rope), None).reshape(shape)
        });
        let x = Self::gated(x, &self.adaln_modulation_cross_attn, &around.noise, |h| {
            let context = around.context.clone();
            self.cross_attn
                .forward(h.reshape(sequence), context, None, around.hidden.clone())
                .reshape(shape)
        });
        Self::gated(x, &self.adaln_modulation_mlp, &around.noise, |h| {
            self.mlp.forward(h, MAX_HIDDEN)
        })
    }

    /// `x + gate * layer(modulated norm of x)`
    fn gated(
        x: Tensor<4>,
        modulation: &Modulation,
        noise: &NoiseLevel,
        layer: impl FnOnce(Tensor<4>) -> Tensor<4>,
    ) -> Tensor<4> {
        let [shift, scale, gate] =
            modulation.forward(noise).try_into().expect("a block's modulation has three parts");
        let h = modulated_norm(x.clone(), shift, scale).cast(noise.activated.dtype());
        x + layer(h).cast(DType::F32) * gate
    }
}

/// The two tensors the blocks need from the raw embedding of the noise level.
pub(super) fn noise_level(embedding: Tensor<4>, shared: Tensor<4>) -> NoiseLevel {
    NoiseLevel { activated: silu(embedding), shared }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Distribution;

    use super::*;

    #[test]
    fn slices_of_frames_change_nothing() {
        let device = Device::flex();
        let mlp = FeedForward { layer1: linear(6, 24, &device), layer2: linear(24, 6, &device) };
        let x = Tensor::random([2, 5, 3, 6], Distribution::Normal(0.0, 1.0), &device);
        let whole = mlp.forward(x.clone(), MAX_HIDDEN);
        // One frame at a time; two.
        for most in [1, 2 * 2 * 3 * 24] {
            let sliced = mlp.forward(x.clone(), most);
            let difference = (whole.clone() - sliced).abs().max().into_scalar::<f32>();
            assert!(difference < 1e-6, "{most} numbers at a time: {difference}");
        }
    }
}
