//! What the machine is doing, how long it will take, and the way to stop it.

use eframe::egui::{Align, Layout, Ui};
use engine::gpu::DeviceChoice;
use engine::memory::human;
use engine::worker::{Progress, Stage};

use super::queue;
use crate::commands::Command;
use crate::studio::jobs::{Job, JobKind, Pace};
use crate::studio::model::{Model, PackState};
use crate::theme::{Theme, mono};
use crate::widgets::control::{KeyButton, progress_bar};

pub fn show(model: &mut Model, ui: &mut Ui) {
    let theme = model.theme.clone();
    ui.horizontal_centered(|ui| {
        ui.spacing_mut().item_spacing.x = 14.0;
        if let Some(name) = &model.reading {
            ui.label(theme.strong_text(format!("Reading {name}…"), 12.5));
        }
        match model.jobs.running().cloned() {
            Some(job) => show_job(model, ui, &theme, &job),
            None => {
                ui.label(theme.muted_text(resting(model)));
                if model.jobs.pace != Pace::Running {
                    show_pause(model, ui, &theme);
                }
            }
        }
        if model.engine_dead && KeyButton::new("Restart engine", "").show(ui, &theme).clicked() {
            model.run(Command::RestartEngine);
        }
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            show_measures(model, ui, &theme);
        });
    });
}

fn show_job(model: &mut Model, ui: &mut Ui, theme: &Theme, job: &Job) {
    ui.label(theme.strong_text(title(model, job), 12.5));
    match &job.progress {
        Some(progress) if progress.stage == Stage::WarmingUp => {
            ui.label(theme.muted_text("compiling the kernels of this device, once a start"));
        }
        Some(progress) => {
            ui.label(theme.mono_text(count(progress)));
            let fraction = progress.done as f32 / progress.total.max(1) as f32;
            let width = (ui.available_width() * 0.18).clamp(60.0, 220.0);
            progress_bar(ui, theme, width, fraction, progress.stage.label());
            match model.jobs.pace {
                // As wide whatever the figures are: the buttons behind it stand still.
                Pace::Running => ui.label(theme.mono_text(format!("{:<19}", time_left(progress)))),
                Pace::Pausing => ui.label(theme.muted_text("pausing after this step")),
                Pace::Paused => ui.label(theme.muted_text("paused")),
            };
        }
        None => {
            let paused = model.jobs.pace != Pace::Running;
            ui.label(theme.muted_text(if paused { "paused" } else { "waiting for the engine" }));
        }
    }
    if job.kind == JobKind::Restart {
        // The engine neither holds nor cancels it.
        return;
    }
    show_pause(model, ui, theme);
    let cancel = KeyButton::new("Cancel", "").show(ui, theme);
    if cancel.on_hover_text(Command::Cancel.text().1).clicked() {
        model.run(Command::Cancel);
    }
    queue::show(model, ui, theme);
}

fn show_pause(model: &mut Model, ui: &mut Ui, theme: &Theme) {
    let name = if model.jobs.pace == Pace::Running { "Pause" } else { "Resume" };
    // The player has a Pause as well.
    let button = KeyButton::new(name, "").label(if name == "Pause" { "Pause work" } else { name });
    if button.show(ui, theme).on_hover_text(Command::PauseWork.text().1).clicked() {
        model.run(Command::PauseWork);
    }
}

/// What is being done, with the clip it is done to.
pub(super) fn title(model: &Model, job: &Job) -> String {
    let clip = |node| {
        let session = model.session.as_ref();
        session.map_or(0, |session| session.rollout.line(node).len())
    };
    let stage = job.progress.as_ref().map(|progress| progress.stage);
    match (job.kind, stage) {
        (JobKind::OpenPack | JobKind::Restart, Some(stage)) => stage.label().to_owned(),
        (JobKind::OpenPack | JobKind::Restart, None) => "Opening the pack".to_owned(),
        (_, Some(Stage::WarmingUp)) => Stage::WarmingUp.label().to_owned(),
        (JobKind::Extend { parent }, stage) => {
            // Recorded codes are there at once.
            let first = if job.made.is_some() { "Painting" } else { "Predicting" };
            let what = stage.map_or(first, Stage::label);
            format!("{what} · clip {}", clip(parent) + 1)
        }
        (JobKind::Coarse(node), _) => format!("Painting clip {}", clip(node)),
        (JobKind::Refine(node), Some(Stage::DecodingVideo)) => {
            format!("Decoding clip {}", clip(node))
        }
        (JobKind::Refine(node), _) => format!("Refining clip {}", clip(node)),
        (JobKind::Candidates(_), _) => "Painting candidates".to_owned(),
        (JobKind::Recall, _) => Stage::ReadingClips.label().to_owned(),
        (JobKind::Move(DeviceChoice::Remote(remote)), _) => format!("Connecting to {remote}"),
        (JobKind::Move(_), _) => Stage::ReadingWeights.label().to_owned(),
        (JobKind::Verify, _) => Stage::Comparing.label().to_owned(),
    }
}

fn count(progress: &Progress) -> String {
    let word = match progress.stage {
        Stage::Refining => "sampler step",
        Stage::PredictingCodes => "code",
        Stage::ReadingWeights | Stage::WarmingUp | Stage::Comparing => "part",
        Stage::DecodingVideo => "latent step",
        Stage::ReadingClips | Stage::PaintingCoarse | Stage::EncodingVideo => "clip",
    };
    let total = progress.total.to_string();
    format!("{word} {:>1$} / {total}", progress.done, total.len())
}

fn time_left(progress: &Progress) -> String {
    match progress.left.map(|left| left.as_secs_f32()) {
        None => "estimating…".to_owned(),
        Some(seconds) if seconds < 1.0 => "under a second left".to_owned(),
        Some(seconds) if seconds < 90.0 => format!("about {seconds:2.0} s left"),
        Some(seconds) => format!("about {:2.0} min left", seconds / 60.0),
    }
}

fn resting(model: &Model) -> String {
    match &model.pack {
        _ if model.engine_dead => "The engine stopped; the rollout is kept".to_owned(),
        PackState::Failed(reason) => reason.clone(),
        PackState::Opening => "Opening the pack".to_owned(),
        PackState::Ready(_) if model.jobs.pace != Pace::Running => "Paused".to_owned(),
        PackState::Ready(_) if model.jobs.hold_background => {
            "Stopped; what is finished is kept".to_owned()
        }
        PackState::Ready(_) => "Ready".to_owned(),
    }
}

/// The measures that there is room for, those that matter least left out first.
fn show_measures(model: &Model, ui: &mut Ui, theme: &Theme) {
    let mut parts = measures(model);
    let room = ui.available_width();
    let width = |text: &str| {
        let galley = ui.painter().layout_no_wrap(text.to_owned(), mono(11.0), theme.muted);
        galley.size().x
    };
    let text = loop {
        let text = parts.join("  ·  ");
        if parts.is_empty() || width(&text) <= room {
            break text;
        }
        parts.remove(0);
    };
    let label = ui.label(theme.mono_text(text));
    if let Some((_, sentence)) = memory(model) {
        label.on_hover_text(format!("Memory: {sentence}"));
    }
}

/// Entropy here, as wide whatever it is since it changes while a video plays, bytes of finished
/// clips, and what all of it takes.
fn measures(model: &Model) -> Vec<String> {
    let mut parts = Vec::new();
    if let Some((_, _, prediction)) = model.inspected()
        && prediction.entropy_bits.is_finite()
    {
        parts.push(format!("entropy {:5.2} bit", prediction.entropy_bits));
    }
    let (used, budget) = model.memory;
    if budget > 0 {
        parts.push(format!("clips {} of {}", human(used as u64), human(budget as u64)));
    }
    parts.extend(memory(model).map(|(short, _)| short));
    parts
}

/// What a rollout with this pack was estimated to take and has taken, short and in a sentence.
fn memory(model: &Model) -> Option<(String, String)> {
    let pack = model.pack()?;
    let estimated = pack.estimated?;
    let short = format!("memory estimated {}", human(estimated));
    // Nothing is known of another machine's memory.
    let taken = Some(model.taken).filter(|_| !pack.elsewhere);
    let known = taken.and_then(|taken| Some((taken.to_compare()?, taken.beside(estimated)?)));
    Some(match known {
        Some((used, sentence)) => (format!("{short} · used {}", human(used)), sentence),
        None => {
            let sentence = format!("about {} of memory will be needed", human(estimated));
            (short, sentence)
        }
    })
}
