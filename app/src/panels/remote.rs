//! Asks for another machine's address and token, to compute there.

use eframe::egui::{self, Id, Key, Label, Modal, TextEdit, vec2};

use crate::commands::Command;
use crate::studio::model::{Action, Model, Overlay};
use crate::widgets::control::{KeyButton, modal_frame};

const WIDTH: f32 = 420.0;

pub fn show(model: &mut Model, ctx: &egui::Context) {
    let theme = model.theme.clone();
    let modal = Modal::new(Id::unique("remote")).frame(modal_frame(&theme)).show(ctx, |ui| {
        ui.set_width(WIDTH);
        ui.spacing_mut().item_spacing = vec2(8.0, 6.0);
        ui.label(theme.strong_text("Compute on another machine", 15.0));
        let how = "Run videoworld-studio serve there: it shows both. Nothing is encrypted, so stay in a network you trust";
        ui.add(Label::new(theme.muted_text(how)).wrap());
        let label = ui.label(theme.muted_text("Address"));
        let address = TextEdit::singleline(&mut model.view.address)
            .hint_text("ws://workstation:7431")
            .desired_width(f32::INFINITY);
        let address = ui.add(address).labelled_by(label.id);
        let label = ui.label(theme.muted_text("Token, kept until the window is closed"));
        let token = TextEdit::singleline(&mut model.view.token)
            .password(true)
            .desired_width(f32::INFINITY);
        let token = ui.add(token).labelled_by(label.id);
        // Enter in a field; on a button it presses that button.
        let entered = (address.lost_focus() || token.lost_focus())
            && ui.input(|input| input.key_pressed(Key::Enter));
        ui.add_space(4.0);
        let named = !model.view.address.trim().is_empty();
        ui.horizontal(|ui| {
            let connect = KeyButton::new("Connect", "").primary().enabled(named).show(ui, &theme);
            let here = model.is_elsewhere()
                && KeyButton::new("This machine", "").show(ui, &theme).clicked();
            let close = KeyButton::new("Close", "").label("Close the dialog").show(ui, &theme);
            if named && (connect.clicked() || entered) {
                model.actions.push(Action::Connect);
            }
            if here {
                model.run(Command::ComputeHere);
            }
            close.clicked() || here
        })
        .inner
    });
    if (modal.inner || modal.should_close()) && model.view.overlay == Overlay::Remote {
        model.view.overlay = Overlay::None;
    }
}
