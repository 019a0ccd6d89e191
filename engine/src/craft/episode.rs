//! A whole task, or a few free motions, from a seed: what happens, where, and its clips.

use std::ops::Range;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{
    Action, Size, Task,
    blocks::{self, Block, RISE, Shape},
    canvas::Thing,
    environment::{Environment, Split, mixed},
    geometry::{Line, Point, area, pt},
    hand::Hand,
    label::{CraftClip, FrameLabel, Masks, State},
    paper::{Bend, Fold, Stack},
    plan,
    render::{Craft, Renderer, Scene, TILT},
};

/// Frames of one clip; the last is the first of the next clip.
pub const FRAMES_PER_CLIP: usize = 17;
/// Frames a second.
pub const FPS: f32 = 8.0;

/// What happens in one clip.
#[derive(Debug, Clone, PartialEq)]
struct Step {
    action: Action,
    doing: Doing,
    motion: Motion,
}

#[derive(Debug, Clone, PartialEq)]
enum Doing {
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
struct Motion {
    /// When the hand has taken hold and when it lets go, as part of the clip.
    holds: (f32, f32),
    /// How far the three ways of the hand bend sideways.
    bows: [f32; 3],
    /// Below 1 the movement starts fast, above 1 slowly.
    pace: f32,
}

/// What lies on the table between two clips.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Still {
    Paper(Stack),
    Blocks(Vec<Block>),
}

/// A sequence of clips in one environment. Cheap to sample; pictures are painted on request.
#[derive(Debug, Clone, PartialEq)]
pub struct Episode {
    /// What is made, or none for free motions.
    pub task: Option<Task>,
    pub split: Split,
    environment: Environment,
    steps: Vec<Step>,
    /// States before each clip, and after the last.
    stills: Vec<Still>,
    /// Where the hand rests before each clip, and after the last.
    rests: Vec<Point>,
    curl_left: bool,
}

impl Episode {
    /// A whole task: 7 clips for the papers, 5 or 6 for blocks.
    pub fn sample(task: Task, split: Split, seed: u64) -> Self {
        let environment = Environment::sample(split, mixed(seed, 11 + task as u64));
        let purpose = 101 + 10 * task as u64 + u64::from(split == Split::Test);
        let mut rng = ChaCha8Rng::seed_from_u64(mixed(seed, purpose));
        let mut done: Vec<Action> = Vec::new();
        loop {
            let open = plan::next(task, &done);
            if open.is_empty() {
                break;
            }
            done.push(open[rng.random_range(0..open.len())]);
        }
        Self::of_actions(task, split, environment, &done, &mut rng)
    }

    fn of_actions(
        task: Task,
        split: Split,
        environment: Environment,
        actions: &[Action],
        rng: &mut ChaCha8Rng,
    ) -> Self {
        let first = match task {
            Task::Airplane | Task::Boat => Still::Paper(Stack::open()),
            _ => Still::Blocks(jittered(blocks::scene(task), rng)),
        };
        let curl_left = rng.random();
        let mut episode = Self::begin(Some(task), split, environment, first, curl_left, rng);
        for (k, &action) in actions.iter().enumerate() {
            let doing = task_step(action, &actions[..k], actions)
                .expect("every action of a plan belongs to its task");
            episode.push(action, doing, rng);
        }
        episode
    }

    /// Motions of no task: folds anywhere, blocks pushed and moved, a waving hand.
    pub fn free(split: Split, seed: u64) -> Self {
        const CLIPS: usize = 5;
        let environment = Environment::sample(split, mixed(seed, 23));
        let purpose = 191 + u64::from(split == Split::Test);
        let mut rng = ChaCha8Rng::seed_from_u64(mixed(seed, purpose));
        let paper = rng.random_bool(0.5);
        let first = if paper {
            Still::Paper(Stack::open())
        } else {
            Still::Blocks(scattered(&mut rng))
        };
        let curl_left = rng.random();
        let mut episode = Self::begin(None, split, environment, first, curl_left, &mut rng);
        for _ in 0..CLIPS {
            let (action, doing) = free_step(episode.last_still(), &mut rng);
            episode.push(action, doing, &mut rng);
        }
        episode
    }

    fn begin(
        task: Option<Task>,
        split: Split,
        environment: Environment,
        first: Still,
        curl_left: bool,
        rng: &mut ChaCha8Rng,
    ) -> Self {
        let left: bool = rng.random();
        let rest = resting(if left { -1.0 } else { 1.0 }, &first, rng);
        Self {
            task,
            split,
            environment,
            steps: Vec::new(),
            stills: vec![first],
            rests: vec![rest],
            curl_left,
        }
    }

    fn last_still(&self) -> &Still {
        self.stills.last().expect("an episode has a first state")
    }

    fn push(&mut self, action: Action, doing: Doing, rng: &mut ChaCha8Rng) {
        let motion = Motion {
            holds: (rng.random_range(0.24..0.30), rng.random_range(0.74..0.80)),
            bows: std::array::from_fn(|_| rng.random_range(-0.05..0.05)),
            pace: rng.random_range(0.88..1.15),
        };
        let before = self.last_still().clone();
        let after = before.after(&doing);
        let last_rest = *self.rests.last().expect("an episode has a first rest");
        let taken = hold_point(&before, &doing, 0.0).0;
        // The hand leaves to the side where it took hold; from the middle, to where it came from.
        let side = if taken.x.abs() > 0.05 {
            taken.x
        } else {
            last_rest.x
        };
        self.rests.push(resting(side.signum(), &after, rng));
        self.steps.push(Step {
            action,
            doing,
            motion,
        });
        self.stills.push(after);
    }

    pub fn num_clips(&self) -> usize {
        self.steps.len()
    }

    /// What is done in clip `k`.
    pub fn action(&self, k: usize) -> Action {
        self.steps[k].action
    }

    /// All actions in order.
    pub fn actions(&self) -> Vec<Action> {
        self.steps.iter().map(|step| step.action).collect()
    }

    /// The same for all clips of one environment, and for no other environment.
    pub fn environment_id(&self) -> u64 {
        self.environment.id
    }

    pub(super) fn environment(&self) -> &Environment {
        &self.environment
    }

    /// The same actions, moved the same way, in the environment of another episode.
    pub fn with_environment(&self, other: &Self) -> Self {
        Self {
            split: other.split,
            environment: other.environment.clone(),
            ..self.clone()
        }
    }

    /// The actions and movements of another episode in this environment.
    pub fn with_actions_of(&self, other: &Self) -> Self {
        other.with_environment(self)
    }

    /// The 17 frames of clip `k` with their labels.
    pub fn clip(&self, k: usize, size: Size) -> CraftClip {
        self.painted(k, size, 0..FRAMES_PER_CLIP, false)
    }

    /// Like [`Episode::clip`], with masks of paper, blocks and hand in the labels.
    pub fn clip_with_masks(&self, k: usize, size: Size) -> CraftClip {
        self.painted(k, size, 0..FRAMES_PER_CLIP, true)
    }

    /// The frame before clip `k`; `k == num_clips()` gives the last frame.
    pub fn frame(&self, k: usize, size: Size) -> crate::media::Frame {
        let scene = self.scene(k, 0);
        Renderer::new(&self.environment, size, false).render(&scene)
    }

    fn painted(&self, k: usize, size: Size, frames: Range<usize>, masks: bool) -> CraftClip {
        let mut renderer = Renderer::new(&self.environment, size, masks);
        let mut clip = CraftClip::default();
        for i in frames {
            // The end of a clip is the start of the next one, by construction and not only by rounding.
            let scene = if i + 1 == FRAMES_PER_CLIP {
                self.scene(k + 1, 0)
            } else {
                self.scene(k, i)
            };
            clip.frames.push(renderer.render(&scene));
            let masks = masks.then(|| Masks {
                paper: renderer.mask(Thing::Paper),
                blocks: renderer.mask(Thing::Block),
                hand: renderer.mask(Thing::Hand),
            });
            let finished = i + 1 == FRAMES_PER_CLIP;
            clip.labels.push(FrameLabel {
                task: self.task,
                action: self.action(k),
                key_step: k + usize::from(finished),
                progress: i as f32 / (FRAMES_PER_CLIP - 1) as f32,
                state: State::of(&scene),
                masks,
            });
        }
        clip
    }

    /// What there is to see at frame `i` (0 to 15) of clip `k`, or at the very end.
    pub(super) fn scene(&self, k: usize, i: usize) -> Scene {
        let time = k * (FRAMES_PER_CLIP - 1) + i;
        let still = &self.stills[k];
        if i == 0 {
            return self.resting_scene(still, self.rests[k], time);
        }
        let step = &self.steps[k];
        let at = i as f32 / (FRAMES_PER_CLIP - 1) as f32;
        let (from, to) = step.motion.holds;
        let done = ((at - from) / (to - from)).clamp(0.0, 1.0);
        let done = smooth(done.powf(step.motion.pace));
        let (point, height) = hold_point(still, &step.doing, done);
        let way = |a: Point, b: Point, t: f32, bow: f32| {
            let t = smooth(t);
            a.lerp(b, t) + (b - a).perp() * (bow * 4.0 * t * (1.0 - t))
        };
        let bows = step.motion.bows;
        let hand = if at < from {
            let t = at / from;
            Hand {
                at: way(self.rests[k], point, t, bows[0] * 2.0),
                height: 0.02 + 0.05 * (t * std::f32::consts::PI).sin(),
                open: 1.0 - smooth((t * 1.6 - 0.6).clamp(0.0, 1.0)),
            }
        } else if at <= to {
            Hand {
                at: point,
                height: height + 0.01,
                open: step.doing.openness(),
            }
        } else {
            let t = (at - to) / (1.0 - to);
            Hand {
                at: way(point, self.rests[k + 1], t, bows[2] * 2.0),
                height: height * (1.0 - t) + 0.02 + 0.05 * (t * std::f32::consts::PI).sin(),
                open: smooth((t * 2.0).min(1.0)),
            }
        };
        Scene {
            craft: self.craft(still, &step.doing, done, at / from),
            hand: Some(hand),
            time,
        }
    }

    fn craft(&self, still: &Still, doing: &Doing, done: f32, approach: f32) -> Craft {
        match (still, doing) {
            (Still::Paper(stack), Doing::Fold(fold)) => Craft::Paper {
                stack: stack.clone(),
                fold: Some((*fold, done)).filter(|_| done > 0.0),
                // A corner that is about to be folded is smoothed first.
                curl: if fold.moves(curled_corner(self.curl_left)) {
                    1.0 - smooth(approach.min(1.0))
                } else {
                    1.0
                },
                curl_left: self.curl_left,
            },
            (Still::Paper(stack), _) => self.paper(stack),
            (Still::Blocks(blocks), doing) => {
                let mut blocks = blocks.clone();
                let mut held = None;
                if let &Doing::Carry { block, .. } = doing {
                    let (at, lift) = carried(&blocks[block], doing, done);
                    blocks[block].at = at;
                    blocks[block].lift = lift;
                    held = (done > 0.0 && done < 1.0).then_some(block);
                }
                Craft::Blocks { blocks, held }
            }
        }
    }

    fn paper(&self, stack: &Stack) -> Craft {
        Craft::Paper {
            stack: stack.clone(),
            fold: None,
            curl: 1.0,
            curl_left: self.curl_left,
        }
    }

    /// A state with the hand at rest.
    pub(super) fn resting_scene(&self, still: &Still, rest: Point, time: usize) -> Scene {
        let craft = match still {
            Still::Paper(stack) => self.paper(stack),
            Still::Blocks(blocks) => Craft::Blocks {
                blocks: blocks.clone(),
                held: None,
            },
        };
        Scene {
            craft,
            hand: Some(Hand {
                at: rest,
                height: 0.02,
                open: 1.0,
            }),
            time,
        }
    }

    pub(super) fn still(&self, k: usize) -> &Still {
        &self.stills[k]
    }

    pub(super) fn rest(&self, k: usize) -> Point {
        self.rests[k]
    }

    /// States that other actions possible at clip `k` would lead to.
    pub(super) fn alternatives(&self, k: usize) -> Vec<(Action, Still)> {
        let Some(task) = self.task else {
            return Vec::new();
        };
        let actions = self.actions();
        let done = &actions[..k];
        let mut found = Vec::new();
        for action in plan::next(task, done) {
            if action != actions[k]
                && let Some(doing) = task_step(action, done, done)
            {
                found.push((action, self.stills[k].after(&doing)));
            }
        }
        found
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
    fn after(&self, doing: &Doing) -> Self {
        match (self, doing) {
            (Self::Paper(stack), Doing::Fold(fold)) => Self::Paper(stack.folded(fold)),
            (
                Self::Blocks(blocks),
                &Doing::Carry {
                    block, to, lift, ..
                },
            ) => {
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
    let (w, h) = super::paper::SHEET;
    pt(if left { -0.5 * w } else { 0.5 * w }, 0.5 * h)
}

/// What an action of a task does; `all` tells which way the airplane is halved.
fn task_step(action: Action, done: &[Action], all: &[Action]) -> Option<Doing> {
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
fn hold_point(still: &Still, doing: &Doing, done: f32) -> (Point, f32) {
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
                (
                    at + pt(0.0, 0.012 - RISE * (lift + 0.92 * b.height)),
                    lift + b.height,
                )
            }
        }
        (_, Doing::Wave(points)) => {
            let t = 2.0 * std::f32::consts::PI * done;
            let middle = points[0];
            let swing = points[1];
            (
                middle + swing * t.sin() + swing.perp() * (0.4 * (1.0 - t.cos())),
                0.12,
            )
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
    let arc = hop * (done * std::f32::consts::PI).sin();
    (block.at.lerp(to, over), height + arc)
}

fn smooth(t: f32) -> f32 {
    t * t * (3.0 - 2.0 * t)
}

/// A place at the edge of the picture for the idle hand.
fn resting(side: f32, still: &Still, rng: &mut ChaCha8Rng) -> Point {
    let (x, y) = match still {
        Still::Paper(_) => (0.47, 0.22),
        Still::Blocks(_) => (0.44, 0.34),
    };
    pt(
        side * (x + rng.random_range(-0.03..0.03)),
        y + rng.random_range(-0.05..0.05),
    )
}

fn jittered(mut blocks: Vec<Block>, rng: &mut ChaCha8Rng) -> Vec<Block> {
    for block in &mut blocks {
        block.at += pt(
            rng.random_range(-0.015..0.015),
            rng.random_range(-0.015..0.015),
        );
    }
    blocks
}

/// A few blocks anywhere on the table, none in another's way.
fn scattered(rng: &mut ChaCha8Rng) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let wanted = rng.random_range(3..6);
    for _ in 0..60 {
        if blocks.len() == wanted {
            break;
        }
        let shape = match rng.random_range(0..4) {
            0 => Shape::Drum,
            1 => Shape::Roof,
            _ => Shape::Cuboid,
        };
        let width = rng.random_range(0.09..0.28);
        let block = Block {
            shape,
            width,
            depth: if shape == Shape::Drum {
                width
            } else {
                rng.random_range(0.11..0.17)
            },
            height: rng.random_range(0.10..0.24),
            colour: blocks.len(),
            at: pt(rng.random_range(-0.5..0.5), rng.random_range(-0.12..0.34)),
            lift: 0.0,
        };
        if blocks.iter().all(|other| apart(&block, other, block.at)) {
            blocks.push(block);
        }
    }
    blocks
}

fn apart(block: &Block, other: &Block, at: Point) -> bool {
    let gap = at - other.at;
    gap.x.abs() > 0.5 * (block.width + other.width) + 0.04 || gap.y.abs() > 0.15
}

fn free_step(still: &Still, rng: &mut ChaCha8Rng) -> (Action, Doing) {
    if rng.random_bool(0.15) {
        let middle = pt(rng.random_range(-0.25..0.25), rng.random_range(-0.2..0.2));
        let swing = pt(0.15, 0.0).rotated(rng.random_range(-1.5..1.5));
        return (Action::WaveHand, Doing::Wave([middle, swing]));
    }
    match still {
        Still::Paper(stack) => (Action::FreeFold, Doing::Fold(free_fold(stack, rng))),
        Still::Blocks(blocks) => free_carry(blocks, rng),
    }
}

/// A fold along a line that no task folds along: of the outer tenth to half of the paper.
fn free_fold(stack: &Stack, rng: &mut ChaCha8Rng) -> Fold {
    let whole = stack.area();
    loop {
        let turn: f32 = rng.random_range(0.0..std::f32::consts::TAU);
        let degrees = turn.to_degrees() % 45.0;
        if !(7.0..38.0).contains(&degrees) {
            continue;
        }
        let normal = pt(1.0, 0.0).rotated(turn);
        let origin = normal * rng.random_range(-0.05..0.30);
        let fold = Fold::free(Line { origin, normal }, rng.random_bool(0.3));
        let (_, moving) = stack.parted(&fold);
        let part = moving.iter().map(|l| area(&l.polygon)).sum::<f32>() / whole;
        if (0.08..0.4).contains(&part) && fold.reach(&moving) > 0.07 {
            return fold;
        }
    }
}

fn free_carry(blocks: &[Block], rng: &mut ChaCha8Rng) -> (Action, Doing) {
    for _ in 0..200 {
        let block = rng.random_range(0..blocks.len());
        let moved = &blocks[block];
        let others = || blocks.iter().enumerate().filter(|&(i, _)| i != block);
        let covered =
            others().any(|(_, o)| o.lift > moved.lift && (o.at - moved.at).length() < 0.05);
        if covered {
            continue;
        }
        let free_at = |at: Point| others().all(|(_, o)| apart(moved, o, at));
        if moved.lift == 0.0 && rng.random_bool(0.5) {
            let way = pt(rng.random_range(0.15..0.35), rng.random_range(-0.08..0.08));
            let to = moved.at + if rng.random() { way } else { -way };
            let clear = (1..=4).all(|i| free_at(moved.at.lerp(to, i as f32 / 4.0)));
            if to.x.abs() < 0.5 && (-0.14..0.36).contains(&to.y) && clear {
                let carry = Doing::Carry {
                    block,
                    to,
                    lift: 0.0,
                    hop: 0.0,
                };
                return (Action::PushBlock, carry);
            }
            continue;
        }
        let to = pt(rng.random_range(-0.5..0.5), rng.random_range(-0.12..0.34));
        if free_at(to) {
            let carry = Doing::Carry {
                block,
                to,
                lift: 0.0,
                hop: rng.random_range(0.10..0.22),
            };
            return (Action::MoveBlock, carry);
        }
    }
    let middle = pt(0.0, 0.1);
    (Action::WaveHand, Doing::Wave([middle, pt(0.15, 0.0)]))
}
