//! Motions that belong to no task: folds anywhere, blocks pushed and moved, a waving hand.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::{
    Action,
    blocks::{Block, Shape},
    geometry::{Line, Point, area, pt},
    motion::{Doing, Still},
    paper::{Fold, Stack},
};

/// A few blocks anywhere on the table, none in another's way.
pub(super) fn scattered(rng: &mut ChaCha8Rng) -> Vec<Block> {
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
            depth: if shape == Shape::Drum { width } else { rng.random_range(0.11..0.17) },
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

/// A random next thing to do.
pub(super) fn step(still: &Still, rng: &mut ChaCha8Rng) -> (Action, Doing) {
    if rng.random_bool(0.15) {
        let middle = pt(rng.random_range(-0.25..0.25), rng.random_range(-0.2..0.2));
        let swing = pt(0.15, 0.0).rotated(rng.random_range(-1.5..1.5));
        return (Action::WaveHand, Doing::Wave([middle, swing]));
    }
    match still {
        Still::Paper(stack) => (Action::FreeFold, Doing::Fold(fold(stack, rng))),
        Still::Blocks(blocks) => carry(blocks, rng),
    }
}

/// A fold along a line that no task folds along: of the outer twelfth to two fifths of the paper.
fn fold(stack: &Stack, rng: &mut ChaCha8Rng) -> Fold {
    let whole = stack.area();
    loop {
        let turn: f32 = rng.random_range(0.0..std::f32::consts::TAU);
        let degrees = turn.to_degrees() % 45.0;
        if !(7.0..38.0).contains(&degrees) {
            continue;
        }
        let normal = pt(1.0, 0.0).rotated(turn);
        let origin = normal * rng.random_range(-0.05..0.30);
        let candidate = Fold::free(Line { origin, normal }, rng.random_bool(0.3));
        let (_, moving) = stack.parted(&candidate);
        let part = moving.iter().map(|l| area(&l.polygon)).sum::<f32>() / whole;
        if (0.08..0.4).contains(&part) && candidate.reach(&moving) > 0.07 {
            return candidate;
        }
    }
}

/// A block pushed or carried to where there is room; when there is none, the hand waves.
fn carry(blocks: &[Block], rng: &mut ChaCha8Rng) -> (Action, Doing) {
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
                let carry = Doing::Carry { block, to, lift: 0.0, hop: 0.0 };
                return (Action::PushBlock, carry);
            }
            continue;
        }
        let to = pt(rng.random_range(-0.5..0.5), rng.random_range(-0.12..0.34));
        if free_at(to) {
            let carry = Doing::Carry { block, to, lift: 0.0, hop: rng.random_range(0.10..0.22) };
            return (Action::MoveBlock, carry);
        }
    }
    let middle = pt(0.0, 0.1);
    (Action::WaveHand, Doing::Wave([middle, pt(0.15, 0.0)]))
}
