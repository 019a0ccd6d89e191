//! An import of weights: the question before anything is fetched, how far it is, then what became
//! of every file, and the pack to open.

use std::path::Path;

use eframe::egui::{self, Align2, Area, Grid, Id, Label, Order, ScrollArea, Ui, vec2};
use engine::import::{ESTIMATE, Hub, PUBLISHED, Progress, Report};
use engine::memory::human;

use crate::studio::importer::ImportState;
use crate::studio::model::{Action, Model};
use crate::theme::Theme;
use crate::widgets::control::{KeyButton, modal_frame, progress_bar};

const WIDTH: f32 = 420.0;
/// Of the list of files.
const LIST: f32 = 220.0;

pub fn show(model: &mut Model, ctx: &egui::Context) {
    let theme = model.theme.clone();
    let Some(import) = &model.import else {
        return;
    };
    let mut asked = None;
    Area::new(Id::unique("import"))
        .order(Order::Middle)
        .anchor(Align2::LEFT_BOTTOM, vec2(16.0, -50.0))
        .show(ctx, |ui| {
            modal_frame(&theme).show(ui, |ui| {
                ui.set_width(WIDTH);
                let title = match &import.state {
                    ImportState::Asking { .. } => "Fetch the published weights?",
                    ImportState::Running { progress: Some(at), .. } if at.stage.is_fetch() => {
                        "Fetching the published weights"
                    }
                    ImportState::Running { .. } => "Importing weights",
                    ImportState::Done(_) => "The weights are imported",
                };
                ui.label(theme.strong_text(title, 15.0));
                let place = theme.dim_text(import.to.display().to_string());
                ui.add(Label::new(place).truncate());
                ui.add_space(4.0);
                asked = match &import.state {
                    ImportState::Asking { from, hub } => question(ui, &theme, from, hub),
                    ImportState::Running { progress, stopping } => {
                        running(ui, &theme, *progress, *stopping)
                    }
                    ImportState::Done(report) => done(ui, &theme, report),
                };
            });
        });
    model.actions.extend(asked);
}

fn question(ui: &mut Ui, theme: &Theme, from: &Path, hub: &Hub) -> Option<Action> {
    for (repository, files) in PUBLISHED {
        let files = theme.muted_text(format!("{repository}: {}", files.join(", ")));
        ui.add(Label::new(files).wrap());
    }
    let (least, most) = (human(*ESTIMATE.start()), human(*ESTIMATE.end()));
    let (source, into) = (hub.endpoint(), from.display());
    let what = format!("{least} to {most}, estimated, from {source} into {into}");
    ui.add(Label::new(theme.strong_text(what, 12.5)).wrap());
    ui.add_space(4.0);
    ui.horizontal(|ui| {
        let fetch =
            KeyButton::new("Fetch", "").primary().label("Fetch the weights").show(ui, theme);
        let close = KeyButton::new("Do not fetch", "").show(ui, theme);
        if fetch.clicked() {
            Some(Action::Fetch)
        } else {
            close.clicked().then_some(Action::CloseImport)
        }
    })
    .inner
}

fn running(
    ui: &mut Ui,
    theme: &Theme,
    progress: Option<Progress>,
    stopping: bool,
) -> Option<Action> {
    let (stage, fraction) = match progress {
        Some(at) => (at.stage.to_string(), at.done as f32 / at.total.max(1) as f32),
        None => ("Looking for files".to_owned(), 0.0),
    };
    let is_fetch = progress.is_some_and(|at| at.stage.is_fetch());
    let words = match (stopping, is_fetch) {
        (false, _) => &stage,
        (true, false) => "Stopping and removing what was written",
        (true, true) => "Stopping and keeping what came",
    };
    ui.horizontal(|ui| {
        ui.label(theme.muted_text(words));
        if let Some(at) = progress.filter(|_| !stopping) {
            ui.label(theme.mono_text(at.figures()));
        }
    });
    progress_bar(ui, theme, WIDTH, fraction, &stage);
    ui.add_space(4.0);
    let button = KeyButton::new("Cancel", "").label("Cancel the import").enabled(!stopping);
    button.show(ui, theme).clicked().then_some(Action::StopImport)
}

fn done(ui: &mut Ui, theme: &Theme, report: &Report) -> Option<Action> {
    let (used, ignored, unknown) = report.tensors();
    let missing = report.missing();
    let missing = if missing.is_empty() { "nothing".to_owned() } else { missing.join(", ") };
    let facts = [
        ("Mapped", counted(used)),
        ("Ignored", format!("{} not needed, {} unknown", counted(ignored), unknown)),
        ("Missing", missing),
    ];
    Grid::new(ui.scope_id().with("facts")).spacing(vec2(16.0, 4.0)).min_row_height(18.0).show(
        ui,
        |ui| {
            for (name, fact) in facts {
                ui.label(theme.muted_text(name));
                ui.label(theme.strong_text(fact, 12.5));
                ui.end_row();
            }
        },
    );
    ui.separator();
    // An area is as high as before its contents grew: the list must not fit itself to that.
    let list = ScrollArea::vertical().min_scrolled_height(LIST).max_height(LIST);
    list.auto_shrink([false, true]).show(ui, |ui| {
        ui.spacing_mut().item_spacing.y = 2.0;
        for line in report.to_string().lines() {
            ui.add(Label::new(theme.muted_text(line)).wrap());
        }
    });
    ui.add_space(4.0);
    ui.horizontal(|ui| {
        let open = KeyButton::new("Open the pack", "").primary().show(ui, theme);
        let close = KeyButton::new("Close", "").label("Close the import").show(ui, theme);
        if open.clicked() {
            Some(Action::OpenImported)
        } else {
            close.clicked().then_some(Action::CloseImport)
        }
    })
    .inner
}

fn counted(tensors: usize) -> String {
    format!("{tensors} tensor{}", if tensors == 1 { "" } else { "s" })
}
