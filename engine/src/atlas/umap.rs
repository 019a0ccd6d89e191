//! UMAP: a picture on a plane in which what is near in many dimensions stays near.
//!
//! The fuzzy graph comes from `umap-rs`; the layout is ours. `umap-rs` 0.4.5 divides by
//! `a d^(2b) d^2 + 1` where the method has `a d^(2b) + 1`, so its pictures fall apart, and its
//! parallel updates never repeat. Ours follows umap-learn's formulas
//! (`umap/layouts.py`, `umap/umap_.py`) one edge at a time from a seed.

use std::ops::ControlFlow;

use ndarray::{Array2, ArrayView2};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};
use serde::{Deserialize, Serialize};
use umap_rs::{GraphParams, ManifoldParams, Umap, UmapConfig};

use super::neighbours::{Neighbours, nearest, neighbours};
use super::pca::principal_plane;

/// Largest move of one coordinate per update, before the learning rate.
const LARGEST_GRADIENT: f32 = 4.0;
/// Side of the square in which the layout starts.
const START_SIDE: f32 = 10.0;

/// How a map is made; the defaults are umap-learn's for up to 10,000 points.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct UmapSettings {
    /// Neighbours of every point, itself included.
    pub neighbours: usize,
    /// How close points may lie on the map.
    pub min_distance: f32,
    pub epochs: usize,
    /// Points pushed away for every neighbour pulled near.
    pub negative_samples: usize,
    pub seed: u64,
}

impl Default for UmapSettings {
    fn default() -> Self {
        Self { neighbours: 15, min_distance: 0.1, epochs: 500, negative_samples: 5, seed: 0 }
    }
}

/// Lays `points` out on a plane; `None` when `progress` broke off.
///
/// `progress` hears `(epochs done, of)`. The same points and settings give the same map, bit for
/// bit, on one machine. Give distinct points: copies of one point crowd out its true neighbours.
pub fn umap(
    points: ArrayView2<'_, f32>,
    settings: &UmapSettings,
    mut progress: impl FnMut(usize, usize) -> ControlFlow<()>,
) -> Option<Vec<[f32; 2]>> {
    let mut rng = ChaCha8Rng::seed_from_u64(settings.seed);
    let mut layout = start(points, &mut rng);
    let k = settings.neighbours.min(points.nrows().saturating_sub(1));
    if k < 2 {
        return Some(layout);
    }
    let mut edges = edges(points, k, settings);
    let (a, b) = curve(settings.min_distance);
    let (a, b) = (a as f32, b as f32);
    for epoch in 0..settings.epochs {
        let rate = 1.0 - epoch as f32 / settings.epochs as f32;
        let now = epoch as f32;
        for edge in &mut edges {
            if edge.next > now {
                continue;
            }
            let (head, tail) = (edge.head, edge.tail);
            let pull = pull(layout[head], layout[tail], a, b);
            for axis in 0..2 {
                layout[head][axis] += pull[axis] * rate;
                layout[tail][axis] -= pull[axis] * rate;
            }
            edge.next += edge.every;
            let away_every = edge.every / settings.negative_samples as f32;
            let due = ((now - edge.next_away) / away_every).max(0.0) as usize;
            for _ in 0..due {
                let other = ((u64::from(rng.next_u32()) * layout.len() as u64) >> 32) as usize;
                if other == head {
                    continue;
                }
                let push = push(layout[head], layout[other], a, b);
                for axis in 0..2 {
                    layout[head][axis] += push[axis] * rate;
                }
            }
            edge.next_away += due as f32 * away_every;
        }
        if progress(epoch + 1, settings.epochs).is_break() {
            return None;
        }
    }
    Some(layout)
}

/// One direction of a pair that the graph holds together.
struct Edge {
    head: usize,
    tail: usize,
    /// Epochs between two pulls: 1 for the strongest pair.
    every: f32,
    next: f32,
    next_away: f32,
}

fn edges(points: ArrayView2<'_, f32>, k: usize, settings: &UmapSettings) -> Vec<Edge> {
    // umap-rs, like umap-learn, counts every point as its own first neighbour.
    let others = neighbours(points, k - 1);
    let rows = points.nrows();
    let mut indices = Array2::zeros((rows, k));
    let mut distances = Array2::zeros((rows, k));
    for row in 0..rows {
        indices[[row, 0]] = row as u32;
        for (column, (other, distance)) in others.of(row).enumerate() {
            indices[[row, column + 1]] = other as u32;
            distances[[row, column + 1]] = distance;
        }
    }
    let (a, b) = curve(settings.min_distance);
    let config = UmapConfig {
        graph: GraphParams { n_neighbors: k, ..GraphParams::default() },
        manifold: ManifoldParams {
            min_dist: settings.min_distance,
            a: Some(a as f32),
            b: Some(b as f32),
            ..ManifoldParams::default()
        },
        ..UmapConfig::default()
    };
    let manifold = Umap::new(config).learn_manifold(points, indices.view(), distances.view());
    let mut pairs: Vec<(usize, usize, f32)> = Vec::new();
    for (head, row) in manifold.graph().outer_iterator().enumerate() {
        let row = row.iter().map(|(tail, weight)| (head, tail, *weight));
        pairs.extend(row);
    }
    pairs.sort_unstable_by_key(|(head, tail, _)| (*head, *tail));
    let strongest = pairs.iter().fold(0.0_f32, |most, pair| most.max(pair.2));
    let epochs = settings.epochs as f32;
    pairs
        .into_iter()
        .map(|(head, tail, weight)| (head, tail, strongest / weight))
        // Pairs too weak to be pulled even once.
        .filter(|(_, _, every)| *every <= epochs)
        .map(|(head, tail, every)| Edge {
            head,
            tail,
            every,
            next: every,
            next_away: every / settings.negative_samples as f32,
        })
        .collect()
}

/// The plane of greatest variance in a square, every point moved a hair so that none coincide.
fn start(points: ArrayView2<'_, f32>, rng: &mut ChaCha8Rng) -> Vec<[f32; 2]> {
    let plane = principal_plane(points);
    let scale = |axis: usize| {
        let column = plane.column(axis);
        let low = column.iter().copied().fold(f32::INFINITY, f32::min);
        let high = column.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let range = high - low;
        let factor = if range > 1e-6 { START_SIDE / range } else { 0.0 };
        (low, factor)
    };
    let scales = [scale(0), scale(1)];
    let mut hair = || (f64::from(rng.next_u32()) / f64::from(u32::MAX) - 0.5) as f32 * 2e-4;
    let mut place = |row: usize| {
        [0, 1].map(|axis| {
            let (low, factor) = scales[axis];
            (plane[[row, axis]] - low) * factor + hair()
        })
    };
    (0..points.nrows()).map(&mut place).collect()
}

/// `a` and `b` of the curve `1 / (1 + a d^(2b))` closest to "1 up to the smallest distance, then
/// falling off exponentially" over three units, by damped Gauss-Newton.
fn curve(min_distance: f32) -> (f64, f64) {
    let min_distance = f64::from(min_distance);
    let samples: Vec<(f64, f64)> = (0..300)
        .map(|i| 3.0 * f64::from(i) / 299.0)
        .map(|x| (x, (-(x - min_distance).max(0.0)).exp()))
        .collect();
    let error = |a: f64, b: f64| -> f64 {
        let residual = |(x, y): &(f64, f64)| 1.0 / (1.0 + a * x.powf(2.0 * b)) - y;
        samples.iter().map(|s| residual(s).powi(2)).sum()
    };
    let (mut a, mut b, mut damping) = (1.0, 1.0, 1e-3);
    for _ in 0..100 {
        let [mut aa, mut ab, mut bb, mut ga, mut gb] = [0.0; 5];
        for (x, y) in &samples {
            let power = x.powf(2.0 * b);
            let value = 1.0 / (1.0 + a * power);
            let by_a = -power * value * value;
            let by_b = if *x > 0.0 { 2.0 * a * x.ln() * by_a } else { 0.0 };
            aa += by_a * by_a;
            ab += by_a * by_b;
            bb += by_b * by_b;
            ga += by_a * (value - y);
            gb += by_b * (value - y);
        }
        let (aa, bb) = (aa * (1.0 + damping), bb * (1.0 + damping));
        let determinant = aa * bb - ab * ab;
        let (next_a, next_b) =
            (a - (bb * ga - ab * gb) / determinant, b - (aa * gb - ab * ga) / determinant);
        if next_a > 0.0 && next_b > 0.0 && error(next_a, next_b) < error(a, b) {
            (a, b) = (next_a, next_b);
            damping *= 0.3;
        } else {
            damping *= 10.0;
        }
    }
    (a, b)
}

fn squared_distance(from: [f32; 2], to: [f32; 2]) -> f32 {
    (from[0] - to[0]).powi(2) + (from[1] - to[1]).powi(2)
}

fn along(from: [f32; 2], to: [f32; 2], coefficient: f32) -> [f32; 2] {
    [0, 1].map(|axis| {
        let gradient = coefficient * (from[axis] - to[axis]);
        gradient.clamp(-LARGEST_GRADIENT, LARGEST_GRADIENT)
    })
}

/// The move of `from` towards its neighbour.
fn pull(from: [f32; 2], to: [f32; 2], a: f32, b: f32) -> [f32; 2] {
    let square = squared_distance(from, to);
    if square == 0.0 {
        return [0.0; 2];
    }
    let power = square.powf(b);
    along(from, to, -2.0 * a * b * power / square / (a * power + 1.0))
}

/// The move of `from` away from a point that is no neighbour.
fn push(from: [f32; 2], to: [f32; 2], a: f32, b: f32) -> [f32; 2] {
    let square = squared_distance(from, to);
    if square == 0.0 {
        return [0.0; 2];
    }
    let power = square.powf(b);
    along(from, to, 2.0 * b / ((0.001 + square) * (a * power + 1.0)))
}

/// Puts new points on a finished map: each at the mean of its `k` nearest mapped points, weighted
/// by the inverse of their distance. One that coincides with a mapped point lies on it.
///
/// `mapped` are the features of the map's points, `layout` their places.
pub fn place(
    queries: ArrayView2<'_, f32>,
    mapped: ArrayView2<'_, f32>,
    layout: &[[f32; 2]],
    k: usize,
) -> Vec<[f32; 2]> {
    let found: Neighbours = nearest(queries, mapped, k);
    let one = |query: usize| {
        let (mut sum, mut weights) = ([0.0_f64; 2], 0.0_f64);
        for (point, distance) in found.of(query) {
            if distance == 0.0 {
                return layout[point];
            }
            let weight = 1.0 / f64::from(distance);
            weights += weight;
            for axis in 0..2 {
                sum[axis] += weight * f64::from(layout[point][axis]);
            }
        }
        sum.map(|s| (s / weights) as f32)
    };
    (0..queries.nrows()).map(one).collect()
}

#[cfg(test)]
mod tests {
    use ndarray::arr2;

    use super::super::purity::purity;
    use super::*;

    fn go_on(_: usize, _: usize) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }

    /// Gaussian-like blobs of 50 points in 16 dimensions around random corners.
    fn blobs(count: usize) -> (Array2<f32>, Vec<usize>) {
        let mut rng = ChaCha8Rng::seed_from_u64(9);
        let mut uniform = || (f64::from(rng.next_u32()) / f64::from(u32::MAX) - 0.5) as f32;
        let mut points = Array2::zeros((count * 50, 16));
        let mut labels = Vec::new();
        for blob in 0..count {
            let centre: Vec<f32> = (0..16).map(|_| 6.0 * uniform()).collect();
            for point in 0..50 {
                labels.push(blob);
                for (axis, middle) in centre.iter().enumerate() {
                    let spread = uniform() + uniform() + uniform() + uniform();
                    points[[blob * 50 + point, axis]] = middle + spread;
                }
            }
        }
        (points, labels)
    }

    fn as_points(layout: &[[f32; 2]]) -> Array2<f32> {
        Array2::from_shape_fn((layout.len(), 2), |(row, axis)| layout[row][axis])
    }

    #[test]
    fn separable_blobs_stay_apart_and_the_map_repeats_bit_for_bit() {
        let (points, labels) = blobs(12);
        let settings = UmapSettings::default();
        let mut heard = 0;
        let count = |done, of| {
            heard += 1;
            assert_eq!((done, of), (heard, 500));
            ControlFlow::Continue(())
        };
        let layout = umap(points.view(), &settings, count).expect("nothing breaks off");
        assert_eq!(heard, 500);
        let near = neighbours(as_points(&layout).view(), 15);
        let measured = purity(&near, &labels);
        assert!(measured.purity >= 0.95, "purity {}", measured.purity);
        // The plane it starts from does not separate them by itself.
        let plane = principal_plane(points.view());
        let plane = purity(&neighbours(plane.view(), 15), &labels);
        assert!(plane.purity < 0.9, "purity of the plane {}", plane.purity);

        let again = umap(points.view(), &settings, go_on).expect("nothing breaks off");
        let bits = |layout: &[[f32; 2]]| -> Vec<[u32; 2]> {
            layout.iter().map(|p| p.map(f32::to_bits)).collect()
        };
        assert_eq!(bits(&layout), bits(&again));
        let other = UmapSettings { seed: 1, ..settings };
        let other = umap(points.view(), &other, go_on).expect("nothing breaks off");
        assert_ne!(bits(&layout), bits(&other));
    }

    #[test]
    fn breaking_off_and_tiny_sets_are_fine() {
        let (points, _) = blobs(1);
        let stop = |done, _| {
            if done == 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        assert!(umap(points.view(), &UmapSettings::default(), stop).is_none());
        for count in 0..5 {
            let few = points.slice(ndarray::s![..count, ..]);
            let layout = umap(few, &UmapSettings::default(), go_on).expect("goes on");
            assert_eq!(layout.len(), count);
            assert!(layout.iter().flatten().all(|v| v.is_finite()));
        }
    }

    #[test]
    fn the_curve_has_umap_learns_coefficients() {
        let (a, b) = curve(0.1);
        assert!((a - 1.576_943).abs() < 1e-4 && (b - 0.895_061).abs() < 1e-4, "{a} {b}");
    }

    #[test]
    fn new_points_land_between_their_neighbours() {
        let mapped = arr2(&[[0.0], [4.0], [100.0]]);
        let layout = [[0.0, 0.0], [8.0, 4.0], [-50.0, 9.0]];
        let queries = arr2(&[[1.0], [4.0]]);
        let placed = place(queries.view(), mapped.view(), &layout, 2);
        // Distances 1 and 3: weights 3/4 and 1/4.
        assert_eq!(placed, [[2.0, 1.0], [8.0, 4.0]]);
    }
}
