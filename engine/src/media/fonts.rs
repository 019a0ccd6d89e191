//! The fonts inside the program, so that pictures have labels on a machine without any.

use plotters::style::{FontStyle, register_font};

/// Makes Inter known to plotters as `sans-serif` and JetBrains Mono as `monospace`. Call it before
/// drawing text; more than once does no harm.
pub fn register_fonts() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let fonts: [(&str, &'static [u8]); 2] = [
            ("sans-serif", include_bytes!("../../../assets/fonts/Inter-Regular.ttf")),
            ("monospace", include_bytes!("../../../assets/fonts/JetBrainsMono-Regular.ttf")),
        ];
        for (name, bytes) in fonts {
            // Only fails on a broken font file, which then shows as missing labels.
            register_font(name, FontStyle::Normal, bytes).ok();
        }
    });
}
