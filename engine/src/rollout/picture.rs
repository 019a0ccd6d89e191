//! A rollout as pictures for a machine without a window: the strip of its codes, and its way
//! through the map of the reference set.

use std::error::Error;

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::{Node, PackSummary};
use crate::atlas::{AtlasMap, ColourBy, ReferenceSet};
use crate::craft::Action;
use crate::media::{Frame, register_fonts};

const BACKGROUND: RGBColor = RGBColor(14, 16, 20);
const TEXT: RGBColor = RGBColor(222, 226, 235);
const FAINT: RGBColor = RGBColor(138, 146, 163);
const ACCENT: RGBColor = RGBColor(242, 166, 90);

const CELL: (i32, i32) = (52, 40);
const MARGIN: i32 = 24;
/// Above the cells: title, clip and step.
const HEADER: i32 = 72;
const CLIP_GAP: i32 = 14;

const MAP_SIZE: (u32, u32) = (1200, 900);
/// Right of the map, for the legend.
const LEGEND: i32 = 260;
/// More kinds than this cannot be told apart by colour; the rest is grey.
const MAP_COLOURS: usize = 12;

/// Why a picture could not be drawn.
#[derive(Debug, thiserror::Error)]
#[error("a picture could not be drawn: {0}")]
pub struct PictureError(String);

/// The codes of some clips in a row: a column a step, a cell a code, with the probability that the
/// policy gave it as a bar. The colour follows the first two digits of the code.
///
/// # Errors
/// Fails when the font inside the program is broken.
pub fn code_strip(title: &str, clips: &[&Node], pack: &PackSummary) -> Result<Frame, PictureError> {
    let steps = pack.steps_per_clip as i32;
    let clip_width = steps * CELL.0 + CLIP_GAP;
    let width = 2 * MARGIN + clip_width * (clips.len().max(1) as i32);
    let height = HEADER + pack.codes_per_step as i32 * CELL.1 + MARGIN;
    painted((width as u32, height as u32), |area| {
        area.draw_text(title, &text(16, TEXT, HPos::Left), (MARGIN, 12))?;
        for (clip_idx, clip) in clips.iter().enumerate() {
            let left = MARGIN + clip_idx as i32 * clip_width;
            let label = format!("clip {}", clip_idx + 1);
            area.draw_text(&label, &text(13, FAINT, HPos::Left), (left, 40))?;
            for (idx, prediction) in clip.predictions.iter().enumerate() {
                let (step, row) = (idx / pack.codes_per_step, idx % pack.codes_per_step);
                let x = left + step as i32 * CELL.0;
                let y = HEADER + row as i32 * CELL.1;
                cell(area, (x, y), prediction.code, prediction.probability, &pack.levels)?;
            }
        }
        Ok(())
    })
}

/// The map of the reference set, coloured by action, with the clips of a rollout drawn through it.
///
/// # Errors
/// Fails when the font inside the program is broken.
pub fn map_picture(
    title: &str,
    set: &ReferenceSet,
    map: &AtlasMap,
    clips: &[&[u16]],
) -> Result<Frame, PictureError> {
    let trace: Vec<Vec<[f32; 2]>> = clips.iter().map(|codes| map.trace(codes)).collect();
    let view = View::around(map.points.iter().map(|p| p.place).chain(trace.concat()));
    let actions = frequent_actions(set, map);
    painted(MAP_SIZE, |area| {
        area.draw_text(title, &text(16, TEXT, HPos::Left), (MARGIN, 12))?;
        for point in &map.points {
            let action = set.point_category(point, ColourBy::Action);
            let colour = match actions.iter().position(|(a, _)| *a == action) {
                Some(rank) => hue(rank as f64 / actions.len() as f64, 0.6),
                None => FAINT,
            };
            // Area grows with the number of steps that lie there.
            let radius = (1.5 * (point.members.len() as f32).sqrt()).clamp(2.0, 12.0) as i32;
            area.draw(&Circle::new(view.at(point.place), radius, colour.mix(0.55).filled()))?;
        }
        for (rank, (action, count)) in actions.iter().enumerate() {
            let y = 60 + 24 * rank as i32;
            let x = MAP_SIZE.0 as i32 - LEGEND + 20;
            let colour = hue(rank as f64 / actions.len() as f64, 0.6);
            area.draw(&Circle::new((x, y + 7), 6, colour.filled()))?;
            let label = Action::ALL.get(*action).map_or("unknown", |a| a.label());
            let label = format!("{label} ({count})");
            area.draw_text(&label, &text(13, FAINT, HPos::Left), (x + 14, y))?;
        }
        let way: Vec<(i32, i32)> = trace.concat().into_iter().map(|place| view.at(place)).collect();
        area.draw(&PathElement::new(way, ACCENT.stroke_width(2)))?;
        for (clip, places) in trace.iter().enumerate() {
            for place in places {
                area.draw(&Circle::new(view.at(*place), 4, ACCENT.filled()))?;
            }
            if let Some(first) = places.first() {
                let (x, y) = view.at(*first);
                let label = (clip + 1).to_string();
                area.draw_text(&label, &text(15, TEXT, HPos::Center), (x, y - 20))?;
            }
        }
        Ok(())
    })
}

type Area<'a> = DrawingArea<BitMapBackend<'a>, plotters::coord::Shift>;

fn painted(
    (width, height): (u32, u32),
    draw: impl FnOnce(&Area<'_>) -> Result<(), Box<dyn Error>>,
) -> Result<Frame, PictureError> {
    register_fonts();
    let mut pixels = vec![0; width as usize * height as usize * 3];
    onto(&mut pixels, (width, height), draw).map_err(|error| PictureError(error.to_string()))?;
    Ok(Frame::from_raw(width, height, pixels).expect("the buffer was sized for it"))
}

fn onto(
    pixels: &mut [u8],
    size: (u32, u32),
    draw: impl FnOnce(&Area<'_>) -> Result<(), Box<dyn Error>>,
) -> Result<(), Box<dyn Error>> {
    let area = BitMapBackend::with_buffer(pixels, size).into_drawing_area();
    area.fill(&BACKGROUND)?;
    draw(&area)?;
    Ok(area.present()?)
}

fn text(size: i32, colour: RGBColor, horizontal: HPos) -> TextStyle<'static> {
    ("sans-serif", size).into_font().color(&colour).pos(Pos::new(horizontal, VPos::Top))
}

fn cell(
    area: &Area<'_>,
    (x, y): (i32, i32),
    code: u16,
    probability: f32,
    levels: &[usize],
) -> Result<(), Box<dyn Error>> {
    let (right, bottom) = (x + CELL.0 - 3, y + CELL.1 - 3);
    area.draw(&Rectangle::new([(x, y), (right, bottom)], code_colour(code, levels).filled()))?;
    area.draw_text(&code.to_string(), &text(15, TEXT, HPos::Center), ((x + right) / 2, y + 7))?;
    if probability.is_finite() {
        let full = right - x - 8;
        let end = x + 4 + (full as f32 * probability.clamp(0.0, 1.0)).round() as i32;
        area.draw(&Rectangle::new([(x + 4, bottom - 7), (end, bottom - 4)], ACCENT.filled()))?;
    }
    Ok(())
}

/// First digit as hue, second as lightness: codes that differ in one digit look related.
fn code_colour(code: u16, levels: &[usize]) -> RGBColor {
    let level = |i: usize| levels.get(i).copied().unwrap_or(1).max(1);
    let first = usize::from(code) % level(0);
    let second = usize::from(code) / level(0) % level(1);
    let lightness = 0.22 + 0.24 * second as f64 / level(1) as f64;
    hue(first as f64 / level(0) as f64, lightness)
}

fn hue(hue: f64, lightness: f64) -> RGBColor {
    let (red, green, blue) = HSLColor(hue, 0.55, lightness).to_backend_color().rgb;
    RGBColor(red, green, blue)
}

/// The actions with the most steps on the map, most frequent first.
fn frequent_actions(set: &ReferenceSet, map: &AtlasMap) -> Vec<(usize, usize)> {
    let mut counts = std::collections::BTreeMap::<usize, usize>::new();
    for point in &map.points {
        for id in &point.members {
            *counts.entry(set.category(*id, ColourBy::Action)).or_default() += 1;
        }
    }
    let mut ranked: Vec<(usize, usize)> = counts.into_iter().collect();
    ranked.sort_by_key(|(action, count)| (std::cmp::Reverse(*count), *action));
    ranked.truncate(MAP_COLOURS);
    ranked
}

/// Where places on the map lie in the picture: the same scale both ways.
struct View {
    middle: [f32; 2],
    scale: f32,
}

impl View {
    fn around(places: impl Iterator<Item = [f32; 2]>) -> Self {
        let (mut low, mut high) = ([f32::INFINITY; 2], [f32::NEG_INFINITY; 2]);
        for place in places {
            for axis in 0..2 {
                low[axis] = low[axis].min(place[axis]);
                high[axis] = high[axis].max(place[axis]);
            }
        }
        let extent = [high[0] - low[0], high[1] - low[1]].map(|e| e.max(1e-3));
        let room = [
            MAP_SIZE.0 as f32 - LEGEND as f32 - 2.0 * MARGIN as f32,
            MAP_SIZE.1 as f32 - 60.0 - 2.0 * MARGIN as f32,
        ];
        Self {
            middle: [(low[0] + high[0]) / 2.0, (low[1] + high[1]) / 2.0],
            scale: (room[0] / extent[0]).min(room[1] / extent[1]),
        }
    }

    fn at(&self, place: [f32; 2]) -> (i32, i32) {
        let x = (MAP_SIZE.0 as f32 - LEGEND as f32) / 2.0;
        let y = (MAP_SIZE.1 as f32 + 60.0) / 2.0;
        (
            (x + (place[0] - self.middle[0]) * self.scale) as i32,
            (y - (place[1] - self.middle[1]) * self.scale) as i32,
        )
    }
}

#[cfg(test)]
mod tests {
    use std::ops::ControlFlow;
    use std::sync::Arc;

    use super::*;
    use crate::atlas::{ReferenceClip, UmapSettings};
    use crate::craft::{Split, Task};
    use crate::rollout::fake::{FAKE_SIZE, FakeModels};
    use crate::rollout::{CodePrediction, NewClip, Origin, Rollout};

    fn colours(frame: &Frame) -> usize {
        frame.pixels().map(|p| p.0).collect::<std::collections::HashSet<_>>().len()
    }

    #[test]
    fn a_strip_shows_every_code() {
        let pack = FakeModels::new(Arc::default()).pack;
        let start = Arc::new(Frame::new(FAKE_SIZE.width, FAKE_SIZE.height));
        let mut rollout = Rollout::new(start, "test", Task::Boat);
        let mut predictions: Vec<_> = [3, 7, 11, 19].map(CodePrediction::recorded).into();
        predictions[1].probability = 0.5;
        let clip = NewClip { origin: Origin::Policy, predictions, seed: 0 };
        let id = rollout.grow(Rollout::ROOT, clip);
        let strip = code_strip("Rollout", &[rollout.node(id)], &pack).unwrap();
        assert_eq!(strip.height() as i32, HEADER + 2 * CELL.1 + MARGIN);
        for idx in 0..4 {
            let (step, row) = (idx / 2, idx % 2);
            let corner = (MARGIN + step * CELL.0 + 1, HEADER + row * CELL.1 + 1);
            let code = [3, 7, 11, 19][idx as usize];
            let RGBColor(r, g, b) = code_colour(code, &pack.levels);
            assert_eq!(strip.get_pixel(corner.0 as u32, corner.1 as u32).0, [r, g, b]);
        }
        // Text is there: antialiased glyphs bring many colours.
        assert!(colours(&strip) > 20, "{} colours", colours(&strip));
    }

    #[test]
    fn a_map_shows_the_points_and_the_way() {
        let clip = |action: u16, seed: u64| ReferenceClip {
            task: Task::Boat,
            seed,
            split: Split::Test,
            clip: 0,
            action,
            environment: seed as u32,
            codes: vec![action * 5, seed as u16 % 5, action * 5 + 1, seed as u16 % 4],
        };
        let clips = (0..3).flat_map(|a| (0..12).map(move |s| clip(a, s))).collect();
        let mut set = ReferenceSet::new(2, clips);
        let settings = UmapSettings::default();
        set.fit(&[5, 4], &settings, |_, _| ControlFlow::Continue(())).unwrap();
        let map = set.map(&[5, 4]).unwrap();
        let picture = map_picture("Map", &set, &map, &[&[0, 1, 1, 1], &[10, 2, 11, 2]]).unwrap();
        assert_eq!(picture.dimensions(), MAP_SIZE);
        let RGBColor(r, g, b) = ACCENT;
        assert!(picture.pixels().filter(|p| p.0 == [r, g, b]).count() > 100, "the way is drawn");
        assert!(colours(&picture) > 50);
    }
}
