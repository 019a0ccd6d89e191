//! Colours, type and spacing. Colours live in `assets/theme/*.json` under the name of what they
//! are for; panels ask for a role, never for a colour.

use std::sync::Arc;

use eframe::egui::{
    self, Color32, CornerRadius, FontData, FontDefinitions, FontFamily, FontId, Margin, RichText,
    Stroke, TextStyle, vec2,
};
use serde::{Deserialize, Deserializer, Serialize};

/// Radius of controls, points.
pub const CONTROL_RADIUS: u8 = 6;
/// Radius of surfaces, points.
pub const SURFACE_RADIUS: u8 = 8;
/// Name of the font family of titles and numbers that matter.
const STRONG_FAMILY: &str = "strong";

/// Which theme file is used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ThemeChoice {
    #[default]
    Dark,
    Light,
    HighContrast,
}

impl ThemeChoice {
    pub const ALL: [Self; 3] = [Self::Dark, Self::Light, Self::HighContrast];

    /// The next one in a circle.
    pub fn next(self) -> Self {
        match self {
            Self::Dark => Self::Light,
            Self::Light => Self::HighContrast,
            Self::HighContrast => Self::Dark,
        }
    }

    fn source(self) -> &'static str {
        match self {
            Self::Dark => include_str!("../../assets/theme/dark.json"),
            Self::Light => include_str!("../../assets/theme/light.json"),
            Self::HighContrast => include_str!("../../assets/theme/high-contrast.json"),
        }
    }
}

/// A colour written `#rrggbb` or `#rrggbbaa`.
fn colour<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Color32, D::Error> {
    let text = String::deserialize(deserializer)?;
    Color32::from_hex(&text)
        .map_err(|e| serde::de::Error::custom(format!("'{text}' is no colour: {e:?}")))
}

fn colours<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Color32>, D::Error> {
    #[derive(Deserialize)]
    struct Entry(#[serde(deserialize_with = "colour")] Color32);
    let entries = Vec::<Entry>::deserialize(deserializer)?;
    Ok(entries.into_iter().map(|entry| entry.0).collect())
}

/// The roles that colours play. One file of `assets/theme` fills all of them.
#[derive(Debug, Clone, Deserialize)]
pub struct Theme {
    /// What people choose it by.
    pub name: String,
    /// Light text on dark surfaces.
    pub dark: bool,
    #[serde(deserialize_with = "colour")]
    pub window: Color32,
    #[serde(deserialize_with = "colour")]
    pub panel: Color32,
    #[serde(deserialize_with = "colour")]
    pub raised: Color32,
    #[serde(deserialize_with = "colour")]
    pub raised_hover: Color32,
    #[serde(deserialize_with = "colour")]
    pub line: Color32,
    /// Edges that must be seen: key caps, focus, tree lines.
    #[serde(deserialize_with = "colour")]
    pub line_strong: Color32,
    #[serde(deserialize_with = "colour")]
    pub text: Color32,
    #[serde(deserialize_with = "colour")]
    pub muted: Color32,
    #[serde(deserialize_with = "colour")]
    pub dim: Color32,
    /// Current and next, nothing else.
    #[serde(deserialize_with = "colour")]
    pub accent: Color32,
    #[serde(deserialize_with = "colour")]
    pub accent_hover: Color32,
    #[serde(deserialize_with = "colour")]
    pub on_accent: Color32,
    /// Measures: probabilities, entropy.
    #[serde(deserialize_with = "colour")]
    pub measure: Color32,
    #[serde(deserialize_with = "colour")]
    pub good: Color32,
    #[serde(deserialize_with = "colour")]
    pub bad: Color32,
    /// Behind the picture.
    #[serde(deserialize_with = "colour")]
    pub stage: Color32,
    /// Labels that lie on pictures.
    #[serde(deserialize_with = "colour")]
    pub overlay: Color32,
    #[serde(deserialize_with = "colour")]
    pub on_overlay: Color32,
    /// The rollout's way through the map.
    #[serde(deserialize_with = "colour")]
    pub path: Color32,
    /// Categories after Okabe and Ito; the last one stands for everything else.
    #[serde(deserialize_with = "colours")]
    categories: Vec<Color32>,
}

impl Theme {
    /// Reads one of the bundled themes.
    pub fn load(choice: ThemeChoice) -> Arc<Self> {
        let theme: Self =
            serde_json::from_str(choice.source()).expect("bundled themes are tested to be valid");
        Arc::new(theme)
    }

    /// The colour of a category; more categories than colours share the last one.
    pub fn category(&self, index: usize) -> Color32 {
        let last = self.categories.len().saturating_sub(1);
        self.categories.get(index.min(last)).copied().unwrap_or(self.muted)
    }

    /// A place where something will be.
    pub fn vacant(&self) -> Color32 {
        self.window.lerp_to_gamma(self.line, 0.55)
    }

    pub fn section_title(&self, text: &str) -> RichText {
        RichText::new(text.to_uppercase())
            .size(11.0)
            .family(strong())
            .extra_letter_spacing(1.0)
            .color(self.muted)
    }

    pub fn strong_text(&self, text: impl Into<String>, size: f32) -> RichText {
        RichText::new(text).size(size).family(strong()).color(self.text)
    }

    pub fn muted_text(&self, text: impl Into<String>) -> RichText {
        RichText::new(text).size(12.0).color(self.muted)
    }

    pub fn dim_text(&self, text: impl Into<String>) -> RichText {
        RichText::new(text).size(12.0).color(self.dim)
    }

    pub fn mono_text(&self, text: impl Into<String>) -> RichText {
        RichText::new(text).font(mono(11.0)).color(self.muted)
    }

    /// Makes egui's own widgets look like ours.
    pub fn apply(&self, ctx: &egui::Context) {
        let egui_theme = if self.dark { egui::Theme::Dark } else { egui::Theme::Light };
        ctx.set_theme(egui_theme);
        ctx.all_styles_mut(|style| {
            style.text_styles = [
                (TextStyle::Small, FontId::proportional(11.0)),
                (TextStyle::Body, FontId::proportional(13.0)),
                (TextStyle::Button, FontId::proportional(13.0)),
                (TextStyle::Heading, FontId::new(16.0, strong())),
                (TextStyle::Monospace, mono(12.0)),
            ]
            .into();
            style.spacing.item_spacing = vec2(8.0, 8.0);
            style.spacing.button_padding = vec2(10.0, 5.0);
            style.spacing.interact_size.y = 28.0;
            style.spacing.menu_margin = Margin::same(6);
            style.spacing.scroll = egui::style::ScrollStyle::thin();
            style.interaction.selectable_labels = false;
            // Nothing slides or fades: moving pixels cost the worker its machine.
            style.animation_time = 0.0;
            style.scroll_animation = egui::style::ScrollAnimation::none();
            self.fill_visuals(&mut style.visuals);
        });
    }

    fn fill_visuals(&self, visuals: &mut egui::Visuals) {
        let hairline = Stroke::new(1.0, self.line);
        let radius = CornerRadius::same(CONTROL_RADIUS);
        visuals.dark_mode = self.dark;
        visuals.override_text_color = None;
        visuals.weak_text_color = Some(self.muted);
        visuals.hyperlink_color = self.measure;
        visuals.faint_bg_color = self.raised;
        visuals.extreme_bg_color = self.window;
        visuals.text_edit_bg_color = Some(self.window);
        visuals.code_bg_color = self.raised;
        visuals.warn_fg_color = self.accent;
        visuals.error_fg_color = self.bad;
        visuals.window_corner_radius = CornerRadius::same(10);
        visuals.menu_corner_radius = CornerRadius::same(SURFACE_RADIUS);
        visuals.window_fill = self.panel;
        visuals.window_stroke = Stroke::new(1.0, self.line_strong);
        visuals.panel_fill = self.panel;
        visuals.window_shadow = egui::Shadow {
            offset: [0, 8],
            blur: 24,
            spread: 0,
            color: Color32::from_black_alpha(96),
        };
        visuals.popup_shadow = visuals.window_shadow;
        visuals.selection.bg_fill = self.accent.gamma_multiply(0.28);
        visuals.selection.stroke = Stroke::new(1.0, self.accent);
        visuals.text_cursor.blink = false;
        for (widget, fill, edge, ink) in [
            (&mut visuals.widgets.noninteractive, self.panel, self.line, self.text),
            (&mut visuals.widgets.inactive, self.raised, self.line, self.text),
            (&mut visuals.widgets.hovered, self.raised_hover, self.line_strong, self.text),
            (&mut visuals.widgets.active, self.raised_hover, self.accent, self.text),
            (&mut visuals.widgets.open, self.raised_hover, self.line_strong, self.text),
        ] {
            widget.bg_fill = fill;
            widget.weak_bg_fill = fill;
            widget.bg_stroke = Stroke::new(1.0, edge);
            widget.fg_stroke = Stroke::new(1.0, ink);
            widget.corner_radius = radius;
            widget.expansion = 0.0;
        }
        visuals.widgets.noninteractive.bg_stroke = hairline;
    }
}

/// The family of titles.
pub fn strong() -> FontFamily {
    FontFamily::Name(STRONG_FAMILY.into())
}

/// The mono font at a size in points, for codes and times.
pub fn mono(size: f32) -> FontId {
    FontId::new(size, FontFamily::Monospace)
}

/// The sans font at a size in points.
pub fn sans(size: f32) -> FontId {
    FontId::proportional(size)
}

/// The sans font in semi-bold at a size in points.
pub fn strong_font(size: f32) -> FontId {
    FontId::new(size, strong())
}

/// Gives egui the bundled fonts; its own stay behind them for rare symbols.
pub fn install_fonts(ctx: &egui::Context) {
    let mut fonts = FontDefinitions::default();
    let bundled: [(&str, &'static [u8]); 3] = [
        ("inter", include_bytes!("../../assets/fonts/Inter-Regular.ttf")),
        ("inter-strong", include_bytes!("../../assets/fonts/Inter-SemiBold.ttf")),
        ("jetbrains-mono", include_bytes!("../../assets/fonts/JetBrainsMono-Regular.ttf")),
    ];
    for (name, bytes) in bundled {
        fonts.font_data.insert(name.to_owned(), Arc::new(FontData::from_static(bytes)));
    }
    let fallback = fonts.families.get(&FontFamily::Proportional).cloned().unwrap_or_default();
    for (family, names) in [
        (FontFamily::Proportional, vec!["inter"]),
        (strong(), vec!["inter-strong"]),
        (FontFamily::Monospace, vec!["jetbrains-mono", "inter"]),
    ] {
        let all = names.into_iter().map(str::to_owned).chain(fallback.iter().cloned()).collect();
        fonts.families.insert(family, all);
    }
    ctx.set_fonts(fonts);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Relative luminance after WCAG 2.
    fn luminance(colour: Color32) -> f32 {
        let [r, g, b, _] = egui::Rgba::from(colour).to_array();
        0.2126 * r + 0.7152 * g + 0.0722 * b
    }

    fn contrast(a: Color32, b: Color32) -> f32 {
        let (a, b) = (luminance(a), luminance(b));
        (a.max(b) + 0.05) / (a.min(b) + 0.05)
    }

    #[test]
    fn every_theme_can_be_read() {
        for choice in ThemeChoice::ALL {
            let theme = Theme::load(choice);
            let wanted = theme.contrast_wanted();
            for surface in [theme.window, theme.panel, theme.raised] {
                assert!(contrast(theme.text, surface) >= wanted.max(7.0), "{}", theme.name);
                assert!(contrast(theme.muted, surface) >= wanted, "{}", theme.name);
            }
            assert!(contrast(theme.on_accent, theme.accent) >= 4.5, "{}", theme.name);
            assert!(theme.categories.len() >= 8, "{}", theme.name);
        }
    }

    impl Theme {
        fn contrast_wanted(&self) -> f32 {
            if self.name == "High contrast" { 10.0 } else { 4.5 }
        }
    }
}
