//! Buttons that show their key, chips, section headers, progress.

use eframe::egui::{
    self, Align, Align2, Color32, CursorIcon, FontId, Layout, Pos2, Rect, Response, Role, Sense,
    Stroke, StrokeKind, Ui, Vec2, WidgetInfo, pos2, vec2,
};

use super::icon::{self, Icon};
use crate::theme::{CONTROL_RADIUS, Theme, mono, sans, strong_font};

const HEIGHT: f32 = 30.0;
const PADDING: f32 = 12.0;
const GAP: f32 = 8.0;

/// A button with a text, an optional quieter word and the key that does the same.
#[derive(Debug, Clone, Copy)]
pub struct KeyButton<'a> {
    text: &'a str,
    detail: &'a str,
    key: &'a str,
    label: &'a str,
    primary: bool,
    selected: bool,
    enabled: bool,
}

impl<'a> KeyButton<'a> {
    pub fn new(text: &'a str, key: &'a str) -> Self {
        Self { text, detail: "", key, label: text, primary: false, selected: false, enabled: true }
    }

    /// The one button that goes on.
    pub fn primary(mut self) -> Self {
        self.primary = true;
        self
    }

    pub fn detail(mut self, detail: &'a str) -> Self {
        self.detail = detail;
        self
    }

    /// What a screen reader says in place of the text.
    pub fn label(mut self, label: &'a str) -> Self {
        self.label = label;
        self
    }

    pub fn selected(mut self, selected: bool) -> Self {
        self.selected = selected;
        self
    }

    pub fn enabled(mut self, enabled: bool) -> Self {
        self.enabled = enabled;
        self
    }

    pub fn show(self, ui: &mut Ui, theme: &Theme) -> Response {
        let ink = match (self.enabled, self.primary) {
            (false, _) => theme.dim,
            (true, true) => theme.on_accent,
            (true, false) => theme.text,
        };
        let font =
            if self.primary || self.detail.is_empty() { strong_font(13.0) } else { sans(13.0) };
        let painter = ui.painter();
        let text = painter.layout_no_wrap(self.text.to_owned(), font, ink);
        let detail = painter.layout_no_wrap(self.detail.to_owned(), sans(12.0), theme.muted);
        let key_width = key_cap_width(ui, self.key);
        let part = |width: f32| if width > 0.0 { GAP + width } else { 0.0 };
        let width = PADDING * 2.0 + text.size().x + part(detail.size().x) + part(key_width);
        let sense = if self.enabled { Sense::click() } else { Sense::hover() };
        let (rect, response) = ui.allocate_exact_size(vec2(width, HEIGHT), sense);
        response.widget_info(|| {
            WidgetInfo::selected(Role::Button, self.enabled, self.selected, self.label)
        });
        let (fill, edge) = self.colours(theme, &response);
        let painter = ui.painter();
        painter.rect(rect, CONTROL_RADIUS, fill, Stroke::new(1.0, edge), StrokeKind::Inside);
        let mut left = rect.left() + PADDING;
        for galley in [text, detail] {
            let size = galley.size();
            if size.x > 0.0 {
                painter.galley(pos2(left, rect.center().y - size.y / 2.0), galley, ink);
                left += size.x + GAP;
            }
        }
        if !self.key.is_empty() {
            let at = pos2(left + key_width / 2.0, rect.center().y);
            let filled = self.primary && self.enabled;
            let key_ink = if filled { theme.on_accent } else { theme.muted };
            key_cap(ui, at, self.key, key_ink.gamma_multiply(if self.enabled { 1.0 } else { 0.6 }));
        }
        response.on_hover_cursor(CursorIcon::PointingHand)
    }

    fn colours(&self, theme: &Theme, response: &Response) -> (Color32, Color32) {
        let hot = self.enabled && (response.hovered() || response.has_focus());
        if self.primary && self.enabled {
            let fill = if hot { theme.accent_hover } else { theme.accent };
            (fill, fill)
        } else if self.selected {
            (theme.raised_hover, theme.accent)
        } else if hot {
            (theme.raised_hover, theme.line_strong)
        } else {
            (theme.raised, theme.line)
        }
    }
}

fn key_cap_width(ui: &Ui, key: &str) -> f32 {
    if key.is_empty() {
        return 0.0;
    }
    let galley = ui.painter().layout_no_wrap(key.to_owned(), mono(10.0), Color32::WHITE);
    (galley.size().x + 8.0).max(16.0)
}

/// Draws a key around `centre`.
pub fn key_cap(ui: &Ui, centre: Pos2, key: &str, ink: Color32) {
    let rect = Rect::from_center_size(centre, vec2(key_cap_width(ui, key), 16.0));
    ui.painter().rect_stroke(
        rect,
        4.0,
        Stroke::new(1.0, ink.gamma_multiply(0.55)),
        StrokeKind::Inside,
    );
    ui.painter().text(centre, Align2::CENTER_CENTER, key, mono(10.0), ink);
}

/// Draws a key with its right end at `right`.
pub fn key_cap_left_of(ui: &Ui, right: Pos2, key: &str, ink: Color32) {
    if !key.is_empty() {
        let centre = right - vec2(key_cap_width(ui, key) / 2.0, 0.0);
        key_cap(ui, centre, key, ink);
    }
}

/// A square button with an icon; `label` is its name for screen readers and its tooltip.
pub fn icon_button(ui: &mut Ui, theme: &Theme, icon: Icon, label: &str, primary: bool) -> Response {
    let (rect, response) = ui.allocate_exact_size(Vec2::splat(HEIGHT - 2.0), Sense::click());
    response.widget_info(|| WidgetInfo::labeled(Role::Button, ui.is_enabled(), label));
    let hot = response.hovered() || response.has_focus();
    let (fill, edge, ink) = match (primary, hot) {
        (true, false) => (theme.accent, theme.accent, theme.on_accent),
        (true, true) => (theme.accent_hover, theme.accent_hover, theme.on_accent),
        (false, true) => (theme.raised_hover, theme.line_strong, theme.text),
        (false, false) => (theme.raised, theme.line, theme.text),
    };
    let painter = ui.painter();
    painter.rect(rect, CONTROL_RADIUS, fill, Stroke::new(1.0, edge), StrokeKind::Inside);
    icon::paint(painter, icon, rect.center(), 12.0, ink);
    response.on_hover_cursor(CursorIcon::PointingHand).on_hover_text(label)
}

/// A small box of facts: a strong word, a quiet one, an optional dot that says well or not.
pub fn chip(
    ui: &mut Ui,
    theme: &Theme,
    dot: Option<Color32>,
    strong: &str,
    quiet: &str,
) -> Response {
    let painter = ui.painter();
    let strong_galley = painter.layout_no_wrap(strong.to_owned(), strong_font(12.0), theme.text);
    let quiet_galley = painter.layout_no_wrap(quiet.to_owned(), sans(12.0), theme.muted);
    let dot_width = if dot.is_some() { 14.0 } else { 0.0 };
    let gap = if quiet.is_empty() { 0.0 } else { 6.0 };
    let width = 20.0 + dot_width + strong_galley.size().x + gap + quiet_galley.size().x;
    let (rect, response) = ui.allocate_exact_size(vec2(width, 26.0), Sense::hover());
    response.widget_info(|| {
        WidgetInfo::labeled(Role::Label, true, format!("{strong} {quiet}").trim_end())
    });
    let painter = ui.painter();
    painter.rect(
        rect,
        CONTROL_RADIUS,
        theme.raised,
        Stroke::new(1.0, theme.line),
        StrokeKind::Inside,
    );
    let mut left = rect.left() + 10.0;
    if let Some(colour) = dot {
        painter.circle_filled(pos2(left + 3.5, rect.center().y), 3.5, colour);
        left += dot_width;
    }
    for galley in [strong_galley, quiet_galley] {
        let size = galley.size();
        painter.galley(pos2(left, rect.center().y - size.y / 2.0), galley, theme.text);
        left += size.x + gap;
    }
    response
}

/// A wide-spaced title with a quiet remark at the right end of the line.
pub fn section_header(ui: &mut Ui, theme: &Theme, title: &str, remark: &str) {
    ui.horizontal(|ui| {
        ui.set_min_height(18.0);
        ui.label(theme.section_title(title));
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            if !remark.is_empty() {
                let text = theme.dim_text(remark).size(11.5);
                ui.add(egui::Label::new(text).truncate());
            }
        });
    });
}

/// A bar of `fraction` (0..1) of its width.
pub fn progress_bar(ui: &mut Ui, theme: &Theme, width: f32, fraction: f32, label: &str) {
    let (rect, response) = ui.allocate_exact_size(vec2(width, 4.0), Sense::hover());
    response.widget_info(|| {
        let mut info = WidgetInfo::labeled(Role::ProgressIndicator, true, label);
        info.value = Some(f64::from(fraction) * 100.0);
        info
    });
    fill_bar(ui, rect, fraction, theme.line, theme.accent);
}

/// Draws a bar into `rect`, as for probabilities.
pub fn fill_bar(ui: &Ui, rect: Rect, fraction: f32, back: Color32, front: Color32) {
    let radius = rect.height() / 2.0;
    ui.painter().rect_filled(rect, radius, back);
    let fraction = if fraction.is_finite() { fraction.clamp(0.0, 1.0) } else { 0.0 };
    if fraction > 0.0 {
        let width = (rect.width() * fraction).max(rect.height());
        let filled = Rect::from_min_size(rect.min, vec2(width, rect.height()));
        ui.painter().rect_filled(filled, radius, front);
    }
}

/// The surface of what lies over the window.
pub fn modal_frame(theme: &Theme) -> egui::Frame {
    egui::Frame::new()
        .fill(theme.panel)
        .stroke(Stroke::new(1.0, theme.line_strong))
        .corner_radius(10)
        .inner_margin(16)
}

/// What a panel says when it has nothing to show: what is missing and how to get it.
pub fn placeholder(ui: &mut Ui, theme: &Theme, title: &str, hint: &str) {
    ui.vertical_centered(|ui| {
        ui.add_space(12.0);
        ui.label(theme.strong_text(title, 13.0).color(theme.muted));
        ui.label(theme.dim_text(hint));
        ui.add_space(12.0);
    });
}

/// A label that lies on a picture, with its corner at `at`.
pub fn overlay_label(
    ui: &Ui,
    theme: &Theme,
    at: Pos2,
    anchor: Align2,
    text: &str,
    font: FontId,
) -> Rect {
    let galley = ui.painter().layout_no_wrap(text.to_owned(), font, theme.on_overlay);
    let rect = anchor.anchor_size(at, galley.size() + vec2(16.0, 10.0));
    ui.painter().rect_filled(rect, CONTROL_RADIUS, theme.overlay);
    let corner = rect.min + vec2(8.0, 5.0);
    ui.painter().galley(corner, galley, theme.on_overlay);
    rect
}
