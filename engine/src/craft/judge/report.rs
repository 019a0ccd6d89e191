//! How often the judge is right, measured on frames whose state is known.

use image::imageops::{self, FilterType};
use rayon::prelude::*;
use serde::Serialize;

use super::Judge;
use crate::craft::{Episode, Size, Split, Task, motion::Moment, render::Renderer, texture::hash};
use crate::media::Frame;

/// How often the judge is right, a row a task.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    pub rows: Vec<Row>,
}

/// Rates for one task over unseen environments.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    pub task: Task,
    /// Frames in which the step is reached, and how many of them were accepted.
    pub right: Rate,
    /// Frames of other states, and how many of them were accepted.
    pub wrong: Rate,
    /// The same frames at half the detail, shifted, noisy and darker, as a weak decoder might leave them.
    pub right_blurred: Rate,
    pub wrong_blurred: Rate,
}

/// How many of how many.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Rate {
    pub accepted: usize,
    pub of: usize,
}

impl Rate {
    /// The share that was accepted, 0 to 1.
    pub fn share(&self) -> f32 {
        self.accepted as f32 / self.of.max(1) as f32
    }

    fn count(&mut self, accepted: bool) {
        self.of += 1;
        self.accepted += usize::from(accepted);
    }

    fn joined(self, other: Self) -> Self {
        Self { accepted: self.accepted + other.accepted, of: self.of + other.of }
    }
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(
            f,
            "task      right frames accepted  wrong frames accepted  right, blurred  wrong, blurred"
        )?;
        for row in &self.rows {
            let rate = |r: &Rate| format!("{:5.1}% of {}", 100.0 * r.share(), r.of);
            writeln!(
                f,
                "{:9} {:>21}  {:>21}  {:>14}  {:>14}",
                row.task.name(),
                rate(&row.right),
                rate(&row.wrong),
                rate(&row.right_blurred),
                rate(&row.wrong_blurred)
            )?;
        }
        Ok(())
    }
}

/// Judges every step of `n` unseen episodes a task, on frames of the right and of all wrong states.
pub fn measure(n: usize, size: Size) -> Report {
    let rows = Task::ALL.map(|task| {
        let one = |seed: usize| measure_one(&Episode::sample(task, Split::Test, seed as u64), size);
        let sum = |a: [Rate; 4], b: [Rate; 4]| std::array::from_fn(|i| a[i].joined(b[i]));
        let [right, wrong, right_blurred, wrong_blurred] =
            (0..n).into_par_iter().map(one).reduce(|| [Rate::default(); 4], sum);
        Row { task, right, wrong, right_blurred, wrong_blurred }
    });
    Report { rows: rows.to_vec() }
}

fn measure_one(episode: &Episode, size: Size) -> [Rate; 4] {
    let judge = Judge::new(episode, size);
    let count = episode.num_clips();
    let mut renderer = Renderer::new(episode.environment(), size, false);
    let mut rates = [Rate::default(); 4];
    let mut judged = |frame: &Frame, k: usize, right: bool| {
        let at = usize::from(!right);
        rates[at].count(judge.accepts(frame, k));
        rates[2 + at].count(judge.accepts(&worn(frame), k));
    };
    for k in 0..count {
        for j in 0..=count {
            judged(&renderer.render(&episode.scene(j, 0)), k, j == k + 1);
        }
        for still in &episode.alternatives(k) {
            let after = episode.moment(k + 1);
            let scene = Moment { still, ..after }.scene();
            judged(&renderer.render(&scene), k, false);
        }
    }
    rates
}

/// What a weak decoder does to a frame: half the detail, blur, a shift by about a pixel of 64, grain, a darker tone.
fn worn(frame: &Frame) -> Frame {
    let (width, height) = frame.dimensions();
    let unit = (height as f32 / 64.0).round().max(1.0) as u32;
    let small = imageops::resize(frame, width / 2, height / 2, FilterType::Triangle);
    let soft = imageops::fast_blur(&small, 0.7 * small.height() as f32 / 32.0);
    let soft = imageops::resize(&soft, width, height, FilterType::Triangle);
    Frame::from_fn(width, height, |x, y| {
        let from = soft.get_pixel((x + unit).min(width - 1), y);
        let grain = 24.0 * (hash(x as i32, y as i32, 77) - 0.5);
        image::Rgb(from.0.map(|v| (0.93 * f32::from(v) + grain).clamp(0.0, 255.0) as u8))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn right_steps_are_accepted_and_wrong_ones_are_not() {
        for row in measure(4, Size { height: 64, width: 96 }).rows {
            assert!(row.right.share() >= 0.98, "{row:?}");
            assert!(row.wrong.share() <= 0.02, "{row:?}");
            assert!(row.right_blurred.share() >= 0.6, "{row:?}");
            assert!(row.wrong_blurred.share() <= 0.05, "{row:?}");
            assert!(row.right.of >= 20 && row.wrong.of > row.right.of);
        }
    }
}
