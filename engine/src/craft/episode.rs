//! A whole task, or a few free motions, from a seed: what happens, where, and its clips.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{
    Action, Size, Task,
    blocks::{self, Block},
    canvas::Thing,
    environment::{Environment, Split, mixed},
    free,
    geometry::{Point, pt},
    label::{CraftClip, FrameLabel, Masks, State},
    motion::{Doing, Moment, Motion, Step, Still, hold_point, resting, task_step},
    paper::Stack,
    plan,
    render::{Renderer, Scene},
};
use crate::media::Frame;

/// Frames of one clip, unless an episode is asked for others; the last is the first of the next clip.
pub const FRAMES_PER_CLIP: usize = 17;
/// Frames a second.
pub const FPS: f32 = 8.0;

/// A sequence of clips in one environment. Cheap to sample; pictures are painted on request.
#[derive(Debug, Clone, PartialEq)]
pub struct Episode {
    /// What is made, or none for free motions.
    pub task: Option<Task>,
    pub split: Split,
    environment: Environment,
    steps: Vec<Step>,
    /// States before each clip, and after the last.
    stills: Vec<Still>,
    /// Where the hand rests before each clip, and after the last.
    rests: Vec<Point>,
    curl_left: bool,
    frames_per_clip: usize,
}

impl Episode {
    /// A whole task: 7 clips for the papers, 5 or 6 for blocks.
    pub fn sample(task: Task, split: Split, seed: u64) -> Self {
        let environment = Environment::sample(split, mixed(seed, 11 + task as u64));
        let purpose = 101 + 10 * task as u64 + u64::from(split == Split::Test);
        let mut rng = ChaCha8Rng::seed_from_u64(mixed(seed, purpose));
        let mut actions = Vec::new();
        finish_plan(task, &mut actions, &mut rng);
        Self::of_actions(task, split, environment, &actions, &mut rng)
    }

    fn of_actions(
        task: Task,
        split: Split,
        environment: Environment,
        actions: &[Action],
        rng: &mut ChaCha8Rng,
    ) -> Self {
        let first = match task {
            Task::Airplane | Task::Boat => Still::Paper(Stack::open()),
            _ => Still::Blocks(jittered(blocks::scene(task), rng)),
        };
        let curl_left = rng.random();
        let mut episode = Self::begin(Some(task), split, environment, first, curl_left, rng);
        episode.push_all(actions, rng);
        episode
    }

    /// Adds the steps of a plan that are not there yet.
    fn push_all(&mut self, actions: &[Action], rng: &mut ChaCha8Rng) {
        for k in self.steps.len()..actions.len() {
            let doing = task_step(actions[k], &actions[..k], actions)
                .expect("every action of a plan belongs to its task");
            self.push(actions[k], doing, rng);
        }
    }

    /// Motions of no task: folds anywhere, blocks pushed and moved, a waving hand.
    pub fn free(split: Split, seed: u64) -> Self {
        const CLIPS: usize = 5;
        let environment = Environment::sample(split, mixed(seed, 23));
        let purpose = 191 + u64::from(split == Split::Test);
        let mut rng = ChaCha8Rng::seed_from_u64(mixed(seed, purpose));
        let paper = rng.random_bool(0.5);
        let first = if paper {
            Still::Paper(Stack::open())
        } else {
            Still::Blocks(free::scattered(&mut rng))
        };
        let curl_left = rng.random();
        let mut episode = Self::begin(None, split, environment, first, curl_left, &mut rng);
        for _ in 0..CLIPS {
            let (action, doing) = free::step(episode.last_still(), &mut rng);
            episode.push(action, doing, &mut rng);
        }
        episode
    }

    fn begin(
        task: Option<Task>,
        split: Split,
        environment: Environment,
        first: Still,
        curl_left: bool,
        rng: &mut ChaCha8Rng,
    ) -> Self {
        let left: bool = rng.random();
        let rest = resting(if left { -1.0 } else { 1.0 }, &first, rng);
        Self {
            task,
            split,
            environment,
            steps: Vec::new(),
            stills: vec![first],
            rests: vec![rest],
            curl_left,
            frames_per_clip: FRAMES_PER_CLIP,
        }
    }

    fn last_still(&self) -> &Still {
        self.stills.last().expect("an episode has a first state")
    }

    fn push(&mut self, action: Action, doing: Doing, rng: &mut ChaCha8Rng) {
        let motion = Motion::sample(rng);
        let before = self.last_still().clone();
        let after = before.after(&doing);
        let last_rest = *self.rests.last().expect("an episode has a first rest");
        let taken = hold_point(&before, &doing, 0.0).0;
        // The hand leaves to the side where it took hold; from the middle, to where it came from.
        let side = if taken.x.abs() > 0.05 { taken.x } else { last_rest.x };
        self.rests.push(resting(side.signum(), &after, rng));
        self.steps.push(Step { action, doing, motion });
        self.stills.push(after);
    }

    pub fn num_clips(&self) -> usize {
        self.steps.len()
    }

    /// What is done in clip `k`.
    pub fn action(&self, k: usize) -> Action {
        self.steps[k].action
    }

    /// All actions in order.
    pub fn actions(&self) -> Vec<Action> {
        self.steps.iter().map(|step| step.action).collect()
    }

    /// The same for all clips of one environment, and for no other environment.
    pub fn environment_id(&self) -> u64 {
        self.environment.id
    }

    pub(super) fn environment(&self) -> &Environment {
        &self.environment
    }

    /// The same episode in clips of another length: still one action a clip, in finer or coarser
    /// steps.
    ///
    /// # Panics
    /// Panics below two frames, which have no motion between them.
    pub fn in_clips_of(self, frames_per_clip: usize) -> Self {
        assert!(frames_per_clip > 1, "a clip of {frames_per_clip} frames has no motion");
        Self { frames_per_clip, ..self }
    }

    /// The same actions, moved the same way, in the environment of another episode.
    pub fn with_environment(&self, other: &Self) -> Self {
        Self { split: other.split, environment: other.environment.clone(), ..self.clone() }
    }

    /// The actions and movements of another episode in this environment.
    pub fn with_actions_of(&self, other: &Self) -> Self {
        other.with_environment(self)
    }

    /// The frames of clip `k` with their labels, 17 unless asked for others.
    pub fn clip(&self, k: usize, size: Size) -> CraftClip {
        self.painted(k, size, false)
    }

    /// Like [`Episode::clip`], with masks of paper, blocks and hand in the labels.
    pub fn clip_with_masks(&self, k: usize, size: Size) -> CraftClip {
        self.painted(k, size, true)
    }

    /// The frame before clip `k`; `k == num_clips()` gives the last frame.
    pub fn frame(&self, k: usize, size: Size) -> Frame {
        let scene = self.scene(k, 0);
        Renderer::new(&self.environment, size, false).render(&scene)
    }

    fn painted(&self, k: usize, size: Size, masks: bool) -> CraftClip {
        let mut renderer = Renderer::new(&self.environment, size, masks);
        let mut clip = CraftClip::default();
        let last = self.frames_per_clip - 1;
        for i in 0..=last {
            // The end of a clip is the start of the next one, by construction and not only by rounding.
            let scene = if i == last { self.scene(k + 1, 0) } else { self.scene(k, i) };
            clip.frames.push(renderer.render(&scene));
            let masks = masks.then(|| Masks {
                paper: renderer.mask(Thing::Paper),
                blocks: renderer.mask(Thing::Block),
                hand: renderer.mask(Thing::Hand),
            });
            let finished = i == last;
            clip.labels.push(FrameLabel {
                task: self.task,
                action: self.action(k),
                key_step: k + usize::from(finished),
                progress: i as f32 / last as f32,
                state: State::of(&scene),
                masks,
            });
        }
        clip
    }

    /// What there is to see at frame `i` of clip `k`, the last one left out, or at the very end.
    pub(super) fn scene(&self, k: usize, i: usize) -> Scene {
        let start = self.moment(k);
        if i == 0 {
            return start.scene();
        }
        let at = i as f32 / (self.frames_per_clip - 1) as f32;
        Scene { time: start.time + i, ..self.steps[k].scene(&start, self.rests[k + 1], at) }
    }

    /// The moment before clip `k`.
    pub(super) fn moment(&self, k: usize) -> Moment<'_> {
        Moment {
            still: &self.stills[k],
            rest: self.rests[k],
            curl_left: self.curl_left,
            time: k * (self.frames_per_clip - 1),
        }
    }

    /// The actions that the state before clip `k` allows; none for free motions.
    pub fn next_actions(&self, k: usize) -> Vec<Action> {
        let done = &self.actions()[..k];
        self.task.map_or_else(Vec::new, |task| plan::next(task, done))
    }

    /// The same episode up to clip `k`, then another of [`Episode::next_actions`], then the task's end in some order.
    /// None when that action is not possible there.
    pub fn branched(&self, k: usize, action: Action) -> Option<Self> {
        let task = self.task?;
        if !self.next_actions(k).contains(&action) {
            return None;
        }
        let mut actions = self.actions();
        actions.truncate(k);
        actions.push(action);
        let purpose = 301 + 64 * k as u64 + action.index() as u64;
        let mut rng = ChaCha8Rng::seed_from_u64(mixed(self.environment.id, purpose));
        finish_plan(task, &mut actions, &mut rng);
        let mut branch = self.clone();
        branch.steps.truncate(k);
        branch.stills.truncate(k + 1);
        branch.rests.truncate(k + 1);
        branch.push_all(&actions, &mut rng);
        Some(branch)
    }

    /// States that other actions possible at clip `k` would lead to.
    pub(super) fn alternatives(&self, k: usize) -> Vec<Still> {
        let Some(task) = self.task else {
            return Vec::new();
        };
        let actions = self.actions();
        let done = &actions[..k];
        let others = plan::next(task, done).into_iter().filter(|&a| a != actions[k]);
        others
            .filter_map(|action| task_step(action, done, done))
            .map(|doing| self.stills[k].after(&doing))
            .collect()
    }
}

/// Goes on with a task until it is done, choosing freely.
fn finish_plan(task: Task, actions: &mut Vec<Action>, rng: &mut ChaCha8Rng) {
    loop {
        let open = plan::next(task, actions);
        if open.is_empty() {
            return;
        }
        actions.push(open[rng.random_range(0..open.len())]);
    }
}

fn jittered(mut blocks: Vec<Block>, rng: &mut ChaCha8Rng) -> Vec<Block> {
    for block in &mut blocks {
        block.at += pt(rng.random_range(-0.015..0.015), rng.random_range(-0.015..0.015));
    }
    blocks
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: Size = Size { height: 64, width: 96 };

    fn several() -> Vec<Episode> {
        let tasks = Task::ALL.iter().zip(3..);
        let mut all: Vec<_> =
            tasks.map(|(&task, seed)| Episode::sample(task, Split::Train, seed)).collect();
        all.extend((0..4).map(|seed| Episode::free(Split::Test, seed)));
        all
    }

    #[test]
    fn the_same_seed_paints_the_same_and_another_does_not() {
        for seed in [1, 2] {
            let paint = |seed| Episode::sample(Task::Horse, Split::Test, seed).clip(2, SIZE);
            assert_eq!(paint(seed).frames, paint(seed).frames);
            assert_ne!(paint(seed).frames, paint(seed + 1).frames);
        }
    }

    #[test]
    fn the_last_frame_of_a_clip_is_the_first_of_the_next() {
        for episode in several() {
            for k in 0..episode.num_clips() {
                let clip = episode.clip(k, SIZE);
                assert_eq!(clip.frames.len(), FRAMES_PER_CLIP);
                assert_eq!(clip.frames[0], episode.frame(k, SIZE));
                assert_eq!(clip.frames[FRAMES_PER_CLIP - 1], episode.frame(k + 1, SIZE));
                assert_ne!(clip.frames[0], clip.frames[8]);
            }
        }
    }

    #[test]
    fn clips_of_another_length_show_the_same_motion_in_other_steps() {
        let episode = Episode::sample(Task::Tower, Split::Train, 2);
        let fine = episode.clone().in_clips_of(33);
        for k in [0, 2] {
            let (clip, fine) = (episode.clip(k, SIZE), fine.clip(k, SIZE));
            assert_eq!(fine.frames.len(), 33);
            assert_ne!(fine.frames[15], fine.frames[16]);
            for i in 0..FRAMES_PER_CLIP {
                let (label, fine) = (&clip.labels[i], &fine.labels[2 * i]);
                assert_eq!((label.progress, &label.state), (fine.progress, &fine.state));
            }
        }
        let two = episode.in_clips_of(2).clip(1, SIZE);
        assert_eq!((two.frames.len(), two.labels[1].key_step), (2, 2));
    }

    #[test]
    fn tasks_differ_in_order_and_free_motions_belong_to_none() {
        for task in Task::ALL {
            let orders: std::collections::HashSet<_> =
                (0..40).map(|seed| Episode::sample(task, Split::Train, seed).actions()).collect();
            assert!(orders.len() >= 4, "{task:?}: {}", orders.len());
        }
        for seed in 0..20 {
            let episode = Episode::free(Split::Train, seed);
            assert!(episode.task.is_none() && episode.next_actions(0).is_empty());
            assert!(episode.actions().iter().all(|a| a.is_free()));
        }
    }

    #[test]
    fn another_environment_changes_the_picture_and_not_what_happens() {
        let episode = Episode::sample(Task::Boat, Split::Train, 1);
        let other = Episode::sample(Task::Tower, Split::Test, 2);
        let moved = episode.with_environment(&other);
        assert_eq!(moved.environment_id(), other.environment_id());
        let (a, b) = (episode.clip(3, SIZE), moved.clip(3, SIZE));
        assert_ne!(a.frames, b.frames);
        for (a, b) in a.labels.iter().zip(&b.labels) {
            assert_eq!((a.action, a.key_step, &a.state), (b.action, b.key_step, &b.state));
        }
        assert_eq!(other.with_actions_of(&episode), moved);
    }

    #[test]
    fn a_branch_shares_its_past_and_takes_the_other_action() {
        let episode = Episode::sample(Task::Person, Split::Test, 8);
        let k = 3;
        let mut branches = 0;
        for action in episode.next_actions(k) {
            let branch = episode.branched(k, action).expect("a possible action");
            assert_eq!(branch.action(k), action);
            assert_eq!(branch.num_clips(), episode.num_clips());
            assert_eq!(branch.frame(k, SIZE), episode.frame(k, SIZE));
            if action != episode.action(k) {
                assert_ne!(branch.frame(k + 1, SIZE), episode.frame(k + 1, SIZE));
                branches += 1;
            }
        }
        assert!(branches >= 1);
        assert!(episode.branched(k, Action::FoldLeftEdge).is_none());
    }

    #[test]
    fn labels_say_what_is_where() {
        let episode = Episode::sample(Task::Airplane, Split::Test, 4);
        let clip = episode.clip_with_masks(1, SIZE);
        assert_eq!(clip.labels[0].key_step, 1);
        assert_eq!(clip.labels[16].key_step, 2);
        assert!((clip.labels[8].progress - 0.5).abs() < 1e-6);
        let masks = clip.labels[8].masks.as_ref().expect("masks were asked for");
        let covered = |mask: &image::GrayImage| {
            mask.pixels().map(|p| u32::from(p.0[0])).sum::<u32>() as f32 / (255.0 * 64.0 * 96.0)
        };
        assert!((0.1..0.4).contains(&covered(&masks.paper)));
        assert!((0.03..0.3).contains(&covered(&masks.hand)));
        assert_eq!(covered(&masks.blocks), 0.0);
        assert!(episode.clip(1, SIZE).labels[8].masks.is_none());
    }
}
