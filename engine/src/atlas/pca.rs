//! The plane of greatest variance, from which the map starts.

use ndarray::{Array1, Array2, ArrayView2, Axis};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};

/// Rounds of the power iteration; enough for a start that the map then improves.
const ROUNDS: usize = 100;

/// Coordinates of every point on the two directions of greatest variance, `[points, 2]`.
///
/// Each direction's largest weight is made positive, so the picture never flips by chance.
pub fn principal_plane(points: ArrayView2<'_, f32>) -> Array2<f32> {
    let points = points.mapv(f64::from);
    let mean = points.mean_axis(Axis(0)).unwrap_or_else(|| Array1::zeros(points.ncols()));
    let centred = points - &mean;
    let mut directions: Vec<Array1<f64>> = Vec::new();
    for axis in 0..2 {
        let mut rng = ChaCha8Rng::seed_from_u64(axis);
        let draw = || f64::from(rng.next_u32()) / f64::from(u32::MAX) - 0.5;
        let mut direction = Array1::from_iter(std::iter::repeat_with(draw).take(mean.len()));
        for _ in 0..ROUNDS {
            direction = centred.t().dot(&centred.dot(&direction));
            for earlier in &directions {
                direction = &direction - earlier * direction.dot(earlier);
            }
            let length = direction.dot(&direction).sqrt();
            if length < 1e-12 {
                direction.fill(0.0);
                break;
            }
            direction /= length;
        }
        let largest = direction
            .iter()
            .copied()
            .max_by(|a, b| a.abs().total_cmp(&b.abs()))
            .unwrap_or_default();
        if largest < 0.0 {
            direction = -direction;
        }
        directions.push(direction);
    }
    let mut plane = Array2::zeros((centred.nrows(), 2));
    for (axis, direction) in directions.iter().enumerate() {
        let coordinates = centred.dot(direction).mapv(|v| v as f32);
        plane.column_mut(axis).assign(&coordinates);
    }
    plane
}

#[cfg(test)]
mod tests {
    use ndarray::arr2;

    use super::*;

    #[test]
    fn the_plane_holds_the_two_widest_directions() {
        // Variance 10 along (0.6, 0, 0.8), 1 along y, none along the third direction.
        let points = arr2(&[
            [0.6 * 3.0, 1.0, 0.8 * 3.0],
            [0.6 * 3.0, -1.0, 0.8 * 3.0],
            [-0.6 * 3.0, 1.0, -0.8 * 3.0],
            [-0.6 * 3.0, -1.0, -0.8 * 3.0],
        ]);
        let plane = principal_plane(points.view());
        let wanted = arr2(&[[3.0, 1.0], [3.0, -1.0], [-3.0, 1.0], [-3.0, -1.0]]);
        let error = (plane - wanted).mapv(f32::abs);
        assert!(error.iter().all(|e| *e < 1e-4), "{error}");
    }
}
