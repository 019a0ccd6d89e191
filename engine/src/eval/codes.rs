//! What the codes are worth: do they matter, do they mean the action, do they carry over.

use ndarray::{Array2, ArrayView2, Axis};
use rayon::prelude::*;

use super::table::{Floor, Row, Table, Unit};
use super::{CoarseView, EvalError, Progress, check_frames, elsewhere, mean, unseen};
use crate::atlas::{
    Probe, ProbeSettings, codebook_use, moving_region, neighbours, psnr, purity, step_features,
};
use crate::craft::judge::Judge;
use crate::craft::{Action, Episode};
use crate::media::Frame;
use crate::rollout::Models;

/// Neighbours of the purity measures.
const NEIGHBOURS: usize = 5;
/// Width and height at which the control probe sees the first frame.
const GLIMPSE: (u32, u32) = (12, 8);

/// One encoded clip.
struct Known {
    codes: Vec<u16>,
    action: usize,
    environment: usize,
    /// The first frame, small.
    glimpse: Vec<f32>,
}

/// One clip painted with its own and with foreign codes.
struct Painted {
    /// Decibels in the moving region.
    own: f64,
    elsewhere: f64,
    wrong: f64,
    wrong_elsewhere: f64,
    repeated: f64,
    /// What the judge says of the step replayed in another environment.
    right_accepted: bool,
    wrong_accepted: bool,
    truth_accepted: bool,
}

/// Measures the codes on `episodes` unseen episodes a task: all their clips are encoded, one of
/// each is painted.
///
/// # Errors
/// Fails on fewer than two episodes and on packs with clips of another length.
pub fn codes(
    models: &dyn Models,
    episodes: usize,
    progress: &mut Progress<'_>,
) -> Result<Table, EvalError> {
    let pack = models.pack().clone();
    check_frames(&pack)?;
    if episodes < 2 {
        return Err(EvalError::TooFew);
    }
    let view = CoarseView { models };
    let (mut known, mut painted) = (Vec::new(), Vec::new());
    let of = episodes * pack.tasks.len();
    for index in 0..episodes {
        for task in &pack.tasks {
            let environment = painted.len();
            progress("Encoding and painting unseen clips", environment, of);
            let episode = unseen(*task, index);
            let clips = clips_of(&episode, pack.frame_size());
            let first = known.len();
            for (k, frames) in clips.iter().enumerate() {
                known.push(Known {
                    codes: view.encode(frames),
                    action: episode.action(k).index(),
                    environment,
                    glimpse: glimpse(&frames[0]),
                });
            }
            let k = index % clips.len();
            let other = elsewhere(*task, index);
            painted.push(paint(&view, &episode, &other, k, &clips[k], &known[first + k].codes));
        }
    }
    progress("Encoding and painting unseen clips", of, of);
    let mut rows = painted_rows(&painted);
    rows.extend(reading_rows(&known, &pack.levels));
    rows.extend(replay_rows(&painted));
    let title = format!(
        "Codes: {} clips of {of} unseen environments, {} of them painted",
        known.len(),
        painted.len()
    );
    Ok(Table { title, rows })
}

fn clips_of(episode: &Episode, size: crate::media::FrameSize) -> Vec<Vec<Frame>> {
    let clips = (0..episode.num_clips()).into_par_iter();
    clips.map(|k| episode.clip(k, size).frames).collect()
}

fn glimpse(frame: &Frame) -> Vec<f32> {
    let (width, height) = GLIMPSE;
    let filter = image::imageops::FilterType::Triangle;
    let small = image::imageops::resize(frame, width, height, filter);
    small.as_raw().iter().map(|v| f32::from(*v) / 255.0).collect()
}

/// An episode with another action possible at clip `k`; where there is none, another clip.
fn another_action(episode: &Episode, k: usize) -> (Episode, usize) {
    let own = episode.action(k);
    let open = episode.next_actions(k);
    let branch = open.into_iter().find(|a| *a != own).and_then(|a| episode.branched(k, a));
    if let Some(branch) = branch {
        return (branch, k);
    }
    let count = episode.num_clips();
    let other = (1..count).map(|ahead| (k + ahead) % count).find(|j| episode.action(*j) != own);
    (episode.clone(), other.expect("no task is one action over and over"))
}

fn paint(
    view: &CoarseView<'_>,
    episode: &Episode,
    other: &Episode,
    k: usize,
    frames: &[Frame],
    own: &[u16],
) -> Painted {
    let size = view.models.pack().frame_size();
    let moved = episode.with_environment(other);
    let moved_frames = moved.clip(k, size).frames;
    let (branch, at) = another_action(episode, k);
    let wrong = view.encode(&branch.clip(at, size).frames);
    let wrong_moved = view.encode(&branch.with_environment(other).clip(at, size).frames);
    let same_moved = view.encode(&moved_frames);

    let truth = view.scaled(frames);
    let region = moving_region(&truth);
    let decibels = |found: &[Frame]| f64::from(psnr(&truth, found, Some(&region)));
    let with = |codes: &[u16]| decibels(&view.paint(&frames[0], codes));

    let judge = Judge::new(&moved, size);
    let accepts = |clip: &[Frame]| clip.last().is_some_and(|last| judge.accepts(last, k));
    Painted {
        own: with(own),
        elsewhere: with(&same_moved),
        wrong: with(&wrong),
        wrong_elsewhere: with(&wrong_moved),
        repeated: decibels(&vec![truth[0].clone(); truth.len()]),
        right_accepted: accepts(&view.paint(&moved_frames[0], own)),
        wrong_accepted: accepts(&view.paint(&moved_frames[0], &wrong)),
        truth_accepted: accepts(&view.scaled(&moved_frames)),
    }
}

fn painted_rows(painted: &[Painted]) -> Vec<Row> {
    let mean_of = |value: &dyn Fn(&Painted) -> f64| mean(painted.iter().map(value));
    let row = |name: &str, value: f64| Row::new(name, Unit::Decibels, value);
    let gap = |name: &str, value: &dyn Fn(&Painted) -> f64, least: f64| {
        row(name, mean_of(value)).floor(Floor::AtLeast(least))
    };
    vec![
        row("own codes, moving region", mean_of(&|p| p.own)),
        row("same action's codes from another environment", mean_of(&|p| p.elsewhere)),
        row("another action's codes, same environment", mean_of(&|p| p.wrong)),
        row("another action's codes, another environment", mean_of(&|p| p.wrong_elsewhere)),
        row("first frame repeated", mean_of(&|p| p.repeated)),
        gap("own above another action's", &|p| p.own - p.wrong, 1.0),
        gap(
            "same above another action's, both from another environment",
            &|p| p.elsewhere - p.wrong_elsewhere,
            0.5,
        ),
        gap("own above first frame repeated", &|p| p.own - p.repeated, 2.0),
    ]
}

fn matrix(rows: Vec<Vec<f32>>) -> Array2<f32> {
    let shape = (rows.len(), rows.first().map_or(0, Vec::len));
    Array2::from_shape_vec(shape, rows.concat()).expect("all clips of a pack are equally long")
}

/// Accuracy of a probe of the action, trained on every second environment and tested on the others.
fn probe(features: ArrayView2<'_, f32>, known: &[Known]) -> f64 {
    let half = |side: usize| -> Vec<usize> {
        (0..known.len()).filter(|i| known[*i].environment % 2 == side).collect()
    };
    let labels = |rows: &[usize]| -> Vec<usize> { rows.iter().map(|i| known[*i].action).collect() };
    let (train, test) = (half(0), half(1));
    let settings = ProbeSettings::default();
    let trained = features.select(Axis(0), &train);
    let probe = Probe::fit(trained.view(), &labels(&train), Action::ALL.len(), &settings);
    let tested = features.select(Axis(0), &test);
    f64::from(probe.accuracy(tested.view(), &labels(&test)))
}

fn reading_rows(known: &[Known], levels: &[usize]) -> Vec<Row> {
    let features = matrix(known.iter().map(|c| step_features(&c.codes, levels)).collect());
    let glimpses = matrix(known.iter().map(|c| c.glimpse.clone()).collect());
    let (from_codes, from_frame) = (probe(features.view(), known), probe(glimpses.view(), known));
    let near = neighbours(features.view(), NEIGHBOURS);
    let actions = purity(&near, &known.iter().map(|c| c.action).collect::<Vec<_>>());
    let places = purity(&near, &known.iter().map(|c| c.environment).collect::<Vec<_>>());
    let used = codebook_use(known.iter().map(|c| c.codes.as_slice()));
    let lowest = used.perplexity.iter().copied().fold(f32::INFINITY, f32::min);
    vec![
        Row::new("linear probe of the action (control: first frame)", Unit::Share, from_codes)
            .beside(from_frame)
            .floor(Floor::AtLeast(0.55)),
        Row::new("probe above the first frame's", Unit::Share, from_codes - from_frame)
            .floor(Floor::AtLeast(0.15)),
        Row::new(
            "neighbours of the same action (control: chance)",
            Unit::Share,
            actions.purity.into(),
        )
        .beside(actions.chance.into())
        .floor(Floor::AtLeast(0.5)),
        Row::new(
            "neighbours of the same environment (control: chance)",
            Unit::Share,
            places.purity.into(),
        )
        .beside(places.chance.into())
        .floor(Floor::AtMost(0.1)),
        Row::new("codes in use", Unit::Count, used.codes_in_use as f64).floor(Floor::AtLeast(60.0)),
        Row::new("perplexity per position", Unit::Count, used.mean_perplexity().into())
            .floor(Floor::AtLeast(12.0)),
        Row::new("lowest perplexity of a position", Unit::Count, lowest.into()),
    ]
}

fn replay_rows(painted: &[Painted]) -> Vec<Row> {
    let share = |value: &dyn Fn(&Painted) -> bool| {
        mean(painted.iter().map(|p| f64::from(u8::from(value(p)))))
    };
    let right = share(&|p| p.right_accepted);
    let wrong = share(&|p| p.wrong_accepted);
    vec![
        Row::new(
            "steps accepted, codes replayed elsewhere (control: true coarse frames)",
            Unit::Share,
            right,
        )
        .beside(share(&|p| p.truth_accepted))
        .floor(Floor::AtLeast(0.4)),
        Row::new("steps accepted, another action's codes", Unit::Share, wrong)
            .floor(Floor::AtMost(right / 5.0)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::craft::Task;

    #[test]
    fn another_action_is_another_one_and_possible_where_it_can_be() {
        for task in Task::ALL {
            let episode = unseen(task, 3);
            for k in 0..episode.num_clips() {
                let (other, at) = another_action(&episode, k);
                assert_ne!(other.action(at), episode.action(k));
                let has_choice = episode.next_actions(k).iter().any(|a| *a != episode.action(k));
                assert_eq!(at == k, has_choice);
            }
        }
    }
}
