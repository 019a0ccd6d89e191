//! Many frames on one picture.

use super::{Episode, Size};
use crate::media::Frame;

/// One row an episode: the frame before each clip and the last, and in the middle of the clips the hand at work.
pub fn contact_sheet(episodes: &[Episode], size: Size) -> Frame {
    const GAP: u32 = 4;
    const MIDDLE: usize = 8;
    let rows: Vec<Vec<Frame>> = episodes
        .iter()
        .map(|episode| {
            let mut row = Vec::new();
            for k in 0..episode.num_clips() {
                let mut frames = episode.clip(k, size).frames;
                let middle = frames.swap_remove(MIDDLE);
                row.push(frames.swap_remove(0));
                row.push(middle);
            }
            row.push(episode.frame(episode.num_clips(), size));
            row
        })
        .collect();
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0) as u32;
    let mut sheet = Frame::from_pixel(
        columns * (size.width + GAP) + GAP,
        rows.len() as u32 * (size.height + GAP) + GAP,
        image::Rgb([14, 16, 20]),
    );
    for (y, row) in rows.iter().enumerate() {
        for (x, frame) in row.iter().enumerate() {
            let left = GAP + x as u32 * (size.width + GAP);
            let top = GAP + y as u32 * (size.height + GAP);
            image::imageops::replace(&mut sheet, frame, i64::from(left), i64::from(top));
        }
    }
    sheet
}
