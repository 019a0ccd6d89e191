//! The memory of this machine and of this program, and how people write amounts of it.
//!
//! Only Linux tells: everything here is `None` elsewhere, and nobody guesses in its place.

use std::fmt;
use std::fs;
use std::str::FromStr;

/// An amount of memory for people, in powers of ten.
pub fn human(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["B", "kB", "MB", "GB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1000.0 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    let digits = usize::from(unit > 0);
    format!("{value:.digits$} {}", UNITS[unit])
}

/// All memory of the machine, bytes.
pub fn total() -> Option<u64> {
    field("/proc/meminfo", "MemTotal:")
}

/// What a program could still take without anything being swapped out, bytes.
pub fn available() -> Option<u64> {
    field("/proc/meminfo", "MemAvailable:")
}

/// What this program may occupy before anything is swapped out, bytes.
pub fn free() -> Option<u64> {
    Some(available()? + resident()?)
}

/// What this program occupies now, bytes.
pub fn resident() -> Option<u64> {
    field("/proc/self/status", "VmRSS:")
}

/// The most this program has occupied since it began, or since [`forget_peak`], bytes.
pub fn peak() -> Option<u64> {
    field("/proc/self/status", "VmHWM:")
}

/// Lets [`peak`] begin anew.
pub fn forget_peak() {
    // Where the kernel refuses, the peak stays that of the whole run: too large, never too small.
    fs::write("/proc/self/clear_refs", "5").ok();
}

/// What a program has taken, on a card and of the machine it runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Taken {
    /// What a card's allocator holds, bytes.
    pub card: Option<u64>,
    /// The most that the program itself has occupied ([`peak`]), bytes.
    pub own: Option<u64>,
}

impl Taken {
    /// What an estimate is compared with: the memory that it computes in, bytes.
    pub fn to_compare(self) -> Option<u64> {
        self.card.or(self.own)
    }

    /// The larger of each: a card's allocator gives back what is released.
    pub fn max(self, other: Self) -> Self {
        Self { card: self.card.max(other.card), own: self.own.max(other.own) }
    }

    /// Beside what had been estimated, bytes, in words; `None` where nothing is known.
    pub fn beside(self, estimated: u64) -> Option<String> {
        let estimated = format!("about {} had been estimated", human(estimated));
        match (self.card, self.own.map(human)) {
            (Some(card), own) => {
                let own = own.map_or_else(String::new, |own| format!(", {own} of this program"));
                Some(format!("{} held on the card{own}, {estimated}", human(card)))
            }
            (None, Some(own)) => Some(format!("{own} at most, {estimated}")),
            (None, None) => None,
        }
    }
}

fn field(file: &str, name: &str) -> Option<u64> {
    let text = fs::read_to_string(file).ok()?;
    let line = text.lines().find(|line| line.starts_with(name))?;
    let kilobytes: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kilobytes * 1024)
}

/// How much memory a job may take, as a person says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Budget {
    /// What is free, where that is known.
    #[default]
    Auto,
    Bytes(u64),
}

impl Budget {
    /// What a job may take where so much is free, bytes; `None` where nobody knows
    /// ([`crate::gpu::Chosen::free_memory`]).
    pub fn limit(self, free: Option<u64>) -> Option<u64> {
        match self {
            Self::Bytes(bytes) => Some(bytes),
            Self::Auto => free,
        }
    }
}

impl FromStr for Budget {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "auto" {
            return Ok(Self::Auto);
        }
        let wrong = || format!("'{text}' is no amount of memory; write auto, 24G or 800M");
        let number = text.trim_end_matches(['B', 'b']);
        let (number, unit) = match number.chars().last() {
            Some('G' | 'g') => (&number[..number.len() - 1], 1e9),
            Some('M' | 'm') => (&number[..number.len() - 1], 1e6),
            _ => return Err(wrong()),
        };
        let number: f64 = number.parse().map_err(|_| wrong())?;
        if !number.is_finite() || number <= 0.0 {
            return Err(wrong());
        }
        Ok(Self::Bytes((number * unit) as u64))
    }
}

impl fmt::Display for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Bytes(bytes) => write!(f, "{}M", bytes / 1_000_000),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_written_for_people() {
        assert_eq!(human(999), "999 B");
        assert_eq!(human(23_456_789), "23.5 MB");
        assert_eq!(human(4_000_000_000), "4.0 GB");
    }

    #[test]
    fn what_was_taken_stands_beside_the_estimate() {
        let own = Taken { own: Some(7_400_000_000), card: None };
        let card = Taken { card: Some(6_000_000_000), own: Some(300_000_000) };
        assert_eq!(own.to_compare(), Some(7_400_000_000));
        let said = own.beside(7_900_000_000).unwrap();
        assert_eq!(said, "7.4 GB at most, about 7.9 GB had been estimated");
        assert_eq!(card.to_compare(), Some(6_000_000_000));
        let said = card.beside(7_900_000_000).unwrap();
        let wanted =
            "6.0 GB held on the card, 300.0 MB of this program, about 7.9 GB had been estimated";
        assert_eq!(said, wanted);
        assert_eq!(Taken::default().beside(1), None);
        assert_eq!(own.max(card), Taken { card: card.card, own: own.own });
    }

    #[test]
    fn budgets_are_read_as_people_write_them() {
        assert_eq!("8G".parse(), Ok(Budget::Bytes(8_000_000_000)));
        assert_eq!("1.5gb".parse(), Ok(Budget::Bytes(1_500_000_000)));
        assert_eq!("800M".parse(), Ok(Budget::Bytes(800_000_000)));
        assert_eq!("auto".parse(), Ok(Budget::Auto));
        for wrong in ["8", "G", "-1G", "0G", "nanG", "lots", ""] {
            let error = wrong.parse::<Budget>().unwrap_err();
            assert!(error.contains("auto"), "{wrong}: {error}");
        }
        assert_eq!(
            Budget::Bytes(8_000_000_000).to_string().parse(),
            Ok(Budget::Bytes(8_000_000_000))
        );
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn what_is_taken_counts() {
        // Other tests take and give back at the same time, so differences say nothing.
        let taken = vec![1_u8; 64 << 20];
        let bytes = std::hint::black_box(&taken).len() as u64;
        assert!(resident().unwrap() >= bytes);
        assert!(peak().unwrap() >= bytes);
        assert!(available().unwrap() <= total().unwrap());
    }
}
