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
