//! Pictures for tests: a sheet of paper that is folded step by step on a coloured table.

use std::sync::Arc;

use engine::atlas::AtlasMap;
use engine::craft::Task;
use engine::media::{Clip, Frame, FrameSize};
use engine::pack::PackSource;
use image::Rgb;
use videoworld_studio::studio::map::{ClipRef, CodeMap, MapPoint};
use videoworld_studio::studio::world::World;

pub const SIZE: FrameSize = FrameSize { height: 64, width: 96 };
pub const FRAMES: usize = 17;

/// The table's colour in an environment.
fn table(environment: u64) -> [f32; 3] {
    let tables = [
        [38.0, 82.0, 120.0],
        [120.0, 78.0, 44.0],
        [52.0, 92.0, 58.0],
        [104.0, 104.0, 112.0],
        [112.0, 52.0, 66.0],
    ];
    tables[(environment % 5) as usize]
}

/// The table with a sheet folded by `progress` (0 to 7 steps), blurred if `coarse`.
pub fn frame(environment: u64, progress: f32, size: FrameSize, coarse: bool) -> Frame {
    let ground = table(environment);
    let soft = if coarse { 0.12 } else { 0.015 };
    let fold = progress.clamp(0.0, 7.0) / 7.0;
    Frame::from_fn(size.width, size.height, |x, y| {
        let (u, v) =
            (x as f32 / size.width as f32 * 1.5 - 0.75, y as f32 / size.height as f32 - 0.5);
        let grain = 4.0 * (v * 40.0 + (u * 3.0).sin()).sin();
        let light = 1.0 + 0.12 * (u - v);
        // A sheet whose upper corners come down to a point.
        let half = 0.26 * (1.0 - 0.55 * fold);
        let roof = (v + 0.36) / (0.02 + 0.5 * fold);
        let inside = (half - u.abs()).min(0.36 - v.abs()).min(half * roof - u.abs() + 0.02);
        let paper = (inside / soft + 0.5).clamp(0.0, 1.0);
        let folded = ((half * (roof - 0.25) - u.abs()) / soft + 0.5).clamp(0.0, 1.0);
        let back = (1.0 - folded) * fold.min(0.3) / 0.3;
        let front = [242.0, 236.0, 222.0];
        let colour = [218.0, 102.0, 78.0];
        let pixel = std::array::from_fn(|c| {
            let sheet = front[c] + (colour[c] - front[c]) * back;
            let ground = ground[c] + grain;
            let mixed = ground + (sheet - ground) * paper;
            (mixed * light).clamp(0.0, 255.0) as u8
        });
        Rgb(pixel)
    })
}

/// The clip of step `index`, 0-based.
pub fn clip(environment: u64, index: usize, coarse: bool) -> Clip {
    let size = if coarse { FrameSize { height: 32, width: 48 } } else { SIZE };
    let frames = (0..FRAMES)
        .map(|f| frame(environment, index as f32 + f as f32 / 16.0, size, coarse))
        .collect();
    Arc::new(frames)
}

/// Five tables, and a map of seven clusters.
pub struct PaintedWorld;

impl World for PaintedWorld {
    fn starting_frame(&self, _task: Task, seed: u64, size: FrameSize) -> Frame {
        frame(seed, 0.0, size, false)
    }

    fn clip(&self, reference: &ClipRef, _size: FrameSize) -> Clip {
        clip(reference.seed, reference.clip, false)
    }

    fn code_map(&self, _pack: &PackSource) -> Result<CodeMap, String> {
        Ok(map())
    }
}

/// Seven actions in a ring, each a cluster of steps whose codes lie near `100 * action`.
pub fn map() -> CodeMap {
    let names =
        ["fold left", "fold right", "left edge", "right edge", "halve", "left wing", "right wing"];
    let mut points = Vec::new();
    for action in 0..names.len() {
        let angle = action as f32 / 7.0 * std::f32::consts::TAU;
        let (cx, cy) = (angle.cos() * 6.0, angle.sin() * 5.0);
        for n in 0..160 {
            // A low-discrepancy cloud: the same on every machine.
            let turn = n as f32 * 2.399_963;
            let radius = 1.5 * (n as f32 / 160.0).sqrt();
            points.push(MapPoint {
                at: [cx + turn.cos() * radius, cy + turn.sin() * radius * 0.7],
                codes: (0..4).map(|q| (action * 100 + (n + q * 7) % 40) as u16).collect(),
                action,
                environment: n % 5,
                step: n % 4,
                clip: ClipRef {
                    task: Task::Airplane,
                    seed: n as u64 % 5,
                    unseen: true,
                    clip: action,
                },
            });
        }
    }
    CodeMap {
        remark: format!("UMAP · {} steps", points.len()),
        points,
        actions: names.map(str::to_owned).to_vec(),
        environments: (0..5).map(|e| format!("environment {e}")).collect(),
        steps: 4,
        atlas: None::<Arc<AtlasMap>>,
    }
}
