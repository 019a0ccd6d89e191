//! The curves of a training log as a picture.

use std::path::Path;

use plotters::prelude::*;

use super::TrainError;
use crate::media;

const WIDTH: u32 = 900;
const PANEL_HEIGHT: u32 = 180;

/// Draws one panel per measure of `log.csv` (`iteration,seconds,learning_rate,measures…`).
///
/// # Errors
/// Fails when the log cannot be read or the picture cannot be written.
pub fn training_log(csv: &Path, png: &Path) -> Result<(), TrainError> {
    let text = std::fs::read_to_string(csv).map_err(|e| TrainError::file(csv, e))?;
    let mut lines = text.lines();
    let names = lines.next().unwrap_or_default().split(',').enumerate().skip(3);
    let rows: Vec<Vec<f64>> = lines
        .map(|line| line.split(',').map(|cell| cell.parse().unwrap_or(f64::NAN)).collect())
        .collect();
    // A measure that was never taken has no range, and plotters looks for its ends forever.
    let curves: Vec<Curve> = names
        .map(|(column, name)| Curve { name, points: points(&rows, column) })
        .filter(|curve| !curve.points.is_empty())
        .collect();
    if curves.is_empty() || rows.len() < 2 {
        return Ok(());
    }
    let height = PANEL_HEIGHT * u32::try_from(curves.len()).unwrap_or(1);
    let mut pixels = vec![0u8; (WIDTH * height * 3) as usize];
    let x_end = rows.iter().map(|row| row[0]).fold(1.0, f64::max);
    draw(&mut pixels, height, &curves, x_end)
        .map_err(|e| TrainError::checkpoint(png, std::io::Error::other(e.to_string())))?;
    image::RgbImage::from_raw(WIDTH, height, pixels)
        .expect("the buffer was sized for it")
        .save(png)
        .map_err(|e| TrainError::checkpoint(png, e))
}

/// One measure over the iterations.
struct Curve<'a> {
    name: &'a str,
    points: Vec<(f64, f64)>,
}

/// Iteration and finite value of each row.
fn points(rows: &[Vec<f64>], column: usize) -> Vec<(f64, f64)> {
    rows.iter()
        .filter_map(|row| Some((row[0], *row.get(column)?)))
        .filter(|(_, value)| value.is_finite())
        .collect()
}

fn draw(
    pixels: &mut [u8],
    height: u32,
    curves: &[Curve<'_>],
    x_end: f64,
) -> Result<(), Box<dyn std::error::Error>> {
    media::register_fonts();
    let (background, text, line) =
        (RGBColor(14, 16, 20), RGBColor(138, 146, 163), RGBColor(242, 166, 90));
    let area = BitMapBackend::with_buffer(pixels, (WIDTH, height)).into_drawing_area();
    area.fill(&background)?;
    let panels = area.split_evenly((curves.len(), 1));
    for (Curve { name, points }, panel) in curves.iter().zip(&panels) {
        let low = points.iter().map(|p| p.1).fold(f64::INFINITY, f64::min);
        let high = points.iter().map(|p| p.1).fold(f64::NEG_INFINITY, f64::max);
        let margin = ((high - low) * 0.05).max(1e-6);
        let mut chart = ChartBuilder::on(panel)
            .margin(8)
            .caption(name, ("sans-serif", 14).into_font().color(&text))
            .x_label_area_size(18)
            .y_label_area_size(60)
            .build_cartesian_2d(0.0..x_end, (low - margin)..(high + margin))?;
        chart
            .configure_mesh()
            .disable_mesh()
            .axis_style(text)
            .label_style(("sans-serif", 12).into_font().color(&text))
            .x_labels(6)
            .y_labels(5)
            .draw()?;
        chart.draw_series(LineSeries::new(points.iter().copied(), &line))?;
    }
    area.present()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn measures_that_were_never_taken_are_left_out() {
        let dir = tempfile::tempdir().unwrap();
        let (csv, png) = (dir.path().join("log.csv"), dir.path().join("log.png"));
        let log =
            "iteration,seconds,learning_rate,loss,never\n1,1,1e-3,2.0,NaN\n2,2,1e-3,1.0,NaN\n";
        std::fs::write(&csv, log).unwrap();
        training_log(&csv, &png).unwrap();
        assert_eq!(image::image_dimensions(&png).unwrap(), (WIDTH, PANEL_HEIGHT));
    }
}
