//! Counting the arithmetic of convolutions, whose positions no weight tells.

use std::cell::Cell;

use burn::tensor::Tensor;
use burn::tensor::ops::ConvOptions;

thread_local! {
    static COUNTED: Cell<f64> = const { Cell::new(0.0) };
}

/// Multiplications and additions of the convolutions that `work` runs on this thread.
pub(crate) fn of_convolutions(work: impl FnOnce()) -> f64 {
    let before = COUNTED.get();
    work();
    COUNTED.get() - before
}

/// A 2D convolution with as many zeros around that odd kernels keep height and width, counted. Shapes
/// are as of [`conv2d`]. On a card's matrix units where the weights are halves and it has some.
pub(crate) fn conv2d_same_size(
    x: Tensor<4>,
    weight: Tensor<4>,
    bias: Option<Tensor<1>>,
) -> Tensor<4> {
    let [_, _, height, width] = weight.dims();
    #[cfg(feature = "gpu")]
    if let Some(y) = crate::kernels::convolve(&x, &weight) {
        let y = counted(y, &weight);
        return match bias {
            Some(bias) => y + bias.reshape([1, -1, 1, 1]),
            None => y,
        };
    }
    conv2d(x, weight, bias, ConvOptions::new([1, 1], [height / 2, width / 2], [1, 1], 1))
}

/// burn's 2D convolution, counted. Shapes are as there: `x` `[batch, in, height, width]`, `weight`
/// `[out, in, height, width]`, `bias` `[out]`.
pub(crate) fn conv2d(
    x: Tensor<4>,
    weight: Tensor<4>,
    bias: Option<Tensor<1>>,
    options: ConvOptions<2>,
) -> Tensor<4> {
    let weight = weight.cast(x.dtype());
    counted(burn::tensor::module::conv2d(x, weight.clone(), bias, options), &weight)
}

/// `y`, whose every number took all taps of `weight`.
fn counted(y: Tensor<4>, weight: &Tensor<4>) -> Tensor<4> {
    let [_, inputs, height, width] = weight.dims();
    let taps = 2 * inputs * height * width;
    COUNTED.set(COUNTED.get() + (taps * y.shape().num_elements()) as f64);
    y
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;

    #[test]
    fn every_tap_of_every_output_is_two_operations() {
        let device = Device::flex();
        let counted = of_convolutions(|| {
            let x = Tensor::<4>::ones([2, 3, 8, 6], &device);
            let weight = Tensor::<4>::ones([5, 3, 3, 3], &device);
            conv2d(x, weight, None, ConvOptions::new([2, 2], [1, 1], [1, 1], 1));
        });
        assert_eq!(counted, f64::from(2 * (3 * 3 * 3) * (2 * 5 * 4 * 3)));
    }
}
