//! Pictures and videos, in and out. One loader for every way in.

mod error;
mod fit;
mod load;
mod save;
mod tensor;

use std::sync::Arc;

pub use error::MediaError;
pub use fit::{Fit, FrameSize};
pub use load::{MAX_PIXELS, MAX_VIDEO_FRAMES, Video, image_from_bytes, load_image, load_video};
pub use save::{
    contact_strip, png_bytes, write_apng, write_atomic, write_gif, write_png, write_png_sequence,
};
pub use tensor::{frames_from_tensor, resize_bilinear, tensor_from_frames};

/// One picture, 8 bits a channel, sRGB.
pub type Frame = image::RgbImage;

/// The frames of one clip in order, cheap to share between threads.
pub type Clip = Arc<Vec<Frame>>;
