//! The codes of a rollout as a table: one column a step, one row a code of the step.

use eframe::egui::{
    Align2, Color32, CursorIcon, Rect, Response, Role, Sense, Stroke, StrokeKind, Ui, WidgetInfo,
    pos2, vec2,
};

use crate::theme::{Theme, mono};

/// Height of one code, points.
pub const ROW_HEIGHT: f32 = 15.0;
const GAP: f32 = 2.0;

/// One code to show.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cell {
    pub code: u16,
    /// Category of its cluster.
    pub category: usize,
    /// Probability under the policy; NaN if nobody predicted it.
    pub probability: f32,
    /// Already played.
    pub past: bool,
    pub selected: bool,
}

/// The whole table, `columns x rows` places of which some are not predicted yet.
pub struct CodeStrip<'a> {
    pub columns: usize,
    pub rows: usize,
    /// The code at `(column, row)`.
    pub cell: &'a dyn Fn(usize, usize) -> Option<Cell>,
}

impl CodeStrip<'_> {
    pub fn height(&self) -> f32 {
        self.rows as f32 * (ROW_HEIGHT + GAP) - GAP
    }

    /// Draws the table over the width of `area` and returns what was clicked with its response.
    pub fn show(&self, ui: &mut Ui, theme: &Theme, area: Rect) -> Option<(usize, usize, Response)> {
        let mut clicked = None;
        for column in 0..self.columns {
            for row in 0..self.rows {
                let rect = self.place(area, column, row);
                match (self.cell)(column, row) {
                    Some(cell) => {
                        let response = show_cell(ui, theme, rect, column, row, cell);
                        if response.clicked() {
                            clicked = Some((column, row, response));
                        }
                    }
                    None => {
                        ui.painter().rect_filled(rect, 2.0, theme.vacant());
                    }
                }
            }
        }
        clicked
    }

    fn place(&self, area: Rect, column: usize, row: usize) -> Rect {
        let pitch = (area.width() + GAP) / self.columns.max(1) as f32;
        let min =
            pos2(area.left() + column as f32 * pitch, area.top() + row as f32 * (ROW_HEIGHT + GAP));
        Rect::from_min_size(min, vec2(pitch - GAP, ROW_HEIGHT))
    }
}

fn show_cell(
    ui: &mut Ui,
    theme: &Theme,
    rect: Rect,
    column: usize,
    row: usize,
    cell: Cell,
) -> Response {
    let id = ui.scope_id().with(("code", column, row));
    let response = ui.interact(rect, id, Sense::click());
    let label = if cell.probability.is_nan() {
        format!("Code {} at step {}, query {}", cell.code, column + 1, row + 1)
    } else {
        format!(
            "Code {} at step {}, query {}, probability {:.0} %",
            cell.code,
            column + 1,
            row + 1,
            cell.probability * 100.0
        )
    };
    response.widget_info(|| WidgetInfo::selected(Role::Button, true, cell.selected, &label));
    let strength = if cell.past { 1.0 } else { 0.42 };
    // Rows differ slightly so that a step reads as four codes and not as one block.
    let shade = 1.0 - 0.09 * (row % 2) as f32;
    let base = theme.category(cell.category);
    let fill = mix(theme.panel, base, strength * shade * 0.92);
    let painter = ui.painter();
    painter.rect_filled(rect, 2.0, fill);
    if rect.width() >= 22.0 {
        let ink = ink_on(fill);
        let ink = if cell.past { ink } else { ink.gamma_multiply(0.8) };
        painter.text(rect.center(), Align2::CENTER_CENTER, cell.code.to_string(), mono(9.5), ink);
    }
    if cell.selected || response.hovered() || response.has_focus() {
        let width = if cell.selected { 2.0 } else { 1.0 };
        painter.rect_stroke(rect, 2.0, Stroke::new(width, theme.text), StrokeKind::Outside);
    }
    response.on_hover_cursor(CursorIcon::PointingHand).on_hover_text(label)
}

/// `a` moved towards `b` by `t` (0..1).
pub fn mix(a: Color32, b: Color32, t: f32) -> Color32 {
    a.lerp_to_gamma(b, t.clamp(0.0, 1.0))
}

/// Black or white, whichever is easier to read on `fill`.
fn ink_on(fill: Color32) -> Color32 {
    let light =
        0.299 * f32::from(fill.r()) + 0.587 * f32::from(fill.g()) + 0.114 * f32::from(fill.b());
    if light > 105.0 { Color32::from_black_alpha(225) } else { Color32::from_white_alpha(215) }
}
