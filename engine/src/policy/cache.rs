//! Keys and values of the tokens seen so far, so that every token is computed once.

use burn::tensor::{Bool, Device, Tensor};

use super::attention::{KeyValues, Mask};

/// What one layer remembers.
#[derive(Debug, Clone)]
pub(super) struct LayerCache {
    /// `[batch, kv_heads, max_tokens, head_dim]`, zero where nothing was written yet.
    pub(super) own: KeyValues,
    /// Those of the context, which stay the same for the whole sequence.
    pub(super) context: Option<KeyValues>,
}

impl LayerCache {
    /// Writes the keys and values of new tokens at `start` and returns all up to there.
    pub(super) fn extend(&mut self, start: usize, new: KeyValues) -> KeyValues {
        let [_, _, tokens, _] = new.keys.dims();
        let end = start + tokens;
        let window = [0..new.keys.dims()[0], 0..new.keys.dims()[1], start..end];
        let KeyValues { keys, values } = &mut self.own;
        // Taking the tensor out lets the backend write in place.
        keys.inplace(|k| k.slice_assign(window.clone(), new.keys));
        values.inplace(|v| v.slice_assign(window, new.values));
        KeyValues {
            keys: keys.clone().narrow(2, 0, end),
            values: values.clone().narrow(2, 0, end),
        }
    }
}

/// The memory of one batch of sequences being decoded; made by [`super::Policy::start`].
#[derive(Debug, Clone)]
pub struct KvCache {
    pub(super) layers: Vec<LayerCache>,
    pub(super) context_mask: Mask,
    pub(super) tokens: usize,
}

impl KvCache {
    /// Tokens held, which is the position of the next one.
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// A layer's keys and values over all slots, `[batch, kv_heads, max_tokens, head_dim]`.
    pub fn layer(&self, index: usize) -> &KeyValues {
        &self.layers[index].own
    }
}

/// What `tokens` new tokens see after `start` earlier ones.
pub(super) fn causal_after(start: usize, tokens: usize, device: &Device) -> Mask {
    if tokens == 1 {
        return Mask::All;
    }
    if start == 0 {
        return Mask::Causal;
    }
    let hidden = Tensor::<2, Bool>::tril_mask([tokens, start + tokens], start as i64, device);
    Mask::Hidden(hidden.unsqueeze())
}
