//! What is done in one clip, free of how anything looks.

use serde::{Deserialize, Serialize};

/// One key step of a task, or one of the free motions that belong to no task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    FoldLeftCorner,
    FoldRightCorner,
    FoldLeftEdge,
    FoldRightEdge,
    HalveToLeft,
    HalveToRight,
    FoldFrontWing,
    FoldRearWing,
    FoldBottomBehind,
    FoldHullUp,
    FoldTipLeft,
    FoldTipRight,
    StackFromLeft,
    StackFromRight,
    PlaceRoof,
    PlaceHindLeg,
    PlaceFrontLeg,
    PlaceHorseBody,
    PlaceNeck,
    PlaceHorseHead,
    PlaceTail,
    PlaceLeftLeg,
    PlaceRightLeg,
    PlaceTorso,
    PlaceLeftArm,
    PlaceRightArm,
    PlaceHead,
    FreeFold,
    PushBlock,
    MoveBlock,
    WaveHand,
}

impl Action {
    /// Every action, in the order of [`Action::index`].
    pub const ALL: [Self; 31] = [
        Self::FoldLeftCorner,
        Self::FoldRightCorner,
        Self::FoldLeftEdge,
        Self::FoldRightEdge,
        Self::HalveToLeft,
        Self::HalveToRight,
        Self::FoldFrontWing,
        Self::FoldRearWing,
        Self::FoldBottomBehind,
        Self::FoldHullUp,
        Self::FoldTipLeft,
        Self::FoldTipRight,
        Self::StackFromLeft,
        Self::StackFromRight,
        Self::PlaceRoof,
        Self::PlaceHindLeg,
        Self::PlaceFrontLeg,
        Self::PlaceHorseBody,
        Self::PlaceNeck,
        Self::PlaceHorseHead,
        Self::PlaceTail,
        Self::PlaceLeftLeg,
        Self::PlaceRightLeg,
        Self::PlaceTorso,
        Self::PlaceLeftArm,
        Self::PlaceRightArm,
        Self::PlaceHead,
        Self::FreeFold,
        Self::PushBlock,
        Self::MoveBlock,
        Self::WaveHand,
    ];

    /// What a person reads.
    pub fn label(self) -> &'static str {
        match self {
            Self::FoldLeftCorner => "Fold left corner",
            Self::FoldRightCorner => "Fold right corner",
            Self::FoldLeftEdge => "Fold left edge",
            Self::FoldRightEdge => "Fold right edge",
            Self::HalveToLeft => "Halve to the left",
            Self::HalveToRight => "Halve to the right",
            Self::FoldFrontWing => "Fold front wing",
            Self::FoldRearWing => "Fold rear wing",
            Self::FoldBottomBehind => "Fold bottom behind",
            Self::FoldHullUp => "Fold hull up",
            Self::FoldTipLeft => "Fold flag to the left",
            Self::FoldTipRight => "Fold flag to the right",
            Self::StackFromLeft => "Stack from the left",
            Self::StackFromRight => "Stack from the right",
            Self::PlaceRoof => "Place roof",
            Self::PlaceHindLeg => "Place hind leg",
            Self::PlaceFrontLeg => "Place front leg",
            Self::PlaceHorseBody => "Place horse's body",
            Self::PlaceNeck => "Place neck",
            Self::PlaceHorseHead => "Place horse's head",
            Self::PlaceTail => "Place tail",
            Self::PlaceLeftLeg => "Place left leg",
            Self::PlaceRightLeg => "Place right leg",
            Self::PlaceTorso => "Place torso",
            Self::PlaceLeftArm => "Place left arm",
            Self::PlaceRightArm => "Place right arm",
            Self::PlaceHead => "Place head",
            Self::FreeFold => "Fold anywhere",
            Self::PushBlock => "Push a block",
            Self::MoveBlock => "Move a block",
            Self::WaveHand => "Wave the hand",
        }
    }

    /// Position in [`Action::ALL`].
    pub fn index(self) -> usize {
        self as usize
    }

    /// Whether it belongs to no task.
    pub fn is_free(self) -> bool {
        matches!(self, Self::FreeFold | Self::PushBlock | Self::MoveBlock | Self::WaveHand)
    }
}
