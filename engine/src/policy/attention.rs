//! Grouped-query attention with normalised queries and keys, to the sequence itself or to a context.
//!
//! Mirrors `Attention` of the reference (`autoregressive/modules/attention.py`).

use burn::module::{Initializer, Module};
use burn::nn::{Linear, LinearConfig, RmsNorm, RmsNormConfig};
use burn::tensor::module::attention;
use burn::tensor::ops::AttentionModuleOptions;
use burn::tensor::{Bool, Device, Tensor};

use super::rotary::Rotary;

/// Of the query and key norms; the reference never passes its configured value on to them.
const QK_NORM_EPSILON: f64 = 1e-5;
/// Standard deviation of fresh weights.
pub(super) const INITIAL_STD: f64 = 0.02;

/// Sizes of one [`Attention`].
#[derive(Debug, Clone, Copy)]
pub struct AttentionConfig {
    pub dim: usize,
    /// Width of what is attended to; `dim` for self-attention.
    pub context_dim: usize,
    pub heads: usize,
    pub kv_heads: usize,
    pub head_dim: usize,
    pub qk_norm: bool,
    /// Standard deviation of the fresh output projection.
    pub projection_std: f64,
}

/// A linear map without bias and with fresh normal weights.
pub(super) fn linear(from: usize, to: usize, std: f64, device: &Device) -> Linear {
    LinearConfig::new(from, to)
        .with_bias(false)
        .with_initializer(Initializer::Normal { mean: 0.0, std })
        .init(device)
}

impl AttentionConfig {
    pub fn init(&self, device: &Device) -> Attention {
        let (queries, keys) = (self.heads * self.head_dim, self.kv_heads * self.head_dim);
        let norm = || {
            let config = RmsNormConfig::new(self.head_dim).with_epsilon(QK_NORM_EPSILON);
            self.qk_norm.then(|| config.init(device))
        };
        Attention {
            query: linear(self.dim, queries, INITIAL_STD, device),
            key: linear(self.context_dim, keys, INITIAL_STD, device),
            value: linear(self.context_dim, keys, INITIAL_STD, device),
            projection: linear(queries, self.dim, self.projection_std, device),
            query_norm: norm(),
            key_norm: norm(),
            heads: self.heads,
            kv_heads: self.kv_heads,
        }
    }
}

/// What tokens may attend to besides their own sequence, for example a picture and an instruction.
#[derive(Debug, Clone)]
pub struct Context {
    /// `[batch, context tokens, context_dim]`.
    pub tokens: Tensor<3>,
    /// True where a token may look: `[batch or 1, 1, tokens or 1, context tokens]`.
    pub visible: Option<Tensor<4, Bool>>,
}

impl From<Tensor<3>> for Context {
    fn from(tokens: Tensor<3>) -> Self {
        Self { tokens, visible: None }
    }
}

/// Keys after norm and rotation and plain values, both `[batch, kv_heads, tokens, head_dim]`.
#[derive(Debug, Clone)]
pub struct KeyValues {
    pub keys: Tensor<4>,
    pub values: Tensor<4>,
}

/// Which keys a query sees.
#[derive(Debug, Clone)]
pub enum Mask {
    All,
    /// As many keys as queries, each query sees those up to its own place.
    Causal,
    /// True where a key is out of sight, broadcast over `[batch, heads, queries, keys]`.
    Hidden(Box<Tensor<4, Bool>>),
}

impl Mask {
    /// What `tokens` new tokens see behind `start` earlier ones.
    pub fn causal_after(start: usize, tokens: usize, device: &Device) -> Self {
        if tokens == 1 {
            return Self::All;
        }
        if start == 0 {
            return Self::Causal;
        }
        let hidden = Tensor::<2, Bool>::tril_mask([tokens, start + tokens], start as i64, device);
        Self::Hidden(Box::new(hidden.unsqueeze()))
    }
}

/// One attention layer.
#[derive(Module, Debug)]
pub struct Attention {
    query: Linear,
    key: Linear,
    value: Linear,
    projection: Linear,
    query_norm: Option<RmsNorm>,
    key_norm: Option<RmsNorm>,
    heads: usize,
    kv_heads: usize,
}

impl Attention {
    /// Keys and values of `x` `[batch, tokens, context_dim]`; `rotary` comes with the position of
    /// the first token and is left out for a context.
    pub fn keys_values(&self, x: Tensor<3>, rotary: Option<(&Rotary, usize)>) -> KeyValues {
        let keys = split_heads(self.key.forward(x.clone()), self.kv_heads);
        KeyValues {
            keys: place(keys, self.key_norm.as_ref(), rotary),
            values: split_heads(self.value.forward(x), self.kv_heads),
        }
    }

    /// Lets `x` `[batch, tokens, dim]` look at `seen`.
    ///
    /// # Shapes
    /// `[batch, tokens, dim]`
    pub fn attend(
        &self,
        x: Tensor<3>,
        rotary: Option<(&Rotary, usize)>,
        seen: KeyValues,
        mask: &Mask,
    ) -> Tensor<3> {
        let [batch, tokens, _] = x.dims();
        let queries = split_heads(self.query.forward(x), self.heads);
        let queries = place(queries, self.query_norm.as_ref(), rotary);
        let keys = self.share(seen.keys);
        let values = self.share(seen.values);
        let hidden = match mask {
            Mask::Hidden(hidden) => {
                let shape = [batch, self.heads, tokens, keys.dims()[2]];
                Some(Tensor::clone(hidden).expand(shape))
            }
            Mask::All | Mask::Causal => None,
        };
        let options = AttentionModuleOptions {
            is_causal: matches!(mask, Mask::Causal),
            ..Default::default()
        };
        let heads = attention(queries, keys, values, hidden, None, options);
        // [batch, heads, tokens, head_dim] -> [batch, tokens, heads * head_dim]
        let heads = heads.swap_dims(1, 2).flatten(2, 3);
        self.projection.forward(heads)
    }

    /// Repeats every key/value head for the neighbouring query heads that share it.
    fn share(&self, x: Tensor<4>) -> Tensor<4> {
        let [batch, kv_heads, tokens, head_dim] = x.dims();
        let group = self.heads / kv_heads;
        if group == 1 {
            return x;
        }
        let x = x.unsqueeze_dim::<5>(2);
        let x = x.expand([batch, kv_heads, group, tokens, head_dim]);
        x.reshape([batch, self.heads, tokens, head_dim])
    }
}

/// `[batch, tokens, heads * head_dim]` -> `[batch, heads, tokens, head_dim]`
fn split_heads(x: Tensor<3>, heads: usize) -> Tensor<4> {
    let [batch, tokens, width] = x.dims();
    x.reshape([batch, tokens, heads, width / heads]).swap_dims(1, 2)
}

fn place(x: Tensor<4>, norm: Option<&RmsNorm>, rotary: Option<(&Rotary, usize)>) -> Tensor<4> {
    let x = match norm {
        Some(norm) => norm.forward(x),
        None => x,
    };
    match rotary {
        Some((rotary, start)) => rotary.apply(x, start),
        None => x,
    }
}
