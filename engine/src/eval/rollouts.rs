//! Whole tasks from one picture: how many steps survive until the first that fails.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use serde::Serialize;

use super::table::{Floor, Row, Table, Unit};
use super::{CoarseView, EvalError, Progress, check_frames, mean, unseen};
use crate::craft::judge::Judge;
use crate::craft::{Action, Episode, Task};
use crate::media::{Frame, FrameSize};
use crate::rollout::{Path, RunError, Runner, Sampling, Unwatched};

/// The most steps a task has.
const STEPS: usize = 7;

/// How the rollouts of one task ended.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Survival {
    /// What was painted.
    pub source: &'static str,
    pub task: Task,
    pub rollouts: usize,
    /// Share of rollouts in which this step and all before it succeeded, one a step.
    pub success: Vec<f64>,
    pub mean_steps: f64,
}

impl Survival {
    /// `survived` has the steps of each rollout before the first failure.
    fn new(source: &'static str, task: Task, steps: usize, survived: &[usize]) -> Self {
        let reached = |step: usize| mean(survived.iter().map(|s| f64::from(u8::from(*s > step))));
        Self {
            source,
            task,
            rollouts: survived.len(),
            success: (0..steps).map(reached).collect(),
            mean_steps: mean(survived.iter().map(|s| *s as f64)),
        }
    }
}

/// Survival a task, and the floors over all tasks.
#[derive(Debug, Clone, Serialize)]
pub struct Rollouts {
    pub by_task: Vec<Survival>,
    pub floors: Table,
}

impl fmt::Display for Rollouts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.by_task.iter().map(|s| s.source.len()).max().unwrap_or(0);
        writeln!(f, "Rollouts from one frame: success of each step, all before it included")?;
        write!(f, "  {:<width$}  {:<9} {:>4}", "video", "task", "n")?;
        for step in 1..=STEPS {
            write!(f, " {:>5}", format!("{step}."))?;
        }
        writeln!(f, "  mean steps")?;
        for row in &self.by_task {
            write!(f, "  {:<width$}  {:<9} {:>4}", row.source, row.task.name(), row.rollouts)?;
            for step in 0..STEPS {
                let share = row.success.get(step).map(|s| format!("{:.0}%", 100.0 * s));
                write!(f, " {:>5}", share.unwrap_or_default())?;
            }
            writeln!(f, "  {:.2} of {}", row.mean_steps, row.success.len())?;
        }
        self.floors.fmt(f)
    }
}

/// One rollout of the policy: where it starts and what was predicted.
struct Predicted {
    task: Task,
    episode: Episode,
    start: Arc<Frame>,
    codes: Vec<Vec<u16>>,
    /// Codes of the true clips.
    encoded: Vec<Vec<u16>>,
}

/// Predicts `count` unseen episodes a task to their end, most likely codes first, and judges what
/// is painted; refined video too unless `coarse_only` or the pack has none.
///
/// Painting stops at the first step that fails: those after it count as failed whatever they show.
/// The same frames are painted with three more kinds of codes: those encoded from the true clips,
/// which say what the decoder alone can do, those of a task of the other material, and none.
///
/// # Errors
/// Fails without a policy and on packs with clips of another length.
pub fn rollouts(
    runner: &Runner,
    count: usize,
    coarse_only: bool,
    progress: &mut Progress<'_>,
) -> Result<Rollouts, EvalError> {
    let pack = runner.pack().clone();
    check_frames(&pack)?;
    if !pack.has_policy {
        return Err(EvalError::NoPolicy);
    }
    let sampling = Sampling { temperature: 0.0, seed: 0, ..pack.sampling.clone() };
    let refine = pack.has_refiner && !coarse_only;
    let mut predicted = Vec::new();
    let of = count * pack.tasks.len();
    for task in &pack.tasks {
        for index in 0..count {
            progress("Predicting codes of whole tasks", predicted.len(), of);
            predicted.push(predict(runner, *task, index, &sampling)?);
        }
    }
    let shuffled: Vec<Vec<Vec<u16>>> = (0..of)
        .map(|at| predicted[foreign(&pack.tasks, at / count) * count + at % count].codes.clone())
        .collect();

    let mut judges: Vec<Branches> =
        predicted.iter().map(|r| Branches::new(&r.episode, pack.frame_size())).collect();
    let mut by_task = Vec::new();
    let mut measure = |source: &'static str,
                       frame: &dyn Fn(&Predicted, usize, usize) -> Result<Frame, RunError>|
     -> Result<(), EvalError> {
        let mut done = 0;
        for task in &pack.tasks {
            let mut survived = Vec::new();
            let mut steps = 0;
            for (at, rollout) in predicted.iter().enumerate().filter(|(_, r)| r.task == *task) {
                progress(source, done, of);
                done += 1;
                steps = steps.max(rollout.codes.len());
                let lived = judges[at].survives(rollout.codes.len(), |k| frame(rollout, at, k));
                survived.push(lived?);
            }
            by_task.push(Survival::new(source, *task, steps, &survived));
        }
        progress(source, of, of);
        Ok(())
    };
    let paint = |rollout: &Predicted, codes: &[Vec<u16>], k: usize, refine: bool| {
        let mut path = Path { start: rollout.start.clone(), task: rollout.task, clips: Vec::new() };
        for clip in codes.iter().take(k + 1) {
            path = path.then(clip.clone(), 0);
        }
        let key = match refine {
            true => runner.refine(&path, &sampling, &mut Unwatched)?,
            false => runner.coarse(&path, &mut Unwatched)?,
        };
        let clip = runner.store().get(key).map(|stored| stored.clip);
        let last = clip.as_ref().and_then(|clip| clip.last());
        Ok(last.expect("a clip stays in the store until the next one is painted").clone())
    };
    if refine {
        measure("policy, refined", &|r, _, k| paint(r, &r.codes, k, true))?;
    }
    measure("policy, coarse", &|r, _, k| paint(r, &r.codes, k, false))?;
    measure("encoded, coarse", &|r, _, k| paint(r, &r.encoded, k, false))?;
    if pack.tasks.len() > 1 {
        measure("codes of another task", &|r, at, k| {
            // A shorter task has no codes for the last steps of a longer one: its last are repeated.
            let last = shuffled[at].len() - 1;
            let codes: Vec<_> = (0..=k).map(|k| shuffled[at][k.min(last)].clone()).collect();
            paint(r, &codes, k, refine)
        })?;
    }
    measure("first frame repeated", &|r, _, _| Ok(r.start.as_ref().clone()))?;
    let best = by_task[0].source;
    let floors = floors(best, &by_task);
    Ok(Rollouts { by_task, floors })
}

fn predict(
    runner: &Runner,
    task: Task,
    index: usize,
    sampling: &Sampling,
) -> Result<Predicted, EvalError> {
    let pack = runner.pack();
    let episode = unseen(task, index);
    let start = Arc::new(episode.frame(0, pack.frame_size()));
    let steps = episode.num_clips().min(pack.max_clips);
    let mut path = Path { start: start.clone(), task, clips: Vec::new() };
    for _ in 0..steps {
        let codes = runner.predict(&path, &[], sampling, &mut Unwatched)?;
        path = path.then(codes.iter().map(|p| p.code).collect(), 0);
    }
    let codes = path.clips.into_iter().map(|clip| clip.codes).collect();
    let view = CoarseView { models: runner.models() };
    let encoded =
        (0..steps).map(|k| view.encode(&episode.clip(k, pack.frame_size()).frames)).collect();
    Ok(Predicted { task, episode, start, codes, encoded })
}

/// The task after `tasks[at]` that works with another material: paper tasks begin with the same
/// folds and block tasks with the same blocks, so codes of a sister task can be right.
fn foreign(tasks: &[Task], at: usize) -> usize {
    let later = (1..tasks.len()).map(|ahead| (at + ahead) % tasks.len());
    let mut other = later.filter(|i| tasks[*i].folds_paper() != tasks[at].folds_paper());
    other.next().unwrap_or((at + 1) % tasks.len())
}

fn floors(best: &'static str, by_task: &[Survival]) -> Table {
    let over_tasks = |source: &str, value: &dyn Fn(&Survival) -> f64| {
        mean(by_task.iter().filter(|s| s.source == source).map(value))
    };
    let at = |step: usize| move |s: &Survival| s.success.get(step).copied().unwrap_or(f64::NAN);
    let mean_steps = |s: &Survival| s.mean_steps;
    let whole = |s: &Survival| s.success.last().copied().unwrap_or(0.0);
    let repeated = "first frame repeated";
    let shuffled = "codes of another task";
    let mut rows = vec![
        Row::new(
            format!("step 1, {best} (control: {repeated})"),
            Unit::Share,
            over_tasks(best, &at(0)),
        )
        .beside(over_tasks(repeated, &at(0)))
        .floor(Floor::AtLeast(0.7)),
        Row::new(
            format!("mean surviving steps, {best} (control: {repeated})"),
            Unit::Count,
            over_tasks(best, &mean_steps),
        )
        .beside(over_tasks(repeated, &mean_steps))
        .floor(Floor::AtLeast(3.0)),
        Row::new(
            format!("all steps, {best} (aim: a quarter)"),
            Unit::Share,
            over_tasks(best, &whole),
        ),
        Row::new(format!("step 1, {repeated}"), Unit::Share, over_tasks(repeated, &at(0)))
            .floor(Floor::AtMost(0.05)),
    ];
    if by_task.iter().any(|s| s.source == shuffled) {
        rows.push(
            Row::new(format!("step 1, {shuffled}"), Unit::Share, over_tasks(shuffled, &at(0)))
                .floor(Floor::AtMost(0.05)),
        );
    }
    Table { title: "Rollouts, mean over the tasks".to_owned(), rows }
}

/// All ways an episode can go on from its first frame, each with its judge, made when needed.
struct Branches {
    first: Episode,
    size: FrameSize,
    known: HashMap<Vec<Action>, (Episode, Judge)>,
}

impl Branches {
    fn new(episode: &Episode, size: FrameSize) -> Self {
        Self { first: episode.clone(), size, known: HashMap::new() }
    }

    /// Steps until the first picture that shows the end of no action possible there. `frame` gives
    /// the picture after clip `k`.
    fn survives(
        &mut self,
        steps: usize,
        mut frame: impl FnMut(usize) -> Result<Frame, RunError>,
    ) -> Result<usize, RunError> {
        let mut at = self.first.clone();
        for k in 0..steps {
            match self.shown(&at, k, &frame(k)?) {
                Some(branch) => at = branch,
                None => return Ok(k),
            }
        }
        Ok(steps)
    }

    /// The way on whose end of clip `k` the picture shows, clearest first.
    fn shown(&mut self, at: &Episode, k: usize, frame: &Frame) -> Option<Episode> {
        let mut best: Option<(f32, Episode)> = None;
        for action in at.next_actions(k) {
            let mut way = at.actions()[..k].to_vec();
            way.push(action);
            if !self.known.contains_key(&way) {
                let branch =
                    if action == at.action(k) { at.clone() } else { at.branched(k, action)? };
                let judge = Judge::new(&branch, self.size);
                self.known.insert(way.clone(), (branch, judge));
            }
            let (branch, judge) = &self.known[&way];
            let score = judge.score(frame, k);
            if score.accepted() && best.as_ref().is_none_or(|(margin, _)| score.margin > *margin) {
                best = Some((score.margin, branch.clone()));
            }
        }
        best.map(|(_, branch)| branch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: FrameSize = FrameSize { height: 64, width: 96 };

    #[test]
    fn a_true_branch_survives_and_what_never_happens_does_not() {
        let episode = unseen(Task::Airplane, 0);
        let open = episode.next_actions(0);
        let other = open.into_iter().find(|a| *a != episode.action(0)).expect("two first folds");
        let branch = episode.branched(0, other).expect("a possible action");
        let mut judged = Branches::new(&episode, SIZE);
        let steps = branch.num_clips();
        let lived = judged.survives(steps, |k| Ok(branch.frame(k + 1, SIZE)));
        assert_eq!(lived, Ok(steps), "any possible order counts");
        let lived = judged.survives(steps, |_| Ok(episode.frame(0, SIZE)));
        assert_eq!(lived, Ok(0));
        // The third step's picture fails when the second is shown again.
        let lived = judged.survives(steps, |k| Ok(branch.frame(k.min(1) + 1, SIZE)));
        assert_eq!(lived, Ok(2));
    }

    #[test]
    fn foreign_codes_are_of_the_other_material() {
        for at in 0..Task::ALL.len() {
            let other = foreign(&Task::ALL, at);
            assert_ne!(Task::ALL[other].folds_paper(), Task::ALL[at].folds_paper());
        }
        assert_eq!(foreign(&[Task::Tower, Task::Horse], 0), 1, "nothing else is there");
    }

    #[test]
    fn survival_counts_steps_with_all_before_them() {
        let survival = Survival::new("x", Task::Tower, 3, &[0, 1, 3, 3]);
        assert_eq!(survival.success, [0.75, 0.5, 0.5]);
        assert_eq!(survival.mean_steps, 1.75);
    }
}
