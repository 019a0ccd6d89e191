//! What an import made of every file and every tensor.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

/// How many names a line for people lists.
const SHOWN: usize = 5;

/// What an import did. `Display` gives it in lines for people; `import.json` holds all of it.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    /// The files that went into the pack.
    pub files: Vec<FileReport>,
    /// The files that did not.
    pub skipped: Vec<Left>,
    /// Tensors with numbers too large for half precision, kept in single precision.
    pub wide: Vec<String>,
    /// Numbers too small for half precision that became zero, per tensor.
    pub flushed: BTreeMap<String, u64>,
    /// The control branch begins as a copy of the transformer's first blocks with silent outputs.
    pub control_begun: bool,
    /// There is coarse video alone.
    pub without_vdm: bool,
    pub without_policy: bool,
    /// No negative context was found, so guidance is off.
    pub without_guidance: bool,
}

/// What became of one file.
#[derive(Debug, Default, Serialize)]
pub struct FileReport {
    pub file: String,
    /// The networks or data in it.
    pub holds: Vec<&'static str>,
    /// Keys that went into the pack.
    pub used: Vec<String>,
    /// Keys that no network needs, and why.
    pub ignored: Vec<Left>,
    /// Keys that nobody knows.
    pub unknown: Vec<String>,
}

/// Something left out.
#[derive(Debug, Clone, Serialize)]
pub struct Left {
    pub name: String,
    pub reason: String,
}

impl Left {
    pub(super) fn new(name: &str, reason: &str) -> Self {
        Self { name: name.to_owned(), reason: reason.to_owned() }
    }
}

impl Report {
    /// Tensors that went into the pack, that no network needs, and that nobody knows.
    pub fn tensors(&self) -> (usize, usize, usize) {
        let sum = |of: fn(&FileReport) -> usize| self.files.iter().map(of).sum();
        (
            sum(|file| file.used.len()),
            sum(|file| file.ignored.len()),
            sum(|file| file.unknown.len()),
        )
    }

    /// What a whole pack has and this one was not given.
    pub fn missing(&self) -> Vec<&'static str> {
        let parts = [
            (self.without_vdm, "video diffusion model"),
            (self.control_begun, "control branch"),
            (self.without_policy, "policy"),
            (self.without_guidance, "negative context"),
        ];
        parts.into_iter().filter(|(lacks, _)| *lacks).map(|(_, part)| part).collect()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for file in &self.files {
            writeln!(f, "{}: {}", file.file, file.holds.join(", "))?;
            if !file.used.is_empty() {
                writeln!(f, "  {} used", counted(file.used.len()))?;
            }
            let mut reasons: BTreeMap<&str, usize> = BTreeMap::new();
            for left in &file.ignored {
                *reasons.entry(&left.reason).or_default() += 1;
            }
            for (reason, n) in reasons {
                writeln!(f, "  {} not needed: {reason}", counted(n))?;
            }
            if !file.unknown.is_empty() {
                writeln!(
                    f,
                    "  {} unknown: {}",
                    counted(file.unknown.len()),
                    listed(&file.unknown)
                )?;
            }
        }
        for left in &self.skipped {
            writeln!(f, "{}: not used, {}", left.name, left.reason)?;
        }
        if !self.wide.is_empty() {
            let names = listed(&self.wide);
            writeln!(f, "kept in single precision, as half does not hold their range: {names}")?;
        }
        if !self.flushed.is_empty() {
            let (tensors, numbers) = (self.flushed.len(), self.flushed.values().sum::<u64>());
            let tensors = counted(tensors);
            writeln!(
                f,
                "numbers too small for half precision became zero: {numbers} in {tensors}"
            )?;
        }
        let notes = [
            (
                self.control_begun,
                "no control branch was found: one begins as a copy of the transformer's first blocks, silent until trained",
            ),
            (self.without_vdm, "no video diffusion model was found: there is coarse video alone"),
            (self.without_policy, "no policy was found: codes come from files"),
            (self.without_guidance, "no negative context was found: guidance is off"),
        ];
        for (_, note) in notes.iter().filter(|(holds, _)| *holds) {
            writeln!(f, "{note}")?;
        }
        Ok(())
    }
}

fn counted(tensors: usize) -> String {
    format!("{tensors} tensor{}", if tensors == 1 { "" } else { "s" })
}

fn listed(names: &[String]) -> String {
    let shown = names[..names.len().min(SHOWN)].join(", ");
    match names.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}
