//! Measures in rows: value, control, floor, and whether it is reached.

use std::fmt;

use serde::Serialize;

/// What a value must reach.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Floor {
    AtLeast(f64),
    AtMost(f64),
}

impl Floor {
    /// A value that is not a number reaches nothing.
    pub fn is_reached(self, value: f64) -> bool {
        match self {
            Self::AtLeast(least) => value >= least,
            Self::AtMost(most) => value <= most,
        }
    }
}

/// How a value is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    Decibels,
    /// Shown in percent.
    Share,
    Number,
    /// A ratio over many powers of ten.
    Ratio,
    Count,
}

impl Unit {
    fn write(self, value: f64) -> String {
        match self {
            Self::Decibels => format!("{value:.2} dB"),
            Self::Share => format!("{:.1}%", 100.0 * value),
            Self::Number => format!("{value:.3}"),
            Self::Ratio => format!("{value:.0e}"),
            Self::Count => format!("{value:.1}"),
        }
    }
}

/// One measure.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    pub measure: String,
    pub unit: Unit,
    pub value: f64,
    /// What chance or the control named in `measure` gives.
    pub control: Option<f64>,
    pub floor: Option<Floor>,
    pub reached: Option<bool>,
}

impl Row {
    pub fn new(measure: impl Into<String>, unit: Unit, value: f64) -> Self {
        let measure = measure.into();
        Self { measure, unit, value, control: None, floor: None, reached: None }
    }

    pub fn beside(self, control: f64) -> Self {
        Self { control: Some(control), ..self }
    }

    pub fn floor(self, floor: Floor) -> Self {
        Self { floor: Some(floor), reached: Some(floor.is_reached(self.value)), ..self }
    }

    fn cells(&self) -> [String; 5] {
        let write = |value: f64| self.unit.write(value);
        let floor = self.floor.map(|floor| match floor {
            Floor::AtLeast(least) => format!(">= {}", write(least)),
            Floor::AtMost(most) => format!("<= {}", write(most)),
        });
        let reached = self.reached.map(|yes| if yes { "yes" } else { "NO" });
        [
            self.measure.clone(),
            write(self.value),
            self.control.map(write).unwrap_or_default(),
            floor.unwrap_or_default(),
            reached.unwrap_or_default().to_owned(),
        ]
    }
}

/// Rows under a title.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Table {
    pub title: String,
    pub rows: Vec<Row>,
}

impl Table {
    /// Whether no row with a floor stays below it.
    pub fn all_reached(&self) -> bool {
        self.rows.iter().all(|row| row.reached != Some(false))
    }
}

/// Rows in aligned columns.
impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = ["measure", "value", "control", "floor", "reached"].map(str::to_owned);
        let lines: Vec<[String; 5]> =
            std::iter::once(head).chain(self.rows.iter().map(Row::cells)).collect();
        let width =
            |column: usize| lines.iter().map(|l| l[column].chars().count()).max().unwrap_or(0);
        let widths: [usize; 5] = std::array::from_fn(width);
        writeln!(f, "{}", self.title)?;
        for [measure, value, control, floor, reached] in &lines {
            let [a, b, c, d, _] = widths;
            let line =
                format!("  {measure:<a$}  {value:>b$}  {control:>c$}  {floor:>d$}  {reached}");
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_align_and_say_whether_their_floor_is_reached() {
        let table = Table {
            title: "Codes".to_owned(),
            rows: vec![
                Row::new("probe", Unit::Share, 0.6).beside(0.2).floor(Floor::AtLeast(0.55)),
                Row::new("environment", Unit::Share, 0.2).floor(Floor::AtMost(0.1)),
                Row::new("nothing", Unit::Share, f64::NAN).floor(Floor::AtMost(0.1)),
            ],
        };
        let text = table.to_string();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[2], "  probe        60.0%    20.0%  >= 55.0%  yes");
        assert_eq!(lines[3], "  environment  20.0%           <= 10.0%  NO");
        assert!(lines[4].ends_with("NO"), "a measure that failed is no success: {}", lines[4]);
        assert!(!table.all_reached());
    }
}
