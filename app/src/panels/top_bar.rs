//! The menus, the name of what is open, the search box, the pack and the device.

use eframe::egui::{
    Align, Align2, CursorIcon, Layout, Rect, Role, Sense, Stroke, StrokeKind, Ui, WidgetInfo, pos2,
    vec2,
};

use engine::memory::human;

use super::menu;
use crate::commands::Command;
use crate::studio::model::{Model, PackState};
use crate::theme::{CONTROL_RADIUS, Theme, sans};
use crate::widgets::control::{KeyButton, chip, key_cap};
use crate::widgets::icon::{self, Icon};

pub fn show(model: &mut Model, ui: &mut Ui) {
    let theme = model.theme.clone();
    let bar = ui.max_rect();
    ui.horizontal_centered(|ui| {
        let (mark, response) = ui.allocate_exact_size(vec2(20.0, 20.0), Sense::hover());
        icon::paint(ui.painter(), Icon::Brand, mark.center(), 18.0, theme.accent);
        response.on_hover_text(concat!("VideoWorld Studio ", env!("CARGO_PKG_VERSION")));
        menu::show(model, ui);
        ui.label(theme.dim_text("/").size(13.0));
        let room = (bar.center().x - search_width(bar) / 2.0 - 20.0 - ui.cursor().left()).max(60.0);
        ui.scope(|ui| {
            ui.set_max_width(room);
            let title = theme.muted_text(model.title()).size(13.0).color(theme.text);
            ui.add(eframe::egui::Label::new(title).truncate());
        });
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            let key = Command::Present.key(ui.ctx());
            if KeyButton::new("Present", &key).show(ui, &theme).clicked() {
                model.run(Command::Present);
            }
            device_chips(model, ui, &theme, bar.width() < 1300.0);
        });
    });
    search_box(model, ui, &theme, bar);
}

/// Letters of a device's description behind its name.
const DEVICE_REST: usize = 34;

fn device_chips(model: &Model, ui: &mut Ui, theme: &Theme, narrow: bool) {
    let device = model.pack().map(|pack| pack.device.clone());
    if let Some(device) = device.filter(|_| !narrow) {
        let (strong, quiet) = split_device(&device);
        chip(ui, theme, None, &strong, &quiet).on_hover_text(device);
    }
    let (dot, name, word) = match &model.pack {
        PackState::Ready(pack) if !model.engine_dead => (theme.good, pack.name.clone(), "pack"),
        PackState::Ready(pack) => (theme.bad, pack.name.clone(), "engine stopped"),
        PackState::Opening => (theme.accent, "opening".to_owned(), "pack"),
        PackState::Failed(_) => (theme.bad, "no pack".to_owned(), ""),
    };
    let response = chip(ui, theme, Some(dot), &name, word);
    match &model.pack {
        PackState::Ready(pack) => {
            let (height, width) = pack.frame_size;
            let memory = pack.estimated.map_or_else(String::new, |estimated| {
                format!(" · about {} of memory estimated", human(estimated))
            });
            let facts = format!(
                "{} · {width} × {height} pixels, {} frames a clip at {} fps{memory} · licence {}",
                pack.name, pack.frames_per_clip, pack.fps, pack.licence
            );
            response.on_hover_text(facts);
        }
        PackState::Failed(reason) => {
            response.on_hover_text(reason);
        }
        PackState::Opening => {}
    }
}

/// The first words of a device's description stand out, and a long one is cut.
fn split_device(device: &str) -> (String, String) {
    let (name, rest) = device.split_once([',', '(', ':']).unwrap_or((device, ""));
    let rest = rest.trim().replace(['(', ')'], "");
    let rest = match rest.char_indices().nth(DEVICE_REST) {
        Some((end, _)) => format!("{}…", rest[..end].trim_end()),
        None => rest,
    };
    (name.trim().to_owned(), rest)
}

fn search_width(bar: Rect) -> f32 {
    (bar.width() * 0.21).clamp(180.0, 330.0)
}

/// Looks like a text field and opens the palette.
fn search_box(model: &mut Model, ui: &mut Ui, theme: &Theme, bar: Rect) {
    let rect = Rect::from_center_size(bar.center(), vec2(search_width(bar), 26.0));
    let response = ui.interact(rect, ui.scope_id().with("search"), Sense::click());
    let hint = "Search commands…";
    response.widget_info(|| WidgetInfo::labeled(Role::Button, true, "Search commands"));
    let hot = response.hovered() || response.has_focus();
    let edge = if hot { theme.line_strong } else { theme.line };
    let painter = ui.painter();
    painter.rect(rect, CONTROL_RADIUS, theme.raised, Stroke::new(1.0, edge), StrokeKind::Inside);
    let middle = rect.center().y;
    icon::paint(painter, Icon::Search, pos2(rect.left() + 15.0, middle), 11.0, theme.muted);
    painter.text(
        pos2(rect.left() + 28.0, middle),
        Align2::LEFT_CENTER,
        hint,
        sans(12.0),
        theme.muted,
    );
    let key = Command::Palette.key(ui.ctx());
    key_cap(ui, pos2(rect.right() - 32.0, middle), &key, theme.muted);
    if response.on_hover_cursor(CursorIcon::PointingHand).clicked() {
        model.run(Command::Palette);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_device_is_cut_and_no_bracket_is_left() {
        let split = |device| {
            let (name, rest) = split_device(device);
            format!("{name}|{rest}")
        };
        assert_eq!(split("CPU, 2 cores"), "CPU|2 cores");
        assert_eq!(split("CPU"), "CPU|");
        let software = "llvmpipe (LLVM 15.0.6, 256 bits), vulkan, software, f16";
        assert_eq!(split(software), "llvmpipe|LLVM 15.0.6, 256 bits, vulkan, sof…");
    }
}
