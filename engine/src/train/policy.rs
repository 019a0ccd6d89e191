//! Stage 3: the policy, by next-code cross-entropy on the codes of whole tasks.

use std::path::Path;

use burn::tensor::{Device, Int, Tensor, TensorData};
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use super::{EncodedTask, Run, Schedule, Tick, TrainError};
use crate::policy::{Planner, PlannerConfig, next_code_loss};

/// A batch of tasks from some clip on: half of them from the first, so that a person may start
/// anywhere.
pub struct PolicyBatch {
    pub codes: Tensor<2, Int>,
    pub lengths: Vec<usize>,
    pub features: Tensor<5>,
    pub tasks: Tensor<1, Int>,
}

impl PolicyBatch {
    /// `starts` holds the clip each task is entered at; what is beyond the policy's length is left
    /// out.
    pub fn new(
        encoded: &[&EncodedTask],
        starts: &[usize],
        planner: &PlannerConfig,
        device: &Device,
    ) -> Self {
        let row = |(task, start): (&&EncodedTask, &usize)| {
            let mut row = task.codes[*start..].concat();
            row.truncate(planner.max_codes());
            row
        };
        let rows: Vec<Vec<u16>> = encoded.iter().zip(starts).map(row).collect();
        let lengths: Vec<usize> = rows.iter().map(Vec::len).collect();
        let longest = lengths.iter().copied().max().unwrap_or(0);
        let padded: Vec<i32> = rows
            .iter()
            .flat_map(|row| {
                let padding = std::iter::repeat_n(0, longest - row.len());
                row.iter().map(|c| i32::from(*c)).chain(padding)
            })
            .collect();
        let features: Vec<f32> =
            encoded.iter().zip(starts).flat_map(|(e, s)| e.features[*s].clone()).collect();
        let batch = encoded.len();
        let [height, width] = planner.feature_size;
        let channels = planner.feature_channels;
        let tasks: Vec<i32> = encoded.iter().map(|e| e.task as i32).collect();
        Self {
            codes: Tensor::from_data(TensorData::new(padded, [batch, longest]), device),
            lengths,
            features: Tensor::from_data(
                TensorData::new(features, [batch, channels, 1, height, width]),
                device,
            ),
            tasks: Tensor::from_data(TensorData::new(tasks, [batch]), device),
        }
    }
}

/// Trains the policy from `start` on, on tasks encoded by the dLDM, of which there is at least one.
///
/// # Errors
/// See [`TrainError`].
pub fn train(
    folder: &Path,
    start: Planner,
    encoded: &[EncodedTask],
    batch: usize,
    schedule: Schedule,
    device: &Device,
    on_tick: &mut dyn FnMut(&Tick),
) -> Result<Planner, TrainError> {
    let device = device.clone().autodiff();
    let config = start.config().clone();
    let mut run = Run::open("policy", folder, start, schedule, on_tick)?;
    let mut rng = ChaCha8Rng::seed_from_u64(run.iteration() as u64);
    while !run.is_done() {
        let drawn: Vec<&EncodedTask> =
            (0..batch).map(|_| &encoded[rng.random_range(0..encoded.len())]).collect();
        let starts: Vec<usize> = drawn
            .iter()
            .map(|e| if rng.random_bool(0.5) { 0 } else { rng.random_range(0..e.codes.len()) })
            .collect();
        let tasks = PolicyBatch::new(&drawn, &starts, &config, &device);
        let logits = run.model.logits(tasks.codes.clone(), tasks.features, tasks.tasks);
        let loss = next_code_loss(logits, tasks.codes, &tasks.lengths);
        run.step(loss, Vec::new())?;
    }
    run.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_holds_no_more_codes_than_the_policy() {
        let device = Device::flex();
        let mut config = PlannerConfig::craft_mini(2);
        config.feature_size = [1, 1];
        config.policy.max_tokens = 1 + 5;
        let task = |clips: u16| EncodedTask {
            task: 2,
            codes: (0..clips).map(|clip| vec![10 * clip, 10 * clip + 1]).collect(),
            features: (0..clips).map(|clip| vec![f32::from(clip), 0.5]).collect(),
        };
        let (long, short) = (task(6), task(2));
        let batch = PolicyBatch::new(&[&long, &short], &[1, 1], &config, &device);
        assert_eq!(batch.lengths, [5, 2]);
        let codes: Vec<i32> = batch.codes.into_data().convert::<i32>().try_into_vec().unwrap();
        assert_eq!(codes, [10, 11, 20, 21, 30, 10, 11, 0, 0, 0]);
        let features: Vec<f32> = batch.features.into_data().try_into_vec().unwrap();
        assert_eq!(features, [1.0, 0.5, 1.0, 0.5]);
    }
}
