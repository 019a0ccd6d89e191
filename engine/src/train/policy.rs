//! Stage 3: the policy, by next-code cross-entropy on the codes of whole tasks.

use std::path::Path;

use burn::tensor::{Device, Int, Tensor, TensorData};
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use super::{Run, Schedule, Tick, TrainError, stack};
use crate::craft::{Episode, Split, Task};
use crate::dldm::Dldm;
use crate::media::FrameSize;
use crate::policy::{Planner, next_code_loss};

/// One task of one environment as the policy sees it.
pub struct EncodedTask {
    /// Place in [`Task::ALL`].
    pub task: usize,
    /// Codes of each clip.
    pub codes: Vec<Vec<u16>>,
    /// dLDM features of the frame before each clip, `[channels, height, width]` flattened.
    pub features: Vec<Vec<f32>>,
}

/// Encodes the true clips of an episode of one of the tasks.
pub fn encode_episode(
    dldm: &Dldm,
    episode: &Episode,
    size: FrameSize,
    device: &Device,
) -> EncodedTask {
    let clips: Vec<_> = (0..episode.num_clips()).map(|k| episode.clip(k, size).frames).collect();
    let clips: Vec<_> = clips.iter().map(Vec::as_slice).collect();
    let encoded = dldm.encode(stack(&clips, device));
    let indices = dldm.quantize(encoded.z).indices;
    let [count, per_clip] = indices.dims();
    let indices: Vec<i32> = read(indices.into_data());
    let first = encoded.features.slice_dim(2, 0..1);
    let per_frame = first.shape().num_elements() / count;
    let features: Vec<f32> = read(first.into_data());
    let task = episode.task.and_then(|task| Task::ALL.iter().position(|t| *t == task));
    EncodedTask {
        task: task.expect("only episodes of the tasks are encoded for the policy"),
        codes: indices
            .chunks(per_clip)
            .map(|clip| clip.iter().map(|code| *code as u16).collect())
            .collect(),
        features: features.chunks(per_frame).map(<[f32]>::to_vec).collect(),
    }
}

fn read<E: burn::tensor::Element>(data: TensorData) -> Vec<E> {
    data.convert::<E>().try_into_vec().expect("converted to this element just before")
}

/// A batch of tasks from some clip on: half of them from the first, so that a person may start
/// anywhere.
pub struct PolicyBatch {
    pub codes: Tensor<2, Int>,
    pub lengths: Vec<usize>,
    pub features: Tensor<5>,
    pub tasks: Tensor<1, Int>,
}

impl PolicyBatch {
    /// `starts` holds the clip each task is entered at.
    pub fn new(
        encoded: &[&EncodedTask],
        starts: &[usize],
        feature_size: [usize; 2],
        device: &Device,
    ) -> Self {
        let rows: Vec<Vec<u16>> =
            encoded.iter().zip(starts).map(|(e, s)| e.codes[*s..].concat()).collect();
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
        let [height, width] = feature_size;
        let channels = features.len() / (batch * height * width);
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

/// What makes codes of clips.
#[derive(Clone, Copy)]
pub struct Data<'a> {
    pub dldm: &'a Dldm,
    /// Size at which it sees them.
    pub size: FrameSize,
}

/// Trains the policy from `start` on, on `episodes` episodes of the training split, encoded by the dLDM.
///
/// # Errors
/// See [`TrainError`].
#[expect(clippy::too_many_arguments, reason = "a stage is the sum of its settings")]
pub fn train(
    folder: &Path,
    start: Planner,
    data: Data<'_>,
    episodes: usize,
    batch: usize,
    schedule: Schedule,
    device: &Device,
    on_tick: &mut dyn FnMut(&Tick),
) -> Result<Planner, TrainError> {
    let encoded = encode_many(data.dldm, Split::Train, 0..episodes as u64, data.size, device);
    let device = device.clone().autodiff();
    let feature_size = start.config().feature_size;
    let mut run = Run::open("policy", folder, start, schedule, on_tick)?;
    let mut rng = ChaCha8Rng::seed_from_u64(run.iteration() as u64);
    while !run.is_done() {
        let drawn: Vec<&EncodedTask> =
            (0..batch).map(|_| &encoded[rng.random_range(0..encoded.len())]).collect();
        let starts: Vec<usize> = drawn
            .iter()
            .map(|e| if rng.random_bool(0.5) { 0 } else { rng.random_range(0..e.codes.len()) })
            .collect();
        let tasks = PolicyBatch::new(&drawn, &starts, feature_size, &device);
        let logits = run.model.logits(tasks.codes.clone(), tasks.features, tasks.tasks);
        let loss = next_code_loss(logits, tasks.codes, &tasks.lengths);
        run.step(loss, Vec::new())?;
    }
    run.finish()
}

/// Encodes one episode a seed, the tasks in turn.
pub fn encode_many(
    dldm: &Dldm,
    split: Split,
    seeds: std::ops::Range<u64>,
    size: FrameSize,
    device: &Device,
) -> Vec<EncodedTask> {
    seeds
        .map(|seed| {
            let task = Task::ALL[(seed % Task::ALL.len() as u64) as usize];
            encode_episode(dldm, &Episode::sample(task, split, seed), size, device)
        })
        .collect()
}
