//! How close a picture or video comes to the truth.

use crate::media::Frame;

/// A pixel moves when a channel changes by more than this, of 255.
const MOVING: u8 = 20;

/// Which pixels move: true where the clip at any time differs clearly from its first frame,
/// row-major.
///
/// # Panics
/// Panics on an empty clip and on frames of different sizes.
pub fn moving_region(clip: &[Frame]) -> Vec<bool> {
    let first = &clip[0];
    let mut moving = vec![false; (first.width() * first.height()) as usize];
    for frame in &clip[1..] {
        assert_eq!(frame.dimensions(), first.dimensions(), "frames of one size");
        let pixels = frame.pixels().zip(first.pixels());
        for (moving, (now, then)) in moving.iter_mut().zip(pixels) {
            let mut changes = now.0.iter().zip(then.0).map(|(a, b)| a.abs_diff(b));
            *moving |= changes.any(|change| change > MOVING);
        }
    }
    moving
}

/// Peak signal-to-noise ratio of a clip in decibels over the pixels of `region` (all when `None`),
/// one mean over all frames and channels. Infinite when nothing differs, NaN for an empty region.
///
/// # Panics
/// Panics when the clips differ in length or size.
pub fn psnr(truth: &[Frame], found: &[Frame], region: Option<&[bool]>) -> f32 {
    assert_eq!(truth.len(), found.len(), "clips of one length");
    let (mut squares, mut count) = (0.0_f64, 0_u64);
    for (truth, found) in truth.iter().zip(found) {
        assert_eq!(truth.dimensions(), found.dimensions(), "frames of one size");
        for (index, (a, b)) in truth.pixels().zip(found.pixels()).enumerate() {
            if region.is_some_and(|region| !region[index]) {
                continue;
            }
            for (a, b) in a.0.into_iter().zip(b.0) {
                squares += (f64::from(a) - f64::from(b)).powi(2);
                count += 1;
            }
        }
    }
    let mean = squares / count as f64;
    (10.0 * (255.0 * 255.0 / mean).log10()) as f32
}

/// Brightness, row-major.
struct Plane {
    width: usize,
    height: usize,
    values: Vec<f64>,
}

impl Plane {
    fn of(frame: &Frame) -> Self {
        let luma = |p: &image::Rgb<u8>| {
            let [r, g, b] = p.0.map(f64::from);
            0.299 * r + 0.587 * g + 0.114 * b
        };
        Self {
            width: frame.width() as usize,
            height: frame.height() as usize,
            values: frame.pixels().map(luma).collect(),
        }
    }

    fn at(&self, x: usize, y: usize) -> f64 {
        self.values[y * self.width + x]
    }

    fn product(&self, other: &Self) -> Self {
        let values = self.values.iter().zip(&other.values).map(|(a, b)| a * b);
        Self { values: values.collect(), ..*self }
    }

    /// Weighted means over windows that lie wholly inside, first along rows, then columns.
    fn windowed(&self, weights: &[f64]) -> Self {
        let width = self.width + 1 - weights.len();
        let height = self.height + 1 - weights.len();
        let along = |x: usize, y: usize| -> f64 {
            let window = weights.iter().enumerate();
            window.map(|(i, w)| w * self.at(x + i, y)).sum()
        };
        let rows = Self { width, height: self.height, values: grid(width, self.height, along) };
        let down = |x: usize, y: usize| -> f64 {
            let window = weights.iter().enumerate();
            window.map(|(i, w)| w * rows.at(x, y + i)).sum()
        };
        Self { width, height, values: grid(width, height, down) }
    }
}

fn grid(width: usize, height: usize, value: impl Fn(usize, usize) -> f64) -> Vec<f64> {
    let place = |index: usize| value(index % width, index / width);
    (0..width * height).map(place).collect()
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// Structural similarity of two pictures by brightness, 1 for equal ones: Wang et al. 2004 with
/// its Gaussian window of 11 pixels (1.5 standard deviation).
///
/// # Panics
/// Panics on different sizes and on pictures smaller than the window.
pub fn ssim(truth: &Frame, found: &Frame) -> f32 {
    const C1: f64 = (0.01 * 255.0) * (0.01 * 255.0);
    const C2: f64 = (0.03 * 255.0) * (0.03 * 255.0);
    assert_eq!(truth.dimensions(), found.dimensions(), "frames of one size");
    assert!(truth.width() >= 11 && truth.height() >= 11, "a picture of at least 11 x 11 pixels");
    let weights: Vec<f64> =
        (-5..=5).map(|x| (-f64::from(x * x) / (2.0 * 1.5 * 1.5)).exp()).collect();
    let sum: f64 = weights.iter().sum();
    let weights: Vec<f64> = weights.iter().map(|w| w / sum).collect();
    let (a, b) = (Plane::of(truth), Plane::of(found));
    let (mean_a, mean_b) = (a.windowed(&weights), b.windowed(&weights));
    let square_a = a.product(&a).windowed(&weights);
    let square_b = b.product(&b).windowed(&weights);
    let crossed = a.product(&b).windowed(&weights);
    let similarity = |i: usize| {
        let (ma, mb) = (mean_a.values[i], mean_b.values[i]);
        let (va, vb) = (square_a.values[i] - ma * ma, square_b.values[i] - mb * mb);
        let covariance = crossed.values[i] - ma * mb;
        let luminance = (2.0 * ma * mb + C1) / (ma * ma + mb * mb + C1);
        luminance * (2.0 * covariance + C2) / (va + vb + C2)
    };
    let values: Vec<f64> = (0..crossed.values.len()).map(similarity).collect();
    mean(&values) as f32
}

/// Gradient magnitude similarity deviation, a perceptual measure without a network: 0 for equal
/// pictures, larger is worse (0.35 is about the worst). Xue et al. 2014: Prewitt gradients of the
/// halved brightness, compared pixel by pixel, and the standard deviation of that similarity.
///
/// # Panics
/// Panics on different sizes and on pictures below 6 pixels a side.
pub fn gradient_deviation(truth: &Frame, found: &Frame) -> f32 {
    const C: f64 = 170.0;
    assert_eq!(truth.dimensions(), found.dimensions(), "frames of one size");
    assert!(truth.width() >= 6 && truth.height() >= 6, "a picture of at least 6 x 6 pixels");
    let (a, b) = (gradients(truth), gradients(found));
    let similarity = a.iter().zip(&b).map(|(a, b)| (2.0 * a * b + C) / (a * a + b * b + C));
    let similarity: Vec<f64> = similarity.collect();
    let middle = mean(&similarity);
    let squares: Vec<f64> = similarity.iter().map(|s| (s - middle).powi(2)).collect();
    mean(&squares).sqrt() as f32
}

/// Prewitt gradient magnitudes of the picture at half size, its border left out.
fn gradients(frame: &Frame) -> Vec<f64> {
    let full = Plane::of(frame);
    let (width, height) = (full.width / 2, full.height / 2);
    let quarter = |x: usize, y: usize| {
        let (x, y) = (2 * x, 2 * y);
        let sum = full.at(x, y) + full.at(x + 1, y) + full.at(x, y + 1) + full.at(x + 1, y + 1);
        sum / 4.0
    };
    let half = Plane { width, height, values: grid(width, height, quarter) };
    grid(width - 2, height - 2, |x, y| {
        let column = |x: usize| (0..3).map(|i| half.at(x, y + i)).sum::<f64>() / 3.0;
        let row = |y: usize| (0..3).map(|i| half.at(x + i, y)).sum::<f64>() / 3.0;
        (column(x) - column(x + 2)).hypot(row(y) - row(y + 2))
    })
}

#[cfg(test)]
mod tests {
    use image::Rgb;

    use super::*;

    fn flat(value: u8) -> Frame {
        Frame::from_pixel(24, 16, Rgb([value; 3]))
    }

    #[test]
    fn the_moving_region_is_where_any_later_frame_differs() {
        let mut second = flat(100);
        second.put_pixel(3, 0, Rgb([100, 121, 100]));
        second.put_pixel(4, 0, Rgb([120, 120, 120]));
        let mut third = flat(100);
        third.put_pixel(0, 1, Rgb([10, 100, 100]));
        let moving = moving_region(&[flat(100), second, third]);
        let places: Vec<usize> = (0..moving.len()).filter(|i| moving[*i]).collect();
        assert_eq!(places, [3, 24]);
    }

    #[test]
    fn psnr_looks_at_its_region_alone() {
        let truth = [flat(100), flat(100)];
        let mut off = flat(100);
        off.put_pixel(0, 0, Rgb([130, 100, 100]));
        let found = [flat(100), off];
        let mut region = vec![false; 24 * 16];
        region[0] = true;
        // One of six values off by 30: mean square 150.
        let wanted = 10.0 * (65025.0_f32 / 150.0).log10();
        assert!((psnr(&truth, &found, Some(&region)) - wanted).abs() < 1e-4);
        region[0] = false;
        region[1] = true;
        assert_eq!(psnr(&truth, &found, Some(&region)), f32::INFINITY);
        // Over all 768 pixels of three channels: mean square 900 / 2304.
        let wanted = 10.0 * (65025.0_f32 / (900.0 / 2304.0)).log10();
        assert!((psnr(&truth, &found, None) - wanted).abs() < 1e-4);
    }

    #[test]
    fn ssim_of_flat_pictures_is_their_luminance_term() {
        assert!((ssim(&flat(90), &flat(90)) - 1.0).abs() < 1e-6);
        // (2 * 100 * 50 + 6.5025) / (100^2 + 50^2 + 6.5025)
        let wanted = 10_006.503 / 12_506.503;
        assert!((ssim(&flat(100), &flat(50)) - wanted).abs() < 1e-5);
        // A pattern and its negative around the same mean correlate by -1.
        let checked = |odd: bool| {
            Frame::from_fn(24, 16, |x, y| {
                let up = ((x + y) % 2 == 1) == odd;
                Rgb([if up { 160 } else { 96 }; 3])
            })
        };
        let opposite = ssim(&checked(true), &checked(false));
        assert!(opposite < -0.9, "{opposite}");
    }

    #[test]
    fn gradient_deviation_is_that_of_the_similarities() {
        assert_eq!(gradient_deviation(&flat(7), &flat(7)), 0.0);
        assert_eq!(gradient_deviation(&flat(7), &flat(200)), 0.0);
        // A vertical edge of height 30 between columns 11 and 12: at half size (12 x 8) it lies
        // between columns 5 and 6 and is seen by 2 of the 10 inner columns, gradient 30.
        let edge = Frame::from_fn(24, 16, |x, _| Rgb([if x < 12 { 50 } else { 80 }; 3]));
        let low: f32 = 170.0 / (900.0 + 170.0);
        let wanted = (1.0 - low) * (0.2_f32 * 0.8).sqrt();
        assert!((gradient_deviation(&edge, &flat(50)) - wanted).abs() < 1e-5);
    }
}
