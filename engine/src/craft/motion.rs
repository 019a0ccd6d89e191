//! How a step moves: where the hand goes, what it holds and what lies on the table meanwhile.

use std::f32::consts::PI;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::{
    Action,
    blocks::{self, Block, RISE},
    geometry::{Point, pt},
    hand::Hand,
    paper::{Bend, Fold, SHEET, Stack},
    render::{Craft, Scene, TILT},
};

/// What happens in one clip.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Step {
    pub action: Action,
    pub doing: Doing,
    pub motion: Motion,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Doing {
    Fold(Fold),
    /// Carries a block over the table, or pushes it along when `hop` is zero.
    Carry {
        block: usize,
        to: Point,
        lift: f32,
        hop: f32,
    },
    /// The hand goes round without touching anything.
    Wave([Point; 2]),
}

/// Natural variation of a movement.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Motion {
    /// When the hand has taken hold and when it lets go, as part of the clip.
    pub holds: (f32, f32),
    /// How far the hand's ways to the craft and back bend sideways.
    pub bows: (f32, f32),
    /// Below 1 the movement starts fast, above 1 slowly.
    pub pace: f32,
}

/// What lies on the table between two clips.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Still {
    Paper(Stack),
    Blocks(Vec<Block>),
}

/// An episode's moment between two clips, as the steps need it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment<'a> {
    pub still: &'a Still,
    /// Where the hand rests.
    pub rest: Point,
    /// Whether it is the left lower corner of the sheet that curls.
    pub curl_left: bool,
    /// Frame number since the start of the episode.
    pub time: usize,
}

impl Moment<'_> {
    /// What there is to see: the craft and the idle hand.
    pub(super) fn scene(&self) -> Scene {
        Scene {
            craft: self.craft(),
            hand: Some(Hand { at: self.rest, height: 0.02, open: 1.0 }),
            time: self.time,
        }
    }

    fn craft(&self) -> Craft {
        match self.still {
            Still::Paper(stack) => Craft::Paper {
                stack: stack.clone(),
                fold: None,
                curl: 1.0,
                curl_left: self.curl_left,
            },
            Still::Blocks(blocks) => Craft::Blocks { blocks: blocks.clone(), held: None },
        }
    }
}

impl Step {
    /// What there is to see when the part `at`, 0 to 1, of the clip is over that starts at `start`
    /// and leaves the hand at `rest`; its time is that of the start.
    pub(super) fn scene(&self, start: &Moment, rest: Point, at: f32) -> Scene {
        let (from, to) = self.motion.holds;
        let done = ((at - from) / (to - from)).clamp(0.0, 1.0);
        let done = smooth(done.powf(self.motion.pace));
        let (point, height) = hold_point(start.still, &self.doing, done);
        let way = |a: Point, b: Point, t: f32, bow: f32| {
            let t = smooth(t);
            a.lerp(b, t) + (b - a).perp() * (bow * 8.0 * t * (1.0 - t))
        };
        let lifted = |t: f32| 0.02 + 0.05 * (t * PI).sin();
        let hand = if at < from {
            let t = at / from;
            Hand {
                at: way(start.rest, point, t, self.motion.bows.0),
                height: lifted(t),
                open: 1.0 - smooth((t * 1.6 - 0.6).clamp(0.0, 1.0)),
            }
        } else if at <= to {
            Hand { at: point, height: height + 0.01, open: self.doing.openness() }
        } else {
            let t = (at - to) / (1.0 - to);
            Hand {
                at: way(point, rest, t, self.motion.bows.1),
                height: height * (1.0 - t) + lifted(t),
                open: smooth((t * 2.0).min(1.0)),
            }
        };
        Scene { craft: self.craft(start, done, at / from), hand: Some(hand), time: start.time }
    }

    fn craft(&self, start: &Moment, done: f32, approach: f32) -> Craft {
        match (start.still, &self.doing) {
            (Still::Paper(stack), Doing::Fold(fold)) => Craft::Paper {
                stack: stack.clone(),
                fold: Some((*fold, done)).filter(|_| done > 0.0),
                // A corner that is about to be folded is smoothed first.
                curl: if fold.moves(curled_corner(start.curl_left)) {
                    1.0 - smooth(approach.min(1.0))
                } else {
                    1.0
                },
                curl_left: start.curl_left,
            },
            (Still::Blocks(blocks), doing @ &Doing::Carry { block, .. }) => {
                let mut blocks = blocks.clone();
                let (at, lift) = carried(&blocks[block], doing, done);
                blocks[block].at = at;
                blocks[block].lift = lift;
                Craft::Blocks { blocks, held: (done > 0.0 && done < 1.0).then_some(block) }
            }
            _ => start.craft(),
        }
    }
}

impl Motion {
    pub(super) fn sample(rng: &mut ChaCha8Rng) -> Self {
        let mut bow = || rng.random_range(-0.05..0.05);
        let bows = (bow(), bow());
        Self {
            holds: (rng.random_range(0.24..0.30), rng.random_range(0.74..0.80)),
            bows,
            pace: rng.random_range(0.88..1.15),
        }
    }
}

impl Fold {
    fn moves(&self, point: Point) -> bool {
        self.line.distance(point) > 0.0
    }
}

impl Doing {
    /// How open the hand is while it holds.
    fn openness(&self) -> f32 {
        match self {
            Self::Fold(_) => 0.0,
            Self::Carry { .. } => 0.25,
            Self::Wave(_) => 0.9,
        }
    }
}

impl Still {
    pub(super) fn after(&self, doing: &Doing) -> Self {
        match (self, doing) {
            (Self::Paper(stack), Doing::Fold(fold)) => Self::Paper(stack.folded(fold)),
            (Self::Blocks(blocks), &Doing::Carry { block, to, lift, .. }) => {
                let mut blocks = blocks.clone();
                blocks[block].at = to;
                blocks[block].lift = lift;
                Self::Blocks(blocks)
            }
            (still, _) => still.clone(),
        }
    }
}

fn curled_corner(left: bool) -> Point {
    let (w, h) = SHEET;
    pt(if left { -0.5 * w } else { 0.5 * w }, 0.5 * h)
}

/// What an action of a task does; `all` tells which way the airplane is halved.
pub(super) fn task_step(action: Action, done: &[Action], all: &[Action]) -> Option<Doing> {
    if let Some(placing) = blocks::placing(action, done) {
        return Some(Doing::Carry {
            block: placing.block,
            to: placing.to,
            lift: placing.lift,
            hop: 0.11,
        });
    }
    let to_left = all.contains(&Action::HalveToLeft);
    Fold::of(action, to_left).map(Doing::Fold)
}

/// Where the hand holds on, and how high, when a step is `done` of its way.
pub(super) fn hold_point(still: &Still, doing: &Doing, done: f32) -> (Point, f32) {
    match (still, doing) {
        (Still::Paper(stack), Doing::Fold(fold)) => {
            let (_, moving) = stack.parted(fold);
            let bend = Bend::new(fold.reach(&moving), done);
            let lifted = bend.place(&fold.line, fold.grip(&moving));
            (lifted.at - pt(0.0, TILT * lifted.height), lifted.height)
        }
        (Still::Blocks(blocks), doing @ Doing::Carry { block, hop, to, .. }) => {
            let b = &blocks[*block];
            let (at, lift) = carried(b, doing, done);
            if *hop == 0.0 {
                // Pushed from the side that looks away from where it goes.
                let way = if to.x > b.at.x { -1.0 } else { 1.0 };
                let beside = at + pt(way * 0.5 * b.width, 0.03 - 0.45 * RISE * b.height);
                (beside, 0.4 * b.height)
            } else {
                (at + pt(0.0, 0.012 - RISE * (lift + 0.92 * b.height)), lift + b.height)
            }
        }
        (_, Doing::Wave(points)) => {
            let t = 2.0 * PI * done;
            let middle = points[0];
            let swing = points[1];
            (middle + swing * t.sin() + swing.perp() * (0.4 * (1.0 - t.cos())), 0.12)
        }
        _ => (pt(0.0, 0.3), 0.0),
    }
}

/// Foot and height of a carried block.
fn carried(block: &Block, doing: &Doing, done: f32) -> (Point, f32) {
    let &Doing::Carry { to, lift, hop, .. } = doing else {
        return (block.at, block.lift);
    };
    if done >= 1.0 {
        return (to, lift);
    }
    let over = smooth(((done - 0.12) / 0.76).clamp(0.0, 1.0));
    let over = if hop == 0.0 { done } else { over };
    let rise = smooth((done / 0.6).clamp(0.0, 1.0));
    let height = block.lift + (lift - block.lift) * rise;
    let arc = hop * (done * PI).sin();
    (block.at.lerp(to, over), height + arc)
}

fn smooth(t: f32) -> f32 {
    t * t * (3.0 - 2.0 * t)
}

/// A place at the edge of the picture for the idle hand.
pub(super) fn resting(side: f32, still: &Still, rng: &mut ChaCha8Rng) -> Point {
    let (x, y) = match still {
        Still::Paper(_) => (0.47, 0.22),
        Still::Blocks(_) => (0.44, 0.34),
    };
    pt(side * (x + rng.random_range(-0.03..0.03)), y + rng.random_range(-0.05..0.05))
}
