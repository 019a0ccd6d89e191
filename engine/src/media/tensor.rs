//! Between pictures and tensors `[1, 3, time, height, width]` in [-1, 1].

use burn::tensor::module::interpolate;
use burn::tensor::ops::{InterpolateMode, InterpolateOptions};
use burn::tensor::{Device, Tensor, TensorData};

use super::{Frame, FrameSize};

/// A video `[1, 3, time, height, width]` in [-1, 1].
///
/// # Panics
/// Panics on no frames and on frames of different sizes.
pub fn tensor_from_frames(frames: &[&Frame], device: &Device) -> Tensor<5> {
    let size = FrameSize::of(frames.first().expect("a video has at least one frame"));
    let (height, width) = (size.height as usize, size.width as usize);
    let mut values = vec![0.0_f32; 3 * frames.len() * height * width];
    let plane = height * width;
    for (time, frame) in frames.iter().enumerate() {
        assert_eq!(FrameSize::of(frame), size, "frame {time} has another size than frame 0");
        for (at, pixel) in frame.pixels().enumerate() {
            for (channel, value) in pixel.0.iter().enumerate() {
                values[(channel * frames.len() + time) * plane + at] =
                    f32::from(*value) / 127.5 - 1.0;
            }
        }
    }
    Tensor::from_data(TensorData::new(values, [1, 3, frames.len(), height, width]), device)
}

/// The frames of a video `[1, 3, time, height, width]`: clamped to [-1, 1] and rounded.
///
/// # Panics
/// Panics on a batch other than one and channels other than three.
pub fn frames_from_tensor(video: Tensor<5>) -> Vec<Frame> {
    let [batch, channels, time, height, width] = video.dims();
    assert_eq!([batch, channels], [1, 3], "one video of three channels");
    let values: Vec<f32> =
        video.into_data().convert::<f32>().try_into_vec().expect("converted to f32 just above");
    let plane = height * width;
    (0..time)
        .map(|t| {
            Frame::from_fn(width as u32, height as u32, |x, y| {
                let at = y as usize * width + x as usize;
                image::Rgb([0, 1, 2].map(|c| byte(values[(c * time + t) * plane + at])))
            })
        })
        .collect()
}

fn byte(value: f32) -> u8 {
    ((value.clamp(-1.0, 1.0) + 1.0) * 127.5 + 0.5) as u8
}

/// The last frame of a video, `[batch, channel, time, height, width]` to a time of 1.
pub fn last_frame(video: Tensor<5>) -> Tensor<5> {
    let time = video.dims()[2];
    video.narrow(2, time - 1, 1)
}

/// Resizes every frame of a video `[batch, channel, time, height, width]`: bilinear, pixel centres
/// aligned, no antialiasing. The networks were trained behind exactly this filter.
pub fn resize_bilinear(video: Tensor<5>, size: FrameSize) -> Tensor<5> {
    let [batch, channels, time, height, width] = video.dims();
    let wanted = [size.height as usize, size.width as usize];
    if wanted == [height, width] {
        return video;
    }
    let options = InterpolateOptions::new(InterpolateMode::Bilinear)
        .with_align_corners(false)
        .with_output_size(wanted);
    let planes = video.reshape([batch, channels * time, height, width]);
    interpolate(planes, options).reshape([batch, channels, time, wanted[0], wanted[1]])
}

#[cfg(test)]
mod tests {
    use burn::tensor::Tolerance;
    use image::Rgb;

    use super::*;

    #[test]
    fn frames_survive_the_way_through_a_tensor() {
        let frames: Vec<Frame> = (0..3_u8)
            .map(|t| Frame::from_fn(7, 5, |x, y| Rgb([x as u8 * 36, y as u8 * 50, 200 + t])))
            .collect();
        let all: Vec<&Frame> = frames.iter().collect();
        let video = tensor_from_frames(&all, &Device::flex());
        assert_eq!(video.dims(), [1, 3, 3, 5, 7]);
        assert_eq!(frames_from_tensor(video), frames);
        let levels = Frame::from_fn(256, 1, |x, _| Rgb([x as u8; 3]));
        let video = tensor_from_frames(&[&levels], &Device::flex());
        assert_eq!(frames_from_tensor(video), [levels]);
    }

    #[test]
    fn values_outside_the_range_are_clamped() {
        let video = Tensor::<5>::full([1, 3, 1, 1, 1], 1.7, &Device::flex());
        assert_eq!(frames_from_tensor(video)[0].get_pixel(0, 0), &Rgb([255; 3]));
    }

    /// Expected values from `torch.nn.functional.interpolate(mode="bilinear", align_corners=False)`.
    #[test]
    fn resizing_is_bilinear_with_centres_aligned_and_no_antialias() {
        let row = |values: &[f32]| {
            let data = TensorData::new(values.to_vec(), [1, 1, 1, 1, values.len()]);
            Tensor::<5>::from_data(data, &Device::flex())
        };
        let check = |values: &[f32], width: u32, wanted: &[f32]| {
            let resized = resize_bilinear(row(values), FrameSize { height: 1, width });
            let wanted = TensorData::new(wanted.to_vec(), [1, 1, 1, 1, wanted.len()]);
            resized.into_data().assert_approx_eq::<f32>(&wanted, Tolerance::absolute(1e-6));
        };
        check(&[0.0, 1.0], 4, &[0.0, 0.25, 0.75, 1.0]);
        check(&[0.0, 1.0, 2.0, 7.0], 2, &[0.5, 4.5]);
        check(&[0.0, 3.0, 6.0, 9.0, 12.0], 3, &[1.0, 6.0, 11.0]);
        // Antialiasing would spread the peak; sampling between two far pixels misses it.
        check(&[0.0, 0.0, 0.0, 8.0, 0.0, 0.0, 0.0, 0.0], 2, &[0.0, 0.0]);
    }
}
