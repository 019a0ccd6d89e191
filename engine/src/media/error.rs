//! What can be wrong with a picture or a video, each in one sentence.

use std::path::PathBuf;

use super::FrameSize;
use super::load::{MAX_PIXELS, MAX_VIDEO_FRAMES};

/// Why a picture or video could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum MediaError {
    #[error("{} could not be read: {source}", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{} could not be written: {source}", path.display())]
    Write { path: PathBuf, source: std::io::Error },
    #[error("{name} is not a picture this program reads (PNG, JPEG, WebP, GIF, BMP): {reason}")]
    Picture { name: String, reason: String },
    #[error("{name} has {}x{} pixels; pictures up to {} million pixels are read", size.width, size.height, MAX_PIXELS / 1_000_000)]
    TooManyPixels { name: String, size: FrameSize },
    #[error("{} has more than {MAX_VIDEO_FRAMES} frames, the most that is read; cut it first", path.display())]
    TooManyFrames { path: PathBuf },
    #[error("{} holds no pictures; a video is a folder of PNG, JPEG, WebP or BMP frames, a GIF or an animated PNG", path.display())]
    NoFrames { path: PathBuf },
    #[error("{} is no video this program reads; give a folder of frames, a GIF or an animated PNG", path.display())]
    NoVideo { path: PathBuf },
    #[error("frame {frame} of {} is {found}, the ones before it are {wanted}", path.display())]
    FrameSizes { path: PathBuf, frame: usize, found: FrameSize, wanted: FrameSize },
    #[error("a video of no frames cannot be written to {}", path.display())]
    EmptyVideo { path: PathBuf },
    #[error("the picture could not be encoded: {0}")]
    Encode(String),
}
