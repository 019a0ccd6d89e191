//! Small pictures of latents by one linear map: a preview where decoding would take too long.

use burn::tensor::{DType, Int, Tensor, TensorData};
use ndarray::{Array2, s};

/// Added to the variance of every channel, so that channels that say the same share the weight.
const RIDGE: f64 = 1e-3;

/// Pixels of a clip up to which a preview is decoded as the clip itself will be: that of the release
/// takes longer to decode than many steps to sample.
const LARGEST_DECODED: usize = 1 << 21;

/// A linear map from a latent position to the mean colour of the pixels under it. It is fitted to
/// the frame a clip begins with, whose latents sampling needs anyway, so it suits every autoencoder.
#[derive(Debug, Clone)]
pub struct Sketch {
    /// One row a channel of the latents, the last one a constant: `[channel + 1, 3]`.
    weights: Tensor<2>,
}

impl Sketch {
    /// Whether clips of so many pixels, all frames together, are previewed by it.
    pub fn suits(pixels: usize) -> bool {
        pixels > LARGEST_DECODED
    }

    /// The map that makes `frame`, `[1, 3, 1, height, width]` in -1 to 1, of its latents,
    /// `[1, channel, 1, height / n, width / n]`, with the least squared error.
    pub fn of(latents: &Tensor<5>, frame: &Tensor<5>) -> Self {
        let [_, _, _, rows, columns] = latents.dims();
        let [_, _, _, height, width] = frame.dims();
        let cells = [3, rows, height / rows, columns * (width / columns)];
        let means: Tensor<4> = frame.clone().reshape(cells).mean_dim(2);
        let means: Tensor<4> = means.reshape([3 * rows, columns, width / columns, 1]).mean_dim(2);
        let colours = means.reshape([3, rows * columns]).swap_dims(0, 1);
        let (x, y) = (as_array(with_constant(latents.clone())), as_array(colours));
        let mut normal = x.t().dot(&x);
        normal.diag_mut().mapv_inplace(|v| v + RIDGE * x.nrows() as f64);
        let weights = solved(normal, x.t().dot(&y));
        let shape = [weights.nrows(), 3];
        let weights: Vec<f32> = weights.iter().map(|w| *w as f32).collect();
        let weights = TensorData::new(weights, shape);
        Self { weights: Tensor::from_data(weights, (&latents.device(), DType::F32)) }
    }

    /// `[1, channel, steps, height / n, width / n]` to `[1, 3, frames, height / n, width / n]`: the
    /// first step is one frame, every other one is held as long as the rest of `frames` lasts.
    pub fn draw(&self, latents: Tensor<5>, frames: usize) -> Tensor<5> {
        let [_, _, steps, rows, columns] = latents.dims();
        let device = latents.device();
        let colours = with_constant(latents).matmul(self.weights.clone());
        let video = colours.reshape([1, steps, rows, columns, 3]).permute([0, 4, 1, 2, 3]);
        let held = (frames - 1) / (steps - 1).max(1);
        let shown = (0..frames).map(|frame| frame.div_ceil(held.max(1)).min(steps - 1) as i32);
        let shown = TensorData::new(shown.collect::<Vec<_>>(), [frames]);
        video.select(2, Tensor::<1, Int>::from_data(shown, &device))
    }
}

/// One row a latent position, with a one behind its channels, `[position, channel + 1]`.
fn with_constant(latents: Tensor<5>) -> Tensor<2> {
    let [_, channels, steps, rows, columns] = latents.dims();
    let positions = steps * rows * columns;
    let rows = latents.reshape([channels, positions]).swap_dims(0, 1);
    let ones = Tensor::ones([positions, 1], &rows.device());
    Tensor::cat(vec![rows, ones], 1)
}

fn as_array(values: Tensor<2>) -> Array2<f64> {
    let shape = values.dims();
    let values: Vec<f64> =
        values.into_data().convert::<f64>().try_into_vec().expect("converted to f64 just above");
    Array2::from_shape_vec(shape, values).expect("as many values as the tensor has")
}

/// What `a` is to be multiplied with to give `b`, by elimination; `a` is positive definite.
fn solved(mut a: Array2<f64>, mut b: Array2<f64>) -> Array2<f64> {
    for pivot in 0..a.nrows() {
        let scale = 1.0 / a[[pivot, pivot]];
        a.row_mut(pivot).mapv_inplace(|v| v * scale);
        b.row_mut(pivot).mapv_inplace(|v| v * scale);
        for row in (0..a.nrows()).filter(|row| *row != pivot) {
            let share = a[[row, pivot]];
            for all in [&mut a, &mut b] {
                let (mut row, pivot) = all.multi_slice_mut((s![row, ..], s![pivot, ..]));
                row.scaled_add(-share, &pivot);
            }
        }
    }
    b
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, Distribution};

    use super::*;
    use crate::craft::{Episode, Split, Task};
    use crate::media;
    use crate::pack::Pack;

    #[test]
    fn a_system_of_equations_is_solved() {
        let a = ndarray::array![[4.0, 1.0, 0.5], [1.0, 3.0, -1.0], [0.5, -1.0, 5.0]];
        let x = ndarray::array![[1.0, -2.0], [0.5, 3.0], [2.0, 0.0]];
        let found = solved(a.clone(), a.dot(&x));
        assert!((found - x).iter().all(|d| d.abs() < 1e-12));
    }

    #[test]
    fn a_linear_autoencoder_is_found_and_its_steps_are_held() {
        let device = Device::flex();
        let random = |shape: [usize; 5]| Tensor::random(shape, Distribution::Default, &device);
        let latents = random([1, 4, 3, 6, 5]);
        // Every colour is a channel and a tenth of another one, over 2x2 pixels.
        let mix = latents.clone().narrow(1, 0, 3) + latents.clone().narrow(1, 3, 1) * 0.1;
        let wide: Tensor<5> = mix.clone().repeat_dim(4, 1);
        let frame: Tensor<7> = wide.narrow(2, 0, 1).reshape([1, 3, 1, 6, 1, 5, 1]);
        let frame = frame.expand([1, 3, 1, 6, 2, 5, 2]).reshape([1, 3, 1, 12, 10]);
        let sketch = Sketch::of(&latents.clone().narrow(2, 0, 1), &frame);
        let drawn = sketch.draw(latents, 9);
        assert_eq!(drawn.dims(), [1, 3, 9, 6, 5]);
        for (frame, step) in [(0, 0), (1, 1), (4, 1), (5, 2), (8, 2)] {
            let off = drawn.clone().narrow(2, frame, 1) - mix.clone().narrow(2, step, 1);
            assert!(off.abs().max().into_scalar::<f32>() < 0.1, "frame {frame}");
        }
    }

    #[test]
    fn a_sketch_of_a_clip_is_like_the_clip() {
        let pack = Pack::embedded().unwrap();
        let vdm = pack.load(&Device::flex()).unwrap().vdm.unwrap();
        let episode = Episode::sample(Task::Tower, Split::Test, 3);
        let frames = episode.clip(1, pack.manifest.frame_size).frames;
        let video = media::tensor_from_frames(&frames.iter().collect::<Vec<_>>(), &Device::flex());
        let latents = vdm.vae.encode(video.clone());
        let [_, _, steps, rows, columns] = latents.dims();
        let sketch = Sketch::of(&latents.clone().narrow(2, 0, 1), &video.clone().narrow(2, 0, 1));
        let count = frames.len();
        let drawn = sketch.draw(latents, count).narrow(2, count - 1, 1);
        assert_eq!(steps, 1 + (count - 1) / 4);
        let small = |frame: Tensor<5>| {
            let size = media::FrameSize { height: rows as u32, width: columns as u32 };
            media::resize_bilinear(frame, size)
        };
        let error = |of: Tensor<5>| {
            let wanted = small(video.clone().narrow(2, count - 1, 1));
            (of - wanted).square().mean().into_scalar::<f32>()
        };
        let still = error(small(video.clone().narrow(2, 0, 1)));
        let drawn = error(drawn);
        println!("squared error {drawn}, of the first frame held {still}");
        assert!(drawn < 0.5 * still, "{drawn} {still}");
    }
}
