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
    let names: Vec<&str> = lines.next().unwrap_or_default().split(',').skip(3).collect();
    let rows: Vec<Vec<f64>> = lines
        .map(|line| line.split(',').map(|cell| cell.parse().unwrap_or(f64::NAN)).collect())
        .collect();
    if names.is_empty() || rows.len() < 2 {
        return Ok(());
    }
    let height = PANEL_HEIGHT * u32::try_from(names.len()).unwrap_or(1);
    let mut pixels = vec![0u8; (WIDTH * height * 3) as usize];
    draw(&mut pixels, height, &names, &rows)
        .map_err(|e| TrainError::checkpoint(png, std::io::Error::other(e.to_string())))?;
    image::RgbImage::from_raw(WIDTH, height, pixels)
        .expect("the buffer was sized for it")
        .save(png)
        .map_err(|e| TrainError::checkpoint(png, e))
}

fn draw(
    pixels: &mut [u8],
    height: u32,
    names: &[&str],
    rows: &[Vec<f64>],
) -> Result<(), Box<dyn std::error::Error>> {
    media::register_fonts();
    let (background, text, line) =
        (RGBColor(14, 16, 20), RGBColor(138, 146, 163), RGBColor(242, 166, 90));
    let area = BitMapBackend::with_buffer(pixels, (WIDTH, height)).into_drawing_area();
    area.fill(&background)?;
    let x_end = rows.iter().map(|r| r[0]).fold(1.0, f64::max);
    for (i, panel) in area.split_evenly((names.len(), 1)).iter().enumerate() {
        let points: Vec<(f64, f64)> = rows
            .iter()
            .filter_map(|r| Some((r[0], *r.get(i + 3)?)))
            .filter(|(_, y)| y.is_finite())
            .collect();
        let low = points.iter().map(|p| p.1).fold(f64::INFINITY, f64::min);
        let high = points.iter().map(|p| p.1).fold(f64::NEG_INFINITY, f64::max);
        let margin = ((high - low) * 0.05).max(1e-6);
        let mut chart = ChartBuilder::on(panel)
            .margin(8)
            .caption(names[i], ("sans-serif", 14).into_font().color(&text))
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
        chart.draw_series(LineSeries::new(points, &line))?;
    }
    area.present()?;
    Ok(())
}
