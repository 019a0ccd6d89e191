//! What a linear classifier can read from features: multinomial logistic regression.

use ndarray::{Array1, Array2, ArrayView2, Axis};

/// How a probe is trained.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ProbeSettings {
    pub rounds: usize,
    /// Pull of every weight towards zero.
    pub weight_decay: f32,
}

impl Default for ProbeSettings {
    fn default() -> Self {
        Self { rounds: 300, weight_decay: 1e-2 }
    }
}

/// A linear classifier over standardised features.
#[derive(Debug, Clone)]
pub struct Probe {
    mean: Array1<f32>,
    deviation: Array1<f32>,
    /// `[features + 1, classes]`, the last row is the bias.
    weights: Array2<f32>,
}

impl Probe {
    /// Trains on `features` `[examples, features]` by accelerated gradient descent over all
    /// examples at once, with a step so short that it cannot diverge. Deterministic.
    ///
    /// # Panics
    /// Panics when there is not one label an example, or one is not below `classes`.
    pub fn fit(
        features: ArrayView2<'_, f32>,
        labels: &[usize],
        classes: usize,
        settings: &ProbeSettings,
    ) -> Self {
        assert_eq!(features.nrows(), labels.len(), "one label an example");
        let zeros = || Array1::zeros(features.ncols());
        let mean = features.mean_axis(Axis(0)).unwrap_or_else(zeros);
        // A constant feature says nothing; dividing by 1 keeps it at zero.
        let deviation = features.std_axis(Axis(0), 0.0);
        let deviation = deviation.mapv(|d| if d > 1e-6 { d } else { 1.0 });
        let mut probe =
            Self { mean, deviation, weights: Array2::zeros((features.ncols() + 1, classes)) };
        let inputs = probe.inputs(features);
        let mut targets = Array2::<f32>::zeros((labels.len(), classes));
        for (row, label) in labels.iter().enumerate() {
            targets[[row, *label]] = 1.0;
        }
        let examples = labels.len().max(1) as f32;
        // The softmax loss bends by at most half of the inputs' mean squared length.
        let bend = 0.5 * inputs.iter().map(|v| v * v).sum::<f32>() / examples;
        let step = 1.0 / (bend + settings.weight_decay);
        let mut previous = probe.weights.clone();
        for round in 0..settings.rounds {
            let momentum = round as f32 / (round as f32 + 3.0);
            let ahead = &probe.weights + (&probe.weights - &previous) * momentum;
            let errors = softmax_rows(inputs.dot(&ahead)) - &targets;
            let gradient = inputs.t().dot(&errors) / examples + &ahead * settings.weight_decay;
            previous = std::mem::replace(&mut probe.weights, ahead - gradient * step);
        }
        probe
    }

    /// Share of examples whose class is predicted right.
    pub fn accuracy(&self, features: ArrayView2<'_, f32>, labels: &[usize]) -> f32 {
        let scores = self.inputs(features).dot(&self.weights);
        let right = scores.outer_iter().zip(labels).filter(|(row, label)| {
            let best = row.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1));
            best.is_some_and(|(class, _)| class == **label)
        });
        right.count() as f32 / labels.len().max(1) as f32
    }

    /// Standardised features with a constant 1 behind them for the bias.
    fn inputs(&self, features: ArrayView2<'_, f32>) -> Array2<f32> {
        let mut inputs = Array2::ones((features.nrows(), features.ncols() + 1));
        let standard = (&features - &self.mean) / &self.deviation;
        inputs.slice_mut(ndarray::s![.., ..features.ncols()]).assign(&standard);
        inputs
    }
}

fn softmax_rows(mut scores: Array2<f32>) -> Array2<f32> {
    for mut row in scores.outer_iter_mut() {
        let highest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        row.mapv_inplace(|v| (v - highest).exp());
        let sum = row.sum();
        row /= sum;
    }
    scores
}

#[cfg(test)]
mod tests {
    use ndarray::arr2;

    use super::*;

    #[test]
    fn a_separable_set_is_read_and_an_unseen_side_is_generalised() {
        let features =
            arr2(&[[0.0, 500.0, 1.0], [0.1, 900.0, 1.0], [1.0, 510.0, 1.0], [1.1, 890.0, 1.0]]);
        let probe = Probe::fit(features.view(), &[0, 0, 1, 1], 2, &ProbeSettings::default());
        let unseen = arr2(&[[-0.5, 700.0, 1.0], [1.6, 700.0, 1.0], [0.9, 100.0, 1.0]]);
        assert_eq!(probe.accuracy(unseen.view(), &[0, 1, 1]), 1.0);
        assert!((probe.accuracy(unseen.view(), &[0, 1, 0]) - 2.0 / 3.0).abs() < 1e-6);
    }

    #[test]
    fn the_optimum_is_that_of_the_regularised_loss() {
        // Inputs -1 and 1, one of four labels wrong on each side. With decay r the weights of the
        // two classes are -w and w, where 1 / (1 + exp(-2 w)) = 0.75 - r w (gradient zero).
        let features = arr2(&[[-1.0], [-1.0], [-1.0], [-1.0], [1.0], [1.0], [1.0], [1.0]]);
        let labels = [0, 0, 0, 1, 1, 1, 1, 0];
        let settings = ProbeSettings { rounds: 2000, weight_decay: 0.05 };
        let probe = Probe::fit(features.view(), &labels, 2, &settings);
        let w = probe.weights[[0, 1]];
        let left = 1.0 / (1.0 + (-2.0 * w).exp());
        assert!((left - (0.75 - 0.05 * w)).abs() < 1e-4, "w {w}");
        assert!((probe.weights[[0, 0]] + w).abs() < 1e-5);
        assert!(probe.weights[[1, 0]].abs() < 1e-5);
    }
}
