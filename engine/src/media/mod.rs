//! Pictures and videos, in and out. One loader for every way in.

use std::sync::Arc;

/// One picture, 8 bits a channel, sRGB.
pub type Frame = image::RgbImage;

/// The frames of one clip in order, cheap to share between threads.
pub type Clip = Arc<Vec<Frame>>;
