//! Exact nearest neighbours by Euclidean distance.

use ndarray::ArrayView2;
use rayon::prelude::*;

/// The k nearest points of every query, nearest first; on equal distance the earlier point first.
#[derive(Debug, Clone, PartialEq)]
pub struct Neighbours {
    pub k: usize,
    /// Row-major `[queries, k]`.
    pub indices: Vec<u32>,
    /// Beside `indices`.
    pub distances: Vec<f32>,
}

impl Neighbours {
    /// `(point, distance)` of one query's neighbours.
    pub fn of(&self, query: usize) -> impl Iterator<Item = (usize, f32)> {
        let range = query * self.k..(query + 1) * self.k;
        let indices = self.indices[range.clone()].iter().map(|i| *i as usize);
        indices.zip(self.distances[range].iter().copied())
    }

    pub fn queries(&self) -> usize {
        self.indices.len() / self.k.max(1)
    }
}

/// The neighbours of every point among the others; `k` is cut to the number of others.
pub fn neighbours(points: ArrayView2<'_, f32>, k: usize) -> Neighbours {
    let k = k.min(points.nrows().saturating_sub(1));
    search(points, points, k, true)
}

/// The points nearest to every query; `k` is cut to the number of points.
pub fn nearest(queries: ArrayView2<'_, f32>, points: ArrayView2<'_, f32>, k: usize) -> Neighbours {
    search(queries, points, k.min(points.nrows()), false)
}

fn search(
    queries: ArrayView2<'_, f32>,
    points: ArrayView2<'_, f32>,
    k: usize,
    among_others: bool,
) -> Neighbours {
    assert_eq!(
        queries.ncols(),
        points.ncols(),
        "queries and points need the same number of features"
    );
    let row = |query: usize| {
        let own = queries.row(query);
        let mut found: Vec<(f32, u32)> = (0..points.nrows())
            .filter(|point| !(among_others && *point == query))
            .map(|point| {
                let differences = own.iter().zip(points.row(point)).map(|(a, b)| a - b);
                (differences.map(|d| d * d).sum(), point as u32)
            })
            .collect();
        let order = |a: &(f32, u32), b: &(f32, u32)| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1));
        if k < found.len() {
            found.select_nth_unstable_by(k, order);
            found.truncate(k);
        }
        found.sort_unstable_by(order);
        found
    };
    let rows: Vec<(f32, u32)> = (0..queries.nrows()).into_par_iter().flat_map_iter(row).collect();
    Neighbours {
        k,
        indices: rows.iter().map(|(_, index)| *index).collect(),
        distances: rows.iter().map(|(square, _)| square.sqrt()).collect(),
    }
}

#[cfg(test)]
mod tests {
    use ndarray::arr2;

    use super::*;

    #[test]
    fn neighbours_come_nearest_first_and_never_include_the_point_itself() {
        let points = arr2(&[[0.0, 0.0], [3.0, 4.0], [0.0, 1.0], [0.0, -1.0]]);
        let found = neighbours(points.view(), 2);
        assert_eq!(found.of(0).collect::<Vec<_>>(), [(2, 1.0), (3, 1.0)]);
        assert_eq!(found.of(1).next(), Some((2, 18_f32.sqrt())));
        assert_eq!(neighbours(points.view(), 9).k, 3);
        let found = nearest(arr2(&[[3.0, 4.0]]).view(), points.view(), 1);
        assert_eq!(found.of(0).collect::<Vec<_>>(), [(1, 0.0)]);
    }
}
