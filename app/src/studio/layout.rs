//! Where the panels stand: left where it started, middle what happens, right what could happen,
//! below what the machine does.

use eframe::egui::{
    self, Align2, Area, CentralPanel, Frame, Id, LayerId, Margin, Modal, Order, Panel as Side,
    Rect, Stroke, Ui, UiBuilder, pos2, vec2,
};

use super::model::{Model, Overlay, RightTab};
use crate::commands::Command;
use crate::panels::{
    Panel, show_import, show_keys, show_palette, show_remote, show_sampling, show_stage_alone,
    show_toasts, show_verified, timeline_height,
};
use crate::theme::strong_font;
use crate::widgets::control::{KeyButton, modal_frame};

/// Below this size the right column becomes tabs and the left one folds.
const ROOMY: egui::Vec2 = vec2(1360.0, 800.0);
const LEFT: f32 = 272.0;
const RIGHT: f32 = 388.0;
const TRANSPORT: f32 = 48.0;
const TOP_BAR: f32 = 44.0;
const JOB_BAR: f32 = 36.0;
/// Around stage, transport and strips.
const MIDDLE: Margin = Margin::symmetric(16, 14);

/// Shows the whole window.
pub fn show(model: &mut Model, ui: &mut Ui) {
    let theme = model.theme.clone();
    let ctx = ui.ctx().clone();
    ui.painter().rect_filled(ui.max_rect(), 0.0, theme.window);
    if model.view.presenting {
        present(model, ui);
    } else {
        frame_of_window(model, ui);
    }
    match model.view.overlay {
        Overlay::None => {}
        Overlay::Palette => show_palette(model, &ctx),
        Overlay::Keys => show_keys(model, &ctx),
        Overlay::Gallery => gallery_over(model, &ctx),
        Overlay::Remote => show_remote(model, &ctx),
        Overlay::Sampling => show_sampling(model, &ctx),
    }
    if !model.view.presenting {
        show_import(model, &ctx);
        show_verified(model, &ctx);
    }
    show_toasts(model, &ctx);
    drop_hint(model, &ctx);
}

fn frame_of_window(model: &mut Model, ui: &mut Ui) {
    let theme = model.theme.clone();
    let roomy = ui.max_rect().width() >= ROOMY.x && ui.max_rect().height() >= ROOMY.y;
    let surface = |margin: Margin| Frame::new().fill(theme.panel).inner_margin(margin);
    Side::top("top")
        .exact_size(TOP_BAR)
        .frame(surface(Margin::symmetric(14, 0)))
        .show(ui, |ui| Panel::TopBar.show(model, ui));
    Side::bottom("jobs")
        .exact_size(JOB_BAR)
        .frame(surface(Margin::symmetric(14, 0)))
        .show(ui, |ui| Panel::JobBar.show(model, ui));
    if model.session.is_none() {
        let margin = Margin::symmetric(48, 32);
        CentralPanel::default()
            .frame(Frame::new().fill(theme.window).inner_margin(margin))
            .show(ui, |ui| Panel::Gallery.show(model, ui));
        return;
    }
    let left = if roomy { LEFT } else { 92.0 };
    let inner = if roomy { Margin::symmetric(14, 12) } else { Margin::symmetric(10, 12) };
    Side::left("left").resizable(false).exact_size(left).frame(surface(inner)).show(ui, |ui| {
        if roomy {
            Panel::Start.show(model, ui);
            ui.add_space(12.0);
        }
        Panel::Branches.show(model, ui);
    });
    let right = if roomy { RIGHT } else { 330.0 };
    Side::right("right")
        .resizable(false)
        .exact_size(right)
        .frame(surface(Margin { bottom: 4, ..Margin::symmetric(14, 12) }))
        .show(ui, |ui| {
            if roomy {
                Panel::Next.show(model, ui);
                ui.add_space(10.0);
                ui.scope(|ui| Panel::Code.show(model, ui));
                ui.add_space(10.0);
                Panel::Map.show(model, ui);
            } else {
                tabs(model, ui);
            }
        });
    CentralPanel::default()
        .frame(Frame::new().fill(theme.window).inner_margin(MIDDLE))
        .show(ui, |ui| middle(model, ui));
    if model.map.selection.is_some() {
        selection_beside(model, ui.ctx(), right);
    }
}

/// What was selected on the map, beside the column that holds the map and above the transport.
fn selection_beside(model: &mut Model, ctx: &egui::Context, column: f32) {
    let frame = modal_frame(&model.theme);
    let below = JOB_BAR + MIDDLE.bottom as f32 + strips_height(model) + TRANSPORT;
    let corner = vec2(-column - 12.0, -below);
    let room = ctx.content_rect().height() - TOP_BAR - below - frame.total_margin().sum().y - 12.0;
    let size = Panel::Selection.usual_size();
    let size = vec2(size.x, size.y.min(room));
    Area::new(Id::unique("selection")).anchor(Align2::RIGHT_BOTTOM, corner).show(ctx, |ui| {
        frame.show(ui, |ui| {
            ui.set_min_size(size);
            ui.set_max_size(size);
            Panel::Selection.show(model, ui);
        });
    });
}

/// Stage, transport and the strips below each other; the stage takes what is left.
fn middle(model: &mut Model, ui: &mut Ui) {
    let area = ui.available_rect_before_wrap();
    let strips_top = area.bottom() - strips_height(model);
    let transport_top = strips_top - TRANSPORT;
    let part = |top: f32, bottom: f32| {
        Rect::from_min_max(pos2(area.left(), top), pos2(area.right(), bottom))
    };
    let parts = [
        (Panel::Stage, part(area.top(), transport_top)),
        (Panel::Transport, part(transport_top, strips_top)),
        (Panel::Timeline, part(strips_top, area.bottom())),
    ];
    for (panel, rect) in parts {
        let place = UiBuilder::new().max_rect(rect).id_salt(panel.id());
        ui.scope_builder(place, |ui| panel.show(model, ui));
    }
}

fn strips_height(model: &Model) -> f32 {
    timeline_height(model.pack().map_or(4, |pack| pack.codes_per_step))
}

fn tabs(model: &mut Model, ui: &mut Ui) {
    let theme = model.theme.clone();
    ui.horizontal(|ui| {
        for (tab, name) in
            [(RightTab::Next, "Next"), (RightTab::Code, "Code"), (RightTab::Map, "Map")]
        {
            let button = KeyButton::new(name, "").selected(model.view.right_tab == tab);
            if button.show(ui, &theme).clicked() {
                model.view.right_tab = tab;
            }
        }
    });
    ui.add_space(4.0);
    match model.view.right_tab {
        RightTab::Next => Panel::Next.show(model, ui),
        RightTab::Code => Panel::Code.show(model, ui),
        RightTab::Map => Panel::Map.show(model, ui),
    }
}

/// For a talk: the picture, what is going on in large letters, the strips.
fn present(model: &mut Model, ui: &mut Ui) {
    let theme = model.theme.clone();
    let area = ui.max_rect().shrink(24.0);
    let strips_top = area.bottom() - strips_height(model);
    let strips = Rect::from_min_max(pos2(area.left(), strips_top), area.max);
    let caption_top = strips.top() - 64.0;
    let stage = Rect::from_min_max(area.min, pos2(area.right(), caption_top));
    show_stage_alone(model, ui, stage);
    let caption = model.session.as_ref().map_or_else(String::new, |session| {
        let total = session.clips_of_task();
        let task = session.rollout.task.label();
        match session.position() {
            Some(position) => format!("{task} · step {} of {total}", position + 1),
            None => task.to_owned(),
        }
    });
    ui.painter().text(
        pos2(area.center().x, caption_top + 32.0),
        Align2::CENTER_CENTER,
        caption,
        strong_font(28.0),
        theme.text,
    );
    let place = UiBuilder::new().max_rect(strips).id_salt("strips");
    ui.scope_builder(place, |ui| Panel::Timeline.show(model, ui));
}

fn gallery_over(model: &mut Model, ctx: &egui::Context) {
    let size = (ctx.content_rect().size() - vec2(160.0, 140.0)).min(vec2(1240.0, 820.0));
    let modal =
        Modal::new(Id::unique("gallery")).frame(modal_frame(&model.theme)).show(ctx, |ui| {
            ui.set_min_size(size);
            ui.set_max_size(size);
            Panel::Gallery.show(model, ui);
        });
    if modal.should_close() && model.view.overlay == Overlay::Gallery {
        model.view.overlay = Overlay::None;
    }
}

/// Says what will happen to a file that hovers over the window.
fn drop_hint(model: &Model, ctx: &egui::Context) {
    let hovered = ctx.input(|input| input.raw.hovered_files.len());
    if hovered == 0 {
        return;
    }
    let theme = &model.theme;
    let painter = ctx.layer_painter(LayerId::new(Order::Foreground, Id::unique("drop")));
    let area = ctx.content_rect();
    painter.rect_filled(area, 0.0, theme.overlay);
    let frame = area.shrink(40.0);
    painter.rect_stroke(frame, 12.0, Stroke::new(2.0, theme.accent), egui::StrokeKind::Inside);
    let text = match hovered {
        1 => "Drop to start from this picture, or to open this session or these codes",
        _ => "Drop to open the first of these files",
    };
    painter.text(area.center(), Align2::CENTER_CENTER, text, strong_font(22.0), theme.on_overlay);
    let fit = format!(
        "It will be brought to the model's shape by {}; {} asks for another one",
        model.settings.fit.label().to_lowercase(),
        Command::ToggleFit.text().0.to_lowercase(),
    );
    painter.text(
        area.center() + vec2(0.0, 34.0),
        Align2::CENTER_CENTER,
        fit,
        crate::theme::sans(13.0),
        theme.on_overlay,
    );
}
