//! From scores to a token: temperature, the nucleus (top-p) and top-k filters, and the draw.
//!
//! Mirrors `autoregressive/utils/sampling.py` of the reference, in host memory.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};
use serde::{Deserialize, Serialize};

/// The reference's lower bound of the temperature in its top-k routine.
const LOWEST_TEMPERATURE: f64 = 1e-5;

/// Which tokens may be drawn. The reference does not combine the two filters.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Filter {
    All,
    /// The most likely tokens, as long as the probability of those before is at most this.
    TopP(f32),
    /// Tokens that score at least as high as the k-th best; ties let in more than k.
    TopK(usize),
}

/// How a token is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Sampling {
    /// 0 always takes the best token and ignores the filter.
    pub temperature: f32,
    pub filter: Filter,
}

impl Sampling {
    pub const GREEDY: Self = Self { temperature: 0.0, filter: Filter::All };

    /// Probability of every token after temperature and filter.
    pub fn probabilities(&self, logits: &[f32]) -> Vec<f32> {
        if self.temperature == 0.0 {
            let mut probabilities = vec![0.0; logits.len()];
            probabilities[best(logits)] = 1.0;
            return probabilities;
        }
        let temperature = f64::from(self.temperature).max(LOWEST_TEMPERATURE);
        match self.filter {
            Filter::All => softmax(logits, temperature),
            Filter::TopK(k) => {
                let mut sorted = logits.to_vec();
                sorted.sort_unstable_by(|a, b| b.total_cmp(a));
                let threshold = sorted[k.clamp(1, sorted.len()) - 1];
                let kept = |v: &f32| {
                    if *v < threshold { f32::NEG_INFINITY } else { *v }
                };
                let kept: Vec<f32> = logits.iter().map(kept).collect();
                softmax(&kept, temperature)
            }
            Filter::TopP(p) => {
                let mut probabilities = softmax(logits, temperature);
                let (mut before, mut kept) = (0.0_f64, 0.0_f64);
                for token in descending(&probabilities) {
                    let probability = f64::from(probabilities[token]);
                    if before <= f64::from(p) {
                        kept += probability;
                    } else {
                        probabilities[token] = 0.0;
                    }
                    before += probability;
                }
                for probability in &mut probabilities {
                    *probability = (f64::from(*probability) / kept) as f32;
                }
                probabilities
            }
        }
    }

    /// The token drawn with `noise`, one Exp(1) number a token: the largest probability / noise.
    ///
    /// As in the reference, top-p divides its *sorted* probabilities by the noise, so the i-th
    /// number belongs to the i-th most likely token; otherwise it belongs to token i.
    pub fn draw(&self, logits: &[f32], noise: &[f32]) -> usize {
        if self.temperature == 0.0 {
            return best(logits);
        }
        let probabilities = self.probabilities(logits);
        let order: Vec<usize> = match self.filter {
            Filter::TopP(_) => descending(&probabilities),
            Filter::All | Filter::TopK(_) => (0..logits.len()).collect(),
        };
        let scores = order.iter().zip(noise);
        let scores: Vec<f32> = scores.map(|(token, q)| probabilities[*token] / q).collect();
        order[best(&scores)]
    }
}

/// `count` independent Exp(1) numbers that depend on `seed` and `position` alone, so that what was
/// drawn before a position does not change the luck there.
pub fn exponential_noise(seed: u64, position: usize, count: usize) -> Vec<f32> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(position as u64);
    let uniform = |rng: &mut ChaCha8Rng| f64::from(rng.next_u32()) / 4_294_967_296.0;
    (0..count)
        .map(|_| (-(1.0 - uniform(&mut rng)).ln()).max(f64::from(f32::MIN_POSITIVE)) as f32)
        .collect()
}

/// Softmax of `logits / temperature`.
pub(super) fn softmax(logits: &[f32], temperature: f64) -> Vec<f32> {
    let highest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let exponential = |v: &f32| (f64::from(v - highest) / temperature).exp();
    let exponentials: Vec<f64> = logits.iter().map(exponential).collect();
    let sum: f64 = exponentials.iter().sum();
    exponentials.iter().map(|e| (e / sum) as f32).collect()
}

/// Tokens by falling value; the earlier one first on ties.
pub(super) fn descending(values: &[f32]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|a, b| values[*b].total_cmp(&values[*a]));
    order
}

/// The first index of the largest value.
pub(super) fn best(values: &[f32]) -> usize {
    let mut best = 0;
    for (index, value) in values.iter().enumerate() {
        if *value > values[best] {
            best = index;
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn top_p_keeps_the_token_that_crosses_the_threshold() {
        // Probabilities 0.5, 0.3, 0.2 in mixed order.
        let logits = [0.3_f32.ln(), 0.5_f32.ln(), 0.2_f32.ln()];
        let at = |p| {
            let sampling = Sampling { temperature: 1.0, filter: Filter::TopP(p) };
            sampling.probabilities(&logits)
        };
        assert_eq!(at(0.0), [0.0, 1.0, 0.0]);
        let two = at(0.6);
        assert!((two[0] - 0.375).abs() < 1e-6 && (two[1] - 0.625).abs() < 1e-6 && two[2] == 0.0);
        assert!(at(0.9).iter().all(|p| *p > 0.0));
    }

    #[test]
    fn draws_follow_the_probabilities() {
        let logits = [0.6_f32.ln(), 0.3_f32.ln(), 0.1_f32.ln()];
        let sampling = Sampling { temperature: 1.0, filter: Filter::All };
        let mut counts = [0; 3];
        for position in 0..20_000 {
            counts[sampling.draw(&logits, &exponential_noise(7, position, 3))] += 1;
        }
        // Standard deviation of each count is below 70.
        for (count, expected) in counts.into_iter().zip([12_000, 6000, 2000_i32]) {
            assert!((count - expected).abs() < 300, "{counts:?}");
        }
    }
}
