//! Refined video smaller than a pack was made for.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::media::FrameSize;

/// Height and width of the refined video as a share of those the pack was made for, 0.1 to 1. Starting
/// frame, codes and coarse video stay as they are.
///
/// Attention takes the square of the tokens, and these are the square of the share: at half of the
/// release's size a step takes about a ninth of the arithmetic.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "f32", into = "f32")]
pub struct Scale(f32);

impl Scale {
    /// What is tried when a job does not fit, largest first.
    pub const SMALLER: [Self; 4] = [Self(0.75), Self(0.5), Self(0.375), Self(0.25)];

    /// So much of `whole`, to the nearest multiples of `step` but one step at least.
    pub fn of(self, whole: FrameSize, step: u32) -> FrameSize {
        let of = |length: u32| {
            let steps = (length as f32 * self.0 / step as f32).round() as u32;
            steps.max(1) * step
        };
        FrameSize { height: of(whole.height), width: of(whole.width) }
    }
}

impl Default for Scale {
    fn default() -> Self {
        Self(1.0)
    }
}

impl fmt::Display for Scale {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Scale {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let share: f32 = text.parse().unwrap_or(f32::NAN);
        share.try_into().map_err(|_| format!("'{text}' is no scale; give a number from 0.1 to 1"))
    }
}

impl TryFrom<f32> for Scale {
    type Error = String;

    fn try_from(share: f32) -> Result<Self, String> {
        match share {
            0.1..=1.0 => Ok(Self(share)),
            _ => Err(format!("{share} is no scale from 0.1 to 1")),
        }
    }
}

impl From<Scale> for f32 {
    fn from(scale: Scale) -> Self {
        scale.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_multiples_of_the_step() {
        let of = |scale: &str| {
            let whole = FrameSize { height: 480, width: 832 };
            let size = scale.parse::<Scale>().unwrap().of(whole, 16);
            (size.height, size.width)
        };
        assert_eq!(of("1"), (480, 832));
        assert_eq!(of("0.5"), (240, 416));
        assert_eq!(of("0.33"), (160, 272));
        let small = FrameSize { height: 64, width: 96 };
        assert_eq!("0.1".parse::<Scale>().unwrap().of(small, 16).height, 16);
        for text in ["0", "2", "NaN", "half", ""] {
            assert!(text.parse::<Scale>().unwrap_err().contains("0.1 to 1"), "{text}");
        }
        let half: Scale = serde_json::from_str("0.5").unwrap();
        assert_eq!((half, half.to_string()), ("0.5".parse().unwrap(), "0.5".to_owned()));
        assert!(serde_json::from_str::<Scale>("7").is_err());
    }
}
