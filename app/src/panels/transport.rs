//! Player buttons, and the three ways on: Back, Branch, Step.

use eframe::egui::{Align, Layout, Ui};
use engine::rollout::Rollout;

use crate::commands::Command;
use crate::studio::model::{Compare, Model};
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
    let session = model.session.as_ref();
    let at_root = session.is_none_or(|session| session.current() == Rollout::ROOT);
    let open = session.is_some();
    let buttons = [
        (Command::Step, "Step", open, true),
        (Command::Branch, "Branch", open && !at_root, false),
        (Command::Back, "Back", open && !at_root, false),
    ];
    for (command, text, enabled, primary) in buttons {
        let key = command.key(ui.ctx());
        let mut button = KeyButton::new(text, &key).enabled(enabled);
        if primary {
            button = button.primary();
        }
        if button.show(ui, &theme).on_hover_text(command.text().1).clicked() {
            model.run(command);
        }
    }
}

/// From the right: loop, speed, compare.
fn modes(model: &mut Model, ui: &mut Ui, narrow: bool) {
    let theme = model.theme.clone();
    if !narrow {
        let looping = model.player.looping;
        let button = KeyButton::new("Loop", "").selected(looping);
        if button.show(ui, &theme).on_hover_text("Start again at the end").clicked() {
            model.run(Command::ToggleLoop);
        }
        let speed = format!("{}×", model.player.speed);
        let button = KeyButton::new(&speed, "").label("Speed");
        let response = button.show(ui, &theme).on_hover_text("Slower [ and faster ]");
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
        _ if narrow => "",
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
