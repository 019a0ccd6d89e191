//! Bringing any picture to the size the model sees.

use std::fmt;
use std::ops::RangeInclusive;

use image::imageops::{self, FilterType};
use serde::{Deserialize, Serialize};

use super::Frame;

/// Height and width in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct FrameSize {
    pub height: u32,
    pub width: u32,
}

impl FrameSize {
    pub fn of(frame: &Frame) -> Self {
        Self { height: frame.height(), width: frame.width() }
    }

    /// Of a video `[batch, channel, time, height, width]`.
    pub fn of_video(video: &burn::tensor::Tensor<5>) -> Self {
        let [_, _, _, height, width] = video.dims();
        Self { height: height as u32, width: width as u32 }
    }
}

/// Width first, as people write it.
impl fmt::Display for FrameSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{} pixels", self.width, self.height)
    }
}

impl FrameSize {
    /// A size as people write it, `832x480`: width first, both within some bounds.
    ///
    /// # Errors
    /// Says in a sentence how to write it.
    pub fn parse_within(text: &str, bounds: RangeInclusive<u32>) -> Result<Self, String> {
        let parsed = text.split_once('x').and_then(|(width, height)| {
            Some(Self { width: width.parse().ok()?, height: height.parse().ok()? })
        });
        parsed
            .filter(|size| bounds.contains(&size.width) && bounds.contains(&size.height))
            .ok_or_else(|| {
                let (least, most) = (bounds.start(), bounds.end());
                format!("'{text}' is no size; write WIDTHxHEIGHT, each {least} to {most}")
            })
    }
}

/// What happens to a picture of another shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fit {
    /// Fills the frame and cuts off what stands over, evenly on both sides.
    #[default]
    Crop,
    /// Keeps the whole picture between black bars.
    Letterbox,
}

impl Fit {
    pub const ALL: [Self; 2] = [Self::Crop, Self::Letterbox];

    pub fn label(self) -> &'static str {
        match self {
            Self::Crop => "Crop",
            Self::Letterbox => "Letterbox",
        }
    }

    /// `frame` at `size`, never stretched, resized with an antialiased cubic filter; this is what
    /// the model sees.
    pub fn apply(self, frame: &Frame, size: FrameSize) -> Frame {
        let (width, height) = (f64::from(frame.width()), f64::from(frame.height()));
        let scale_x = f64::from(size.width) / width;
        let scale_y = f64::from(size.height) / height;
        let scale = match self {
            Self::Crop => scale_x.max(scale_y),
            Self::Letterbox => scale_x.min(scale_y),
        };
        // A picture as narrow as a line still gets one pixel.
        let scaled = |length: f64| ((length * scale).round() as u32).max(1);
        let (scaled_width, scaled_height) = (scaled(width), scaled(height));
        let scaled = if (scaled_width, scaled_height) == frame.dimensions() {
            frame.clone()
        } else {
            self.resized(frame, scale, scaled_width, scaled_height, size)
        };
        if scaled.dimensions() == (size.width, size.height) {
            return scaled;
        }
        let mut fitted = Frame::new(size.width, size.height);
        let left = (i64::from(size.width) - i64::from(scaled.width())).div_euclid(2);
        let top = (i64::from(size.height) - i64::from(scaled.height())).div_euclid(2);
        imageops::replace(&mut fitted, &scaled, left, top);
        fitted
    }

    /// Cutting before resizing keeps an extreme panorama from becoming a huge picture in between.
    fn resized(self, frame: &Frame, scale: f64, width: u32, height: u32, size: FrameSize) -> Frame {
        if self == Self::Letterbox {
            return imageops::resize(frame, width, height, FilterType::CatmullRom);
        }
        let kept = |length: u32, wanted: u32| {
            ((f64::from(wanted) / scale).round() as u32).clamp(1, length)
        };
        let (kept_width, kept_height) =
            (kept(frame.width(), size.width), kept(frame.height(), size.height));
        let left = (frame.width() - kept_width) / 2;
        let top = (frame.height() - kept_height) / 2;
        let cut = imageops::crop_imm(frame, left, top, kept_width, kept_height).to_image();
        imageops::resize(&cut, size.width, size.height, FilterType::CatmullRom)
    }
}

#[cfg(test)]
mod tests {
    use image::Rgb;

    use super::*;

    const SIZE: FrameSize = FrameSize { height: 8, width: 12 };

    /// Left third red, middle green, right third blue.
    fn stripes(width: u32, height: u32) -> Frame {
        Frame::from_fn(width, height, |x, _| match 3 * x / width {
            0 => Rgb([255, 0, 0]),
            1 => Rgb([0, 255, 0]),
            _ => Rgb([0, 0, 255]),
        })
    }

    #[test]
    fn a_crop_fills_the_frame_from_the_middle() {
        let fitted = Fit::Crop.apply(&stripes(90, 20), SIZE);
        assert_eq!(FrameSize::of(&fitted), SIZE);
        assert_eq!(fitted.get_pixel(6, 4), &Rgb([0, 255, 0]));
        assert_eq!(fitted.get_pixel(0, 0)[1], 255, "the red third is cut off");
    }

    #[test]
    fn a_letterbox_keeps_everything() {
        let fitted = Fit::Letterbox.apply(&stripes(90, 30), SIZE);
        assert_eq!(FrameSize::of(&fitted), SIZE);
        assert_eq!(fitted.get_pixel(0, 4), &Rgb([255, 0, 0]));
        assert_eq!(fitted.get_pixel(11, 4), &Rgb([0, 0, 255]));
        assert_eq!(fitted.get_pixel(6, 0), &Rgb([0, 0, 0]));
        assert_eq!(fitted.get_pixel(6, 7), &Rgb([0, 0, 0]));
    }

    #[test]
    fn the_filter_is_antialiased() {
        let checkers =
            Frame::from_fn(96, 64, |x, y| Rgb([if (x + y) % 2 == 0 { 0 } else { 255 }; 3]));
        let fitted = Fit::Crop.apply(&checkers, SIZE);
        assert!(fitted.pixels().all(|p| (120..=135).contains(&p[0])), "a checkerboard turns grey");
    }

    #[test]
    fn pictures_of_any_shape_come_out_at_the_size() {
        for (width, height) in [(1, 1), (1, 500), (700, 1), (12, 8), (13, 8), (3, 2), (5000, 3)] {
            for fit in Fit::ALL {
                let fitted = fit.apply(&Frame::new(width, height), SIZE);
                assert_eq!(FrameSize::of(&fitted), SIZE, "{width}x{height} {fit:?}");
            }
        }
    }

    #[test]
    fn a_frame_of_the_right_size_is_left_alone() {
        let frame = stripes(12, 8);
        assert_eq!(Fit::Crop.apply(&frame, SIZE), frame);
        assert_eq!(Fit::Letterbox.apply(&frame, SIZE), frame);
    }
}
