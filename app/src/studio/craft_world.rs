//! The craft world as the window's drawing room, and packs' reference sets as its maps.

use std::collections::BTreeMap;
use std::sync::Arc;

use engine::atlas::{AtlasMap, ReferenceClip, ReferenceSet};
use engine::craft::{Action, Episode, Split, Task};
use engine::media::{Clip, Frame, FrameSize};
use engine::pack::PackSource;

use super::map::{ClipRef, CodeMap, MapPoint};
use super::world::World;

/// Draws episodes from their seeds.
pub struct CraftWorld;

impl World for CraftWorld {
    fn starting_frame(&self, task: Task, seed: u64, size: FrameSize) -> Frame {
        Episode::sample(task, Split::Test, seed).frame(0, size)
    }

    fn clip(&self, reference: &ClipRef, size: FrameSize) -> Clip {
        let split = if reference.unseen { Split::Test } else { Split::Train };
        let episode = Episode::sample(reference.task, split, reference.seed);
        let clip = reference.clip.min(episode.num_clips().saturating_sub(1));
        Arc::new(episode.clip(clip, size).frames)
    }

    fn code_map(&self, pack: &PackSource) -> Result<CodeMap, String> {
        let pack = pack.open().map_err(|error| error.to_string())?;
        let set = pack.reference().map_err(|error| error.to_string())?;
        let missing = "This pack has no reference set, so there is no map of its codes";
        let set = set.filter(|set| !set.clips.is_empty()).ok_or(missing)?;
        let atlas = set.map(&pack.manifest.dldm.levels);
        Ok(code_map(&set, atlas.ok_or(missing)?))
    }
}

/// Every step of the set at its place.
fn code_map(set: &ReferenceSet, atlas: AtlasMap) -> CodeMap {
    let actions = Ranked::of(set.clips.iter().map(|clip| u32::from(clip.action)));
    let environments = Ranked::of(set.clips.iter().map(|clip| clip.environment));
    let mut points = Vec::new();
    let mut steps = 0;
    for place in &atlas.points {
        for member in &place.members {
            let clip = &set.clips[member.clip as usize];
            let step = usize::from(member.step);
            steps = steps.max(step + 1);
            let codes = clip.codes.chunks(set.codes_per_step).nth(step);
            points.push(MapPoint {
                at: place.place,
                codes: codes.unwrap_or_default().to_vec(),
                action: actions.rank(u32::from(clip.action)),
                environment: environments.rank(clip.environment),
                step,
                clip: clip_ref(clip),
            });
        }
    }
    let action_name = |action: &u32| {
        let action = Action::ALL.get(*action as usize);
        action.map_or_else(|| "unknown action".to_owned(), |action| action.label().to_owned())
    };
    CodeMap {
        actions: actions.0.iter().map(action_name).collect(),
        environments: environments
            .0
            .iter()
            .map(|environment| format!("environment {environment}"))
            .collect(),
        steps,
        remark: format!("UMAP · {} steps", points.len()),
        points,
        atlas: Some(Arc::new(atlas)),
    }
}

fn clip_ref(clip: &ReferenceClip) -> ClipRef {
    ClipRef {
        task: clip.task,
        seed: clip.seed,
        unseen: clip.split == Split::Test,
        clip: usize::from(clip.clip),
    }
}

/// Categories, most frequent first, so that those get the colours that stand for one alone.
struct Ranked(Vec<u32>);

impl Ranked {
    fn of(values: impl Iterator<Item = u32>) -> Self {
        let mut counts = BTreeMap::<u32, usize>::new();
        for value in values {
            *counts.entry(value).or_default() += 1;
        }
        let mut ranked: Vec<(u32, usize)> = counts.into_iter().collect();
        ranked.sort_by_key(|(value, count)| (std::cmp::Reverse(*count), *value));
        Self(ranked.into_iter().map(|(value, _)| value).collect())
    }

    fn rank(&self, value: u32) -> usize {
        self.0.iter().position(|known| *known == value).unwrap_or(self.0.len())
    }
}
