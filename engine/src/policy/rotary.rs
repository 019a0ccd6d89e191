//! Rotary positions: tables of angles, and turning queries and keys by them.
//!
//! Mirrors `RotaryPositionEmbeddingPytorchV1` and `V2` of the reference
//! (`autoregressive/modules/embedding.py`).

use std::f64::consts::TAU;

use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData};
use serde::{Deserialize, Serialize};

use super::position::Grid;

/// What a position is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RotaryAxes {
    /// The index in the sequence.
    Line,
    /// Time, height and width, each turning its own share of the channels.
    Grid(Grid),
}

/// Which two channels are turned together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RotaryPairing {
    /// Channel `j` with `j + head_dim / 2`: the reference's version 2 and its default.
    Halves,
    /// Channel `2j` with `2j + 1`: the reference's version 1.
    Neighbours,
}

/// Stretching of the slow frequencies for longer inputs than trained on (YaRN).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Yarn {
    /// Lengths trained on: `[time, height, width]`, or the sequence length first on a line. The
    /// reference takes the height for both spatial axes.
    pub original: [usize; 3],
    pub beta_fast: f64,
    pub beta_slow: f64,
    pub scale: f64,
}

impl Yarn {
    fn stretch(&self, frequency: f64, length: usize) -> f64 {
        let low = TAU * self.beta_slow / length as f64;
        let high = TAU * self.beta_fast / length as f64;
        let ramp = ((frequency - low) / (high - low)).clamp(0.0, 1.0);
        frequency * ((1.0 - ramp) / self.scale + ramp)
    }
}

/// How queries and keys are turned.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct RotaryConfig {
    pub theta: f64,
    pub axes: RotaryAxes,
    pub pairing: RotaryPairing,
    pub yarn: Option<Yarn>,
}

/// Cosines and sines in host memory, row-major `[rows, head_dim]`.
#[derive(Debug, Clone, PartialEq)]
pub struct RotaryTable {
    pub rows: usize,
    pub head_dim: usize,
    pub cos: Vec<f32>,
    pub sin: Vec<f32>,
}

impl RotaryConfig {
    /// The table for positions `0..max_tokens` on a line, or for all rows of a grid.
    pub fn table(&self, head_dim: usize, max_tokens: usize) -> RotaryTable {
        let rows = match self.axes {
            RotaryAxes::Line => self.line_angles(head_dim, max_tokens),
            RotaryAxes::Grid(grid) => self.grid_angles(&grid, head_dim),
        };
        // The reference repeats every angle in place only for neighbours on a line; on a grid it
        // keeps the two halves even then.
        let interleaved =
            self.pairing == RotaryPairing::Neighbours && self.axes == RotaryAxes::Line;
        let magnitude = match (self.pairing, self.yarn) {
            (RotaryPairing::Neighbours, Some(yarn)) => 0.1 * yarn.scale.ln() + 1.0,
            _ => 1.0,
        };
        let mut table = RotaryTable {
            rows: rows.len(),
            head_dim,
            cos: Vec::with_capacity(rows.len() * head_dim),
            sin: Vec::with_capacity(rows.len() * head_dim),
        };
        let half = head_dim / 2;
        for angles in &rows {
            for channel in 0..head_dim {
                let angle = angles[if interleaved { channel / 2 } else { channel % half }];
                table.cos.push((magnitude * angle.cos()) as f32);
                table.sin.push((magnitude * angle.sin()) as f32);
            }
        }
        table
    }

    /// The rotation on a device, ready for use.
    pub fn init(&self, head_dim: usize, max_tokens: usize, device: &Device) -> Rotary {
        let table = self.table(head_dim, max_tokens);
        let upload = |values| {
            let data = TensorData::new(values, [table.rows, head_dim]);
            Tensor::from_data(data, device)
        };
        Rotary {
            cos: upload(table.cos),
            sin: upload(table.sin),
            neighbours: self.pairing == RotaryPairing::Neighbours,
        }
    }

    fn frequencies(&self, width: usize, original: Option<usize>) -> Vec<f64> {
        let frequency = |i: usize| self.theta.powf(-((2 * i) as f64) / width as f64);
        let stretch = |f: f64| match (self.yarn, original) {
            (Some(yarn), Some(length)) => yarn.stretch(f, length),
            _ => f,
        };
        (0..width / 2).map(|i| stretch(frequency(i))).collect()
    }

    fn line_angles(&self, head_dim: usize, max_tokens: usize) -> Vec<Vec<f64>> {
        let frequencies = self.frequencies(head_dim, self.yarn.map(|y| y.original[0]));
        let row = |position: usize| frequencies.iter().map(|f| position as f64 * f).collect();
        (0..max_tokens).map(row).collect()
    }

    fn grid_angles(&self, grid: &Grid, head_dim: usize) -> Vec<Vec<f64>> {
        let [t, h, w] = Grid::axis_widths(head_dim);
        let time = self.yarn.map(|y| y.original[0]);
        let height = self.yarn.map(|y| y.original[1]);
        let axes =
            [self.frequencies(t, time), self.frequencies(h, height), self.frequencies(w, height)];
        let row = |place: Option<[usize; 3]>| {
            let place = place.unwrap_or([0; 3]);
            let axis = |(position, frequencies): (usize, &Vec<f64>)| {
                let angles = frequencies.iter().map(move |f| position as f64 * f);
                angles.collect::<Vec<f64>>()
            };
            place.into_iter().zip(&axes).flat_map(axis).collect()
        };
        grid.coordinates().into_iter().map(row).collect()
    }
}

/// Rotary positions on a device.
#[derive(Module, Debug)]
pub struct Rotary {
    cos: Tensor<2>,
    sin: Tensor<2>,
    neighbours: bool,
}

impl Rotary {
    /// Turns `[batch, heads, tokens, head_dim]`, whose first token has position `start`.
    pub fn apply(&self, x: Tensor<4>, start: usize) -> Tensor<4> {
        let [batch, heads, tokens, head_dim] = x.dims();
        let [rows, _] = self.cos.dims();
        assert!(
            start + tokens <= rows,
            "positions {start}..{} exceed the {rows} rows of the rotary table",
            start + tokens
        );
        let part = |table: &Tensor<2>| {
            let part = table.clone().narrow(0, start, tokens);
            part.unsqueeze::<4>() // [1, 1, tokens, head_dim]
        };
        let half = head_dim / 2;
        let turned = if self.neighbours {
            let pairs = x.clone().reshape([batch * heads, tokens, half, 2]);
            let even = pairs.clone().narrow(3, 0, 1);
            let odd = pairs.narrow(3, 1, 1);
            Tensor::cat(vec![-odd, even], 3).reshape([batch, heads, tokens, head_dim])
        } else {
            let first = x.clone().narrow(3, 0, half);
            let second = x.clone().narrow(3, half, half);
            Tensor::cat(vec![-second, first], 3)
        };
        x * part(&self.cos) + turned * part(&self.sin)
    }
}
