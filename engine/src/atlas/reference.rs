//! The reference set of a pack: clips with known actions, their codes, and their places on the map.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use ndarray::{Array2, ArrayView2};
use serde::{Deserialize, Serialize};

use super::codebook::step_features;
use super::umap::{UmapSettings, place, umap};
use crate::craft::{Split, Task};

/// Mapped points a new one is placed between.
const PLACING_NEIGHBOURS: usize = 5;
/// Coordinates are stored to a thousandth, far below a pixel of any map.
const STORED_PLACES: f32 = 1000.0;

/// One clip: where it comes from, so that it can be rendered again, and its codes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReferenceClip {
    pub task: Task,
    /// Seed of the episode.
    pub seed: u64,
    /// Whether training saw the environment.
    pub split: Split,
    /// Which clip of the episode, from 0.
    pub clip: u16,
    /// What is being done: the place in [`Action::ALL`](crate::craft::Action::ALL).
    pub action: u16,
    /// What it looks like.
    pub environment: u32,
    /// Flattened step-major.
    pub codes: Vec<u16>,
}

/// Why a reference set cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ReferenceError {
    #[error("the reference set says {0} codes make a step, which cannot be")]
    CodesPerStep(usize),
    #[error("clip {clip} of the reference set has {found} codes, not whole steps of {per_step}")]
    Length { clip: usize, found: usize, per_step: usize },
    #[error(
        "clip {clip} of the reference set has code {code}, the quantiser has only {vocabulary}"
    )]
    Code { clip: usize, code: u16, vocabulary: usize },
    #[error("the reference set has {steps} steps but {places} places on its map")]
    Layout { steps: usize, places: usize },
    #[error("the reference set has a place on its map that is not a number")]
    NotFinite,
}

/// One latent step of a reference set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct StepId {
    /// Index into [`ReferenceSet::clips`].
    pub clip: u32,
    /// Latent step within the clip, from 0.
    pub step: u16,
}

/// What colours a map.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ColourBy {
    Action,
    Environment,
    Task,
    /// The clip's place in its episode.
    Clip,
    /// The latent step's place in its clip.
    Step,
}

/// Clips and their steps' places on the map.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReferenceSet {
    pub codes_per_step: usize,
    pub clips: Vec<ReferenceClip>,
    /// Place of every latent step, clip after clip; empty until [`ReferenceSet::fit`].
    layout: Vec<[f32; 2]>,
}

impl ReferenceSet {
    /// A set without a map.
    pub fn new(codes_per_step: usize, clips: Vec<ReferenceClip>) -> Self {
        Self { codes_per_step, clips, layout: Vec::new() }
    }

    /// Whether a set read from a file is sound for a quantiser with these `levels`.
    ///
    /// # Errors
    /// Says what is wrong.
    pub fn check(&self, levels: &[usize]) -> Result<(), ReferenceError> {
        let per_step = self.codes_per_step;
        if per_step == 0 {
            return Err(ReferenceError::CodesPerStep(per_step));
        }
        let vocabulary: usize = levels.iter().product();
        for (clip, ReferenceClip { codes, .. }) in self.clips.iter().enumerate() {
            let found = codes.len();
            if !found.is_multiple_of(per_step) {
                return Err(ReferenceError::Length { clip, found, per_step });
            }
            if let Some(code) = codes.iter().find(|c| usize::from(**c) >= vocabulary) {
                return Err(ReferenceError::Code { clip, code: *code, vocabulary });
            }
        }
        let (steps, places) = (self.steps().count(), self.layout.len());
        if places != 0 && places != steps {
            return Err(ReferenceError::Layout { steps, places });
        }
        if !self.layout.iter().flatten().all(|v| v.is_finite()) {
            return Err(ReferenceError::NotFinite);
        }
        Ok(())
    }

    /// Every latent step with its codes, clip after clip.
    pub fn steps(&self) -> impl Iterator<Item = (StepId, &[u16])> {
        self.clips.iter().enumerate().flat_map(|(clip, of)| {
            let steps = of.codes.chunks_exact(self.codes_per_step).enumerate();
            steps.map(move |(step, codes)| {
                let id = StepId { clip: clip as u32, step: step as u16 };
                (id, codes)
            })
        })
    }

    /// The clips as points, `[clips, codes * digits]`, for neighbours and probes.
    ///
    /// # Panics
    /// Panics when clips differ in length.
    pub fn clip_features(&self, levels: &[usize]) -> Array2<f32> {
        rows(self.clips.iter().map(|c| c.codes.as_slice()), levels)
    }

    /// The category of one step; of an action or environment its number, of a task its place in
    /// [`Task::ALL`].
    pub fn category(&self, id: StepId, by: ColourBy) -> usize {
        let clip = &self.clips[id.clip as usize];
        match by {
            ColourBy::Action => usize::from(clip.action),
            ColourBy::Environment => clip.environment as usize,
            ColourBy::Task => clip.task as usize,
            ColourBy::Clip => usize::from(clip.clip),
            ColourBy::Step => usize::from(id.step),
        }
    }

    /// Lays the steps out; identical steps become one point. `None` when `progress`, which hears
    /// `(epochs done, of)`, broke off, and the set is as it was.
    pub fn fit(
        &mut self,
        levels: &[usize],
        settings: &UmapSettings,
        progress: impl FnMut(usize, usize) -> ControlFlow<()>,
    ) -> Option<()> {
        let mut layout = vec![[0.0; 2]; self.steps().count()];
        let distinct = self.distinct();
        let features = rows(distinct.iter().map(|(codes, _)| *codes), levels);
        let places = umap(features.view(), settings, progress)?;
        for ((_, members), place) in distinct.iter().zip(places) {
            for (index, _) in members {
                layout[*index] = place.map(|v| (v * STORED_PLACES).round() / STORED_PLACES);
            }
        }
        self.layout = layout;
        Some(())
    }

    /// The map; `None` before [`ReferenceSet::fit`]. Expects a set that passes
    /// [`ReferenceSet::check`].
    pub fn map(&self, levels: &[usize]) -> Option<AtlasMap> {
        if self.layout.is_empty() {
            return None;
        }
        let distinct = self.distinct();
        let features = rows(distinct.iter().map(|(codes, _)| *codes), levels);
        let point = |(_, members): &(&[u16], Vec<(usize, StepId)>)| MapPoint {
            place: self.layout[members[0].0],
            members: members.iter().map(|(_, id)| *id).collect(),
        };
        Some(AtlasMap {
            points: distinct.iter().map(point).collect(),
            layout: distinct.iter().map(|(_, m)| self.layout[m[0].0]).collect(),
            features,
            levels: levels.to_vec(),
            codes_per_step: self.codes_per_step,
        })
    }

    /// The most frequent category among the steps of a point; the smaller one on a tie.
    pub fn point_category(&self, point: &MapPoint, by: ColourBy) -> usize {
        let mut counts = BTreeMap::<usize, usize>::new();
        for id in &point.members {
            *counts.entry(self.category(*id, by)).or_default() += 1;
        }
        let most = counts.into_iter().max_by_key(|(c, n)| (*n, usize::MAX - c));
        most.map_or(0, |(category, _)| category)
    }

    /// Distinct steps in order of their codes, each with all its occurrences (index over all steps
    /// and id) in order.
    #[expect(clippy::type_complexity, reason = "used in this file alone")]
    fn distinct(&self) -> Vec<(&[u16], Vec<(usize, StepId)>)> {
        let mut distinct = BTreeMap::<&[u16], Vec<(usize, StepId)>>::new();
        for (index, (id, codes)) in self.steps().enumerate() {
            distinct.entry(codes).or_default().push((index, id));
        }
        distinct.into_iter().collect()
    }
}

/// One point of a map: a latent step, or several with the same codes.
#[derive(Debug, Clone, PartialEq)]
pub struct MapPoint {
    pub place: [f32; 2],
    /// The steps that lie here; as many as the point is big.
    pub members: Vec<StepId>,
}

/// A map ready to be drawn and to be drawn upon.
#[derive(Debug, Clone)]
pub struct AtlasMap {
    pub points: Vec<MapPoint>,
    layout: Vec<[f32; 2]>,
    features: Array2<f32>,
    levels: Vec<usize>,
    codes_per_step: usize,
}

impl AtlasMap {
    /// The places of a clip's steps, one after the other: on a point with the same codes where
    /// there is one, otherwise between the nearest points.
    ///
    /// # Panics
    /// Panics on an empty map.
    pub fn trace(&self, codes: &[u16]) -> Vec<[f32; 2]> {
        let steps = codes.chunks_exact(self.codes_per_step);
        let queries = rows(steps, &self.levels);
        let features: ArrayView2<'_, f32> = self.features.view();
        assert!(!self.points.is_empty(), "a map without points");
        place(queries.view(), features, &self.layout, PLACING_NEIGHBOURS)
    }
}

/// Sequences of codes as the rows of a matrix of digits.
fn rows<'a>(sequences: impl Iterator<Item = &'a [u16]>, levels: &[usize]) -> Array2<f32> {
    let rows: Vec<Vec<f32>> = sequences.map(|s| step_features(s, levels)).collect();
    let width = rows.first().map_or(0, Vec::len);
    let shape = (rows.len(), width);
    Array2::from_shape_vec(shape, rows.concat()).expect("code sequences of one length")
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEVELS: [usize; 4] = [8, 5, 5, 5];

    /// Clips of two steps of two codes: actions differ by far codes, environments by near ones.
    fn set() -> ReferenceSet {
        let clip = |action: u16, environment: u32| ReferenceClip {
            task: Task::Boat,
            seed: 77,
            split: Split::Test,
            clip: action,
            action,
            environment,
            codes: vec![
                action * 300,
                environment as u16 % 8,
                action * 300 + 4,
                (environment as u16 + 1) % 8,
            ],
        };
        let clips = (0..3).flat_map(|a| (0..20).map(move |e| clip(a, e)));
        ReferenceSet::new(2, clips.collect())
    }

    fn go_on(_: usize, _: usize) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }

    #[test]
    fn identical_steps_are_one_point_with_all_their_members() {
        let mut set = set();
        assert!(set.map(&LEVELS).is_none());
        set.fit(&LEVELS, &UmapSettings::default(), go_on).expect("goes on");
        set.check(&LEVELS).expect("a sound set");
        let map = set.map(&LEVELS).expect("fitted");
        // 3 actions x 2 steps x 8 environment codes out of 120 steps.
        assert_eq!(map.points.len(), 48);
        let members: usize = map.points.iter().map(|p| p.members.len()).sum();
        assert_eq!(members, 120);
        for point in &map.points {
            let same = |id: &StepId| set.category(*id, ColourBy::Action);
            let actions: Vec<usize> = point.members.iter().map(same).collect();
            assert!(actions.iter().all(|a| *a == actions[0]));
            assert_eq!(set.point_category(point, ColourBy::Action), actions[0]);
            assert_eq!(set.point_category(point, ColourBy::Task), 1);
        }
        // A clip of the set is traced through its own points.
        let trace = map.trace(&set.clips[25].codes);
        let own = |step| {
            let id = StepId { clip: 25, step };
            let point = map.points.iter().find(|p| p.members.contains(&id));
            point.expect("every step lies on a point").place
        };
        assert_eq!(trace, [own(0), own(1)]);
    }

    #[test]
    fn a_set_survives_its_file_and_unsound_ones_are_refused() {
        let mut set = set();
        set.fit(&LEVELS, &UmapSettings::default(), go_on).expect("goes on");
        let text = serde_json::to_string(&set).expect("serialisable");
        let read: ReferenceSet = serde_json::from_str(&text).expect("readable");
        assert_eq!(read, set);
        // A full set has 600 clips of 16 codes: ten times the clips, four times the codes.
        assert!(text.len() < 12_000, "{} bytes", text.len());
        let refused = |set: &ReferenceSet| set.check(&LEVELS).expect_err("unsound").to_string();
        let mut short = set.clone();
        short.clips[4].codes.pop();
        assert!(refused(&short).contains("clip 4"));
        let mut foreign = set.clone();
        foreign.clips[0].codes[0] = 1000;
        assert!(refused(&foreign).contains("code 1000"));
        set.layout.pop();
        assert!(refused(&set).contains("119 places"));
    }

    #[test]
    fn breaking_off_changes_nothing() {
        let mut set = set();
        let before = set.clone();
        let stop = |_, _| ControlFlow::Break(());
        assert!(set.fit(&LEVELS, &UmapSettings::default(), stop).is_none());
        assert_eq!(set, before);
    }
}
