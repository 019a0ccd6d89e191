//! Pictures and videos, in and out. One loader for every way in.

mod error;
mod fit;
mod fonts;
mod load;
mod save;
mod tensor;

use std::sync::Arc;

pub use error::MediaError;
pub use fit::{Fit, FrameSize};
pub use fonts::register_fonts;
pub use load::{MAX_PIXELS, MAX_VIDEO_FRAMES, Video, image_from_bytes, load_image, load_video};
pub use save::{
    contact_strip, copy_atomic, png_bytes, write_apng, write_atomic, write_gif, write_png,
    write_png_sequence,
};
pub use tensor::{frames_from_tensor, last_frame, resize_bilinear, tensor_from_frames};

/// One picture, 8 bits a channel, sRGB.
pub type Frame = image::RgbImage;

/// The frames of one clip in order, cheap to share between threads.
pub type Clip = Arc<Vec<Frame>>;

/// The frames of a chain of clips as one video: each clip's last frame is left out, because the
/// next clip begins with it (the last one too, as the reference writes its videos).
pub fn join_clips(clips: &[Clip]) -> Vec<Frame> {
    let kept = |clip: &Clip| clip[..clip.len().saturating_sub(1)].to_vec();
    clips.iter().flat_map(kept).collect()
}

/// Cuts a video into clips of `len` frames, each starting with the last frame of the one before. A
/// last clip that lacks less than half of its frames is completed by holding its last frame,
/// otherwise it is left out.
pub fn split_clips(frames: &[Frame], len: usize) -> Vec<Vec<&Frame>> {
    let stride = len - 1;
    let mut clips = Vec::new();
    let mut start = 0;
    while start + 1 < frames.len() {
        let mut clip: Vec<&Frame> = frames.iter().skip(start).take(len).collect();
        if 2 * clip.len() <= len {
            break;
        }
        if let Some(last) = clip.last().copied() {
            clip.resize(len, last);
        }
        clips.push(clip);
        start += stride;
    }
    clips
}
