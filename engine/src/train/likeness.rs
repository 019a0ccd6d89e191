//! How far painted video is from the truth, as a loss: what [`crate::atlas`] measures, with
//! gradients.

use burn::tensor::{Device, Tensor, TensorData};

use super::warmup::moving_weight;

/// Weight of structure beside colour: an error of either kind counts about the same.
const STRUCTURE_WEIGHT: f32 = 0.5;
/// The window of structural similarity: a Gaussian of eleven pixels.
const RADIUS: usize = 5;
const DEVIATION: f32 = 1.5;
/// The stabilisers of Wang et al. 2004 for values from 0 to 1.
const C1: f32 = 0.01 * 0.01;
const C2: f32 = 0.03 * 0.03;

/// Absolute error of the colours, moving pixels counting more, and what structural similarity
/// lacks. Both are `[batch, 3, time, height, width]` in -1 to 1, at least eleven pixels a side.
pub(super) fn picture_error(found: Tensor<5>, truth: Tensor<5>) -> Tensor<1> {
    let weight = moving_weight(&truth, &truth.clone().slice_dim(2, 0..1));
    let colour = (found.clone() - truth.clone()).abs() * weight.clone();
    let structure = -structural_similarity(luma(found), luma(truth)) + 1.0;
    colour.mean() / weight.mean() + structure * STRUCTURE_WEIGHT
}

/// Brightness from 0 to 1, `[batch, 3, time, height, width]` to `[batch * time, height, width]`.
fn luma(video: Tensor<5>) -> Tensor<3> {
    let [batch, _, time, height, width] = video.dims();
    let [red, green, blue] = [(0, 0.299), (1, 0.587), (2, 0.114)]
        .map(|(channel, share)| video.clone().narrow(1, channel, 1) * share);
    ((red + green + blue + 1.0) / 2.0).reshape([batch * time, height, width])
}

/// Mean structural similarity of pictures, `[picture, height, width]` in 0 to 1.
fn structural_similarity(a: Tensor<3>, b: Tensor<3>) -> Tensor<1> {
    let [_, height, width] = a.dims();
    let device = a.device();
    let (down, along) = (windows(height, &device), windows(width, &device).swap_dims(1, 2));
    let mean = |x: Tensor<3>| down.clone().matmul(x).matmul(along.clone());
    let (mean_a, mean_b) = (mean(a.clone()), mean(b.clone()));
    let both = mean_a.clone() * mean_b.clone();
    let squares = mean_a.square() + mean_b.square();
    let spread = mean(a.clone().square() + b.clone().square()) - squares.clone();
    let covariance = mean(a * b) - both.clone();
    let luminance = (both * 2.0 + C1) / (squares + C1);
    (luminance * (covariance * 2.0 + C2) / (spread + C2)).mean()
}

/// Gaussian means over all windows inside `size` pixels, `[1, size - 2 * RADIUS, size]`.
fn windows(size: usize, device: &Device) -> Tensor<3> {
    let weight = |offset: f32| (-offset * offset / (2.0 * DEVIATION * DEVIATION)).exp();
    let weights: Vec<f32> = (0..=2 * RADIUS).map(|i| weight(i as f32 - RADIUS as f32)).collect();
    let sum: f32 = weights.iter().sum();
    let rows = size - 2 * RADIUS;
    let mut values = vec![0.0; rows * size];
    for row in 0..rows {
        let window = &mut values[row * size + row..][..weights.len()];
        window.iter_mut().zip(&weights).for_each(|(to, weight)| *to = weight / sum);
    }
    Tensor::from_data(TensorData::new(values, [1, rows, size]), device)
}

#[cfg(test)]
mod tests {
    use image::Rgb;

    use super::*;
    use crate::atlas::ssim;
    use crate::media::{Frame, tensor_from_frames};

    fn picture(seed: u32) -> Frame {
        Frame::from_fn(24, 16, |x, y| {
            let wave = (x * (3 + seed) + y * 7) % 41;
            Rgb([60 + 4 * wave as u8, 90 + (y * 5) as u8, 200 - (x * 3) as u8])
        })
    }

    #[test]
    fn structural_similarity_is_that_of_the_evaluation() {
        let device = Device::flex();
        let (a, b) = (picture(0), picture(2));
        let tensor = |frame: &Frame| luma(tensor_from_frames(&[frame], &device));
        let found: f32 = structural_similarity(tensor(&a), tensor(&b)).into_scalar();
        let wanted = ssim(&a, &b);
        assert!(wanted < 0.9, "{wanted}: the pictures are too alike to tell anything");
        assert!((found - wanted).abs() < 1e-4, "{found} against {wanted}");
    }

    #[test]
    fn the_truth_has_no_error_and_descent_leads_to_it() {
        let device = Device::flex().autodiff();
        let truth = tensor_from_frames(&[&picture(0), &picture(2)], &device);
        let none: f32 = picture_error(truth.clone(), truth.clone()).into_scalar();
        assert!(none.abs() < 1e-5, "{none}");
        let found = (truth.clone() * 0.5).require_grad();
        let error = picture_error(found.clone(), truth.clone());
        let gradients = error.backward();
        let downhill = found.grad(&gradients).unwrap();
        let nearer = found.clone().inner() - downhill * 2.0;
        let before: f32 = error.into_scalar();
        let after: f32 = picture_error(nearer, truth.inner()).into_scalar();
        assert!(after < before, "{after} after {before}");
    }
}
