//! Writing tokens one after the other.
//!
//! Mirrors `generate`, `prefill` and `decode_n_tokens` of the reference
//! (`autoregressive/model.py`, `autoregressive/utils/sampling.py`).

use std::ops::ControlFlow;

use burn::tensor::{Int, Tensor, TensorData};

use super::attention::Context;
use super::cache::KvCache;
use super::transformer::Policy;

/// One token to be decided.
#[derive(Debug)]
pub struct Choice<'a> {
    /// Which sequence of the batch.
    pub row: usize,
    /// How many tokens were generated before.
    pub index: usize,
    /// Scores over the vocabulary.
    pub logits: &'a [f32],
}

/// Continues every prompt by up to `count` tokens and returns the new ones; `None` when `choose`
/// broke off.
///
/// Sequences stay equally long, as in the reference: it ends when every sequence has produced one
/// of the `stop` tokens, and what that last round produced is dropped; a sequence that stopped
/// earlier keeps its stop token and goes on. The first new token is never compared with them. The
/// count is cut to what fits into `max_tokens`. Unlike the reference, which then fails, a first
/// token with nothing behind it is returned.
///
/// # Panics
/// Panics when the prompts are empty or of different lengths, or leave no room for a token.
pub fn generate(
    policy: &Policy,
    prompts: &[Vec<u32>],
    context: Option<&Context>,
    count: usize,
    stop: &[u32],
    mut choose: impl FnMut(Choice<'_>) -> ControlFlow<(), u32>,
) -> Option<Vec<Vec<u32>>> {
    let (batch, prompt) = (prompts.len(), prompts[0].len());
    assert!(
        prompt > 0 && prompts.iter().all(|p| p.len() == prompt),
        "prompts must have tokens and be equally long"
    );
    let max = policy.config().max_tokens;
    assert!(prompt < max, "a prompt of {prompt} tokens fills all {max}");
    let count = count.min(max - prompt);
    let mut cache = policy.start(batch, context);
    let mut fresh: Vec<Vec<u32>> = vec![Vec::with_capacity(count); batch];
    let mut stopped = vec![false; batch];
    let mut input: Vec<u32> = prompts.concat();
    for index in 0..count {
        let scores = next_scores(policy, &input, batch, &mut cache);
        input.clear();
        for (row, logits) in scores.iter().enumerate() {
            let choice = Choice { row, index, logits };
            match choose(choice) {
                ControlFlow::Continue(token) => input.push(token),
                ControlFlow::Break(()) => return None,
            }
        }
        if index > 0 {
            for (stopped, token) in stopped.iter_mut().zip(&input) {
                *stopped |= stop.contains(token);
            }
            if stopped.iter().all(|s| *s) {
                break;
            }
        }
        for (sequence, token) in fresh.iter_mut().zip(&input) {
            sequence.push(*token);
        }
    }
    Some(fresh)
}

/// The scores after the last of the new tokens, one row a sequence.
fn next_scores(
    policy: &Policy,
    tokens: &[u32],
    batch: usize,
    cache: &mut KvCache,
) -> Vec<Vec<f32>> {
    let device = cache.layers()[0].slots().keys.device();
    let length = tokens.len() / batch;
    let tokens: Vec<i32> = tokens.iter().map(|t| *t as i32).collect();
    let tokens = Tensor::<2, Int>::from_data(TensorData::new(tokens, [batch, length]), &device);
    let logits = policy.step(tokens, cache).narrow(1, length - 1, 1);
    let logits = logits.into_data().convert::<f32>();
    let logits: Vec<f32> = logits.try_into_vec().expect("converted to f32 just above");
    let vocabulary = policy.config().vocabulary;
    logits.chunks(vocabulary).map(<[f32]>::to_vec).collect()
}
