//! Wooden blocks on the table: their shapes, where they wait and where each step puts them.

use serde::{Deserialize, Serialize};

use super::{
    Action, Task,
    geometry::{Point, pt},
};

/// Height on the picture of one unit of height: the camera looks down at about thirty degrees.
pub const RISE: f32 = 0.87;
/// Height on the picture of one unit of depth.
pub const DEPTH: f32 = 0.5;
/// Where the finished thing stands on the picture plane.
pub const GROUND: f32 = 0.33;

/// Shape of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Shape {
    Cuboid,
    /// A prism with a gable to the front.
    Roof,
    /// An upright cylinder.
    Drum,
    /// A drum with a face.
    Head,
    /// A cuboid with an eye: the horse's head.
    Muzzle,
}

/// One block and where it stands.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Block {
    pub shape: Shape,
    pub width: f32,
    pub depth: f32,
    pub height: f32,
    /// Which of the environment's block colours it has.
    pub colour: usize,
    /// Middle of its foot on the picture plane, were it on the table.
    pub at: Point,
    /// Height of its foot over the table.
    pub lift: f32,
}

/// What a task step does: which block goes where.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Placing {
    pub block: usize,
    pub to: Point,
    pub lift: f32,
}

impl Block {
    fn waiting(shape: Shape, size: [f32; 3], colour: usize, at: Point) -> Self {
        Self { shape, width: size[0], depth: size[1], height: size[2], colour, at, lift: 0.0 }
    }
}

const LEVEL: f32 = 0.15;
const LEG: f32 = 0.22;

/// The blocks of a task before its first step.
pub fn scene(task: Task) -> Vec<Block> {
    use Shape::*;
    match task {
        Task::Tower => {
            let cube = [0.21, 0.16, LEVEL];
            vec![
                Block::waiting(Cuboid, cube, 0, pt(-0.52, 0.13)),
                Block::waiting(Drum, [0.20, 0.20, LEVEL], 1, pt(-0.34, -0.13)),
                Block::waiting(Cuboid, cube, 2, pt(0.52, 0.13)),
                Block::waiting(Cuboid, cube, 3, pt(0.34, -0.13)),
                Block::waiting(Roof, [0.23, 0.16, 0.13], 4, pt(0.57, -0.22)),
            ]
        }
        Task::Horse => {
            let leg = [0.10, 0.12, LEG];
            vec![
                Block::waiting(Cuboid, leg, 0, pt(0.56, 0.13)),
                Block::waiting(Cuboid, leg, 1, pt(-0.57, 0.13)),
                Block::waiting(Cuboid, [0.40, 0.15, 0.16], 2, pt(0.46, -0.17)),
                Block::waiting(Cuboid, [0.11, 0.13, 0.15], 3, pt(-0.31, -0.13)),
                Block::waiting(Muzzle, [0.22, 0.13, 0.11], 4, pt(-0.55, -0.15)),
                Block::waiting(Roof, [0.11, 0.12, 0.12], 5, pt(0.37, 0.10)),
            ]
        }
        Task::Person => {
            let (leg, arm) = ([0.115, 0.13, LEG], [0.07, 0.11, 0.15]);
            vec![
                Block::waiting(Cuboid, leg, 0, pt(-0.58, 0.13)),
                Block::waiting(Cuboid, leg, 1, pt(0.58, 0.13)),
                Block::waiting(Cuboid, [0.31, 0.14, 0.22], 2, pt(0.46, -0.15)),
                Block::waiting(Cuboid, arm, 3, pt(-0.37, 0.07)),
                Block::waiting(Cuboid, arm, 4, pt(0.38, 0.07)),
                Block::waiting(Head, [0.15, 0.14, 0.16], 5, pt(-0.46, -0.16)),
            ]
        }
        Task::Airplane | Task::Boat => Vec::new(),
    }
}

/// What an action does with the blocks of its task after the actions `done`.
pub fn placing(action: Action, done: &[Action]) -> Option<Placing> {
    use Action::*;
    let before = |a: Action| done.iter().filter(|&&d| d == a).count();
    let place = |block, x: f32, lift: f32| Some(Placing { block, to: pt(x, GROUND), lift });
    let level = done.len() as f32 * LEVEL;
    let (body, back) = (LEG, LEG + 0.16);
    let shoulder = LEG + 0.22;
    match action {
        StackFromLeft => place(before(StackFromLeft), 0.0, level),
        StackFromRight => place(2 + before(StackFromRight), 0.0, level),
        PlaceRoof => place(4, 0.0, level),
        PlaceHindLeg => place(0, 0.14, 0.0),
        PlaceFrontLeg => place(1, -0.14, 0.0),
        PlaceHorseBody => place(2, 0.0, body),
        PlaceNeck => place(3, -0.13, back),
        PlaceHorseHead => place(4, -0.175, back + 0.15),
        PlaceTail => place(5, 0.14, back),
        PlaceLeftLeg => place(0, -0.085, 0.0),
        PlaceRightLeg => place(1, 0.085, 0.0),
        PlaceTorso => place(2, 0.0, LEG),
        PlaceLeftArm => place(3, -0.12, shoulder),
        PlaceRightArm => place(4, 0.12, shoulder),
        PlaceHead => place(5, 0.0, shoulder),
        _ => None,
    }
}
