//! Refined video smaller than a pack was made for.

use std::fmt;
use std::str::FromStr;

/// Height and width of the refined video as a share of those the pack was made for, 0.1 to 1.
///
/// Attention takes the square of the tokens, and these are the square of the share: at half of the
/// release's size a step takes about a ninth of the arithmetic.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scale(f32);

impl Scale {
    /// What is tried when a job does not fit, largest first.
    pub const SMALLER: [Self; 4] = [Self(0.75), Self(0.5), Self(0.375), Self(0.25)];

    /// So much of `length`, to the nearest multiple of `step` but one step at least.
    pub fn of(self, length: u32, step: u32) -> u32 {
        let steps = (length as f32 * self.0 / step as f32).round() as u32;
        steps.max(1) * step
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
        match text.parse() {
            Ok(share) if (0.1..=1.0).contains(&share) => Ok(Self(share)),
            _ => Err(format!("'{text}' is no scale; give a number from 0.1 to 1")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_multiples_of_the_step() {
        let half: Scale = "0.5".parse().unwrap();
        assert_eq!([480, 832].map(|length| half.of(length, 16)), [240, 416]);
        let third: Scale = "0.33".parse().unwrap();
        assert_eq!([480, 832].map(|length| third.of(length, 16)), [160, 272]);
        assert_eq!("0.1".parse::<Scale>().unwrap().of(64, 16), 16);
        assert_eq!(Scale::default().of(480, 16), 480);
        assert_eq!(half.to_string(), "0.5");
        for text in ["0", "2", "NaN", "half", ""] {
            assert!(text.parse::<Scale>().unwrap_err().contains("0.1 to 1"), "{text}");
        }
    }
}
