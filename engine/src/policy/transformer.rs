//! The transformer itself: pre-norm blocks of attention and SwiGLU between an embedding and an
//! output projection that share nothing.
//!
//! Mirrors `Transformer` of the reference (`autoregressive/networks/transformer.py`).

use burn::module::{Initializer, Module};
use burn::nn::{Embedding, EmbeddingConfig, Linear, RmsNorm, RmsNormConfig};
use burn::tensor::activation::silu;
use burn::tensor::{Device, Int, Tensor, TensorData};

use super::attention::{Attention, AttentionConfig, Context, INITIAL_STD, KeyValues, Mask, linear};
use super::cache::{KvCache, LayerCache};
use super::config::PolicyConfig;
use super::rotary::Rotary;

/// The gated feed-forward part of a block: `down(silu(gate x) * up x)`.
#[derive(Module, Debug)]
pub struct FeedForward {
    gate: Linear,
    up: Linear,
    down: Linear,
}

impl FeedForward {
    /// `down_std` is the standard deviation of the fresh last projection.
    pub fn new(dim: usize, hidden: usize, down_std: f64, device: &Device) -> Self {
        Self {
            gate: linear(dim, hidden, INITIAL_STD, device),
            up: linear(dim, hidden, INITIAL_STD, device),
            down: linear(hidden, dim, down_std, device),
        }
    }

    /// # Shapes
    /// `[batch, tokens, dim]` in and out
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let gate = silu(self.gate.forward(x.clone()));
        self.down.forward(gate * self.up.forward(x))
    }
}

/// One layer.
#[derive(Module, Debug)]
pub struct Block {
    attention_norm: RmsNorm,
    attention: Attention,
    cross_attention_norm: Option<RmsNorm>,
    cross_attention: Option<Attention>,
    feed_forward_norm: RmsNorm,
    feed_forward: FeedForward,
}

impl Block {
    fn new(config: &PolicyConfig, index: usize, device: &Device) -> Self {
        let norm = || {
            let norm = RmsNormConfig::new(config.dim).with_epsilon(config.norm_epsilon);
            norm.init(device)
        };
        // Every block adds to the residual stream; smaller fresh projections keep its sum in bounds.
        let projection_std = INITIAL_STD / (2.0 * config.layers as f64).sqrt();
        let attention = |context_dim| {
            let attention = AttentionConfig {
                dim: config.dim,
                context_dim,
                heads: config.heads,
                kv_heads: config.kv_heads,
                head_dim: config.head_dim,
                qk_norm: config.qk_norm,
                projection_std,
            };
            attention.init(device)
        };
        let cross = config.cross_attention.filter(|c| index.is_multiple_of(c.every));
        Self {
            attention_norm: norm(),
            attention: attention(config.dim),
            cross_attention_norm: cross.map(|_| norm()),
            cross_attention: cross.map(|c| attention(c.context_dim)),
            feed_forward_norm: norm(),
            feed_forward: FeedForward::new(
                config.dim,
                config.feed_forward_dim,
                projection_std,
                device,
            ),
        }
    }

    /// Keys and values of the context, if this layer looks at it.
    fn context_keys(&self, context: Option<&Context>) -> Option<KeyValues> {
        let attention = self.cross_attention.as_ref()?;
        let context = context.expect("a policy with cross-attention was given no context");
        Some(attention.keys_values(context.tokens.clone(), None))
    }

    fn forward(
        &self,
        x: Tensor<3>,
        rotary: &Rotary,
        start: usize,
        seen: impl FnOnce(KeyValues) -> KeyValues,
        mask: &Mask,
        context: Option<(KeyValues, &Mask)>,
    ) -> Tensor<3> {
        let placed = Some((rotary, start));
        let normed = self.attention_norm.forward(x.clone());
        let seen = seen(self.attention.keys_values(normed.clone(), placed));
        let mut x = x + self.attention.attend(normed, placed, seen, mask);
        if let (Some(norm), Some(cross), Some((keys, mask))) =
            (&self.cross_attention_norm, &self.cross_attention, context)
        {
            let normed = norm.forward(x.clone());
            x = x + cross.attend(normed, None, keys, mask);
        }
        let normed = self.feed_forward_norm.forward(x.clone());
        x + self.feed_forward.forward(normed)
    }
}

/// The policy network.
///
/// # Limitations
/// Sequences longer than `max_tokens` are refused; nothing is ever dropped from the cache.
#[derive(Module, Debug)]
pub struct Policy {
    token_embedding: Embedding,
    layers: Vec<Block>,
    norm: RmsNorm,
    output: Linear,
    rotary: Rotary,
    positions: Option<Tensor<2>>,
    #[module(skip)]
    config: PolicyConfig,
}

impl Policy {
    pub(super) fn new(config: &PolicyConfig, device: &Device) -> Self {
        let normal = Initializer::Normal { mean: 0.0, std: INITIAL_STD };
        let positions = config.additive_positions.map(|grid| {
            let table = grid.additive_table(config.dim);
            let data = TensorData::new(table, [grid.rows(), config.dim]);
            Tensor::from_data(data, device)
        });
        Self {
            token_embedding: EmbeddingConfig::new(config.embeddings, config.dim)
                .with_initializer(normal)
                .init(device),
            layers: (0..config.layers).map(|index| Block::new(config, index, device)).collect(),
            norm: RmsNormConfig::new(config.dim).with_epsilon(config.norm_epsilon).init(device),
            output: linear(config.dim, config.vocabulary, INITIAL_STD, device),
            rotary: config.rotary.init(config.head_dim, config.max_tokens, device),
            positions,
            config: config.clone(),
        }
    }

    pub fn config(&self) -> &PolicyConfig {
        &self.config
    }

    /// Scores of the next token after every token.
    ///
    /// # Shapes
    /// `[batch, tokens]` -> `[batch, tokens, vocabulary]`
    ///
    /// # Panics
    /// Panics on more than `max_tokens` tokens, and when the network has cross-attention and there
    /// is no context.
    pub fn forward(&self, tokens: Tensor<2, Int>, context: Option<&Context>) -> Tensor<3> {
        let context_mask = context_mask(context);
        let mut x = self.token_embedding.forward(tokens);
        for layer in &self.layers {
            let context = layer.context_keys(context).map(|k| (k, &context_mask));
            x = self.add_positions(x, 0);
            x = layer.forward(x, &self.rotary, 0, |own| own, &Mask::Causal, context);
        }
        self.output.forward(self.norm.forward(x))
    }

    /// An empty memory for `batch` sequences; the context's keys and values are computed once here.
    ///
    /// # Panics
    /// Panics when the network has cross-attention and there is no context.
    pub fn start(&self, batch: usize, context: Option<&Context>) -> KvCache {
        let PolicyConfig { kv_heads, max_tokens, head_dim, .. } = self.config;
        let device = self.token_embedding.weight.device();
        let shape = [batch, kv_heads, max_tokens, head_dim];
        let empty = |_: &Block| LayerCache::empty(shape, &device);
        let context_keys = |block: &Block| block.context_keys(context);
        KvCache {
            layers: self.layers.iter().map(empty).collect(),
            context: self.layers.iter().map(context_keys).collect(),
            context_mask: context_mask(context),
            tokens: 0,
        }
    }

    /// Scores of the next token after each of `tokens`, which follow those already in the cache.
    ///
    /// # Shapes
    /// `[batch, tokens]` -> `[batch, tokens, vocabulary]`
    ///
    /// # Panics
    /// Panics when the cache is full.
    pub fn step(&self, tokens: Tensor<2, Int>, cache: &mut KvCache) -> Tensor<3> {
        let (start, [_, count]) = (cache.tokens, tokens.dims());
        let max = self.config.max_tokens;
        assert!(
            start + count <= max,
            "{count} tokens after {start} exceed the {max} this policy can hold"
        );
        let mask = Mask::causal_after(start, count, &tokens.device());
        let mut x = self.token_embedding.forward(tokens);
        let memories = cache.layers.iter_mut().zip(&cache.context);
        for (layer, (memory, context)) in self.layers.iter().zip(memories) {
            let context = context.clone().map(|k| (k, &cache.context_mask));
            let seen = |own| memory.extend(start, own);
            x = self.add_positions(x, start);
            x = layer.forward(x, &self.rotary, start, seen, &mask, context);
        }
        cache.tokens += count;
        self.output.forward(self.norm.forward(x))
    }

    /// The reference adds its position table anew before every layer.
    fn add_positions(&self, x: Tensor<3>, start: usize) -> Tensor<3> {
        match &self.positions {
            Some(table) => {
                let part = table.clone().narrow(0, start, x.dims()[1]);
                x + part.unsqueeze()
            }
            None => x,
        }
    }
}

fn context_mask(context: Option<&Context>) -> Mask {
    match context.and_then(|c| c.visible.clone()) {
        Some(visible) => Mask::Hidden(Box::new(visible.bool_not())),
        None => Mask::All,
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Distribution, Tolerance};

    use super::*;

    fn tokens(batch: usize, count: usize) -> Tensor<2, Int> {
        let values: Vec<i32> = (0..batch * count).map(|i| (i * 37 % 101) as i32).collect();
        Tensor::from_data(TensorData::new(values, [batch, count]), &Device::flex())
    }

    #[test]
    fn steps_and_chunks_agree_with_the_full_forward() {
        let device = Device::flex();
        device.seed(3);
        let policy = PolicyConfig::craft_mini().init(&device);
        let context = Tensor::random([2, 25, 192], Distribution::Default, &device).into();
        let tokens = tokens(2, 40);
        let full = policy.forward(tokens.clone(), Some(&context));
        for chunks in [vec![40], vec![1; 40], vec![17, 1, 9, 13]] {
            let mut cache = policy.start(2, Some(&context));
            let mut parts = Vec::new();
            for count in chunks {
                let chunk = tokens.clone().narrow(1, cache.tokens(), count);
                parts.push(policy.step(chunk, &mut cache));
            }
            let stepped = Tensor::cat(parts, 1).into_data();
            let tolerance = Tolerance::<f32>::absolute(2e-6);
            stepped.assert_approx_eq(&full.to_data(), tolerance);
        }
    }

    #[test]
    fn later_tokens_and_the_context_matter_only_where_they_may() {
        let device = Device::flex();
        device.seed(4);
        let policy = PolicyConfig::craft_mini().init(&device);
        let context: Context = Tensor::random([1, 5, 192], Distribution::Default, &device).into();
        let first = tokens(1, 20);
        let second = first.clone().slice_fill([0..1, 12..13], 7);
        let one = policy.forward(first.clone(), Some(&context));
        let two = policy.forward(second, Some(&context));
        let change = (one.clone() - two).abs().max_dim(2).into_data();
        let change: Vec<f32> = change.try_into_vec().expect("f32");
        assert!(change[..12].iter().all(|c| *c == 0.0), "{change:?}");
        assert!(change[12..].iter().all(|c| *c > 0.0), "{change:?}");
        let other = Context::from(context.tokens.clone() + 1.0);
        let other = policy.forward(first, Some(&other));
        let change: f32 = (one - other).abs().max().into_scalar();
        assert!(change > 0.0);
    }
}
