//! How often neighbours share a label.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::neighbours::Neighbours;

/// Share of neighbours with the same label, beside what chance would give.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Purity {
    pub purity: f32,
    /// The same if every other point were equally likely to be a neighbour.
    pub chance: f32,
}

/// # Panics
/// Panics when there is not one label a point.
pub fn purity(neighbours: &Neighbours, labels: &[usize]) -> Purity {
    let points = neighbours.queries();
    assert_eq!(points, labels.len(), "one label a point");
    let same = |point: usize| {
        let others = neighbours.of(point);
        others.filter(|(o, _)| labels[*o] == labels[point]).count()
    };
    let shared: usize = (0..points).map(same).sum();
    let mut counts = BTreeMap::<usize, f64>::new();
    for label in labels {
        *counts.entry(*label).or_default() += 1.0;
    }
    let all = points as f64;
    let chance: f64 = counts.values().map(|c| c * (c - 1.0)).sum::<f64>() / (all * (all - 1.0));
    Purity { purity: shared as f32 / (points * neighbours.k) as f32, chance: chance as f32 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn purity_counts_neighbours_of_the_same_label() {
        let neighbours =
            Neighbours { k: 2, indices: vec![1, 2, 0, 2, 0, 3, 2, 0], distances: vec![0.0; 8] };
        let found = purity(&neighbours, &[5, 5, 5, 9]);
        // Shared: 2, 2, 1 and 0 of 2 each; chance 3 * 2 / (4 * 3).
        assert!((found.purity - 5.0 / 8.0).abs() < 1e-6);
        assert!((found.chance - 0.5).abs() < 1e-6);
    }
}
