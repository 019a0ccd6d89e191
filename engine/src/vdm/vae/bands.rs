//! Layers over bands of rows, so that only a band of what they compute on the way is in memory.
//!
//! All layers but attention look at few rows around a pixel. A band gets as many more rows as a
//! layer looks at, passes through it as if it were the whole frame, and is cut back to what is
//! right: the result is that of the whole frame. What a layer remembers from chunk to chunk it
//! remembers for every band.

use burn::tensor::{Tensor, s};

use super::stream::Stream;

/// Numbers of one frame that a layer computes at a time. The release at 480x832 pixels passes its
/// finest level in five bands; a frame of the small pack is a hundredth of one.
pub(super) const BAND: usize = 1 << 23;

/// Rows above and below that a layer may look at: the two convolutions of a residual block look at
/// one each. Even, as halving the size wants it.
const REACH: usize = 2;

/// Rows of a band, at most all of `height`, where a row has so many numbers a frame. Bands begin at
/// even rows and differ little in size.
fn rows_of_a_band(height: usize, numbers: usize, limit: usize) -> usize {
    let most = (limit / numbers).max(REACH);
    height.div_ceil(height.div_ceil(most)).next_multiple_of(2).min(height)
}

/// Rows that pass through a layer at a time: those of a band and those around it. `channels` are
/// those of the widest tensor in it.
pub(super) fn rows_at_a_time(height: usize, width: usize, channels: usize) -> usize {
    let rows = rows_of_a_band(height, channels * width, BAND);
    (rows + 2 * REACH).min(height)
}

/// `layer` of `x`, `[batch, time, channel, height, width]`, in bands where `x` is large. The layer
/// may double or halve height and width. `channels` are those of the widest tensor in it, counted
/// for pixels of `x`.
pub(super) fn in_bands(
    x: Tensor<5>,
    channels: usize,
    stream: &mut Stream,
    layer: impl Fn(Tensor<5>, &mut Stream) -> Tensor<5>,
) -> Tensor<5> {
    let [batch, _, _, height, width] = x.dims();
    // Not by the count of frames: a clip's chunks differ in it and must have the same bands.
    let rows = rows_of_a_band(height, batch * channels * width, stream.band());
    if rows == height {
        return layer(x, stream);
    }
    let mut whole: Option<Tensor<5>> = None;
    for start in (0..height).step_by(rows) {
        let end = (start + rows).min(height);
        let (from, to) = (start.saturating_sub(REACH), (end + REACH).min(height));
        let y = layer(x.clone().narrow(3, from, to - from), stream);
        let [_, time, outputs, given, wide] = y.dims();
        let scaled = |rows: usize| rows * given / (to - from);
        let y = y.narrow(3, scaled(start - from), scaled(end - start));
        // Written into its place: joining the bands at the end would hold the result twice.
        let place = whole.unwrap_or_else(|| {
            Tensor::zeros([batch, time, outputs, scaled(height), wide], &y.device())
        });
        whole = Some(place.slice_assign(s![.., .., .., scaled(start)..scaled(end), ..], y));
    }
    whole.expect("a frame has rows")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bands_are_even_and_within_the_limit() {
        assert_eq!(rows_of_a_band(480, 96 * 832, BAND), 96);
        assert_eq!(rows_of_a_band(32, 16 * 48, BAND), 32);
        assert_eq!(rows_of_a_band(9, 10, 45), 4);
        assert_eq!(rows_of_a_band(7, 10, 69), 4);
        assert_eq!(rows_of_a_band(5, 10, 1), 2);
        assert_eq!(rows_of_a_band(1, 10, 1), 1);
        assert_eq!(rows_at_a_time(480, 832, 96), 100);
        assert_eq!(rows_at_a_time(5, 832, 96), 5);
    }
}
