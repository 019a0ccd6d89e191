//! The reference set behind the code map: where its steps lie and where they came from.

use std::collections::HashMap;
use std::sync::Arc;

use eframe::egui::Pos2;
use engine::atlas::AtlasMap;
use engine::craft::Task;
use engine::media::Clip;

use crate::widgets::scatter::{Camera, Points};

/// Examples shown for a code.
pub const EXAMPLES: usize = 5;
/// Map points whose distance decides where other codes are placed.
const PLACING_NEIGHBOURS: usize = 5;

/// Names one clip of the craft world, enough to draw it again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ClipRef {
    pub task: Task,
    pub seed: u64,
    /// Drawn in an environment that training never saw.
    pub unseen: bool,
    /// Index of the clip within its episode.
    pub clip: usize,
}

/// One step of one reference clip.
#[derive(Debug, Clone, PartialEq)]
pub struct MapPoint {
    pub at: [f32; 2],
    /// The codes of the step.
    pub codes: Vec<u16>,
    /// Index into [`CodeMap::actions`], most frequent first.
    pub action: usize,
    /// Index into [`CodeMap::environments`].
    pub environment: usize,
    /// Step within its clip.
    pub step: usize,
    pub clip: ClipRef,
}

/// The map of a pack.
#[derive(Debug, Clone, Default)]
pub struct CodeMap {
    pub points: Vec<MapPoint>,
    pub actions: Vec<String>,
    pub environments: Vec<String>,
    pub steps: usize,
    /// How it was made, for example `UMAP · 18,240 steps`.
    pub remark: String,
    /// Places codes that are not in the set; without it they stand at the most similar step.
    pub atlas: Option<Arc<AtlasMap>>,
}

/// What a code means in the reference set.
#[derive(Debug, Clone, PartialEq)]
pub struct CodeUse {
    pub count: usize,
    /// The action it goes with most often, and how often of all its uses (0..1).
    pub action: Option<(usize, f32)>,
    /// Points where it occurs, from different environments as far as possible.
    pub examples: Vec<usize>,
}

/// Points of the map, and where they came from.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Selection {
    pub points: Vec<usize>,
    /// Actions with the number of points that have them, most first.
    pub actions: Vec<(usize, usize)>,
    /// Environments with the number of points from them, most first.
    pub environments: Vec<(usize, usize)>,
    /// A point of each clip with the number of points from it, most first.
    pub clips: Vec<(usize, usize)>,
}

/// What the colours of the map say.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum MapColour {
    #[default]
    Action,
    Environment,
    Step,
}

impl MapColour {
    pub const ALL: [Self; 3] = [Self::Action, Self::Environment, Self::Step];

    pub fn label(self) -> &'static str {
        match self {
            Self::Action => "Action",
            Self::Environment => "Environment",
            Self::Step => "Step",
        }
    }

    pub fn next(self) -> Self {
        match self {
            Self::Action => Self::Environment,
            Self::Environment => Self::Step,
            Self::Step => Self::Action,
        }
    }
}

impl CodeMap {
    /// Category of a point under a colouring.
    pub fn category(&self, point: &MapPoint, colour: MapColour) -> usize {
        match colour {
            MapColour::Action => point.action,
            MapColour::Environment => point.environment,
            MapColour::Step => point.step,
        }
    }

    /// Names of the categories in order.
    pub fn legend(&self, colour: MapColour) -> Vec<String> {
        match colour {
            MapColour::Action => self.actions.clone(),
            MapColour::Environment => self.environments.clone(),
            MapColour::Step => (1..=self.steps).map(|step| format!("step {step}")).collect(),
        }
    }

    /// Where `code` occurs as the `query`-th code of a step.
    pub fn usage(&self, query: usize, code: u16) -> CodeUse {
        let uses: Vec<usize> = (0..self.points.len())
            .filter(|index| self.points[*index].codes.get(query) == Some(&code))
            .collect();
        let mut actions: HashMap<usize, usize> = HashMap::new();
        for index in &uses {
            *actions.entry(self.points[*index].action).or_default() += 1;
        }
        let most = actions.into_iter().max_by_key(|(action, n)| (*n, std::cmp::Reverse(*action)));
        let action = most.map(|(action, n)| (action, n as f32 / uses.len() as f32));
        CodeUse { count: uses.len(), action, examples: self.varied(&uses) }
    }

    /// What `points` have in common and what not.
    pub fn selection(&self, points: Vec<usize>) -> Selection {
        let mut clips: HashMap<ClipRef, (usize, usize)> = HashMap::new();
        for index in &points {
            clips.entry(self.points[*index].clip).or_insert((*index, 0)).1 += 1;
        }
        Selection {
            actions: counted(points.iter().map(|index| self.points[*index].action)),
            environments: counted(points.iter().map(|index| self.points[*index].environment)),
            clips: most_first(clips.into_values().collect()),
            points,
        }
    }

    /// A few of `uses`, first those from environments not chosen yet.
    fn varied(&self, uses: &[usize]) -> Vec<usize> {
        let mut seen = std::collections::HashSet::new();
        let (fresh, again): (Vec<usize>, Vec<usize>) =
            uses.iter().partition(|index| seen.insert(self.points[**index].environment));
        fresh.into_iter().chain(again).take(EXAMPLES).collect()
    }

    /// The reference steps most like `codes`: most equal codes, then first in the set.
    fn nearest(&self, codes: &[u16]) -> Vec<(usize, usize)> {
        let mut scored: Vec<(usize, usize)> = self
            .points
            .iter()
            .enumerate()
            .map(|(index, point)| {
                let equal = point.codes.iter().zip(codes).filter(|(a, b)| a == b).count();
                (equal, index)
            })
            .collect();
        let kept = PLACING_NEIGHBOURS.min(scored.len());
        if kept < scored.len() {
            scored.select_nth_unstable_by_key(kept, |(equal, index)| {
                (std::cmp::Reverse(*equal), *index)
            });
        }
        scored.truncate(kept);
        scored.sort_unstable_by_key(|(equal, index)| (std::cmp::Reverse(*equal), *index));
        scored
    }

    /// Where the codes of a step lie. Without an atlas: at the most similar reference step, and
    /// `None` if none shares a code with it.
    pub fn place(&self, codes: &[u16]) -> Option<[f32; 2]> {
        if let Some(atlas) = &self.atlas {
            return atlas.trace(codes).first().copied();
        }
        let (equal, index) = *self.nearest(codes).first()?;
        (equal > 0).then(|| self.points[index].at)
    }

    /// The action that steps like this one have, by vote of the nearest reference steps.
    pub fn action_of(&self, codes: &[u16]) -> Option<usize> {
        let mut votes: HashMap<usize, usize> = HashMap::new();
        for (equal, index) in self.nearest(codes) {
            *votes.entry(self.points[index].action).or_default() += equal;
        }
        let best = votes.into_iter().max_by_key(|(action, n)| (*n, std::cmp::Reverse(*action)));
        best.filter(|(_, n)| *n > 0).map(|(action, _)| action)
    }
}

/// How often each value occurs, most frequent first.
fn counted(values: impl Iterator<Item = usize>) -> Vec<(usize, usize)> {
    let mut counts: HashMap<usize, usize> = HashMap::new();
    for value in values {
        *counts.entry(value).or_default() += 1;
    }
    most_first(counts.into_iter().collect())
}

fn most_first(mut counts: Vec<(usize, usize)>) -> Vec<(usize, usize)> {
    counts.sort_unstable_by_key(|(value, count)| (std::cmp::Reverse(*count), *value));
    counts
}

/// How the map is looked at.
#[derive(Default)]
pub struct MapView {
    pub map: Arc<CodeMap>,
    /// Why there is no map, if there is none.
    pub missing: Option<String>,
    pub colour: MapColour,
    pub camera: Option<Camera>,
    pub selected: Option<usize>,
    /// The line that is being drawn around points, on the screen.
    pub lasso: Option<Vec<Pos2>>,
    /// The points that a line was drawn around.
    pub selection: Option<Arc<Selection>>,
    /// How many selections there were, which tells them apart.
    pub selections: u64,
    /// Points as drawn, with what they were made for.
    pub drawn: Option<(DrawnFor, Arc<Points>)>,
    /// Clips of reference steps drawn again so far; `None` while one is on its way.
    pub clips: HashMap<ClipRef, Option<Clip>>,
    /// When the selected clip began to play, egui seconds.
    pub playing_since: Option<f64>,
    /// Action of the steps of a clip, by codes: asking the map every frame would be slow.
    pub action_cache: HashMap<Vec<u16>, Option<usize>>,
    /// Use of a code, by query and code.
    pub usage_cache: HashMap<(usize, u16), Arc<CodeUse>>,
    /// Place of a step's codes on the map.
    pub place_cache: HashMap<Vec<u16>, Option<[f32; 2]>>,
}

/// What the colours of drawn points depend on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DrawnFor {
    pub colour: MapColour,
    /// Category that is not greyed.
    pub highlighted: Option<usize>,
    /// Number of the selection that is not greyed, if there is one.
    pub selection: Option<u64>,
    pub theme: crate::theme::ThemeChoice,
}

impl MapView {
    /// Shows another map.
    pub fn set(&mut self, map: CodeMap) {
        *self = Self { map: Arc::new(map), colour: self.colour, ..Self::default() };
    }

    /// Selects points; none of them ends the selection.
    pub fn select(&mut self, points: Vec<usize>) {
        self.selections += 1;
        self.selected = None;
        self.selection = (!points.is_empty()).then(|| Arc::new(self.map.selection(points)));
    }

    pub fn action_of(&mut self, codes: &[u16]) -> Option<usize> {
        let map = &self.map;
        *self.action_cache.entry(codes.to_vec()).or_insert_with(|| map.action_of(codes))
    }

    pub fn place(&mut self, codes: &[u16]) -> Option<[f32; 2]> {
        let map = &self.map;
        *self.place_cache.entry(codes.to_vec()).or_insert_with(|| map.place(codes))
    }

    pub fn usage(&mut self, query: usize, code: u16) -> Arc<CodeUse> {
        let map = &self.map;
        let entry = self.usage_cache.entry((query, code));
        entry.or_insert_with(|| Arc::new(map.usage(query, code))).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(at: [f32; 2], codes: &[u16], action: usize, environment: usize) -> MapPoint {
        MapPoint {
            at,
            codes: codes.to_vec(),
            action,
            environment,
            step: 0,
            clip: ClipRef { task: Task::Boat, seed: environment as u64, unseen: true, clip: 0 },
        }
    }

    fn map() -> CodeMap {
        CodeMap {
            points: vec![
                point([0.0, 0.0], &[1, 2], 0, 0),
                point([1.0, 0.0], &[1, 3], 0, 0),
                point([2.0, 0.0], &[1, 2], 1, 1),
                point([9.0, 9.0], &[7, 8], 2, 2),
            ],
            ..CodeMap::default()
        }
    }

    #[test]
    fn usage_counts_a_code_at_its_query() {
        let usage = map().usage(0, 1);
        assert_eq!(usage.count, 3);
        assert_eq!(usage.action.map(|(action, _)| action), Some(0));
        assert_eq!(usage.examples, [0, 2, 1], "another environment comes before a second example");
        assert_eq!(map().usage(1, 1).count, 0);
    }

    #[test]
    fn a_selection_says_what_its_points_have_in_common() {
        let selection = map().selection(vec![0, 1, 2]);
        assert_eq!(selection.actions, [(0, 2), (1, 1)]);
        assert_eq!(selection.environments, [(0, 2), (1, 1)]);
        assert_eq!(selection.clips, [(0, 2), (2, 1)], "two of the points are of one clip");
    }

    #[test]
    fn a_step_is_placed_where_its_codes_are() {
        assert_eq!(map().place(&[7, 8]), Some([9.0, 9.0]));
        assert_eq!(map().place(&[1, 3]), Some([1.0, 0.0]));
        assert_eq!(map().place(&[50, 51]), None);
        assert_eq!(map().action_of(&[7, 0]), Some(2));
        assert_eq!(map().action_of(&[50, 51]), None);
    }
}
