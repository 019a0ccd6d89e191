//! Compares a rendered picture with the committed one. `UPDATE_SNAPSHOTS=1` writes it instead.

use std::path::PathBuf;

use image::RgbaImage;

/// Channel difference that nobody sees.
const TOLERANCE: u8 = 12;
/// Part of the pixels that may differ by more: edges of glyphs differ between rasterisers.
const MAX_DIFFERENT: f64 = 0.004;

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/snapshots").join(format!("{name}.png"))
}

/// `Err` says what differs and where the new picture was put.
pub fn compare(name: &str, picture: &RgbaImage) -> Result<(), String> {
    let path = path(name);
    if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
        // Opaque pictures without an alpha channel are a quarter smaller.
        let opaque = image::DynamicImage::ImageRgba8(picture.clone()).to_rgb8();
        return opaque.save(&path).map_err(|e| format!("{name}: {e}"));
    }
    let wanted = image::open(&path)
        .map_err(|e| format!("{name}: {e}; UPDATE_SNAPSHOTS=1 writes the picture"))?
        .to_rgba8();
    let reason = if wanted.dimensions() == picture.dimensions() {
        let pairs = wanted.pixels().zip(picture.pixels());
        let far = |a: &image::Rgba<u8>, b: &image::Rgba<u8>| {
            (0..3).any(|c| a[c].abs_diff(b[c]) > TOLERANCE)
        };
        let different = pairs.filter(|(a, b)| far(a, b)).count();
        let part = different as f64 / f64::from(wanted.width() * wanted.height());
        if part <= MAX_DIFFERENT {
            return Ok(());
        }
        format!("{:.2} % of the pixels differ", part * 100.0)
    } else {
        format!("{:?} became {:?}", wanted.dimensions(), picture.dimensions())
    };
    let new = path.with_extension("new.png");
    picture.save(&new).map_err(|e| format!("{name}: {e}"))?;
    Err(format!("{name}: {reason}; see {}, UPDATE_SNAPSHOTS=1 accepts it", new.display()))
}
