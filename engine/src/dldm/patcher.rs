//! The 3D Haar wavelet patcher: `patch_size`^3 pixels of a channel become as many channels.
//!
//! All levels of the transform are one small matrix, so a video is patched by one permutation and
//! one matrix product. Mirrors `Patcher3D` and `UnPatcher3D` of the reference.

use burn::tensor::{Device, Tensor, TensorData};

/// Haar patches of a fixed edge.
#[derive(Debug, Clone, Copy)]
pub struct HaarPatcher {
    patch_size: usize,
}

impl HaarPatcher {
    /// # Panics
    /// When the edge is not a power of two.
    pub fn new(patch_size: usize) -> Self {
        assert!(patch_size.is_power_of_two(), "patch size {patch_size} is not a power of two");
        Self { patch_size }
    }

    /// Pixels along each edge of a patch, and frames.
    pub fn patch_size(&self) -> usize {
        self.patch_size
    }

    /// Wavelet coefficients of a video whose first frame stands for `patch_size` equal ones.
    ///
    /// # Shapes
    /// - video: `[batch, channel, 1 + patch_size * n, height, width]`
    /// - result: `[batch, 1 + n, patch_size^3 * channel, height / patch_size, width / patch_size]`
    pub fn patch(&self, video: Tensor<5>) -> Tensor<5> {
        let p = self.patch_size;
        let [batch, channels, frames, height, width] = video.dims();
        assert!(
            frames % p == 1 % p && height % p == 0 && width % p == 0,
            "a video of {frames} frames of {height}x{width} does not divide into patches of {p}: \
             1 + {p}n frames and multiples of {p} are needed"
        );
        let device = video.device();
        let first = video.clone().narrow(2, 0, 1);
        let video = match p {
            1 => video,
            _ => Tensor::cat(vec![first.repeat_dim(2, p - 1), video], 2),
        };
        let (t, h, w) = (frames.div_ceil(p), height / p, width / p);
        let cubes: Tensor<8> = video.reshape([batch, channels, t, p, h, p, w, p]);
        let cubes = cubes.permute([0, 2, 3, 5, 7, 1, 4, 6]); // [b, t, pt, ph, pw, c, h, w]
        let rows: Tensor<3> = cubes.reshape([batch * t, p * p * p, channels * h * w]);
        let scale = 0.125_f32.powi(p.ilog2() as i32);
        let bands = self.signs(scale, false, &device).matmul(rows);
        bands.reshape([batch, t, p * p * p * channels, h, w])
    }

    /// The video of wavelet coefficients, the inverse of [`HaarPatcher::patch`].
    ///
    /// # Shapes
    /// - bands: `[batch, 1 + n, patch_size^3 * channel, height, width]`
    /// - result: `[batch, channel, 1 + patch_size * n, patch_size * height, patch_size * width]`
    pub fn unpatch(&self, bands: Tensor<5>) -> Tensor<5> {
        let p = self.patch_size;
        let [batch, t, all_channels, h, w] = bands.dims();
        let channels = all_channels / (p * p * p);
        let device = bands.device();
        let rows: Tensor<3> = bands.reshape([batch * t, p * p * p, channels * h * w]);
        let cubes = self.signs(1.0, true, &device).matmul(rows);
        let cubes: Tensor<8> = cubes.reshape([batch, t, p, p, p, channels, h, w]);
        let cubes = cubes.permute([0, 5, 1, 2, 6, 3, 7, 4]); // [b, c, t, pt, h, ph, w, pw]
        let video: Tensor<5> = cubes.reshape([batch, channels, t * p, h * p, w * p]);
        video.narrow(2, p - 1, t * p + 1 - p)
    }

    /// The transform as a matrix from pixels (time, height, width; width fastest) to bands, or its
    /// transpose, times `scale`. Every entry is a sign: each level keeps sums and differences of
    /// neighbours, and all normalisation of the reference comes to 1/8 a level.
    fn signs(&self, scale: f32, transposed: bool, device: &Device) -> Tensor<3> {
        let p = self.patch_size;
        let size = p * p * p;
        let mut values = Vec::with_capacity(size * size);
        for row in 0..size {
            for column in 0..size {
                let (band, pixel) = if transposed { (column, row) } else { (row, column) };
                let sign = if self.is_negative(band, pixel) { -scale } else { scale };
                values.push(sign);
            }
        }
        Tensor::from_data(TensorData::new(values, [1, size, size]), device)
    }

    /// Whether a pixel enters a band with a minus.
    ///
    /// A band index holds one octal digit a level, the first level (neighbouring pixels) last; the
    /// digit's bits say for time, height and width whether the difference is taken.
    fn is_negative(&self, band: usize, pixel: usize) -> bool {
        let p = self.patch_size;
        let position = [pixel / (p * p), pixel / p % p, pixel % p];
        let minuses = (0..p.ilog2()).map(|level| {
            let digit = band >> (3 * level) & 7;
            let odd = position.map(|x| x >> level & 1);
            digit & (odd[0] << 2 | odd[1] << 1 | odd[2])
        });
        minuses.map(usize::count_ones).sum::<u32>() % 2 == 1
    }
}
