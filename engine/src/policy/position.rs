//! Positions on a grid of latent tokens, and the additive embedding made from them.
//!
//! Mirrors `SinCosPosEmbAxisTE` of the reference (`autoregressive/modules/embedding.py`).

use serde::{Deserialize, Serialize};

/// How flattened tokens lie on a grid of time, height and width (width fastest).
///
/// For codes the three axes are clip, step within the clip, and code within the step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grid {
    /// `[time, height, width]`.
    pub shape: [usize; 3],
    /// Whether a begin token stands in front; it has no coordinates.
    pub begin: bool,
    /// Rows without coordinates are added at the end up to a multiple of this.
    pub pad_to_multiple_of: usize,
}

impl Grid {
    /// Rows of a table over this grid, with begin token and padding.
    pub fn rows(&self) -> usize {
        let tokens = self.shape.iter().product::<usize>() + usize::from(self.begin);
        tokens.next_multiple_of(self.pad_to_multiple_of.max(1))
    }

    /// `[time, height, width]` of every row; `None` for the begin token and for padding.
    pub fn coordinates(&self) -> Vec<Option<[usize; 3]>> {
        let [t, h, w] = self.shape;
        let begin = usize::from(self.begin);
        let place = |row: usize| {
            let token = row.checked_sub(begin).filter(|token| *token < t * h * w)?;
            Some([token / (h * w), token / w % h, token % w])
        };
        (0..self.rows()).map(place).collect()
    }

    /// The widths the three axes get out of `channels`: height and width the same even share.
    pub fn axis_widths(channels: usize) -> [usize; 3] {
        let side = channels / 6 * 2;
        [channels - 2 * side, side, side]
    }

    /// The additive position table, row-major `[rows, channels]`: per axis sines, then cosines.
    pub fn additive_table(&self, channels: usize) -> Vec<f32> {
        let widths = Self::axis_widths(channels);
        let mut table = Vec::with_capacity(self.rows() * channels);
        for place in self.coordinates() {
            let Some(place) = place else {
                table.resize(table.len() + channels, 0.0);
                continue;
            };
            for (position, width) in place.into_iter().zip(widths) {
                let half = width / 2;
                let angle = |i: usize| position as f64 * 10_000_f64.powf(-(i as f64) / half as f64);
                table.extend((0..half).map(|i| angle(i).sin() as f32));
                table.extend((0..half).map(|i| angle(i).cos() as f32));
            }
        }
        table
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_follow_the_begin_token_and_padding_has_no_place() {
        let grid = Grid { shape: [2, 1, 2], begin: true, pad_to_multiple_of: 4 };
        let places = grid.coordinates();
        assert_eq!(places.len(), 8);
        assert_eq!(places[0], None);
        assert_eq!(places[1], Some([0, 0, 0]));
        assert_eq!(places[4], Some([1, 0, 1]));
        assert_eq!(places[5..], [None; 3]);
        let table = grid.additive_table(12);
        assert_eq!(table.len(), 8 * 12);
        assert!(table[..12].iter().all(|v| *v == 0.0));
        // Row 4 is (1, 0, 1): time has sin 1 first, height sin 0 and cos 0.
        assert!((table[4 * 12] - 1_f32.sin()).abs() < 1e-7);
        assert_eq!(table[4 * 12 + 4..4 * 12 + 8], [0.0, 0.0, 1.0, 1.0]);
    }
}
