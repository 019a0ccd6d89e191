//! From coarse video to control hint: resized to the frame, clamped and turned grey.

use burn::tensor::Tensor;

use crate::media::{FrameSize, resize_bilinear};

/// Shares of red, green and blue in grey.
const LUMA: [f64; 3] = [0.2989, 0.587, 0.114];

/// The hint for a coarse video: its size is `size`, its values are in -1 to 1, and its three
/// channels are the same grey.
pub fn grey_hint(coarse: Tensor<5>, size: FrameSize) -> Tensor<5> {
    let colours = (resize_bilinear(coarse, size) + 1.0) / 2.0;
    let colours = colours.clamp(0.0, 1.0);
    let [red, green, blue] = [0, 1, 2].map(|c| colours.clone().narrow(1, c, 1) * LUMA[c]);
    let grey = (red + green + blue) * 2.0 - 1.0;
    Tensor::cat(vec![grey.clone(), grey.clone(), grey], 1)
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;

    fn values(x: Tensor<5>) -> Vec<f32> {
        x.into_data().try_into_vec().expect("f32")
    }

    #[test]
    fn the_hint_is_grey_and_clamped() {
        let device = Device::flex();
        let coarse = Tensor::from_data([[[[[5.0]]], [[[-1.0]]], [[[-1.0]]]]], &device);
        let hint = values(grey_hint(coarse, FrameSize { height: 1, width: 1 }));
        assert_eq!(hint.len(), 3);
        for value in hint {
            assert!((value - (0.2989 * 2.0 - 1.0)).abs() < 1e-6, "{value}");
        }
    }
}
