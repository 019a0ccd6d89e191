//! Keys and values of the tokens seen so far, so that every token is computed once.

use burn::tensor::{Device, Tensor};

use super::attention::{KeyValues, Mask};

/// What one self-attention layer remembers, with room for a whole sequence from the start.
#[derive(Debug, Clone)]
pub struct LayerCache {
    slots: KeyValues,
}

impl LayerCache {
    /// Empty slots for `[batch, kv_heads, max_tokens, head_dim]`.
    pub fn empty(shape: [usize; 4], device: &Device) -> Self {
        Self {
            slots: KeyValues {
                keys: Tensor::zeros(shape, device),
                values: Tensor::zeros(shape, device),
            },
        }
    }

    /// All slots, `[batch, kv_heads, max_tokens, head_dim]`, zero where nothing was written yet.
    pub fn slots(&self) -> &KeyValues {
        &self.slots
    }

    /// Writes the keys and values of the tokens from position `start` and returns all up to there.
    pub fn extend(&mut self, start: usize, new: KeyValues) -> KeyValues {
        let [batch, heads, tokens, _] = new.keys.dims();
        let end = start + tokens;
        let window = [0..batch, 0..heads, start..end];
        let KeyValues { keys, values } = &mut self.slots;
        // Taking the tensor out lets the backend write in place.
        keys.inplace(|k| k.slice_assign(window.clone(), new.keys));
        values.inplace(|v| v.slice_assign(window, new.values));
        KeyValues { keys: keys.clone().narrow(2, 0, end), values: values.clone().narrow(2, 0, end) }
    }
}

/// The memory of one batch of sequences being decoded; made by [`super::Policy::start`].
#[derive(Debug, Clone)]
pub struct KvCache {
    pub(super) layers: Vec<LayerCache>,
    /// Keys and values of the context for every layer that looks at it.
    pub(super) context: Vec<Option<KeyValues>>,
    pub(super) context_mask: Mask,
    pub(super) tokens: usize,
}

impl KvCache {
    /// Tokens held, which is the position of the next one.
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// What each layer remembers.
    pub fn layers(&self) -> &[LayerCache] {
        &self.layers
    }
}
