//! Scaled dot-product attention, and which context tokens a latent frame may see.

use burn::tensor::ops::AttentionModuleOptions;
use burn::tensor::{Bool, DType, Device, Tensor, TensorData, module};
use serde::{Deserialize, Serialize};

#[cfg(feature = "gpu")]
use crate::kernels::{FusedAttention, SCORES_OF_A_LAUNCH};

/// Scores held in memory at a time, in numbers: 256 MiB of f32.
pub const MAX_SCORES: usize = 1 << 26;

/// Attention of `q` to `k` and `v`, `[batch, heads, tokens, head_dim]` each, scaled by one over
/// the root of `head_dim`. `hidden`, `[1, 1, queries, keys]`, is true where a key must not be seen.
///
/// Where nothing is hidden and heads have up to 128 channels, graphics cards never hold the scores:
/// see `kernels/attention.rs`. Elsewhere long sequences go in
/// slices of queries, so that the scores never fill the memory.
pub fn attention(
    q: Tensor<4>,
    k: Tensor<4>,
    v: Tensor<4>,
    hidden: Option<Tensor<4, Bool>>,
) -> Tensor<4> {
    #[cfg(feature = "gpu")]
    if hidden.is_none()
        && let Some(kernel) = FusedAttention::of(&q, &k, &v)
    {
        return kernel.run(q, k, v, SCORES_OF_A_LAUNCH);
    }
    attention_in_slices(q, k, v, hidden, MAX_SCORES)
}

/// Whether [`attention`] of tensors like `x` runs in the kernel of `kernels/attention.rs`.
#[cfg(feature = "gpu")]
pub fn is_fused(x: &Tensor<4>) -> bool {
    FusedAttention::of(x, x, x).is_some()
}

#[cfg(not(feature = "gpu"))]
pub fn is_fused(_x: &Tensor<4>) -> bool {
    false
}

/// [`attention`] of as many queries at a time as have no more than so many scores.
pub fn attention_in_slices(
    q: Tensor<4>,
    k: Tensor<4>,
    v: Tensor<4>,
    hidden: Option<Tensor<4, Bool>>,
    max_scores: usize,
) -> Tensor<4> {
    let [batch, heads, queries, _] = q.dims();
    let keys = k.dims()[2];
    let slice = (max_scores / (batch * heads * keys)).max(1);
    if slice >= queries {
        return attend(q, k, v, hidden);
    }
    let slices = (0..queries).step_by(slice).map(|start| {
        let length = slice.min(queries - start);
        let hidden = hidden.clone().map(|h| h.narrow(2, start, length));
        let q = q.clone().narrow(2, start, length);
        attend(q, k.clone(), v.clone(), hidden)
    });
    Tensor::cat(slices.collect(), 2)
}

fn attend(q: Tensor<4>, k: Tensor<4>, v: Tensor<4>, hidden: Option<Tensor<4, Bool>>) -> Tensor<4> {
    if q.dtype() == DType::F16 {
        return attend_in_halves(q, k, v, hidden);
    }
    module::attention(q, k, v, hidden, None, AttentionModuleOptions::default())
}

/// The weights of a long clip's tokens would be below the smallest normal half, 6.1e-5, which cards
/// may take for zero: the release has 37,440 tokens. Here weights and their sum are at most the root
/// of the keys away from one, and are divided by each other last.
fn attend_in_halves(
    q: Tensor<4>,
    k: Tensor<4>,
    v: Tensor<4>,
    hidden: Option<Tensor<4, Bool>>,
) -> Tensor<4> {
    let keys = k.dims()[2];
    let q = q.clone() * (q.dims()[3] as f64).powf(-0.5);
    let scores = q.matmul(k.swap_dims(2, 3));
    let scores = match hidden {
        Some(hidden) => {
            let shape = scores.dims();
            scores.mask_fill(hidden.expand(shape), f32::NEG_INFINITY)
        }
        None => scores,
    };
    let highest = scores.clone().max_dim(3) + 0.5 * (keys as f64).ln();
    let weights = (scores - highest).exp();
    weights.clone().matmul(v) / weights.sum_dim(3)
}

/// Which context tokens the queries of a latent frame see in cross attention.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum CrossMask {
    /// All of them: the released configuration.
    Full,
    /// The reference's causal option: frame `f` sees columns `0..=f` of the first as many columns
    /// as there are frames, and all columns after those, although a step has four codes.
    ReferenceCausal,
    /// Frame `f` sees the codes of steps up to `f`, a step having this many codes, and all columns
    /// after the codes. Frame 0, which has no code of its own, sees those of the first step.
    StepCausal { codes_per_step: usize },
}

impl CrossMask {
    /// True where a context token is hidden, `[1, 1, frames * tokens_per_frame, context]`.
    pub fn hidden(
        self,
        frames: usize,
        tokens_per_frame: usize,
        context: usize,
        device: &Device,
    ) -> Option<Tensor<4, Bool>> {
        let (columns, seen): (usize, Box<dyn Fn(usize) -> usize>) = match self {
            Self::Full => return None,
            Self::ReferenceCausal => (frames, Box::new(|frame| frame + 1)),
            Self::StepCausal { codes_per_step } => (
                frames.saturating_sub(1) * codes_per_step,
                Box::new(move |frame| frame.max(1) * codes_per_step),
            ),
        };
        let mut hidden = Vec::with_capacity(frames * tokens_per_frame * context);
        for frame in 0..frames {
            let row = (0..context).map(|c| c < columns && c >= seen(frame));
            let row: Vec<bool> = row.collect();
            for _ in 0..tokens_per_frame {
                hidden.extend_from_slice(&row);
            }
        }
        let data = TensorData::new(hidden, [1, 1, frames * tokens_per_frame, context]);
        Some(Tensor::from_data(data, device))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(mask: CrossMask, frames: usize, context: usize) -> Vec<String> {
        let hidden = mask
            .hidden(frames, 1, context, &Device::flex())
            .expect("not full")
            .into_data()
            .try_into_vec::<bool>()
            .expect("booleans");
        hidden
            .chunks(context)
            .map(|row| row.iter().map(|h| if *h { '.' } else { 'x' }).collect())
            .collect()
    }

    #[test]
    fn a_frame_sees_the_codes_of_its_own_and_earlier_steps() {
        let mask = CrossMask::StepCausal { codes_per_step: 2 };
        assert_eq!(rows(mask, 4, 8), ["xx....xx", "xx....xx", "xxxx..xx", "xxxxxxxx"]);
    }

    #[test]
    fn the_reference_counts_one_column_a_frame() {
        let mask = CrossMask::ReferenceCausal;
        assert_eq!(rows(mask, 3, 6), ["x..xxx", "xx.xxx", "xxxxxx"]);
    }

    #[test]
    fn halves_hold_the_weights_of_a_long_clip() {
        let device = Device::flex();
        let random = |tokens| {
            let normal = burn::tensor::Distribution::Normal(0.0, 1.0);
            Tensor::<4>::random([1, 1, tokens, 8], normal, &device)
        };
        let (q, k, v) = (random(3), random(40_000), random(40_000) + 1.0);
        let hidden = Tensor::<1, burn::tensor::Int>::arange(0..40_000, &device).lower_elem(10_000);
        let hidden: Tensor<4, Bool> = hidden.reshape([1, 1, 1, 40_000]).expand([1, 1, 3, 40_000]);
        let half = |x: &Tensor<4>| x.clone().cast(DType::F16);
        let found = attention(half(&q), half(&k), half(&v), Some(hidden.clone()));
        let wanted = attention(q, k, v, Some(hidden));
        let difference = (found.cast(DType::F32) - wanted).abs().max().into_scalar::<f32>();
        assert!(difference < 1e-2, "{difference}");
    }

    #[test]
    fn slices_of_queries_change_nothing() {
        let device = Device::flex();
        let random = || {
            let normal = burn::tensor::Distribution::Normal(0.0, 1.0);
            Tensor::<4>::random([2, 2, 5, 4], normal, &device)
        };
        let (q, k, v) = (random(), random(), random());
        let hidden = CrossMask::ReferenceCausal.hidden(5, 1, 5, &device);
        let whole = attention(q.clone(), k.clone(), v.clone(), hidden.clone());
        let sliced = attention_in_slices(q, k, v, hidden, 2 * 2 * 5 * 2);
        let difference = (whole - sliced).abs().max().into_scalar::<f32>();
        assert!(difference < 1e-6, "{difference}");
    }
}
