//! Small pictures: frames of clips as egui textures, kept as long as they are in use.

use std::collections::HashMap;
use std::sync::Arc;

use eframe::egui::{
    self, Color32, ColorImage, Rect, TextureHandle, TextureOptions, Ui, Vec2, epaint::RectShape,
    pos2,
};
use engine::media::{Clip, Frame};

/// Textures kept when not shown.
const TEXTURES_KEPT: usize = 384;

/// Textures of single frames, made when first shown.
#[derive(Default)]
pub struct Thumbnails {
    textures: HashMap<(usize, usize), Entry>,
    clock: u64,
}

struct Entry {
    /// Held so that the address that names the clip is not given to another one.
    _clip: Clip,
    texture: TextureHandle,
    last_used: u64,
}

impl Thumbnails {
    /// Paints a frame of `clip` so that it fills `rect`, cut where its shape differs.
    pub fn paint(
        &mut self,
        ui: &Ui,
        rect: Rect,
        clip: &Clip,
        frame: usize,
        radius: f32,
        tint: Color32,
    ) {
        let frame = frame.min(clip.len().saturating_sub(1));
        let Some(pixels) = clip.get(frame) else {
            return;
        };
        let size = Vec2::new(pixels.width() as f32, pixels.height() as f32);
        let texture = self.texture(ui.ctx(), clip, frame, pixels);
        let shape =
            RectShape::filled(rect, radius, tint).with_texture(texture, cover(size, rect.size()));
        ui.painter().add(shape);
    }

    fn texture(
        &mut self,
        ctx: &egui::Context,
        clip: &Clip,
        frame: usize,
        pixels: &Frame,
    ) -> egui::TextureId {
        self.clock += 1;
        let clock = self.clock;
        let name = (Arc::as_ptr(clip) as usize, frame);
        let entry = self.textures.entry(name).or_insert_with(|| Entry {
            _clip: clip.clone(),
            texture: ctx.load_texture("frame", colour_image(pixels), TextureOptions::LINEAR),
            last_used: clock,
        });
        entry.last_used = clock;
        let id = entry.texture.id();
        if self.textures.len() > 2 * TEXTURES_KEPT {
            let oldest = clock.saturating_sub(TEXTURES_KEPT as u64);
            self.textures.retain(|_, entry| entry.last_used > oldest);
        }
        id
    }
}

/// The same picture for egui.
pub fn colour_image(frame: &Frame) -> ColorImage {
    ColorImage::from_rgb([frame.width() as usize, frame.height() as usize], frame.as_raw())
}

/// The part of a picture of `size` that fills a place of shape `target`, in texture coordinates.
fn cover(size: Vec2, target: Vec2) -> Rect {
    let zoom = (target.x / size.x).max(target.y / size.y);
    let part = target / (size * zoom);
    Rect::from_center_size(pos2(0.5, 0.5), part)
}

/// A single picture as a clip of one frame.
pub fn still(frame: Frame) -> Clip {
    Arc::new(vec![frame])
}

/// The largest place of the shape of `size` in `area`, in its middle.
pub fn fit_inside(size: Vec2, area: Rect) -> Rect {
    if size.x <= 0.0 || size.y <= 0.0 {
        return area;
    }
    let zoom = (area.width() / size.x).min(area.height() / size.y);
    Rect::from_center_size(area.center(), size * zoom)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn covering_cuts_the_longer_side() {
        let uv = cover(Vec2::new(96.0, 64.0), Vec2::new(50.0, 50.0));
        assert!((uv.width() - 64.0 / 96.0).abs() < 1e-6);
        assert!((uv.height() - 1.0).abs() < 1e-6);
    }

    #[test]
    fn fitting_keeps_the_shape() {
        let area = Rect::from_min_size(pos2(0.0, 0.0), Vec2::new(300.0, 100.0));
        let place = fit_inside(Vec2::new(96.0, 64.0), area);
        assert_eq!(place.size(), Vec2::new(150.0, 100.0));
        assert_eq!(place.center(), area.center());
    }
}
