//! Principal components of many pixels.

use burn::tensor::Tensor;
use ndarray::{Array1, Array2, Axis};
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

/// Rounds of subspace iteration; the components that matter are told apart long before.
const ROUNDS: usize = 100;

pub(super) struct Components {
    pub mean: Array1<f32>,
    /// Orthonormal rows, the one that says most first.
    pub directions: Array2<f32>,
    /// Standard deviation along each direction.
    pub deviations: Array1<f32>,
}

impl Components {
    /// The first `count` components of the vectors along the last axis of `samples`.
    ///
    /// # Panics
    /// Panics if a vector has fewer than `count` values.
    pub(super) fn of(samples: Tensor<4>, count: usize) -> Self {
        let [a, b, c, length] = samples.dims();
        assert!(count <= length, "{count} components of {length} values");
        let values: Vec<f32> = samples
            .into_data()
            .convert::<f32>()
            .try_into_vec()
            .expect("converted to f32 just above");
        let mut samples = Array2::from_shape_vec((a * b * c, length), values)
            .expect("one row a vector of the tensor");
        let mean = samples.mean_axis(Axis(0)).expect("a batch is not empty");
        samples -= &mean;
        let covariance = samples.t().dot(&samples) / samples.nrows() as f32;
        let mut rng = ChaCha8Rng::seed_from_u64(0);
        let mut directions =
            Array2::from_shape_simple_fn((count, length), || rng.random_range(-1.0_f32..1.0));
        for _ in 0..ROUNDS {
            directions = directions.dot(&covariance);
            orthonormalise(&mut directions);
        }
        let variances = (directions.dot(&covariance) * &directions).sum_axis(Axis(1));
        let deviations = variances.mapv(|v| v.max(0.0).sqrt());
        Self { mean, directions, deviations }
    }
}

/// Gram and Schmidt's method on the rows, each twice for single precision's sake. A row that says
/// nothing new becomes zero.
fn orthonormalise(rows: &mut Array2<f32>) {
    for i in 0..rows.nrows() {
        let scale = length(&rows.row(i).to_owned());
        for _ in 0..2 {
            for j in 0..i {
                let share = rows.row(i).dot(&rows.row(j));
                let earlier = rows.row(j).to_owned();
                rows.row_mut(i).scaled_add(-share, &earlier);
            }
        }
        let left = length(&rows.row(i).to_owned());
        let factor = if left > 1e-6 * scale { 1.0 / left } else { 0.0 };
        rows.row_mut(i).mapv_inplace(|v| v * factor);
    }
}

fn length(row: &Array1<f32>) -> f32 {
    row.dot(row).sqrt()
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, TensorData};

    use super::*;

    #[test]
    fn components_of_a_known_cloud() {
        // Deviations 3, 1 and nothing along three rotated axes, about (5, 6, 7).
        let axes = [[0.6_f32, 0.8, 0.0], [-0.8, 0.6, 0.0]];
        let mut values = Vec::new();
        for i in 0..200 {
            let angle = i as f32 * 0.314_159_27;
            let (a, b) = (3.0 * angle.cos(), angle.sin());
            values.extend([0, 1, 2].map(|k| [5.0, 6.0, 7.0][k] + a * axes[0][k] + b * axes[1][k]));
        }
        let samples = Tensor::from_data(TensorData::new(values, [2, 10, 10, 3]), &Device::flex());
        let found = Components::of(samples, 3);
        for (k, mean) in [5.0, 6.0, 7.0].into_iter().enumerate() {
            assert!((found.mean[k] - mean).abs() < 1e-3, "{}", found.mean);
        }
        for (row, axis) in axes.iter().enumerate() {
            let along = found.directions.row(row).dot(&Array1::from_vec(axis.to_vec()));
            assert!((along.abs() - 1.0).abs() < 1e-3, "{}", found.directions);
        }
        // Of a circle's coordinate the mean square is one half.
        let wanted = [3.0, 1.0, 0.0].map(|v| v / 2.0_f32.sqrt());
        assert!(found.deviations.iter().zip(wanted).all(|(a, b)| (a - b).abs() < 1e-2));
        assert!(found.directions.row(2).dot(&found.directions.row(0)).abs() < 1e-3);
    }
}
