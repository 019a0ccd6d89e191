//! How attention runs on a device, and whether it holds its scores in memory. burn does not say which
//! of its kernels ran, so the memory that attention takes must; of the fused kernel it is known.

use std::fmt;

use burn::tensor::{Distribution, Tensor};
use serde::Serialize;

use super::speed::wait;
use crate::gpu::Chosen;
use crate::memory::{self, human};
use crate::vdm::{MAX_SCORES, attention, is_fused};

/// Heads and their width, and tokens of the second attention that is looked at; the first one has
/// half as many. Its scores are below [`MAX_SCORES`] and far above all else that it holds.
const HEADS: usize = 4;
const WIDTH: usize = 64;
const TOKENS: usize = 2048;

/// What attention does with its scores.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Scores {
    /// It runs in the kernel of `kernels/attention.rs`, which has no memory for them.
    Fused,
    /// Held for some queries at a time, at most so many bytes.
    Held {
        at_most: u64,
    },
    NeverHeld,
    /// On a card whose memory cannot be asked for.
    NotMeasured,
}

impl fmt::Display for Scores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fused => f.write_str("fused kernel, scores never held"),
            Self::Held { at_most } => write!(f, "scores held, {} at a time", human(*at_most)),
            Self::NeverHeld => f.write_str("scores never held"),
            Self::NotMeasured => f.write_str("scores not measured"),
        }
    }
}

impl Scores {
    /// Runs attention twice and looks at what it takes, where that can be seen; `width` is that of a
    /// head.
    pub(super) fn measure(chosen: &Chosen, width: usize) -> Self {
        let dtype = chosen.numbers.precision.dtype();
        let probe = Tensor::<4>::zeros([1, 1, 1, width], &chosen.device).cast(dtype);
        match (is_fused(&probe), chosen.in_own_memory) {
            (true, _) => return Self::Fused,
            (false, false) => return Self::NotMeasured,
            (false, true) => {}
        }
        // The first run compiles kernels where a device does that.
        taken(chosen, TOKENS / 2);
        let number = chosen.numbers.precision.bytes();
        Self::judge(taken(chosen, TOKENS), (HEADS * TOKENS * TOKENS * number) as u64, number)
    }

    /// `scores` are the bytes that all scores would be.
    fn judge(taken: Option<u64>, scores: u64, number: usize) -> Self {
        match taken {
            None => Self::NotMeasured,
            Some(taken) if taken < scores / 2 => Self::NeverHeld,
            Some(_) => Self::Held { at_most: (MAX_SCORES * number) as u64 },
        }
    }
}

/// Bytes that attention among so many tokens takes beside its inputs.
fn taken(chosen: &Chosen, tokens: usize) -> Option<u64> {
    let dtype = chosen.numbers.precision.dtype();
    let normal = Distribution::Normal(0.0, 1.0);
    let draw = || {
        let shape = [1, HEADS, tokens, WIDTH];
        Tensor::<4>::random(shape, normal, &chosen.device).cast(dtype)
    };
    let (q, k, v) = (draw(), draw(), draw());
    [&q, &k, &v].into_iter().for_each(wait);
    memory::forget_peak();
    let before = memory::resident()?;
    wait(&attention(q, k, v, None));
    Some(memory::peak()?.saturating_sub(before))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_tells_whether_scores_are_held() {
        let number = size_of::<f32>();
        assert_eq!(Scores::judge(None, 100, number), Scores::NotMeasured);
        assert_eq!(Scores::judge(Some(49), 100, number), Scores::NeverHeld);
        let held = Scores::judge(Some(120), 100, number);
        assert_eq!(held.to_string(), "scores held, 268.4 MB at a time");
    }
}
