//! The menus: all commands by what they are about, each with its key, grey where it cannot be
//! given, and then with the reason.

use eframe::egui::containers::menu::{MenuBar, MenuButton, MenuConfig, SubMenuButton, menu_style};
use eframe::egui::{Button, ScrollArea, Sense, Style, Ui, UiBuilder, vec2};

use crate::commands::{CANDIDATES, Command};
use crate::studio::model::{Action, Model};
use crate::theme::sans;

const PADDING: f32 = 8.0;
const HEIGHT: f32 = 26.0;
const WIDTH: f32 = 240.0;
/// Height of a list of recorded codes.
const RECORDED: f32 = 400.0;

/// What gives the codes; those that came with the pack stand between the two.
const CODES: [Command; 2] = [Command::PolicyCodes, Command::OpenCodes];

/// The menus, each in groups.
const MENUS: [(&str, &[&[Command]]); 6] = [
    (
        "File",
        &[
            &[Command::OpenGallery, Command::OpenFrame],
            &[Command::OpenSession, Command::RestoreSession, Command::SaveSession],
            &[Command::OpenPack, Command::ImportWeights, Command::FetchWeights],
            &[Command::SaveFrame, Command::CopyFrame],
            &[Command::Quit],
        ],
    ),
    (
        "Rollout",
        &[
            &[Command::Step, Command::Branch, Command::Back, Command::Forward],
            &[Command::Undo, Command::Redo],
            &CANDIDATES,
            &CODES,
            &[Command::Refine, Command::Sampling],
            &[Command::PauseWork, Command::Cancel, Command::RestartEngine],
        ],
    ),
    (
        "Player",
        &[
            &[Command::PlayPause, Command::PlayForward, Command::PlayBackward, Command::Pause],
            &[
                Command::NextFrame,
                Command::PreviousFrame,
                Command::ForwardTen,
                Command::BackTen,
                Command::FirstFrame,
                Command::LastFrame,
                Command::NextStep,
                Command::PreviousStep,
            ],
            &[Command::Faster, Command::Slower, Command::NormalSpeed],
            &[Command::MarkIn, Command::MarkOut, Command::ClearMarks, Command::ToggleLoop],
        ],
    ),
    (
        "View",
        &[
            &[Command::CompareMode, Command::ToggleCompare, Command::SwapSides],
            &[Command::ToggleFit],
            &[Command::MapColour, Command::MapReset],
            &[Command::Present, Command::FullScreen, Command::NextTheme],
        ],
    ),
    ("Device", &[&[Command::ConnectRemote, Command::ComputeHere], &[Command::VerifyDevice]]),
    ("Help", &[&[Command::Palette, Command::Keys]]),
];

/// Shows the titles in a row.
pub fn show(model: &mut Model, ui: &mut Ui) {
    let title_width = |title: &str| {
        let galley = ui.painter().layout_no_wrap(title.to_owned(), sans(13.0), model.theme.text);
        galley.size().x + 2.0 * PADDING
    };
    // A menu bar takes all the width it is given.
    let width = MENUS.iter().map(|(title, _)| title_width(title)).sum();
    let (place, _) = ui.allocate_exact_size(vec2(width, HEIGHT), Sense::hover());
    ui.scope_builder(UiBuilder::new().max_rect(place), |ui| {
        let config = MenuConfig::new().style(style_of_items);
        MenuBar::new().style(style_of_titles).config(config).ui(ui, |ui| {
            for (title, groups) in MENUS {
                MenuButton::new(title).ui(ui, |ui| {
                    ui.set_min_width(WIDTH);
                    show_groups(model, ui, groups);
                });
            }
        });
    });
}

fn style_of_titles(style: &mut Style) {
    menu_style(style);
    style.spacing.button_padding = vec2(PADDING, 0.0);
    style.spacing.item_spacing.x = 0.0;
    style.spacing.interact_size.y = HEIGHT;
}

fn style_of_items(style: &mut Style) {
    menu_style(style);
    style.spacing.button_padding = vec2(PADDING, 1.0);
    style.spacing.item_spacing.y = 0.0;
    style.spacing.interact_size.y = HEIGHT;
}

fn show_groups(model: &mut Model, ui: &mut Ui, groups: &[&[Command]]) {
    for (index, group) in groups.iter().enumerate() {
        if index > 0 && *group != CODES {
            ui.separator();
        }
        if *group == CANDIDATES {
            SubMenuButton::new("Take candidate").ui(ui, |ui| {
                ui.set_min_width(WIDTH);
                for command in CANDIDATES {
                    show_item(model, ui, command);
                }
            });
            continue;
        }
        if *group == CODES {
            SubMenuButton::new("Codes").ui(ui, |ui| {
                ui.set_min_width(WIDTH);
                show_item(model, ui, Command::PolicyCodes);
                show_recorded(model, ui);
                show_item(model, ui, Command::OpenCodes);
            });
            continue;
        }
        for command in *group {
            show_item(model, ui, *command);
        }
    }
}

/// The codes that came with the pack, which may be hundreds.
fn show_recorded(model: &mut Model, ui: &mut Ui) {
    let Some(pack) = model.pack().cloned() else {
        return;
    };
    let Some(own) = &pack.recorded else {
        return;
    };
    ScrollArea::vertical().max_height(RECORDED).show(ui, |ui| {
        for name in own.rollouts.keys() {
            let selected = model.plays(name);
            let button = Button::new(name.as_str()).selected(selected).truncate();
            if ui.add(button).on_hover_text(&own.source).clicked() {
                model.actions.push(Action::PlayCodes(name.clone()));
            }
        }
    });
}

fn show_item(model: &mut Model, ui: &mut Ui, command: Command) {
    let (name, explanation) = command.text();
    let obstacle = model.obstacle(command);
    let button =
        Button::new(name).shortcut_text(command.key(ui.ctx())).selected(model.is_on(command));
    let response = ui
        .add_enabled(obstacle.is_none(), button)
        .on_hover_text(explanation)
        .on_disabled_hover_text(obstacle.unwrap_or_default());
    if response.clicked() {
        model.run(command);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_stands_in_one_menu() {
        let mut listed: Vec<Command> = MENUS
            .iter()
            .flat_map(|(_, groups)| groups.iter().copied().flatten().copied())
            .collect();
        listed.sort_by_key(|command| *command as usize);
        // Escape closes what is open: in a menu it would only close the menu.
        let all: Vec<Command> =
            Command::ALL.into_iter().filter(|command| *command != Command::Escape).collect();
        assert_eq!(listed, all);
    }
}
