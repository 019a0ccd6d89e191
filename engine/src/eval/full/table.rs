//! The table that `bench full` prints, and how its figures read.

use std::fmt;

use serde::Serialize;

use crate::eval::scores::Scores;
use crate::eval::speed::Working;
use crate::memory::human;

/// What a clip costs on one device.
#[derive(Debug, Clone, Serialize)]
pub struct ClipCost {
    /// What was measured and how large, for people.
    pub title: String,
    pub device: String,
    /// Passes of transformer and control branch that a clip takes.
    pub evaluations: usize,
    /// What attention did with its scores.
    pub scores: Scores,
    pub costs: Vec<Cost>,
    /// Where attention is fused.
    pub attention: Option<AttentionCost>,
}

/// Self-attention of one block, which is part of the block's cost, in the fused kernel and without.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct AttentionCost {
    pub tokens: usize,
    pub flop: f64,
    pub fused_seconds: f64,
    /// Scores held, for some queries at a time.
    pub in_slices_seconds: f64,
}

impl fmt::Display for AttentionCost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { tokens, flop, fused_seconds, in_slices_seconds } = *self;
        write!(
            f,
            "self-attention of {tokens} tokens: {} in the fused kernel, {:.3} TFLOP/s; in slices {}, \
             {:.2} times as long",
            duration(fused_seconds),
            flop / fused_seconds / 1e12,
            duration(in_slices_seconds),
            in_slices_seconds / fused_seconds
        )
    }
}

/// One part of a clip's work.
#[derive(Debug, Clone, Serialize)]
pub struct Cost {
    pub name: String,
    /// Of one pass.
    pub seconds: f64,
    /// Multiplications and additions of one pass.
    pub flop: f64,
    /// Passes in a clip.
    pub times: usize,
    /// Beside weights, where it can be measured.
    pub working: Option<Working>,
    /// How it was computed.
    pub path: String,
}

impl Cost {
    /// In a clip.
    fn in_clip(&self) -> f64 {
        self.seconds * self.times as f64
    }

    /// TFLOP/s for people; nothing where the clock saw no time pass.
    fn rate(&self) -> String {
        if self.seconds == 0.0 {
            return String::new();
        }
        format!("{:.3}", self.flop / self.seconds / 1e12)
    }
}

impl ClipCost {
    /// How long a clip takes, computed from its parts, seconds.
    pub fn clip_seconds(&self) -> f64 {
        self.costs.iter().map(Cost::in_clip).sum()
    }
}

impl fmt::Display for ClipCost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.title)?;
        writeln!(f, "{}", self.device)?;
        let of_width = self.costs.iter().map(|cost| cost.name.chars().count());
        let width = of_width.max().unwrap_or(0).max("a clip".len());
        writeln!(
            f,
            "  {:width$}  {:>9}  {:>8}  {:>7}  {:>6}  {:>9}  {:>9}  path",
            "one of", "time", "TFLOP/s", "a clip", "share", "memory", "estimated"
        )?;
        let clip = self.clip_seconds();
        for cost in &self.costs {
            let (measured, estimated) = cost.working.map_or_else(Default::default, |working| {
                (human(working.measured), human(working.estimated))
            });
            let line = format!(
                "  {:width$}  {:>9}  {:>8}  {:>7}  {:>5.1}%  {measured:>9}  {estimated:>9}  {}",
                cost.name,
                duration(cost.seconds),
                cost.rate(),
                format!("x {}", cost.times),
                100.0 * cost.in_clip() / clip,
                cost.path,
            );
            writeln!(f, "{}", line.trim_end())?;
        }
        writeln!(f, "  {:width$}  {:>9}", "a clip", duration(clip))?;
        self.attention.map_or(Ok(()), |attention| writeln!(f, "{attention}"))
    }
}

/// Seconds for people.
fn duration(seconds: f64) -> String {
    match seconds {
        s if s < 1.0 => format!("{:.1} ms", 1e3 * s),
        s if s < 120.0 => format!("{s:.1} s"),
        s if s < 7200.0 => format!("{:.1} min", s / 60.0),
        s => format!("{:.1} h", s / 3600.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clip_is_the_sum_of_its_parts_times_their_count() {
        let cost = |name: &str, seconds, flop, times| Cost {
            name: name.to_owned(),
            seconds,
            flop,
            times,
            working: Some(Working { measured: 2_000_000, estimated: 3_000_000 }),
            path: "whole frames".to_owned(),
        };
        let table = ClipCost {
            title: "release".to_owned(),
            device: "CPU".to_owned(),
            evaluations: 72,
            scores: Scores::NeverHeld,
            costs: vec![cost("decoder", 50.0, 1e14, 3), cost("block", 0.5, 1e12, 100)],
            attention: Some(AttentionCost {
                tokens: 1000,
                flop: 8e11,
                fused_seconds: 0.4,
                in_slices_seconds: 1.0,
            }),
        };
        assert_eq!(table.clip_seconds(), 200.0);
        assert_eq!(cost("no time at all", 0.0, 1e9, 1).rate(), "");
        let text = table.to_string();
        let lines: Vec<Vec<&str>> =
            text.lines().map(|line| line.split_whitespace().collect()).collect();
        let memory = ["2.0", "MB", "3.0", "MB", "whole", "frames"];
        assert_eq!(lines[3][..6], ["decoder", "50.0", "s", "2.000", "x", "3"]);
        assert_eq!(lines[3][6..7], ["75.0%"]);
        assert_eq!(lines[3][7..], memory);
        assert_eq!(lines[4][..7], ["block", "500.0", "ms", "2.000", "x", "100", "25.0%"]);
        assert_eq!(lines[5], ["a", "clip", "3.3", "min"]);
        assert!(lines[6].contains(&"2.000") && lines[6].contains(&"2.50"), "{text}");
    }
}
