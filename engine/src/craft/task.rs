//! The five tasks of the craft world.

use serde::{Deserialize, Serialize};

/// What is being made, as in Video-CraftBench.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Task {
    Airplane,
    Boat,
    Tower,
    Horse,
    Person,
}

impl Task {
    pub const ALL: [Self; 5] = [Self::Airplane, Self::Boat, Self::Tower, Self::Horse, Self::Person];

    /// Whether paper is folded; else blocks are stacked.
    pub fn folds_paper(self) -> bool {
        matches!(self, Self::Airplane | Self::Boat)
    }

    /// What a person reads.
    pub fn label(self) -> &'static str {
        match self {
            Self::Airplane => "Paper airplane",
            Self::Boat => "Paper boat",
            Self::Tower => "Block tower",
            Self::Horse => "Block horse",
            Self::Person => "Block person",
        }
    }

    /// What a person types.
    pub fn name(self) -> &'static str {
        match self {
            Self::Airplane => "airplane",
            Self::Boat => "boat",
            Self::Tower => "tower",
            Self::Horse => "horse",
            Self::Person => "person",
        }
    }
}

impl std::str::FromStr for Task {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|task| task.name() == name).ok_or_else(|| {
            let names: Vec<_> = Self::ALL.iter().map(|task| task.name()).collect();
            format!("there is no task '{name}'; choose one of {}", names.join(", "))
        })
    }
}
