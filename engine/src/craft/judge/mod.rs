//! Has a key step been reached? Decided from a picture alone, by silhouette and side colours.
//!
//! Every state the craft can be in around a step (before it, after it, after any other action that was possible,
//! and all other states of the episode) is painted without the hand in the environment of the episode. Two
//! things must hold for a picture: around the paper or the blocks it looks like the state after the step, and
//! wherever that state differs from any other one, it is nearer to that state. Small shifts are allowed; the
//! edges of the picture where a hand rests are left out, and a picture may be darker or brighter as a whole. Policy and decoder play no part in it.

use serde::Serialize;

mod report;

pub use report::{Rate, Report, Row, measure};

use super::{
    Episode, Size,
    canvas::Thing,
    geometry::{Point, pt},
    hand::Hand,
    motion::{Moment, Still},
    render::{Craft, Renderer, Scene},
};
use crate::media::Frame;

/// Largest share of the craft's contrast with the table that may be wrong.
const FAR: f32 = 0.62;
/// Nearness to the wanted state, against any other: 0 is half-way, 1 is equal to it.
const MARGIN: f32 = 0.10;
/// Two states that differ on less than this share of the picture are the same to the judge.
const SAME: f32 = 0.0012;
/// Gamma-coded distance from which two states differ at a pixel.
const DIFFERENT: f32 = 0.10;
/// Differences above this count the same: a thing of another colour is no better than no thing.
const MOST: f32 = 0.5;

/// Blur before comparing, in pixels of a picture 64 high: decoded pictures have little detail.
const SOFT: f32 = 1.3;
/// A picture may be this much brighter or darker as a whole, channel by channel.
const TONE: f32 = 1.25;

/// Gamma-coded colours, 0 to 1, one a pixel.
type Picture = Vec<[f32; 3]>;

/// Knows how every step of one episode must look.
pub struct Judge {
    size: Size,
    steps: Vec<Expected>,
}

/// What is compared for one step.
struct Expected {
    wanted: Picture,
    /// The craft and a narrow rim of table, and how strongly it stands out there.
    around: Vec<u32>,
    contrast: f32,
    /// Pixels that no resting hand covers.
    open: Vec<u32>,
    others: Vec<Other>,
}

/// A state that must not be taken for the wanted one.
struct Other {
    picture: Picture,
    /// Where the two differ.
    differs: Vec<u32>,
}

/// How near a picture is to the state after a step.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Score {
    /// 1 when the craft looks as it should, 0 when nothing of it is there.
    pub likeness: f32,
    /// 1 when nothing could be mistaken, 0 when another state is as near, negative when it is nearer.
    pub margin: f32,
}

impl Score {
    /// Whether the step counts as reached.
    pub fn accepted(&self) -> bool {
        self.likeness > 1.0 - FAR && self.margin > MARGIN
    }
}

impl Judge {
    /// Paints all states of an episode; `size` is that of the pictures to be judged.
    pub fn new(episode: &Episode, size: Size) -> Self {
        let mut painter = Painter::new(episode, size);
        let count = episode.num_clips();
        let states: Vec<Seen> = (0..=count).map(|k| painter.seen(episode.moment(k))).collect();
        let table = painter.table(episode.moment(0).still);
        let steps = (0..count)
            .map(|k| {
                let idle = painter.idle_hands([episode.moment(k).rest, episode.moment(k + 1).rest]);
                let mut others: Vec<Seen> = episode
                    .alternatives(k)
                    .iter()
                    .map(|still| {
                        let after = episode.moment(k + 1);
                        painter.seen(Moment { still, ..after })
                    })
                    .collect();
                let rest = states.iter().enumerate();
                others.extend(rest.filter(|&(j, _)| j != k + 1).map(|(_, s)| s.clone()));
                Expected::new(&states[k + 1], others, &table, &idle, size)
            })
            .collect();
        Self { size, steps }
    }

    /// Whether key step `k` (0 is the first) has been reached in this picture.
    pub fn accepts(&self, frame: &Frame, k: usize) -> bool {
        self.score(frame, k).accepted()
    }

    /// The figures behind [`Judge::accepts`]. A picture of another size is scaled.
    pub fn score(&self, frame: &Frame, k: usize) -> Score {
        let Size { height, width } = self.size;
        let picture = if frame.dimensions() == (width, height) {
            softened(frame)
        } else {
            let filter = image::imageops::FilterType::Triangle;
            softened(&image::imageops::resize(frame, width, height, filter))
        };
        let step = &self.steps[k];
        let picture = toned(picture, &step.wanted, &step.open);
        let (wrong, shift) = self.error(&picture, &step.wanted, &step.around, (0, 0), 2);
        let margins = step.others.iter().map(|other| {
            let error = |to: &Picture| self.error(&picture, to, &other.differs, shift, 1).0;
            let (own, far) = (error(&step.wanted), error(&other.picture));
            (far - own) / (far + own).max(1e-6)
        });
        Score {
            likeness: 1.0 - wrong / step.contrast.max(1e-6),
            margin: margins.fold(1.0, f32::min),
        }
    }

    /// Mean difference over some pixels at the best shift within `reach` units of `from`, and that shift.
    fn error(
        &self,
        picture: &Picture,
        expected: &Picture,
        pixels: &[u32],
        from: (i32, i32),
        reach: i32,
    ) -> (f32, (i32, i32)) {
        let (width, height) = (self.size.width as i32, self.size.height as i32);
        let unit = (self.size.height as f32 / 64.0).round().max(1.0) as i32;
        let mut best = (f32::MAX, from);
        for dy in from.1 - reach..=from.1 + reach {
            for dx in from.0 - reach..=from.0 + reach {
                let mut sum = 0.0;
                for &pixel in pixels {
                    let (x, y) = (pixel as i32 % width, pixel as i32 / width);
                    let x = (x + dx * unit).clamp(0, width - 1);
                    let y = (y + dy * unit).clamp(0, height - 1);
                    sum += differ(&picture[(y * width + x) as usize], &expected[pixel as usize]);
                }
                if sum < best.0 {
                    best = (sum, (dx, dy));
                }
            }
        }
        (best.0 / pixels.len().max(1) as f32, best.1)
    }
}

impl Expected {
    fn new(wanted: &Seen, others: Vec<Seen>, table: &Picture, idle: &[bool], size: Size) -> Self {
        let mut near = wanted.craft.clone();
        for other in &others {
            for (n, &o) in near.iter_mut().zip(&other.craft) {
                *n |= o;
            }
        }
        let all = || (0..idle.len()).filter(|&i| near[i] && !idle[i]);
        let rim = widened(&wanted.craft, size, (size.height / 24).max(1) as usize);
        let around: Vec<u32> =
            (0..idle.len()).filter(|&i| rim[i] && !idle[i]).map(|i| i as u32).collect();
        let shown = around
            .iter()
            .map(|&i| i as usize)
            .filter(|&i| wanted.craft[i])
            .map(|i| differ(&wanted.picture[i], &table[i]))
            .sum::<f32>();
        let open = (0..idle.len()).filter(|&i| !idle[i]);
        let least = (SAME * idle.len() as f32) as usize;
        let others = others.into_iter().filter_map(|other| {
            let apart = |&i: &usize| differ(&wanted.picture[i], &other.picture[i]) > DIFFERENT;
            let differs: Vec<u32> = all().filter(apart).map(|i| i as u32).collect();
            (differs.len() > least).then_some(Other { picture: other.picture, differs })
        });
        Self {
            others: others.collect(),
            wanted: wanted.picture.clone(),
            contrast: shown / around.len().max(1) as f32,
            around,
            open: open.map(|i| i as u32).collect(),
        }
    }
}

/// One state without the hand.
#[derive(Clone)]
struct Seen {
    picture: Picture,
    /// Where paper or blocks are.
    craft: Vec<bool>,
}

/// Paints states of one environment.
struct Painter<'a> {
    renderer: Renderer<'a>,
    size: Size,
}

impl<'a> Painter<'a> {
    fn new(episode: &'a Episode, size: Size) -> Self {
        Self { renderer: Renderer::new(episode.environment(), size, true), size }
    }

    fn seen(&mut self, moment: Moment) -> Seen {
        let mut scene = moment.scene();
        scene.hand = None;
        let picture = softened(&self.renderer.render(&scene));
        let paper = self.renderer.mask(Thing::Paper);
        let blocks = self.renderer.mask(Thing::Block);
        let covered = paper.pixels().zip(blocks.pixels());
        let craft = covered.map(|(p, b)| p.0[0] > 60 || b.0[0] > 60).collect();
        Seen { picture, craft }
    }

    /// The table without anything on it.
    fn table(&mut self, still: &Still) -> Picture {
        let craft = match still {
            Still::Paper(_) => Craft::Paper {
                stack: super::paper::Stack { layers: Vec::new() },
                fold: None,
                curl: 0.0,
                curl_left: false,
            },
            Still::Blocks(_) => Craft::Blocks { blocks: Vec::new(), held: None },
        };
        let scene = Scene { craft, hand: None, time: 0 };
        softened(&self.renderer.render(&scene))
    }

    /// Where a hand may rest, on either side, and a little around it.
    fn idle_hands(&mut self, rests: [Point; 2]) -> Vec<bool> {
        let (width, height) = (self.size.width as usize, self.size.height as usize);
        let mut idle = vec![false; width * height];
        for rest in rests {
            for side in [1.0, -1.0] {
                let scene = Scene {
                    craft: Craft::Blocks { blocks: Vec::new(), held: None },
                    hand: Some(Hand { at: pt(rest.x * side, rest.y), height: 0.02, open: 1.0 }),
                    time: 0,
                };
                self.renderer.render(&scene);
                let mask = self.renderer.mask(Thing::Hand);
                for (covered, pixel) in idle.iter_mut().zip(mask.pixels()) {
                    *covered |= pixel.0[0] > 30;
                }
            }
        }
        widened(&idle, self.size, (self.size.height / 32).max(1) as usize)
    }
}

/// A set of pixels grown by `by` pixels to all sides.
fn widened(set: &[bool], size: Size, by: usize) -> Vec<bool> {
    let (width, height) = (size.width as usize, size.height as usize);
    let mut wide = vec![false; set.len()];
    for (i, _) in set.iter().enumerate().filter(|(_, inside)| **inside) {
        let (x, y) = (i % width, i / width);
        for row in y.saturating_sub(by)..=(y + by).min(height - 1) {
            let first = row * width + x.saturating_sub(by);
            let last = row * width + (x + by).min(width - 1);
            wide[first..=last].fill(true);
        }
    }
    wide
}

/// A picture with each channel scaled to the mean that is expected, within [`TONE`].
fn toned(mut picture: Picture, expected: &Picture, pixels: &[u32]) -> Picture {
    for c in 0..3 {
        let sum = |p: &Picture| pixels.iter().map(|&i| p[i as usize][c]).sum::<f32>();
        let gain = sum(expected) / sum(&picture).max(1e-3);
        let gain = gain.clamp(1.0 / TONE, TONE);
        for value in &mut picture {
            value[c] *= gain;
        }
    }
    picture
}

fn differ(a: &[f32; 3], b: &[f32; 3]) -> f32 {
    let squares = (a[0] - b[0]).powi(2) + (a[1] - b[1]).powi(2) + (a[2] - b[2]).powi(2);
    squares.sqrt().min(MOST)
}

/// Gamma-coded values with detail finer than a 64th of the height taken away: decoded pictures have none.
fn softened(frame: &Frame) -> Picture {
    let sigma = SOFT * frame.height() as f32 / 64.0;
    let soft = image::imageops::fast_blur(frame, sigma);
    soft.pixels().map(|p| p.0.map(|v| f32::from(v) / 255.0)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::craft::{Split, Task};

    const SIZE: Size = Size { height: 64, width: 96 };

    #[test]
    fn neither_an_empty_table_nor_grey_is_a_step() {
        let episode = Episode::sample(Task::Airplane, Split::Test, 5);
        let judge = Judge::new(&episode, SIZE);
        let grey = Frame::from_pixel(SIZE.width, SIZE.height, image::Rgb([128; 3]));
        let other = Episode::sample(Task::Tower, Split::Test, 5).with_environment(&episode);
        for k in 0..episode.num_clips() {
            assert!(!judge.accepts(&grey, k));
            assert!(!judge.accepts(&other.frame(0, SIZE), k));
        }
    }

    #[test]
    fn a_step_is_recognised_at_another_size() {
        let episode = Episode::sample(Task::Boat, Split::Test, 9);
        let large = Size { height: 96, width: 144 };
        let judge = Judge::new(&episode, SIZE);
        assert!(judge.accepts(&episode.frame(3, large), 2));
        assert!(!judge.accepts(&episode.frame(2, large), 2));
    }
}
