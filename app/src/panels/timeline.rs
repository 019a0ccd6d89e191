//! Filmstrip, code strip and entropy of the line of clips, all on one time axis.

use eframe::egui::{
    self, Align2, Color32, CursorIcon, Popup, PopupCloseBehavior, Rect, Response, Role, Sense,
    Stroke, StrokeKind, Ui, WidgetInfo, pos2, vec2,
};
use engine::rollout::{CodePrediction, NodeId};

use crate::studio::model::{Action, Model};
use crate::studio::player::Mark;
use crate::theme::{Theme, mono, sans};
use crate::widgets::code_strip::{Cell, CodeStrip, ROW_HEIGHT};
use crate::widgets::control::fill_bar;
use crate::widgets::entropy_line;

/// Pictures of the filmstrip for each clip.
const PICTURES_PER_CLIP: usize = 2;
const FILM_HEIGHT: f32 = 42.0;
const ENTROPY_HEIGHT: f32 = 36.0;
const GAP: f32 = 10.0;
const PITCH_GAP: f32 = 2.0;

/// Height of the panel for so many codes a step.
pub fn height(codes_per_step: usize) -> f32 {
    let rows = codes_per_step as f32 * (ROW_HEIGHT + PITCH_GAP);
    FILM_HEIGHT + GAP + rows + GAP + ENTROPY_HEIGHT
}

pub fn show(model: &mut Model, ui: &mut Ui) {
    let theme = model.theme.clone();
    let area = ui.available_rect_before_wrap();
    let rows = model.pack().map_or(4, |pack| pack.codes_per_step);
    let film = Rect::from_min_size(area.min, vec2(area.width(), FILM_HEIGHT));
    let strip_height = rows as f32 * (ROW_HEIGHT + PITCH_GAP) - PITCH_GAP;
    let codes =
        Rect::from_min_size(film.left_bottom() + vec2(0.0, GAP), vec2(area.width(), strip_height));
    let entropy = Rect::from_min_size(
        codes.left_bottom() + vec2(0.0, GAP),
        vec2(area.width(), ENTROPY_HEIGHT),
    );
    filmstrip(model, ui, &theme, film);
    show_marks(model, ui, &theme, film);
    code_strip(model, ui, &theme, codes);
    entropy_strip(model, ui, &theme, entropy);
    ui.advance_cursor_after_rect(film.union(entropy));
}

fn filmstrip(model: &mut Model, ui: &mut Ui, theme: &Theme, area: Rect) {
    let Some(session) = &model.session else {
        empty_film(ui, theme, area);
        return;
    };
    let line = session.line();
    let count = session.clips_on_axis() * PICTURES_PER_CLIP;
    let per_clip = session.last_frame().max(1) as i64;
    let now = session.at();
    let pitch = (area.width() + PITCH_GAP) / count as f32;
    let pictures: Vec<_> = (0..count)
        .map(|index| {
            let (clip, part) = (index / PICTURES_PER_CLIP, index % PICTURES_PER_CLIP);
            // Each picture stands for the frames up to it: its own is the last of them.
            let frame = (part + 1) * per_clip as usize / PICTURES_PER_CLIP;
            let picture = line.get(clip).and_then(|node| session.thumbnail(*node));
            (picture, frame, clip as i64 * per_clip)
        })
        .collect();
    let shown = pictures.iter().position(|(_, frame, start)| {
        let end = start + *frame as i64;
        now <= end && now > end - per_clip / PICTURES_PER_CLIP as i64
    });
    for (index, (picture, frame, start)) in pictures.into_iter().enumerate() {
        let corner = area.min + vec2(index as f32 * pitch, 0.0);
        let rect = Rect::from_min_size(corner, vec2(pitch - PITCH_GAP, area.height()));
        let Some(picture) = picture else {
            ui.painter().rect_filled(rect, 3.0, theme.vacant());
            continue;
        };
        let end = start + frame as i64;
        let past = now >= end || shown == Some(index);
        let tint = if past { Color32::WHITE } else { Color32::from_gray(110) };
        let response = ui.interact(rect, ui.scope_id().with(("film", index)), Sense::click());
        let name = format!("Frame {end}");
        response
            .widget_info(|| WidgetInfo::selected(Role::Button, true, shown == Some(index), &name));
        model.thumbs.paint(ui, rect, &picture, frame, 3.0, tint);
        if shown == Some(index) {
            ui.painter().rect_stroke(
                rect,
                3.0,
                Stroke::new(2.0, theme.accent),
                StrokeKind::Outside,
            );
        } else if response.hovered() {
            ui.painter().rect_stroke(rect, 3.0, Stroke::new(1.0, theme.muted), StrokeKind::Inside);
        }
        if response.on_hover_cursor(CursorIcon::PointingHand).clicked() {
            model.actions.push(Action::Seek(end));
        }
    }
}

/// In and out point as handles over the filmstrip; what lies outside is quieter.
fn show_marks(model: &mut Model, ui: &mut Ui, theme: &Theme, area: Rect) {
    let Some(session) = &model.session else {
        return;
    };
    let marks = model.player.marks;
    let end = session.end();
    let places = (session.clips_on_axis() * session.last_frame().max(1)) as f32;
    let x_of = |at: i64| area.left() + area.width() * at as f32 / places;
    for (mark, inward) in [(Mark::In, 1.0), (Mark::Out, -1.0)] {
        let Some(at) = marks.get(mark) else {
            continue;
        };
        let x = x_of(at);
        let outer = if mark == Mark::In { area.left() } else { area.right() };
        let outside = Rect::from_two_pos(pos2(outer, area.top()), pos2(x, area.bottom()));
        let grip = Rect::from_center_size(pos2(x, area.center().y), vec2(12.0, area.height()));
        let response = ui.interact(grip, ui.scope_id().with(("mark", mark)), Sense::drag());
        response.widget_info(|| WidgetInfo::slider(true, at as f64, mark.label()));
        let hot = response.hovered() || response.dragged();
        let stroke = Stroke::new(if hot { 3.0 } else { 2.0 }, theme.text);
        let painter = ui.painter();
        painter.rect_filled(outside, 0.0, theme.window.gamma_multiply(0.7));
        let foot = x + inward * 6.0;
        let bracket = [
            pos2(foot, area.top()),
            pos2(x, area.top()),
            pos2(x, area.bottom()),
            pos2(foot, area.bottom()),
        ];
        painter.line(bracket.to_vec(), stroke);
        if let Some(pointer) = response.interact_pointer_pos().filter(|_| response.dragged()) {
            let under = ((pointer.x - area.left()) / area.width() * places).round() as i64;
            let wanted = marks.nearest(mark, under, end);
            if wanted != at {
                model.actions.push(Action::SetMark(mark, wanted));
            }
        }
        response.on_hover_cursor(CursorIcon::ResizeHorizontal);
    }
}

fn empty_film(ui: &Ui, theme: &Theme, area: Rect) {
    ui.painter().rect_filled(area, 3.0, theme.vacant());
    ui.painter().text(area.center(), Align2::CENTER_CENTER, "No clips yet", sans(12.0), theme.dim);
}

fn code_strip(model: &mut Model, ui: &mut Ui, theme: &Theme, area: Rect) {
    let Some(session) = &model.session else {
        return;
    };
    let pack = session.pack();
    let (steps, rows) = (pack.steps_per_clip.max(1), pack.codes_per_step.max(1));
    let line = session.line();
    let inspected = model.inspected();
    let now_step = session.position().map(|clip| clip * steps + session.step());
    let clips: Vec<(NodeId, Vec<CodePrediction>)> =
        line.iter().map(|node| (*node, session.rollout.node(*node).predictions.clone())).collect();
    let columns = session.clips_on_axis() * steps;
    let map = &mut model.map;
    let has_map = !map.map.points.is_empty();
    let category: Vec<Vec<usize>> = clips
        .iter()
        .enumerate()
        .map(|(index, (_, predictions))| {
            let of_step = |codes: &[CodePrediction]| {
                let codes: Vec<u16> = codes.iter().map(|code| code.code).collect();
                let action = if has_map { map.action_of(&codes) } else { Some(index % 7) };
                action.unwrap_or(usize::MAX)
            };
            predictions.chunks(rows).map(of_step).collect()
        })
        .collect();
    let cell = |column: usize, row: usize| {
        let (clip, step) = (column / steps, column % steps);
        let (node, predictions) = clips.get(clip)?;
        let position = step * rows + row;
        let prediction = predictions.get(position)?;
        let chosen = inspected.as_ref().map(|(node, position, _)| (*node, *position));
        Some(Cell {
            code: prediction.code,
            category: category[clip].get(step).copied().unwrap_or(usize::MAX),
            probability: prediction.probability,
            past: now_step.is_some_and(|now| column <= now),
            selected: chosen == Some((*node, position)),
        })
    };
    let strip = CodeStrip { columns, rows, cell: &cell };
    let clicked = strip.show(ui, theme, area);
    if let Some((column, row, _)) = clicked {
        let node = clips[column / steps].0;
        let position = (column % steps) * rows + row;
        model.view.alternatives = Some((node, position));
        model.actions.push(Action::SelectCode { node, position });
    }
    alternatives(model, ui, theme, &clips, area, steps, rows);
}

/// The list of what else the policy considered at a code.
fn alternatives(
    model: &mut Model,
    ui: &mut Ui,
    theme: &Theme,
    clips: &[(NodeId, Vec<CodePrediction>)],
    area: Rect,
    steps: usize,
    rows: usize,
) {
    let Some((node, position)) = model.view.alternatives else {
        return;
    };
    let Some((clip, (_, predictions))) = clips.iter().enumerate().find(|(_, (id, _))| *id == node)
    else {
        return;
    };
    let Some(prediction) = predictions.get(position) else {
        return;
    };
    let columns = model.session.as_ref().map_or(1, |session| session.clips_on_axis()) * steps;
    let column = clip * steps + position / rows;
    let x = area.left() + area.width() * (column as f32 + 0.5) / columns as f32;
    let anchor = pos2(x, area.top() - 4.0);
    let mut open = true;
    Popup::new(ui.scope_id().with("alternatives"), ui.ctx().clone(), anchor, ui.layer_id())
        .accessible_name("Alternatives of this code")
        .align(egui::RectAlign::TOP)
        .close_behavior(PopupCloseBehavior::CloseOnClickOutside)
        .open_bool(&mut open)
        .width(230.0)
        .show(|ui| {
            ui.label(theme.section_title("Instead of this code"));
            for (code, probability) in &prediction.alternatives {
                let taken = *code == prediction.code;
                if alternative(ui, theme, *code, *probability, taken).clicked() && !taken {
                    model.actions.push(Action::Choose { node, position, code: *code });
                }
            }
            if prediction.alternatives.is_empty() {
                ui.label(theme.dim_text("Recorded codes have no alternatives"));
            }
        });
    if !open {
        model.view.alternatives = None;
    }
}

fn alternative(ui: &mut Ui, theme: &Theme, code: u16, probability: f32, taken: bool) -> Response {
    let (rect, response) = ui.allocate_exact_size(vec2(214.0, 24.0), Sense::click());
    response.widget_info(|| {
        let label = format!("Choose code {code}, probability {:.1} %", probability * 100.0);
        WidgetInfo::selected(Role::Button, true, taken, label)
    });
    if response.hovered() {
        ui.painter().rect_filled(rect, 4.0, theme.raised_hover);
    }
    let ink = if taken { theme.accent } else { theme.text };
    let middle = rect.center().y;
    let painter = ui.painter();
    painter.text(
        pos2(rect.left() + 6.0, middle),
        Align2::LEFT_CENTER,
        code.to_string(),
        mono(12.0),
        ink,
    );
    let bar = Rect::from_min_size(pos2(rect.left() + 52.0, middle - 2.0), vec2(104.0, 4.0));
    fill_bar(ui, bar, probability, theme.line, theme.measure);
    ui.painter().text(
        pos2(rect.right() - 6.0, middle),
        Align2::RIGHT_CENTER,
        format!("{:.1} %", probability * 100.0),
        sans(12.0),
        theme.muted,
    );
    response.on_hover_cursor(CursorIcon::PointingHand)
}

fn entropy_strip(model: &Model, ui: &mut Ui, theme: &Theme, area: Rect) {
    let (bits, places, now) = match &model.session {
        Some(session) => {
            let codes = session.pack().steps_per_clip * session.pack().codes_per_step;
            let line = session.line();
            let bits: Vec<f32> = line
                .iter()
                .flat_map(|node| &session.rollout.node(*node).predictions)
                .map(|prediction| prediction.entropy_bits)
                .collect();
            let now = session.position().map(|_| session.now());
            (bits, session.clips_on_axis() * codes, now)
        }
        None => (Vec::new(), 1, None),
    };
    entropy_line::show(ui, theme, area, &bits, places, now);
}
