//! Writing pictures and videos, each file whole or not at all.

use std::fs::{self, File};
use std::io::{self, Cursor, Write as _};
use std::path::Path;

use image::codecs::gif::{GifEncoder, Repeat};
use image::imageops;
use image::{Delay, ImageFormat, RgbaImage};

use super::{Frame, MediaError};

/// Pixels between the pictures of a contact strip.
const STRIP_GAP: u32 = 2;

/// The GIF encoder's search effort, 1 (slow, best) to 30.
const GIF_SPEED: i32 = 10;

/// Writes a file beside its place and moves it there, so that nobody ever sees half of it.
///
/// # Errors
/// Fails when the folder cannot be made or the file not be written.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> Result<(), MediaError> {
    atomic(path, |file| file.write_all(bytes))
}

/// Copies a file of any size in the same way.
///
/// # Errors
/// As [`write_atomic`], and when the file cannot be read.
pub fn copy_atomic(from: &Path, to: &Path) -> Result<(), MediaError> {
    atomic(to, |file| io::copy(&mut File::open(from)?, file).map(drop))
}

/// Has a file written beside its place and moves it there.
fn atomic(path: &Path, write: impl FnOnce(&mut File) -> io::Result<()>) -> Result<(), MediaError> {
    let failed = |source| MediaError::Write { path: path.to_owned(), source };
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(folder).map_err(failed)?;
    let name = path.file_name().ok_or_else(|| failed(io::ErrorKind::InvalidInput.into()))?;
    let mut beside = std::ffi::OsString::from(".");
    beside.push(name);
    beside.push(format!(".{}.part", std::process::id()));
    let beside = folder.join(beside);
    let written = File::create(&beside)
        .and_then(|mut file| {
            write(&mut file)?;
            file.sync_all()
        })
        .and_then(|()| fs::rename(&beside, path));
    written.map_err(|source| {
        // The leftover is not worth an error of its own.
        fs::remove_file(&beside).ok();
        failed(source)
    })
}

/// The PNG file of a picture.
///
/// # Errors
/// Fails when the encoder refuses the picture, such as one of no pixels.
pub fn png_bytes(frame: &Frame) -> Result<Vec<u8>, MediaError> {
    let mut bytes = Cursor::new(Vec::new());
    frame
        .write_to(&mut bytes, ImageFormat::Png)
        .map_err(|error| MediaError::Encode(error.to_string()))?;
    Ok(bytes.into_inner())
}

/// Writes one picture as PNG.
///
/// # Errors
/// As [`write_atomic`] and [`png_bytes`].
pub fn write_png(path: &Path, frame: &Frame) -> Result<(), MediaError> {
    write_atomic(path, &png_bytes(frame)?)
}

/// Writes `frame_0000.png` and so on into a folder, which is made.
///
/// # Errors
/// As [`write_png`].
pub fn write_png_sequence(folder: &Path, frames: &[Frame]) -> Result<(), MediaError> {
    for (idx, frame) in frames.iter().enumerate() {
        write_png(&folder.join(format!("frame_{idx:04}.png")), frame)?;
    }
    Ok(())
}

/// Writes an animated PNG that repeats for ever: all colours, shown by every browser.
///
/// # Errors
/// Fails on no frames, on frames of different sizes, and as [`write_atomic`].
pub fn write_apng(path: &Path, frames: &[Frame], fps: f32) -> Result<(), MediaError> {
    let first = frames.first().ok_or_else(|| MediaError::EmptyVideo { path: path.to_owned() })?;
    let mut bytes = Vec::new();
    encode_apng(&mut bytes, first, frames, fps)
        .map_err(|error| MediaError::Encode(error.to_string()))?;
    write_atomic(path, &bytes)
}

fn encode_apng(
    bytes: &mut Vec<u8>,
    first: &Frame,
    frames: &[Frame],
    fps: f32,
) -> Result<(), png::EncodingError> {
    let mut encoder = png::Encoder::new(bytes, first.width(), first.height());
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_animated(frames.len() as u32, 0)?;
    encoder.set_frame_delay(100, (fps * 100.0).round() as u16)?;
    let mut writer = encoder.write_header()?;
    for frame in frames {
        writer.write_image_data(frame.as_raw())?;
    }
    writer.finish()
}

/// Writes a GIF that repeats for ever, 256 colours a frame.
///
/// # Errors
/// Fails on no frames, on frames of different sizes, and as [`write_atomic`].
pub fn write_gif(path: &Path, frames: &[Frame], fps: f32) -> Result<(), MediaError> {
    if frames.is_empty() {
        return Err(MediaError::EmptyVideo { path: path.to_owned() });
    }
    let refused = |error: image::ImageError| MediaError::Encode(error.to_string());
    let mut bytes = Vec::new();
    {
        let mut encoder = GifEncoder::new_with_speed(&mut bytes, GIF_SPEED);
        encoder.set_repeat(Repeat::Infinite).map_err(refused)?;
        let delay = Delay::from_numer_denom_ms(1_000_000, (fps * 1000.0).round() as u32);
        for frame in frames {
            let rgba: RgbaImage = image::DynamicImage::ImageRgb8(frame.clone()).into_rgba8();
            encoder.encode_frame(image::Frame::from_parts(rgba, 0, 0, delay)).map_err(refused)?;
        }
    }
    write_atomic(path, &bytes)
}

/// The frames of one video in rows of `columns`, on dark grey.
///
/// # Panics
/// Panics on no frames and no columns.
pub fn contact_strip(frames: &[Frame], columns: usize) -> Frame {
    let first = frames.first().expect("a strip has at least one frame");
    let columns = columns.min(frames.len()) as u32;
    let rows = (frames.len() as u32).div_ceil(columns);
    let (width, height) = first.dimensions();
    let mut strip = Frame::from_pixel(
        columns * (width + STRIP_GAP) - STRIP_GAP,
        rows * (height + STRIP_GAP) - STRIP_GAP,
        image::Rgb([24; 3]),
    );
    for (idx, frame) in frames.iter().enumerate() {
        let (row, column) = (idx as u32 / columns, idx as u32 % columns);
        let (x, y) = (column * (width + STRIP_GAP), row * (height + STRIP_GAP));
        imageops::replace(&mut strip, frame, i64::from(x), i64::from(y));
    }
    strip
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_nothing_is_left_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deep").join("file.bin");
        write_atomic(&path, b"first").unwrap();
        write_atomic(&path, b"second").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"second");
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_that_cannot_be_written_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("taken");
        fs::create_dir(&path).unwrap();
        let error = write_atomic(&path, b"x").unwrap_err().to_string();
        assert!(error.contains("taken could not be written"), "{error}");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "no leftover");
    }

    #[test]
    fn a_strip_lays_frames_out_in_rows() {
        let frames: Vec<Frame> =
            (0..5).map(|i| Frame::from_pixel(4, 3, image::Rgb([i * 50; 3]))).collect();
        let strip = contact_strip(&frames, 3);
        assert_eq!(strip.dimensions(), (3 * 4 + 2 * 2, 2 * 3 + 2));
        assert_eq!(strip.get_pixel(0, 0), &image::Rgb([0; 3]));
        assert_eq!(strip.get_pixel(6, 5), &image::Rgb([200; 3]));
    }

    #[test]
    fn an_empty_video_is_refused() {
        let path = Path::new("never.png");
        assert!(matches!(write_apng(path, &[], 8.0), Err(MediaError::EmptyVideo { .. })));
        assert!(matches!(write_gif(path, &[], 8.0), Err(MediaError::EmptyVideo { .. })));
    }
}
