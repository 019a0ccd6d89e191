//! All that is computed or waits for it, a line each, and the way to take one of them out.

use eframe::egui::{Align, Layout, Popup, PopupCloseBehavior, RectAlign, ScrollArea, Ui, vec2};

use super::job_bar::title;
use crate::studio::jobs::{Job, JobKind, Pace};
use crate::studio::model::{Action, Model};
use crate::studio::queue::Pending;
use crate::theme::Theme;
use crate::widgets::control::{KeyButton, icon_button};
use crate::widgets::icon::Icon;

const WIDTH: f32 = 320.0;
/// Of the list.
const HEIGHT: f32 = 300.0;
const ROW: f32 = 28.0;

struct Entry {
    title: String,
    state: String,
    cancel: Action,
}

/// A button that opens the list, where there is more than one thing to do.
pub fn show(model: &mut Model, ui: &mut Ui, theme: &Theme) {
    let entries = entries(model);
    if entries.len() < 2 {
        return;
    }
    let count = entries.len().to_string();
    let button = KeyButton::new("Queue", "").detail(&count).show(ui, theme);
    let button = button.on_hover_text("All that waits, and the way to take one of them out");
    Popup::from_toggle_button_response(&button)
        .accessible_name("Queue of work")
        .align(RectAlign::TOP_START)
        .close_behavior(PopupCloseBehavior::CloseOnClickOutside)
        .width(WIDTH)
        .show(|ui| {
            ui.label(theme.section_title("Queue"));
            ScrollArea::vertical().max_height(HEIGHT).show(ui, |ui| {
                for entry in entries {
                    if show_entry(ui, theme, &entry) {
                        model.actions.push(entry.cancel);
                    }
                }
            });
        });
}

/// Whether it is to be taken out.
fn show_entry(ui: &mut Ui, theme: &Theme, entry: &Entry) -> bool {
    let size = vec2(WIDTH, ROW);
    ui.allocate_ui_with_layout(size, Layout::right_to_left(Align::Center), |ui| {
        let label = format!("Cancel: {}", entry.title);
        let clicked = icon_button(ui, theme, Icon::Close, &label, false).clicked();
        ui.label(theme.muted_text(&entry.state));
        ui.with_layout(Layout::left_to_right(Align::Center), |ui| {
            ui.label(theme.strong_text(&entry.title, 12.5));
        });
        clicked
    })
    .inner
}

/// What runs, then what waits.
fn entries(model: &Model) -> Vec<Entry> {
    let running = model.jobs.running().map(|job| job.id);
    let jobs = model.jobs.iter().map(|job| Entry {
        title: title(model, job),
        state: state(model, job, running == Some(job.id)),
        cancel: Action::CancelJob(job.id),
    });
    let waits =
        |pending: &Pending| pending.job().is_none_or(|kind| model.jobs.of_kind(kind).is_none());
    let pending = model.pending().into_iter().filter(waits).filter_map(|pending| {
        Some(Entry {
            title: name(model, pending)?,
            state: "waiting".to_owned(),
            cancel: Action::CancelPending(pending),
        })
    });
    jobs.chain(pending).collect()
}

fn state(model: &Model, job: &Job, running: bool) -> String {
    match (&job.progress, model.jobs.pace) {
        _ if !running => "waiting".to_owned(),
        (_, Pace::Paused) => "paused".to_owned(),
        (Some(progress), _) if progress.total > 1 => {
            format!("{} %", 100 * progress.done / progress.total)
        }
        _ => "running".to_owned(),
    }
}

/// `None` where the jobs that run are all that is left of it.
fn name(model: &Model, pending: Pending) -> Option<String> {
    let session = model.session.as_ref()?;
    let depth = |node| session.rollout.line(node).len();
    match pending {
        Pending::Coarse(node) => Some(format!("Paint clip {}", depth(node))),
        Pending::Refine(node) => Some(format!("Refine clip {}", depth(node))),
        Pending::ToTheEnd => {
            let tip = session.tip();
            let running = model.jobs.of_kind(JobKind::Extend { parent: tip }).is_some();
            let first = depth(tip) + 1 + usize::from(running);
            let last = session.clips_of_task();
            (first <= last).then(|| match last - first {
                0 => format!("Predict clip {last}"),
                _ => format!("Predict clips {first} to {last}"),
            })
        }
    }
}
