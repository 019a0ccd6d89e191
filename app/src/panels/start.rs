//! Where the rollout starts: the frame as the model sees it, and what is to be made.

use eframe::egui::{self, ComboBox, Role, Sense, Stroke, StrokeKind, Ui, WidgetInfo, vec2};
use engine::craft::Task;
use engine::media::Fit;
use engine::rollout::Rollout;

use crate::commands::Command;
use crate::studio::model::{Action, Model, PackState};
use crate::theme::SURFACE_RADIUS;
use crate::widgets::control::{KeyButton, placeholder, section_header};

pub fn show(model: &mut Model, ui: &mut Ui) {
    let theme = model.theme.clone();
    let remark = model.pack().map_or_else(String::new, |pack| {
        let (height, width) = pack.frame_size;
        format!("{width} × {height}")
    });
    section_header(ui, &theme, "Starting frame", &remark);
    let Some(session) = &model.session else {
        match &model.pack {
            PackState::Failed(reason) => placeholder(ui, &theme, "No pack", reason),
            PackState::Opening => placeholder(ui, &theme, "Opening the pack", "One moment"),
            PackState::Ready(_) => {
                placeholder(ui, &theme, "No frame yet", "Choose one, drop one or paste one");
            }
        }
        return;
    };
    let (start, task, fit) = (session.start.clone(), session.rollout.task, session.fit);
    let (original, reshaped) = (session.picture.pixels.dimensions(), session.is_reshaped());
    let size = start.first().map_or((3, 2), |frame| frame.dimensions());
    let width = ui.available_width();
    let height = width * size.1 as f32 / size.0 as f32;
    let (rect, response) = ui.allocate_exact_size(vec2(width, height), Sense::click());
    response.widget_info(|| {
        WidgetInfo::labeled(Role::Image, true, "Starting frame as the model sees it")
    });
    model.thumbs.paint(ui, rect, &start, 0, f32::from(SURFACE_RADIUS), egui::Color32::WHITE);
    let radius = f32::from(SURFACE_RADIUS);
    ui.painter().rect_stroke(rect, radius, Stroke::new(1.0, theme.line), StrokeKind::Inside);
    if response.on_hover_text("Go to the start").clicked() {
        model.actions.push(Action::GoTo(Rollout::ROOT));
    }
    ui.horizontal(|ui| {
        let swap_width = 61.0;
        ComboBox::from_id_salt("task")
            .width(ui.available_width() - swap_width - 8.0)
            .selected_text(task.label())
            .show_ui(ui, |ui| {
                for other in Task::ALL {
                    if ui.selectable_label(other == task, other.label()).clicked() {
                        model.actions.push(Action::SetTask(other));
                    }
                }
            })
            .response
            .widget_info(|| WidgetInfo::labeled(Role::ComboBox, true, "Task"));
        if KeyButton::new("Swap", "")
            .label("Swap starting frame")
            .show(ui, &theme)
            .on_hover_text("Choose another starting frame")
            .clicked()
        {
            model.run(Command::OpenGallery);
        }
    });
    let learned = model.pack().is_some_and(|pack| pack.tasks.contains(&task));
    if !learned {
        ui.label(theme.dim_text("This pack has not learned this task").color(theme.accent));
    }
    if reshaped {
        ui.horizontal(|ui| {
            for choice in Fit::ALL {
                let chosen = choice == fit;
                if ui.selectable_label(chosen, choice.label()).clicked() && !chosen {
                    model.run(Command::ToggleFit);
                }
            }
            ui.label(theme.dim_text(format!("of {} × {}", original.0, original.1)));
        });
    }
}
