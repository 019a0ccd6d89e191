//! Every command by its name.

use eframe::egui::{
    self, Align2, CursorIcon, Id, Key, Modal, Role, ScrollArea, Sense, TextEdit, Ui, WidgetInfo,
    pos2, vec2,
};

use crate::commands::Command;
use crate::studio::model::{Model, Overlay};
use crate::theme::{Theme, sans};
use crate::widgets::control::{key_cap_left_of, modal_frame};

const WIDTH: f32 = 520.0;
const ROW: f32 = 34.0;

pub fn show(model: &mut Model, ctx: &egui::Context) {
    let theme = model.theme.clone();
    let modal = Modal::new(Id::unique("palette")).frame(modal_frame(&theme)).show(ctx, |ui| {
        ui.set_width(WIDTH);
        let search = TextEdit::singleline(&mut model.view.search)
            .hint_text("Search commands")
            .desired_width(f32::INFINITY);
        let field = ui.add(search);
        field.request_focus();
        if field.changed() {
            model.view.search_at = 0;
        }
        let found = matching(&model.view.search);
        move_choice(model, ui, found.len());
        let chosen = found.get(model.view.search_at).copied();
        let entered = ui.input(|input| input.key_pressed(Key::Enter));
        if let (true, Some(command)) = (entered, chosen) {
            close_and_run(model, command);
        }
        if found.is_empty() {
            ui.label(theme.dim_text("No command has this name"));
        }
        ScrollArea::vertical().max_height(ROW * 10.0).show(ui, |ui| {
            ui.spacing_mut().item_spacing.y = 0.0;
            for command in found {
                let obstacle = model.obstacle(command);
                if row(ui, &theme, command, obstacle, chosen == Some(command)) {
                    close_and_run(model, command);
                }
            }
        });
    });
    if modal.should_close() && model.view.overlay == Overlay::Palette {
        model.view.overlay = Overlay::None;
    }
}

fn close_and_run(model: &mut Model, command: Command) {
    model.view.overlay = Overlay::None;
    model.run(command);
}

fn move_choice(model: &mut Model, ui: &Ui, count: usize) {
    let (up, down) =
        ui.input(|input| (input.key_pressed(Key::ArrowUp), input.key_pressed(Key::ArrowDown)));
    let at = &mut model.view.search_at;
    if down && *at + 1 < count {
        *at += 1;
    }
    if up {
        *at = at.saturating_sub(1);
    }
}

/// Commands whose name or explanation holds every word that was typed; names first.
fn matching(search: &str) -> Vec<Command> {
    let words: Vec<String> = search.to_lowercase().split_whitespace().map(str::to_owned).collect();
    let holds = |text: &str| {
        let text = text.to_lowercase();
        words.iter().all(|word| text.contains(word.as_str()))
    };
    let all = Command::ALL
        .into_iter()
        .filter(|command| !matches!(command, Command::Palette | Command::Escape));
    let (by_name, others): (Vec<_>, Vec<_>) = all.partition(|command| holds(command.text().0));
    let by_explanation = others.into_iter().filter(|command| holds(command.text().1));
    by_name.into_iter().chain(by_explanation).collect()
}

/// One command, quieter and with the reason where it cannot be given.
fn row(ui: &mut Ui, theme: &Theme, command: Command, obstacle: Option<&str>, chosen: bool) -> bool {
    let (name, explanation) = command.text();
    let (rect, response) = ui.allocate_exact_size(vec2(WIDTH - 8.0, ROW), Sense::click());
    let enabled = obstacle.is_none();
    response.widget_info(|| WidgetInfo::selected(Role::MenuItem, enabled, chosen, name));
    if chosen {
        response.scroll_to_me(None);
    }
    if chosen || response.hovered() {
        ui.painter().rect_filled(rect, 6.0, theme.raised_hover);
    }
    let middle = rect.center().y;
    let ink = match (obstacle, chosen) {
        (Some(_), _) => theme.dim,
        (None, true) => theme.accent,
        (None, false) => theme.text,
    };
    let at = pos2(rect.left() + 10.0, middle);
    let drawn = ui.painter().text(at, Align2::LEFT_CENTER, name, sans(13.0), ink);
    let key = command.key(ui.ctx());
    let room = egui::Rect::from_min_max(rect.min, pos2(rect.right() - 110.0, rect.bottom()));
    ui.painter().with_clip_rect(room).text(
        pos2(drawn.right() + 12.0, middle),
        Align2::LEFT_CENTER,
        obstacle.unwrap_or(explanation),
        sans(11.5),
        theme.muted,
    );
    key_cap_left_of(ui, pos2(rect.right() - 8.0, middle), &key, theme.muted);
    response.on_hover_cursor(CursorIcon::PointingHand).clicked()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_before_explanations() {
        let found = matching("candidate 2");
        assert_eq!(found.first(), Some(&Command::Candidate2));
        let found = matching("branch");
        assert_eq!(found.first(), Some(&Command::Branch));
        assert!(found.contains(&Command::Forward), "its explanation speaks of the branch");
        assert!(matching("no such thing").is_empty());
    }
}
