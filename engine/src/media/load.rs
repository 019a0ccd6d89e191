//! Reading pictures and videos, with their size checked before they are decoded.

use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::time::Duration;

use image::codecs::gif::GifDecoder;
use image::codecs::png::PngDecoder;
use image::{AnimationDecoder, ImageDecoder as _, ImageFormat, ImageReader, Limits, RgbaImage};

use super::{Fit, Frame, FrameSize, MediaError};

/// Larger pictures are refused before they are decoded.
pub const MAX_PIXELS: u64 = 64_000_000;

/// Longer videos are refused: 8.5 minutes at 8 frames a second.
pub const MAX_VIDEO_FRAMES: usize = 4096;

/// Room for decoding one picture, beyond what its pixels take.
const MAX_DECODING_BYTES: u64 = 1 << 30;

const PICTURE_ENDINGS: [&str; 6] = ["png", "jpg", "jpeg", "webp", "bmp", "gif"];

/// A video in memory, every frame fitted to one size.
#[derive(Debug, Clone)]
pub struct Video {
    pub frames: Vec<Frame>,
    /// Frames a second as the file says; a folder of frames says nothing.
    pub fps: Option<f32>,
}

/// Reads a picture file; of a GIF its first frame.
///
/// # Errors
/// Fails when the file cannot be read, is no picture, or is too large.
pub fn load_image(path: &Path) -> Result<Frame, MediaError> {
    let bytes = read(path)?;
    image_from_bytes(&bytes, &path.display().to_string())
}

/// Reads a picture held in memory, such as one that was dropped or pasted; `name` is for errors.
///
/// # Errors
/// Fails when the bytes are no picture or one that is too large.
pub fn image_from_bytes(bytes: &[u8], name: &str) -> Result<Frame, MediaError> {
    let reason = |error: &dyn std::error::Error| MediaError::Picture {
        name: name.to_owned(),
        reason: error.to_string(),
    };
    let reader =
        || ImageReader::new(Cursor::new(bytes)).with_guessed_format().map_err(|e| reason(&e));
    let (width, height) = reader()?.into_dimensions().map_err(|e| reason(&e))?;
    check_size(name, FrameSize { height, width })?;
    let mut reader = reader()?;
    reader.limits(limits());
    let picture = reader.decode().map_err(|e| reason(&e))?;
    if picture.color().has_alpha() {
        Ok(on_white(&picture.to_rgba8()))
    } else {
        Ok(picture.into_rgb8())
    }
}

/// Reads a folder of frames in natural order (`frame2` before `frame10`), a GIF or an animated PNG,
/// each frame fitted to `size` as it is read.
///
/// # Errors
/// Fails when something cannot be read, is no video, is too large, or frames differ in size.
pub fn load_video(path: &Path, size: FrameSize, fit: Fit) -> Result<Video, MediaError> {
    if path.is_dir() {
        return load_folder(path, size, fit);
    }
    let bytes = read(path)?;
    let name = path.display().to_string();
    let broken = |error: image::ImageError| MediaError::Picture {
        name: name.clone(),
        reason: error.to_string(),
    };
    match image::guess_format(&bytes) {
        Ok(ImageFormat::Gif) => {
            let mut decoder = GifDecoder::new(Cursor::new(&bytes)).map_err(broken)?;
            check_decoder(&name, decoder.dimensions())?;
            decoder.set_limits(limits()).map_err(broken)?;
            load_animation(path, decoder, size, fit)
        }
        Ok(ImageFormat::Png) => {
            let decoder = PngDecoder::with_limits(Cursor::new(&bytes), limits()).map_err(broken)?;
            check_decoder(&name, decoder.dimensions())?;
            if !decoder.is_apng().map_err(broken)? {
                return Err(MediaError::NoVideo { path: path.to_owned() });
            }
            if apng_frames(&bytes) > MAX_VIDEO_FRAMES {
                return Err(MediaError::TooManyFrames { path: path.to_owned() });
            }
            load_animation(path, decoder.apng().map_err(broken)?, size, fit)
        }
        _ => Err(MediaError::NoVideo { path: path.to_owned() }),
    }
}

fn load_folder(path: &Path, size: FrameSize, fit: Fit) -> Result<Video, MediaError> {
    let unreadable = |source| MediaError::Read { path: path.to_owned(), source };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path).map_err(unreadable)? {
        let file = entry.map_err(unreadable)?.path();
        if is_picture(&file) {
            files.push(file);
        }
    }
    if files.is_empty() {
        return Err(MediaError::NoFrames { path: path.to_owned() });
    }
    if files.len() > MAX_VIDEO_FRAMES {
        return Err(MediaError::TooManyFrames { path: path.to_owned() });
    }
    files.sort_by_cached_key(|file| natural_key(file));
    let mut wanted = None;
    let mut frames = Vec::with_capacity(files.len());
    for (frame, file) in files.iter().enumerate() {
        let picture = load_image(file)?;
        let found = FrameSize::of(&picture);
        let wanted = *wanted.get_or_insert(found);
        if found != wanted {
            return Err(MediaError::FrameSizes { path: path.to_owned(), frame, found, wanted });
        }
        frames.push(fit.apply(&picture, size));
    }
    Ok(Video { frames, fps: None })
}

fn load_animation<'a>(
    path: &Path,
    decoder: impl AnimationDecoder<'a>,
    size: FrameSize,
    fit: Fit,
) -> Result<Video, MediaError> {
    let mut frames = Vec::new();
    let mut length = Duration::ZERO;
    for frame in decoder.into_frames() {
        if frames.len() == MAX_VIDEO_FRAMES {
            return Err(MediaError::TooManyFrames { path: path.to_owned() });
        }
        let frame = frame.map_err(|error| MediaError::Picture {
            name: path.display().to_string(),
            reason: error.to_string(),
        })?;
        length += Duration::from(frame.delay());
        frames.push(fit.apply(&on_white(frame.buffer()), size));
    }
    if frames.is_empty() {
        return Err(MediaError::NoVideo { path: path.to_owned() });
    }
    let fps = (!length.is_zero()).then(|| frames.len() as f32 / length.as_secs_f32());
    Ok(Video { frames, fps })
}

fn read(path: &Path) -> Result<Vec<u8>, MediaError> {
    std::fs::read(path).map_err(|source| MediaError::Read { path: path.to_owned(), source })
}

fn check_decoder(name: &str, (width, height): (u32, u32)) -> Result<(), MediaError> {
    check_size(name, FrameSize { height, width })
}

fn check_size(name: &str, size: FrameSize) -> Result<(), MediaError> {
    if u64::from(size.height) * u64::from(size.width) > MAX_PIXELS {
        return Err(MediaError::TooManyPixels { name: name.to_owned(), size });
    }
    Ok(())
}

fn limits() -> Limits {
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(MAX_DECODING_BYTES);
    limits
}

/// How many frames an animated PNG announces, without decoding any.
fn apng_frames(bytes: &[u8]) -> usize {
    let reader = png::Decoder::new(Cursor::new(bytes)).read_info();
    let announced = reader.ok().and_then(|r| Some(r.info().animation_control?.num_frames));
    announced.map_or(0, |frames| frames as usize)
}

fn is_picture(path: &Path) -> bool {
    let hidden = path.file_name().is_some_and(|n| n.as_encoded_bytes().starts_with(b"."));
    let ending = path.extension().map(|e| e.to_string_lossy().to_lowercase());
    !hidden && ending.is_some_and(|e| PICTURE_ENDINGS.contains(&e.as_str()))
}

/// Text and numbers of a file name in turn, so that numbers compare as numbers.
fn natural_key(path: &Path) -> (Vec<(String, u128)>, PathBuf) {
    let name = path.file_name().map(|n| n.to_string_lossy().to_lowercase()).unwrap_or_default();
    let mut parts = Vec::new();
    let mut rest = name.as_str();
    while !rest.is_empty() {
        let text_len = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let (text, after) = rest.split_at(text_len);
        let digits_len = after.find(|c: char| !c.is_ascii_digit()).unwrap_or(after.len());
        let (digits, after) = after.split_at(digits_len);
        parts.push((text.to_owned(), digits.parse().unwrap_or(u128::MAX)));
        rest = after;
    }
    (parts, path.to_owned())
}

/// A picture with transparency, laid on white paper.
fn on_white(picture: &RgbaImage) -> Frame {
    Frame::from_fn(picture.width(), picture.height(), |x, y| {
        let [red, green, blue, alpha] = picture.get_pixel(x, y).0;
        let over = |value: u8| {
            let alpha = u32::from(alpha);
            ((u32::from(value) * alpha + 255 * (255 - alpha) + 127) / 255) as u8
        };
        image::Rgb([over(red), over(green), over(blue)])
    })
}

#[cfg(test)]
mod tests {
    use image::Rgb;

    use super::*;
    use crate::media::{write_apng, write_gif, write_png};

    const SIZE: FrameSize = FrameSize { height: 6, width: 8 };

    fn frame(value: u8) -> Frame {
        Frame::from_pixel(8, 6, Rgb([value, 100, 50]))
    }

    fn reds(video: &Video) -> Vec<u8> {
        video.frames.iter().map(|f| f.get_pixel(3, 3)[0]).collect()
    }

    #[test]
    fn a_folder_is_read_in_natural_order() {
        let dir = tempfile::tempdir().unwrap();
        for n in [1_u8, 2, 3, 9, 10, 11] {
            write_png(&dir.path().join(format!("frame{n}.png")), &frame(n)).unwrap();
        }
        std::fs::write(dir.path().join("notes.txt"), "not a frame").unwrap();
        let video = load_video(dir.path(), SIZE, Fit::Crop).unwrap();
        assert_eq!(reds(&video), [1, 2, 3, 9, 10, 11]);
        assert_eq!(video.fps, None);
    }

    #[test]
    fn animations_round_trip_with_their_speed() {
        let dir = tempfile::tempdir().unwrap();
        let frames: Vec<Frame> = [10, 120, 240].map(frame).into();
        let apng = dir.path().join("video.png");
        write_apng(&apng, &frames, 8.0).unwrap();
        let video = load_video(&apng, SIZE, Fit::Crop).unwrap();
        assert_eq!(video.frames, frames);
        assert!((video.fps.unwrap() - 8.0).abs() < 0.01);
        let gif = dir.path().join("video.gif");
        write_gif(&gif, &frames, 10.0).unwrap();
        let video = load_video(&gif, SIZE, Fit::Crop).unwrap();
        for (found, wanted) in reds(&video).iter().zip([10_u8, 120, 240]) {
            assert!(found.abs_diff(wanted) <= 8, "{found} instead of {wanted}");
        }
        assert!((video.fps.unwrap() - 10.0).abs() < 0.01);
    }

    #[test]
    fn errors_name_the_file_and_what_is_wrong() {
        let dir = tempfile::tempdir().unwrap();
        let load = |path: &Path| load_video(path, SIZE, Fit::Crop).unwrap_err().to_string();
        let missing = dir.path().join("missing.gif");
        assert!(load(&missing).contains("missing.gif could not be read"));
        assert!(load(dir.path()).contains("holds no pictures"));
        let still = dir.path().join("still.png");
        write_png(&still, &frame(1)).unwrap();
        assert!(load(&still).contains("is no video"));
        let text = dir.path().join("text.png");
        std::fs::write(&text, "hello").unwrap();
        let error = load_image(&text).unwrap_err().to_string();
        assert!(error.contains("text.png is not a picture"), "{error}");
        assert!(!error.contains('\n'));
        let mut truncated = std::fs::read(&still).unwrap();
        truncated.truncate(truncated.len() / 2);
        assert!(image_from_bytes(&truncated, "pasted picture").is_err());
    }

    #[test]
    fn frames_of_different_sizes_are_no_video() {
        let dir = tempfile::tempdir().unwrap();
        write_png(&dir.path().join("1.png"), &frame(1)).unwrap();
        write_png(&dir.path().join("2.png"), &Frame::new(9, 6)).unwrap();
        let error = load_video(dir.path(), SIZE, Fit::Crop).unwrap_err().to_string();
        assert!(error.contains("frame 1") && error.contains("9x6"), "{error}");
    }

    #[test]
    fn a_huge_picture_is_refused_before_it_is_decoded() {
        // A BMP header alone announces 40,000 x 40,000 pixels.
        let mut bmp = vec![b'B', b'M'];
        bmp.extend(54_u32.to_le_bytes());
        bmp.extend([0; 4]);
        bmp.extend(54_u32.to_le_bytes());
        bmp.extend(40_u32.to_le_bytes());
        bmp.extend(40_000_i32.to_le_bytes());
        bmp.extend(40_000_i32.to_le_bytes());
        bmp.extend(1_u16.to_le_bytes());
        bmp.extend(24_u16.to_le_bytes());
        bmp.extend([0; 24]);
        let error = image_from_bytes(&bmp, "huge.bmp").unwrap_err();
        assert!(matches!(error, MediaError::TooManyPixels { .. }), "{error}");
    }

    #[test]
    fn transparency_lies_on_white() {
        let mut clear = RgbaImage::from_pixel(2, 1, image::Rgba([10, 20, 30, 0]));
        clear.put_pixel(1, 0, image::Rgba([10, 20, 30, 255]));
        let flat = on_white(&clear);
        assert_eq!(flat.get_pixel(0, 0), &Rgb([255; 3]));
        assert_eq!(flat.get_pixel(1, 0), &Rgb([10, 20, 30]));
    }
}
