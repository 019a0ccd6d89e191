//! What the codes make use of, and codes as points in space.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// How much of its codebook a set of code sequences uses.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CodebookUse {
    /// Different codes that occur anywhere.
    pub codes_in_use: usize,
    /// At each position 2 to the entropy of its codes in bits: as many equally likely codes would
    /// be as surprising. 1 is a constant.
    pub perplexity: Vec<f32>,
}

impl CodebookUse {
    pub fn mean_perplexity(&self) -> f32 {
        self.perplexity.iter().sum::<f32>() / self.perplexity.len().max(1) as f32
    }
}

/// Measures sequences of equal length, for example the codes of many clips.
///
/// # Panics
/// Panics when the sequences differ in length.
pub fn codebook_use<'a>(sequences: impl IntoIterator<Item = &'a [u16]>) -> CodebookUse {
    let sequences: Vec<&[u16]> = sequences.into_iter().collect();
    let length = sequences.first().map_or(0, |s| s.len());
    assert!(sequences.iter().all(|s| s.len() == length), "sequences of one length");
    let perplexity = |position: usize| {
        let mut codes: Vec<u16> = sequences.iter().map(|s| s[position]).collect();
        codes.sort_unstable();
        let share = |run: &[u16]| run.len() as f64 / codes.len() as f64;
        let runs = codes.chunk_by(|a, b| a == b).map(share);
        let entropy: f64 = runs.map(|p| -p * p.ln()).sum();
        entropy.exp() as f32
    };
    let mut all = sequences.concat();
    all.sort_unstable();
    all.dedup();
    CodebookUse { codes_in_use: all.len(), perplexity: (0..length).map(perplexity).collect() }
}

/// Share of codes right when always guessing the most frequent code of each position in `known`:
/// the baseline of next-code accuracy. Positions beyond every known sequence count as wrong.
pub fn most_frequent_accuracy<'a>(
    known: impl IntoIterator<Item = &'a [u16]>,
    unknown: impl IntoIterator<Item = &'a [u16]>,
) -> f32 {
    let mut counts: Vec<BTreeMap<u16, usize>> = Vec::new();
    for sequence in known {
        if counts.len() < sequence.len() {
            counts.resize_with(sequence.len(), BTreeMap::new);
        }
        for (counts, code) in counts.iter_mut().zip(sequence) {
            *counts.entry(*code).or_default() += 1;
        }
    }
    let most = |counts: &BTreeMap<u16, usize>| counts.iter().max_by_key(|(_, n)| **n).map(|m| *m.0);
    let guesses: Vec<Option<u16>> = counts.iter().map(most).collect();
    let (mut right, mut all) = (0, 0);
    for sequence in unknown {
        all += sequence.len();
        right +=
            sequence.iter().zip(&guesses).filter(|(code, guess)| Some(**code) == **guess).count();
    }
    right as f32 / all.max(1) as f32
}

/// Codes as a point: the digits of every code, each from -1 (lowest) to 1 (highest), side by side.
///
/// `levels` are those of the quantiser, for example `[8, 5, 5, 5]`; the first digit is the one
/// that changes fastest with the code.
pub fn step_features(codes: &[u16], levels: &[usize]) -> Vec<f32> {
    let digits = |code: &u16| {
        let mut rest = usize::from(*code);
        levels.iter().map(move |level| {
            let digit = rest % level;
            rest /= level;
            if *level > 1 { 2.0 * digit as f32 / (level - 1) as f32 - 1.0 } else { 0.0 }
        })
    };
    codes.iter().flat_map(digits).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn perplexity_is_that_of_equally_likely_codes() {
        let sequences: [&[u16]; 4] = [&[7, 1], &[7, 2], &[7, 3], &[7, 3]];
        let found = codebook_use(sequences);
        assert_eq!(found.codes_in_use, 4);
        assert!((found.perplexity[0] - 1.0).abs() < 1e-6);
        // Shares 1/4, 1/4, 1/2: 1.5 bits.
        assert!((found.perplexity[1] - 2_f32.powf(1.5)).abs() < 1e-5);
    }

    #[test]
    fn the_most_frequent_code_is_guessed_at_each_position() {
        let known: [&[u16]; 3] = [&[1, 5], &[1, 6], &[2, 6, 9]];
        // Guesses 1, 6, 9 and nothing after.
        let unknown: [&[u16]; 2] = [&[1, 5, 9, 9], &[2, 6]];
        assert!((most_frequent_accuracy(known, unknown) - 0.5).abs() < 1e-6);
    }

    #[test]
    fn digits_run_from_minus_one_to_one_with_the_first_the_fastest() {
        let levels = [8, 5, 5, 5];
        assert_eq!(step_features(&[0], &levels), [-1.0; 4]);
        assert_eq!(step_features(&[999], &levels), [1.0; 4]);
        // 7 + 8 * 2: first digit at its top, second in the middle.
        assert_eq!(
            step_features(&[23, 0], &levels),
            [1.0, 0.0, -1.0, -1.0, -1.0, -1.0, -1.0, -1.0]
        );
    }
}
