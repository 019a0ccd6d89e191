//! The studio as `bench --window` starts it: it makes one clip, says when, and closes itself.

use eframe::egui;

use super::Studio;
use super::model::Action;
use crate::commands::Command;

/// What is said on standard output, in this order, one a line; whoever started the program has the
/// watch.
pub const MOMENTS: [&str; 3] = ["window", "pack", "coarse clip"];

/// The studio, and how much of [`MOMENTS`] has come.
pub struct Timed {
    studio: Studio,
    told: usize,
    drawn: bool,
    asked: bool,
}

impl Timed {
    pub fn new(studio: Studio) -> Self {
        Self { studio, told: 0, drawn: false, asked: false }
    }

    fn has_come(&self, moment: usize) -> bool {
        let model = &self.studio.model;
        match moment {
            // What was drawn last time is on the screen by now.
            0 => self.drawn,
            1 => model.pack.is_ready() && !model.gallery.is_empty(),
            _ => model.session.as_ref().is_some_and(|session| {
                let line = session.line();
                line.last().is_some_and(|node| session.view(*node).coarse.is_some())
            }),
        }
    }

    fn tell(&mut self, ctx: &egui::Context) {
        while self.told < MOMENTS.len() && self.has_come(self.told) {
            println!("{}", MOMENTS[self.told]);
            self.told += 1;
        }
        if self.told == 2 && !self.asked {
            self.asked = true;
            self.studio.model.actions.extend([Action::Start(0), Action::Run(Command::Step)]);
            ctx.request_repaint();
        }
        if self.told == MOMENTS.len() {
            ctx.send_viewport_cmd(egui::ViewportCommand::Close);
        }
        if !self.drawn {
            ctx.request_repaint();
        }
        self.drawn = true;
    }
}

impl eframe::App for Timed {
    fn logic(&mut self, ctx: &egui::Context, frame: &mut eframe::Frame) {
        self.studio.logic(ctx, frame);
    }

    fn ui(&mut self, ui: &mut egui::Ui, frame: &mut eframe::Frame) {
        let ctx = ui.ctx().clone();
        self.tell(&ctx);
        self.studio.ui(ui, frame);
    }

    fn clear_color(&self, visuals: &egui::Visuals) -> [f32; 4] {
        self.studio.clear_color(visuals)
    }

    fn on_exit(&mut self) {
        self.studio.on_exit();
    }
}
