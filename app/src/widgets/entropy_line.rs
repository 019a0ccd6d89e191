//! How sure the policy was, code after code, on the time axis of the strips above it.

use eframe::egui::{Align2, Pos2, Rect, Role, Sense, Shape, Stroke, Ui, WidgetInfo, pos2};

use crate::theme::{Theme, sans};

/// Draws `bits` (NaN where nobody predicted) over `places` equal places of `area`, with a mark at
/// `now` (0..1 of the width).
pub fn show(ui: &mut Ui, theme: &Theme, area: Rect, bits: &[f32], places: usize, now: Option<f32>) {
    let response = ui.interact(area, ui.scope_id().with("entropy"), Sense::hover());
    let known: Vec<f32> = bits.iter().copied().filter(|b| b.is_finite()).collect();
    let mean = known.iter().sum::<f32>() / known.len().max(1) as f32;
    response.widget_info(|| {
        let label = if known.is_empty() {
            "Entropy of the policy: nothing predicted".to_owned()
        } else {
            format!("Entropy of the policy: mean {mean:.2} bit")
        };
        WidgetInfo::labeled(Role::GraphicsObject, true, label)
    });
    let painter = ui.painter();
    painter.text(area.right_top(), Align2::RIGHT_TOP, "entropy", sans(10.0), theme.dim);
    let top = known.iter().copied().fold(1.0_f32, f32::max);
    let floor = area.bottom() - 2.0;
    let height = area.height() - 8.0;
    painter.hline(area.x_range(), area.bottom(), Stroke::new(1.0, theme.line));
    for run in runs(bits) {
        let points: Vec<Pos2> = run
            .map(|index| {
                let x = area.left() + area.width() * (index as f32 + 0.5) / places.max(1) as f32;
                pos2(x, floor - height * (bits[index] / top))
            })
            .collect();
        if let [only] = points.as_slice() {
            painter.circle_filled(*only, 1.5, theme.measure);
        }
        painter.add(Shape::line(points, Stroke::new(1.3, theme.measure)));
    }
    if let Some(now) = now {
        let x = area.left() + area.width() * now;
        painter.vline(x, area.y_range(), Stroke::new(1.5, theme.accent));
    }
    response
        .on_hover_text("Entropy of the policy at every code, in bits: high where it was unsure");
}

/// The stretches of finite values.
fn runs(values: &[f32]) -> Vec<std::ops::Range<usize>> {
    let mut runs = Vec::new();
    let mut start = None;
    for (index, value) in values.iter().enumerate() {
        match (value.is_finite(), start) {
            (true, None) => start = Some(index),
            (false, Some(from)) => {
                runs.push(from..index);
                start = None;
            }
            _ => {}
        }
    }
    if let Some(from) = start {
        runs.push(from..values.len());
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::runs;

    #[test]
    fn gaps_end_a_run() {
        let nan = f32::NAN;
        assert_eq!(runs(&[nan, 1.0, 2.0, nan, 3.0]), vec![1..3, 4..5]);
        assert!(runs(&[nan]).is_empty());
    }
}
