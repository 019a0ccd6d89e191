//! Player buttons, and the three ways on: Back, Branch, Step.

use eframe::egui::{Align, Layout, Ui};

use crate::commands::Command;
use crate::studio::model::{Compare, Model};
use crate::studio::player::Mark;
use crate::widgets::control::{KeyButton, icon_button};
use crate::widgets::icon::Icon;

pub fn show(model: &mut Model, ui: &mut Ui) {
    let theme = model.theme.clone();
    let narrow = ui.available_width() < 860.0;
    let very_narrow = ui.available_width() < 700.0;
    let enabled = model.session.is_some();
    ui.add_enabled_ui(enabled, |ui| {
        ui.horizontal_centered(|ui| {
            let playing = model.player.playing || model.player.to_the_end;
            let (play, play_name) =
                if playing { (Icon::Pause, "Pause") } else { (Icon::Play, "Play") };
            let mut buttons = vec![
                (Icon::PreviousFrame, "Previous frame", Command::PreviousFrame),
                (play, play_name, Command::PlayPause),
                (Icon::NextFrame, "Next frame", Command::NextFrame),
            ];
            if !narrow {
                buttons.insert(0, (Icon::First, "First frame", Command::FirstFrame));
                buttons.push((Icon::Last, "Last frame", Command::LastFrame));
            }
            for (icon, name, command) in buttons {
                let primary = command == Command::PlayPause;
                if icon_button(ui, &theme, icon, name, primary).clicked() {
                    model.run(command);
                }
            }
            if !very_narrow {
                ui.label(theme.mono_text(clock(model)));
            }
            ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
                moves(model, ui);
                if !very_narrow {
                    modes(model, ui, narrow);
                }
            });
        });
    });
}

/// From the right: Step, Branch, Back.
fn moves(model: &mut Model, ui: &mut Ui) {
    let theme = model.theme.clone();
    for command in [Command::Step, Command::Branch, Command::Back] {
        let (name, explanation) = command.text();
        let obstacle = model.obstacle(command);
        let key = command.key(ui.ctx());
        let mut button = KeyButton::new(name, &key).enabled(obstacle.is_none());
        if command == Command::Step {
            button = button.primary();
        }
        let response = button.show(ui, &theme).on_hover_text(obstacle.unwrap_or(explanation));
        if response.clicked() {
            model.run(command);
        }
    }
}

/// From the right: loop, speed, compare.
fn modes(model: &mut Model, ui: &mut Ui, narrow: bool) {
    let theme = model.theme.clone();
    let part = marked_part(model);
    if !narrow || !part.is_empty() {
        let looping = model.player.looping;
        let button = KeyButton::new("Loop", "").detail(&part).label("Loop").selected(looping);
        let hint = "Start again at the end; I and O set where the loop begins and ends";
        if button.show(ui, &theme).on_hover_text(hint).clicked() {
            model.run(Command::ToggleLoop);
        }
    }
    if !narrow {
        let sign = if model.player.backward { "−" } else { "" };
        let speed = format!("{sign}{}×", model.player.speed);
        let button = KeyButton::new(&speed, "").label("Speed");
        let hint = "Slower [ and faster ]; J plays backward, K pauses, L plays forward";
        let response = button.show(ui, &theme).on_hover_text(hint);
        if response.clicked() {
            let command =
                if model.player.speed >= 4.0 { Command::NormalSpeed } else { Command::Faster };
            model.run(command);
        }
        if response.secondary_clicked() {
            model.run(Command::Slower);
        }
    }
    let key = Command::CompareMode.key(ui.ctx());
    let compare = model.view.compare;
    let detail = match compare {
        // The marked part has the room.
        _ if narrow || !part.is_empty() => "",
        Compare::Best => "coarse or refined",
        Compare::Wipe | Compare::SideBySide => "coarse | refined",
        Compare::Difference => "coarse − refined",
    };
    let button = KeyButton::new(compare.label(), &key).detail(detail).label("Compare mode");
    let response = button.show(ui, &theme);
    if response.on_hover_text(Command::CompareMode.text().1).clicked() {
        model.run(Command::CompareMode);
    }
}

/// From where to where is played, seconds; empty without marks.
fn marked_part(model: &Model) -> String {
    let (Some(session), marks) = (&model.session, model.player.marks) else {
        return String::new();
    };
    if !marks.any() {
        return String::new();
    }
    let fps = session.pack().fps.max(0.1);
    let seconds = |at: i64| at as f32 / fps;
    let (first, last) = (marks.get(Mark::In), marks.get(Mark::Out));
    let end = last.unwrap_or(session.end());
    format!("{:.1} – {:.1} s", seconds(first.unwrap_or(0)), seconds(end))
}

/// Which clip of how many, and the time from the start.
fn clock(model: &Model) -> String {
    let Some(session) = &model.session else {
        return "no clip".to_owned();
    };
    let seconds = session.at() as f32 / session.pack().fps.max(0.1);
    let total = session.clips_of_task();
    let minutes = (seconds / 60.0).floor();
    let rest = seconds - minutes * 60.0;
    match session.position() {
        Some(position) => format!("clip {} of {total} · {minutes:02}:{rest:06.3}", position + 1),
        None => format!("start · {total} clips"),
    }
}
