//! From the policy's logits to a code, and to what a person wants to know about the choice.

use rand::Rng;

use super::CodePrediction;

/// How many codes a prediction lists beside the one taken.
pub const NUM_ALTERNATIVES: usize = 9;

impl CodePrediction {
    /// What the policy thought of `code`, given the logits it was picked from.
    pub fn of(code: u16, logits: &[f32]) -> Self {
        let probabilities = softmax(logits, 1.0);
        let entropy_bits =
            -probabilities.iter().filter(|p| **p > 0.0).map(|p| p * p.log2()).sum::<f64>();
        Self {
            code,
            probability: probabilities[usize::from(code)] as f32,
            entropy_bits: entropy_bits as f32,
            alternatives: most_likely(&probabilities, NUM_ALTERNATIVES),
        }
    }

    /// A code that no policy chose.
    pub fn recorded(code: u16) -> Self {
        Self {
            code,
            probability: f32::NAN,
            entropy_bits: f32::NAN,
            alternatives: Vec::new(),
        }
    }
}

/// Draws a code: the most likely one at temperature 0, otherwise from the softened distribution.
pub(super) fn draw(logits: &[f32], temperature: f32, rng: &mut impl Rng) -> u16 {
    if temperature <= 0.0 {
        return most_likely(&softmax(logits, 1.0), 1)[0].0;
    }
    let probabilities = softmax(logits, f64::from(temperature));
    // 53 random bits make an even number in [0, 1).
    let mut left = (rng.next_u64() >> 11) as f64 / (1_u64 << 53) as f64;
    for (code, probability) in probabilities.iter().enumerate() {
        left -= probability;
        if left < 0.0 {
            return code as u16;
        }
    }
    // Rounding left a sliver: it belongs to the last code that can be drawn at all.
    let last = probabilities.iter().rposition(|p| *p > 0.0);
    last.expect("probabilities sum to one") as u16
}

fn softmax(logits: &[f32], temperature: f64) -> Vec<f64> {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let weights: Vec<f64> =
        logits.iter().map(|l| (f64::from(l - largest) / temperature).exp()).collect();
    let sum: f64 = weights.iter().sum();
    weights.into_iter().map(|w| w / sum).collect()
}

/// The `count` most likely codes, best first; equals in order of their number.
fn most_likely(probabilities: &[f64], count: usize) -> Vec<(u16, f32)> {
    let mut order: Vec<usize> = (0..probabilities.len()).collect();
    order.sort_by(|a, b| probabilities[*b].total_cmp(&probabilities[*a]).then(a.cmp(b)));
    order.into_iter().take(count).map(|i| (i as u16, probabilities[i] as f32)).collect()
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;
    use rand_chacha::ChaCha8Rng;

    use super::*;

    #[test]
    fn a_prediction_tells_probability_entropy_and_alternatives() {
        let logits = [0.5_f32.ln(), 0.25_f32.ln(), 0.125_f32.ln(), 0.125_f32.ln()];
        let prediction = CodePrediction::of(1, &logits);
        assert!((prediction.probability - 0.25).abs() < 1e-6);
        assert!((prediction.entropy_bits - 1.75).abs() < 1e-5);
        let codes: Vec<u16> = prediction.alternatives.iter().map(|a| a.0).collect();
        assert_eq!(codes, [0, 1, 2, 3]);
        assert!(prediction.alternatives.iter().map(|a| a.1).sum::<f32>() <= 1.0 + 1e-6);
    }

    #[test]
    fn draws_follow_the_softened_distribution() {
        let logits = [0.6_f32.ln(), 0.3_f32.ln(), 0.1_f32.ln()];
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let mut counts = [0_u32; 3];
        for _ in 0..20_000 {
            counts[usize::from(draw(&logits, 1.0, &mut rng))] += 1;
        }
        let wanted = [12_000.0, 6_000.0, 2_000.0];
        for (count, wanted) in counts.iter().zip(wanted) {
            assert!((f64::from(*count) - wanted).abs() < 300.0, "{counts:?}");
        }
        assert!((0..100).all(|_| draw(&logits, 0.0, &mut rng) == 0));
    }

    #[test]
    fn an_impossible_code_is_never_drawn() {
        let logits = [f32::NEG_INFINITY, 0.0, f32::NEG_INFINITY];
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        assert!((0..1000).all(|_| draw(&logits, 2.0, &mut rng) == 1));
        assert_eq!(CodePrediction::of(1, &logits).entropy_bits, 0.0);
    }
}
