//! How often the policy's best guess is the next code.

use super::table::{Floor, Row, Table, Unit};
use super::{EvalError, FIRST_SEED, Progress};
use crate::atlas::most_frequent_accuracy;
use crate::craft::{Episode, Split, Task};
use crate::pack::{Manifest, Networks};
use crate::policy::{Planner, next_code_accuracy};
use crate::train::{EncodedTask, PolicyBatch, encode_episode};

/// Tasks scored at a time.
const BATCH: usize = 8;

/// Measures next-code accuracy on `episodes` unseen episodes a task, true codes before each one
/// given. The most frequent codes are counted on as many training episodes.
///
/// # Errors
/// Fails when the pack has no policy.
pub fn policy(
    networks: &Networks,
    manifest: &Manifest,
    episodes: usize,
    progress: &mut Progress<'_>,
) -> Result<Table, EvalError> {
    let planner = networks.planner.as_ref().ok_or(EvalError::NoPolicy)?;
    let tasks: Vec<Task> = manifest.tasks.iter().map(|entry| entry.task).collect();
    let of = 2 * episodes * tasks.len();
    let mut done = 0;
    let mut encode = |split: Split, first_seed: u64| -> Vec<EncodedTask> {
        let mut encoded = Vec::new();
        for seed in first_seed..first_seed + episodes as u64 {
            for task in &tasks {
                progress("Encoding episodes", done, of);
                done += 1;
                let episode = Episode::sample(*task, split, seed);
                let size = manifest.coarse_size;
                encoded.push(encode_episode(&networks.dldm, &episode, size, &networks.device));
            }
        }
        encoded
    };
    let unseen = encode(Split::Test, FIRST_SEED);
    let seen = encode(Split::Train, FIRST_SEED);
    let found = accuracy(planner, &unseen, networks);
    let flat = |e: &EncodedTask| e.codes.concat();
    let known: Vec<Vec<u16>> = seen.iter().map(flat).collect();
    let wanted: Vec<Vec<u16>> = unseen.iter().map(flat).collect();
    let frequent =
        most_frequent_accuracy(known.iter().map(Vec::as_slice), wanted.iter().map(Vec::as_slice));
    let frequent = f64::from(frequent);
    let title = format!("Policy: next code on {} unseen episodes", unseen.len());
    let rows = vec![
        Row::new("next code right (control: most frequent code per position)", Unit::Share, found)
            .beside(frequent)
            .floor(Floor::AtLeast(1.5 * frequent)),
        Row::new("the same on the training split", Unit::Share, accuracy(planner, &seen, networks)),
        Row::new(
            "most frequent code per position and task",
            Unit::Share,
            by_task(&seen, &unseen, &tasks),
        ),
    ];
    Ok(Table { title, rows })
}

fn accuracy(planner: &Planner, encoded: &[EncodedTask], networks: &Networks) -> f64 {
    let (mut right, mut all) = (0.0, 0.0);
    for few in encoded.chunks(BATCH) {
        let few: Vec<&EncodedTask> = few.iter().collect();
        let starts = vec![0; few.len()];
        let batch = PolicyBatch::new(&few, &starts, planner.config(), &networks.device);
        let logits = planner.logits(batch.codes.clone(), batch.features, batch.tasks);
        let count = batch.lengths.iter().sum::<usize>() as f64;
        right += count * f64::from(next_code_accuracy(logits, batch.codes, &batch.lengths));
        all += count;
    }
    right / all
}

/// As [`most_frequent_accuracy`], counted for every task by itself.
fn by_task(seen: &[EncodedTask], unseen: &[EncodedTask], tasks: &[Task]) -> f64 {
    let (mut right, mut all) = (0.0, 0.0);
    for task in tasks {
        let of = |encoded: &[EncodedTask]| -> Vec<Vec<u16>> {
            let own = encoded.iter().filter(|e| Task::ALL[e.task] == *task);
            own.map(|e| e.codes.concat()).collect()
        };
        let (known, wanted) = (of(seen), of(unseen));
        let count = wanted.iter().map(Vec::len).sum::<usize>() as f64;
        let share = most_frequent_accuracy(
            known.iter().map(Vec::as_slice),
            wanted.iter().map(Vec::as_slice),
        );
        right += count * f64::from(share);
        all += count;
    }
    right / all
}
