//! From coarse video to control hint: resized to the frame, clamped and turned grey.

use burn::tensor::{Device, Tensor, TensorData};

/// Shares of red, green and blue in grey.
const LUMA: [f64; 3] = [0.2989, 0.587, 0.114];

/// Resizes every frame of `[batch, channel, frames, height, width]` to `[height, width]` = `size`:
/// bilinear between pixel centres, without smoothing beforehand.
pub fn resize(video: Tensor<5>, size: [usize; 2]) -> Tensor<5> {
    let [batch, channels, frames, height, width] = video.dims();
    let [to_height, to_width] = size;
    if [height, width] == size {
        return video;
    }
    let device = video.device();
    // Interpolation is linear in the pixels, so it is a matrix for the rows and one for the columns.
    let columns = interpolation(width, to_width, &device).transpose();
    let rows = interpolation(height, to_height, &device);
    let flat = video.reshape([batch * channels * frames * height, width]);
    let flat = flat.matmul(columns).reshape([batch * channels * frames, height, to_width]);
    rows.unsqueeze_dim::<3>(0).matmul(flat).reshape([batch, channels, frames, to_height, to_width])
}

/// Row `i` holds the shares of the `from` old positions in the new position `i`.
fn interpolation(from: usize, to: usize, device: &Device) -> Tensor<2> {
    let scale = from as f32 / to as f32;
    let mut shares = vec![0.0_f32; from * to];
    for (i, row) in shares.chunks_mut(from).enumerate() {
        let position = (scale * (i as f32 + 0.5) - 0.5).max(0.0);
        let lower = (position as usize).min(from - 1);
        let upper = (lower + 1).min(from - 1);
        let share = position - lower as f32;
        row[lower] += 1.0 - share;
        row[upper] += share;
    }
    Tensor::from_data(TensorData::new(shares, [to, from]), device)
}

/// The hint for a coarse video: its size is `size`, its values are in -1 to 1, and its three
/// channels are the same grey.
pub fn grey_hint(coarse: Tensor<5>, size: [usize; 2]) -> Tensor<5> {
    let colours = (resize(coarse, size) + 1.0) / 2.0;
    let colours = colours.clamp(0.0, 1.0);
    let [red, green, blue] = [0, 1, 2].map(|c| colours.clone().narrow(1, c, 1) * LUMA[c]);
    let grey = (red + green + blue) * 2.0 - 1.0;
    Tensor::cat(vec![grey.clone(), grey.clone(), grey], 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(x: Tensor<5>) -> Vec<f32> {
        x.into_data().try_into_vec().expect("f32")
    }

    #[test]
    fn resizing_follows_pixel_centres() {
        let device = Device::flex();
        let row = Tensor::from_data([[[[[0.0, 1.0]]]]], &device);
        assert_eq!(values(resize(row.clone(), [1, 4])), [0.0, 0.25, 0.75, 1.0]);
        assert_eq!(values(resize(row, [2, 1])), [0.5, 0.5]);
    }

    #[test]
    fn the_hint_is_grey_and_clamped() {
        let device = Device::flex();
        let coarse = Tensor::from_data([[[[[5.0]]], [[[-1.0]]], [[[-1.0]]]]], &device);
        let hint = values(grey_hint(coarse, [1, 1]));
        assert_eq!(hint.len(), 3);
        for value in hint {
            assert!((value - (0.2989 * 2.0 - 1.0)).abs() < 1e-6, "{value}");
        }
    }
}
