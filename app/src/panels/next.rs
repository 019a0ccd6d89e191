//! What could happen next: the policy's most likely codes, each with how its clip ends, or the next
//! clip of recorded codes.

use eframe::egui::{
    Align2, Color32, ComboBox, CursorIcon, Rect, Role, Sense, Stroke, StrokeKind, Ui, UiBuilder,
    WidgetInfo, pos2, vec2,
};

use crate::commands::{CANDIDATES, Command};
use crate::studio::CANDIDATES_SHOWN;
use crate::studio::jobs::JobKind;
use crate::studio::model::{Action, Model};
use crate::studio::session::{Outcome, Session};
use crate::theme::{SURFACE_RADIUS, Theme, mono, sans};
use crate::widgets::control::{KeyButton, fill_bar, key_cap, placeholder, section_header};

const COLUMNS: usize = 3;
const GAP: f32 = 8.0;
/// Below the picture: code, probability, key and bar.
const CAPTION: f32 = 46.0;
/// Of the button beside the list of codes.
const OPEN_WIDTH: f32 = 118.0;

pub fn show(model: &mut Model, ui: &mut Ui) {
    let theme = model.theme.clone();
    let remark = model.session.as_ref().map_or_else(String::new, |session| {
        let sampling = session.sampling();
        match &session.codes {
            Some(_) => "recorded codes".to_owned(),
            None if session.can_grow() => {
                format!("policy · T {} · seed {}", sampling.temperature, sampling.seed)
            }
            None => "no policy".to_owned(),
        }
    });
    section_header(ui, &theme, "Next step", &remark);
    let Some(session) = &model.session else {
        placeholder(ui, &theme, "Nothing to choose yet", "The policy needs a starting frame");
        return;
    };
    let pack = session.pack();
    if session.codes.is_some() || pack.recorded.is_some() || !pack.has_policy {
        choose_codes(model, ui, &theme);
    }
    let Some(session) = &model.session else {
        return;
    };
    let current = session.current();
    let view = session.view(current);
    if session.codes.is_some() || !session.can_grow() {
        let (title, hint) = recorded(session);
        centred(ui, &theme, &title, &hint);
        return;
    }
    let Some(outcomes) = view.candidates.clone() else {
        let working = model.jobs.iter().any(|job| job.kind == JobKind::Candidates(current));
        let (title, hint) = if model.engine_dead {
            ("The engine stopped", "Restart it to see what could happen next")
        } else if !session.knows_task() {
            ("No candidates", "Choose another task: this pack has not learned it")
        } else if session.is_complete(current) {
            ("The task is done", "Go back to see other ways")
        } else if view.candidates_given_up {
            ("No candidates", "Step on, or move and return to ask again")
        } else if working {
            ("Asking the policy", "Each candidate is painted to its end")
        } else {
            ("Candidates come when the engine is free", "Step takes the most likely one")
        };
        centred(ui, &theme, title, hint);
        return;
    };
    let (width, picture_height) = card_size(ui.available_width());
    let height = picture_height + CAPTION;
    let size = vec2(ui.available_width(), cards_height(ui.available_width(), outcomes.len()));
    let (area, _) = ui.allocate_exact_size(size, Sense::hover());
    for (index, outcome) in outcomes.iter().enumerate() {
        let corner = vec2(
            (index % COLUMNS) as f32 * (width + GAP),
            (index / COLUMNS) as f32 * (height + GAP),
        );
        let card = Rect::from_min_size(area.min + corner, vec2(width, height));
        show_card(model, ui, &theme, card, picture_height, index, outcome);
    }
}

/// Words in place of the cards and as high as they are, so that nothing moves when they come.
fn centred(ui: &mut Ui, theme: &Theme, title: &str, hint: &str) {
    let height = cards_height(ui.available_width(), CANDIDATES_SHOWN);
    let size = vec2(ui.available_width(), height);
    let (area, _) = ui.allocate_exact_size(size, Sense::hover());
    let middle = Rect::from_center_size(area.center(), vec2(area.width(), 72.0));
    ui.scope_builder(UiBuilder::new().max_rect(middle), |ui| placeholder(ui, theme, title, hint));
}

/// What recorded codes do next, or what to do without any.
fn recorded(session: &Session) -> (String, String) {
    let Some(codes) = &session.codes else {
        let hint = "Choose recorded codes above, or open a file of codes";
        return ("This pack has no policy".to_owned(), hint.to_owned());
    };
    let (done, all) = (session.rollout.line(session.current()).len(), codes.clips.len());
    if done < all {
        let hint = "They were predicted elsewhere, so no probabilities are known";
        (format!("Step plays clip {} of {all}", done + 1), hint.to_owned())
    } else {
        let hint = "Go back and branch, or choose others";
        ("These codes are at their end".to_owned(), hint.to_owned())
    }
}

/// Where the codes come from: the policy, the pack, or a file.
fn choose_codes(model: &mut Model, ui: &mut Ui, theme: &Theme) {
    let Some(pack) = model.pack().cloned() else {
        return;
    };
    let chosen = match &model.codes {
        Some(codes) => codes.source.clone(),
        None if pack.has_policy => "policy".to_owned(),
        None => "none chosen".to_owned(),
    };
    ui.horizontal(|ui| {
        let open = Command::OpenCodes;
        let room = ui.available_width() - OPEN_WIDTH - ui.spacing().item_spacing.x;
        ComboBox::from_id_salt("codes")
            .width(room)
            .truncate()
            .selected_text(&chosen)
            .show_ui(ui, |ui| {
                if pack.has_policy {
                    let label = Command::PolicyCodes.text().0;
                    if ui.selectable_label(model.codes.is_none(), label).clicked() {
                        model.run(Command::PolicyCodes);
                    }
                }
                for (name, clips) in pack.recorded.iter().flat_map(|own| &own.rollouts) {
                    let label = format!("{name} · {} clips", clips.len());
                    if ui.selectable_label(model.plays(name), label).clicked() {
                        model.actions.push(Action::PlayCodes(name.clone()));
                    }
                }
            })
            .response
            .on_hover_text(&chosen)
            .widget_info(|| WidgetInfo::labeled(Role::ComboBox, true, "Codes to play"));
        let button = KeyButton::new(open.text().0, "").show(ui, theme);
        if button.on_hover_text(open.text().1).clicked() {
            model.run(open);
        }
    });
    ui.add_space(2.0);
}

/// Width of a card and height of its picture.
fn card_size(available: f32) -> (f32, f32) {
    let width = (available - GAP * (COLUMNS - 1) as f32) / COLUMNS as f32;
    (width, width * 0.58)
}

fn cards_height(available: f32, count: usize) -> f32 {
    let rows = count.div_ceil(COLUMNS).max(1) as f32;
    rows * (card_size(available).1 + CAPTION + GAP) - GAP
}

fn show_card(
    model: &mut Model,
    ui: &mut Ui,
    theme: &Theme,
    card: Rect,
    picture_height: f32,
    index: usize,
    outcome: &Outcome,
) {
    let (code, probability) = (outcome.candidate.code, outcome.candidate.probability);
    let id = ui.scope_id().with(("candidate", index));
    let response = ui.interact(card, id, Sense::click());
    response.widget_info(|| {
        let label = format!("Candidate {}: code {code}, {:.0} %", index + 1, probability * 100.0);
        WidgetInfo::labeled(Role::Button, true, label)
    });
    let best = index == 0;
    let hot = response.hovered() || response.has_focus();
    let edge = match (best, hot) {
        (true, _) => Stroke::new(1.5, theme.accent),
        (false, true) => Stroke::new(1.0, theme.muted),
        (false, false) => Stroke::new(1.0, theme.line),
    };
    let fill = if hot { theme.raised_hover } else { theme.raised };
    let radius = f32::from(SURFACE_RADIUS);
    ui.painter().rect(card, radius, fill, edge, StrokeKind::Inside);
    let picture = Rect::from_min_size(
        card.min + vec2(5.0, 5.0),
        vec2(card.width() - 10.0, picture_height - 4.0),
    );
    model.thumbs.paint(ui, picture, &outcome.picture, 0, 5.0, Color32::WHITE);
    let middle = picture.bottom() + 14.0;
    let painter = ui.painter();
    let left = card.left() + 8.0;
    let number = painter.text(
        pos2(left, middle),
        Align2::LEFT_CENTER,
        code.to_string(),
        mono(12.0),
        theme.text,
    );
    painter.text(
        pos2(number.right() + 10.0, middle),
        Align2::LEFT_CENTER,
        percent(probability),
        sans(11.5),
        theme.muted,
    );
    if let Some(command) = CANDIDATES.get(index) {
        let key = command.key(ui.ctx());
        key_cap(ui, pos2(card.right() - 17.0, middle), &key, theme.muted);
    }
    let bar = Rect::from_min_max(
        pos2(left, card.bottom() - 12.0),
        pos2(card.right() - 8.0, card.bottom() - 9.0),
    );
    fill_bar(ui, bar, probability, theme.line, theme.measure);
    if response.on_hover_cursor(CursorIcon::PointingHand).clicked()
        && let Some(command) = CANDIDATES.get(index)
    {
        model.run(*command);
    }
}

fn percent(probability: f32) -> String {
    let percent = probability * 100.0;
    if percent > 0.0 && percent < 1.0 { "<1 %".to_owned() } else { format!("{percent:.0} %") }
}
