//! The digits of a code as bars of segments.

use eframe::egui::{Align2, Rect, Role, Sense, Ui, WidgetInfo, pos2, vec2};

use crate::theme::{Theme, mono, sans};

/// The FSQ digits of `code`, the first level varying fastest.
pub fn digits(code: u16, levels: &[usize]) -> Vec<usize> {
    let mut rest = usize::from(code);
    levels
        .iter()
        .map(|level| {
            let level = (*level).max(1);
            let digit = rest % level;
            rest /= level;
            digit
        })
        .collect()
}

/// One row a digit: its name, as many segments as it has levels, its value.
pub fn show(ui: &mut Ui, theme: &Theme, code: u16, levels: &[usize]) {
    for (index, (digit, level)) in digits(code, levels).into_iter().zip(levels).enumerate() {
        let (rect, response) =
            ui.allocate_exact_size(vec2(ui.available_width(), 18.0), Sense::hover());
        response.widget_info(|| {
            let label =
                format!("Digit {} is {digit} of 0 to {}", index + 1, level.saturating_sub(1));
            WidgetInfo::labeled(Role::Label, true, label)
        });
        let painter = ui.painter();
        let middle = rect.center().y;
        let name = format!("digit {}", index + 1);
        painter.text(pos2(rect.left(), middle), Align2::LEFT_CENTER, name, sans(12.0), theme.muted);
        painter.text(
            pos2(rect.right() - 28.0, middle),
            Align2::LEFT_CENTER,
            digit.to_string(),
            mono(11.0),
            theme.text,
        );
        let left = rect.left() + 60.0;
        let pitch = (rect.right() - 36.0 - left) / (*level).max(1) as f32;
        for place in 0..*level {
            let corner = pos2(left + place as f32 * pitch, middle - 4.0);
            let segment = Rect::from_min_size(corner, vec2((pitch - 2.0).max(1.0), 8.0));
            let colour = if place == digit { theme.accent } else { theme.line };
            painter.rect_filled(segment, 2.0, colour);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::digits;

    #[test]
    fn digits_of_the_paper_s_vocabulary() {
        let levels = [8, 5, 5, 5];
        assert_eq!(digits(0, &levels), [0, 0, 0, 0]);
        assert_eq!(digits(999, &levels), [7, 4, 4, 4]);
        assert_eq!(digits(8, &levels), [0, 1, 0, 0]);
        assert_eq!(digits(437, &levels), [5, 4, 0, 2]);
    }
}
