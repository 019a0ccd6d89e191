//! One rollout on the stage: where in its tree we are, which frame is shown, what is painted.

use std::ops::RangeInclusive;
use std::sync::Arc;

use engine::craft::Task;
use engine::media::{Clip, Fit, Frame, FrameSize};
use engine::rollout::{
    Candidate, ClipKey, ClipQuality, NewClip, Node, NodeId, Origin, Path, Rollout, Sampling,
    Session as SavedSession, StoredClip, Unfinished,
};
use engine::worker::PackSummary;

use crate::codes::Recorded;
use crate::widgets::thumbnail::still;

/// A starting frame that was chosen, before it is brought to the model's size.
#[derive(Debug, Clone)]
pub struct Picture {
    pub pixels: Arc<Frame>,
    /// Where it came from, for people.
    pub source: String,
    pub task: Task,
}

/// One thing that could happen next, ready to show.
#[derive(Debug, Clone)]
pub struct Outcome {
    pub candidate: Candidate,
    /// The last frame of its coarse clip.
    pub picture: Clip,
}

/// What is known of the pixels of one node.
#[derive(Debug, Clone)]
pub struct NodeView {
    pub coarse_key: ClipKey,
    pub refined_key: ClipKey,
    pub coarse: Option<Clip>,
    /// A preview or the refined clip.
    pub refined: Option<StoredClip>,
    /// How the clip ended, where its pixels were let go.
    pub end: Option<Clip>,
    pub candidates: Option<Vec<Outcome>>,
    /// Whether the disk need not be asked for the refined clip before anything is computed.
    pub recalled: bool,
    /// Refining failed or was cancelled by hand: not asked for again unless the user does.
    pub refine_given_up: bool,
    /// The same for candidates.
    pub candidates_given_up: bool,
    /// The same for the coarse clip.
    pub coarse_given_up: bool,
}

impl NodeView {
    pub fn is_refined(&self) -> bool {
        self.refined.as_ref().is_some_and(|stored| stored.quality == ClipQuality::Refined)
    }

    /// Whether `refined` is a preview with fewer pixels than the coarse clip: something to look at
    /// while refining goes on, and never the best pixels there are.
    pub fn is_sketched(&self) -> bool {
        let pixels = |clip: &Clip| clip.first().map(|frame| frame.width() * frame.height());
        let refined = self.refined.as_ref().and_then(|stored| pixels(&stored.clip));
        refined.is_some() && refined < self.coarse.as_ref().and_then(pixels)
    }

    /// The best pixels there are.
    pub fn best(&self) -> Option<&Clip> {
        let refined = self.refined.as_ref().filter(|_| !self.is_sketched());
        refined.map(|stored| &stored.clip).or(self.coarse.as_ref())
    }

    /// Whether there are pixels to show.
    pub fn is_painted(&self) -> bool {
        self.coarse.is_some() || self.refined.is_some()
    }
}

/// A rollout and how it is looked at.
///
/// The clips of the line stay in memory, those of other branches as long as the engine keeps them.
pub struct Session {
    pub rollout: Rollout,
    pub picture: Picture,
    pub fit: Fit,
    /// The starting frame as the model sees it.
    pub start: Clip,
    /// Codes that are played in place of the policy's: step `n` plays their clip `n`.
    pub codes: Option<Arc<Recorded>>,
    /// The end of the line of clips that the strips show.
    tip: NodeId,
    /// Frame of the current clip, `0..frames_per_clip`.
    frame: usize,
    views: Vec<NodeView>,
    history: Vec<NodeId>,
    history_at: usize,
    pack: Arc<PackSummary>,
    sampling: Sampling,
}

impl Session {
    /// A rollout of nothing but `picture`, which `fit` brought to the pack's size in `start`.
    pub fn new(picture: Picture, fit: Fit, start: Arc<Frame>, pack: Arc<PackSummary>) -> Self {
        let rollout = Rollout::new(start, picture.source.clone(), picture.task);
        Self::of(rollout, picture, fit, pack)
    }

    /// A rollout that was saved, on the clip that was on the stage.
    ///
    /// # Errors
    /// One sentence when it was made with another pack: its codes mean nothing to this one.
    pub fn resume(saved: &SavedSession, fit: Fit, pack: Arc<PackSummary>) -> Result<Self, String> {
        if saved.pack_id != pack.id.to_string() {
            return Err(format!(
                "This session was made with another pack, {}: open that pack first",
                saved.pack
            ));
        }
        let rollout = saved.rollout.clone();
        let codes = pack.codes_per_clip();
        let fits = |node: &Node| node.parent.is_none() || node.choice.codes.len() == codes;
        if FrameSize::of(&rollout.start) != pack.frame_size() || !rollout.nodes().iter().all(fits) {
            return Err("This session is damaged: its clips are not of this pack".to_owned());
        }
        let picture = Picture {
            pixels: rollout.start.clone(),
            source: rollout.source.clone(),
            task: rollout.task,
        };
        let mut session = Self::of(rollout, picture, fit, pack);
        let mut sampling = saved.sampling.clone();
        // The memory was counted for video of the pack's scale, so that it can only be smaller.
        if f32::from(sampling.scale) > f32::from(session.sampling.scale) {
            sampling.scale = session.sampling.scale;
        }
        session.set_sampling(&sampling);
        session.forget_recalled();
        for node in &saved.unfinished.cancelled {
            session.view_mut(*node).refine_given_up = true;
        }
        let current = session.current();
        session.tip = session.end_below(current);
        session.frame = if current == Rollout::ROOT { 0 } else { session.last_frame() };
        Ok(session)
    }

    fn of(rollout: Rollout, picture: Picture, fit: Fit, pack: Arc<PackSummary>) -> Self {
        let mut session = Self {
            start: still((*rollout.start).clone()),
            codes: None,
            history: vec![rollout.current()],
            history_at: 0,
            rollout,
            picture,
            fit,
            tip: Rollout::ROOT,
            frame: 0,
            views: Vec::new(),
            sampling: pack.sampling.clone(),
            pack,
        };
        session.make_views();
        session
    }

    /// The rollout as it is written down, with the work that is left.
    pub fn saved(&self, unfinished: Unfinished) -> SavedSession {
        SavedSession {
            pack: self.pack.name.clone(),
            pack_id: self.pack.id.to_string(),
            sampling: self.sampling.clone(),
            rollout: self.rollout.clone(),
            unfinished,
        }
    }

    /// Whether the picture had another shape than the model's frames, so that the fit matters.
    pub fn is_reshaped(&self) -> bool {
        let (width, height) = self.picture.pixels.dimensions();
        let size = self.pack.frame_size();
        u64::from(width) * u64::from(size.height) != u64::from(height) * u64::from(size.width)
    }

    pub fn pack(&self) -> &PackSummary {
        &self.pack
    }

    /// How codes are drawn and clips refined: as the pack says, until something else is asked for.
    pub fn sampling(&self) -> &Sampling {
        &self.sampling
    }

    /// Takes over what makes sense of it, and says whether clips are refined otherwise now. They
    /// begin where others end, so all are looked for or made anew.
    pub fn set_sampling(&mut self, wanted: &Sampling) -> bool {
        let Sampling { temperature, refine_steps, guidance, seed, scale } = *wanted;
        if temperature.is_finite() && temperature >= 0.0 {
            self.sampling.temperature = temperature;
        }
        if guidance.is_finite() {
            self.sampling.guidance = guidance;
        }
        self.sampling.refine_steps = refine_steps.max(1);
        (self.sampling.seed, self.sampling.scale) = (seed, scale);
        let mut otherwise = false;
        for at in 0..self.views.len() {
            let fresh = self.view_of(NodeId(at as u32));
            let view = &mut self.views[at];
            if view.refined_key != fresh.refined_key {
                let NodeView { refined_key, refined, .. } = fresh;
                (view.refined_key, view.refined) = (refined_key, refined);
                (view.recalled, view.refine_given_up) = (false, false);
                otherwise |= at > 0;
            }
        }
        otherwise
    }

    pub fn current(&self) -> NodeId {
        self.rollout.current()
    }

    pub fn frame(&self) -> usize {
        self.frame
    }

    /// The nodes that the strips show, first clip first.
    pub fn line(&self) -> Vec<NodeId> {
        self.rollout.line(self.tip)
    }

    pub fn tip(&self) -> NodeId {
        self.tip
    }

    /// Place of the current clip on the line; `None` on the starting frame.
    pub fn position(&self) -> Option<usize> {
        self.line().iter().position(|node| *node == self.current())
    }

    pub fn view(&self, node: NodeId) -> &NodeView {
        &self.views[node.0 as usize]
    }

    pub fn view_mut(&mut self, node: NodeId) -> &mut NodeView {
        &mut self.views[node.0 as usize]
    }

    /// Who goes to a clip wants to see it, even if painting it was given up.
    pub fn want_coarse(&mut self, node: NodeId) {
        if !self.view(node).is_painted() {
            for node in self.rollout.line(node) {
                self.view_mut(node).coarse_given_up = false;
            }
        }
    }

    /// The disk is asked again for refined clips that are not there.
    pub fn forget_recalled(&mut self) {
        for view in self.views.iter_mut().filter(|view| !view.is_refined()) {
            view.recalled = false;
        }
    }

    /// Clips from the starting frame to the end of the task, or of the codes that are played.
    pub fn clips_of_task(&self) -> usize {
        if let Some(codes) = &self.codes {
            return codes.clips.len();
        }
        let at = self.pack.tasks.iter().position(|task| *task == self.rollout.task);
        at.and_then(|at| self.pack.clips_per_task.get(at).copied()).unwrap_or(1)
    }

    /// Whether the task is at its end at `node`.
    pub fn is_complete(&self, node: NodeId) -> bool {
        self.rollout.line(node).len() >= self.clips_of_task()
    }

    /// Whether there is anything that gives the codes of another clip.
    pub fn can_grow(&self) -> bool {
        self.codes.is_some() || self.pack.has_policy
    }

    /// Ends the line where the codes that are played now have led from here so far.
    pub fn follow_codes(&mut self) {
        let mut end = self.current();
        while let Some(next) = self.continuation(end) {
            end = next;
        }
        self.tip = end;
    }

    /// The newest clip below `node` that the codes to play give as well.
    fn continuation(&self, node: NodeId) -> Option<NodeId> {
        let depth = self.rollout.line(node).len();
        let gives = |child: &NodeId| {
            let child = self.rollout.node(*child);
            match &self.codes {
                Some(codes) => codes.clips.get(depth) == Some(&child.choice.codes),
                None => !matches!(child.origin, Origin::Recorded { .. }),
            }
        };
        self.rollout.node(node).children.iter().rev().copied().find(gives)
    }

    /// Whether what gives the codes can give those of this task.
    pub fn knows_task(&self) -> bool {
        self.codes.is_some() || self.pack.tasks.contains(&self.rollout.task)
    }

    /// Places on the time axis: the task's clips, or more if there are more.
    pub fn clips_on_axis(&self) -> usize {
        self.clips_of_task().max(self.line().len()).max(1)
    }

    /// How far along the time axis we are, 0..1.
    pub fn now(&self) -> f32 {
        let Some(position) = self.position() else {
            return 0.0;
        };
        let within = self.frame as f32 / self.last_frame().max(1) as f32;
        (position as f32 + within) / self.clips_on_axis() as f32
    }

    /// Index of the last frame of a clip.
    pub fn last_frame(&self) -> usize {
        self.pack.frames_per_clip.saturating_sub(1)
    }

    /// The step of the codes that painted the frame on the stage.
    pub fn step(&self) -> usize {
        let steps = self.pack.steps_per_clip.max(1);
        let per_step = (self.last_frame() / steps).max(1);
        (self.frame.saturating_sub(1) / per_step).min(steps - 1)
    }

    /// Adds a predicted clip and, if we still are where it grew from, makes it the line's end.
    pub fn grow(&mut self, parent: NodeId, clip: NewClip) -> NodeId {
        let node = self.rollout.grow(parent, clip);
        self.make_views();
        if self.current() == parent || self.tip == parent {
            self.tip = node;
        }
        node
    }

    /// Every node of the tree has its view.
    fn make_views(&mut self) {
        while self.views.len() < self.rollout.nodes().len() {
            let next = NodeId(self.views.len() as u32);
            self.views.push(self.view_of(next));
        }
    }

    fn view_of(&self, node: NodeId) -> NodeView {
        let path = self.rollout.path(node);
        NodeView {
            coarse_key: ClipKey::coarse(&self.pack.id, &path),
            refined_key: ClipKey::refined(&self.pack.id, &path, &self.sampling),
            coarse: None,
            refined: None,
            end: None,
            candidates: None,
            // A clip that grows now is looked for when its turn to be refined comes.
            recalled: true,
            refine_given_up: false,
            candidates_given_up: false,
            coarse_given_up: false,
        }
    }

    pub fn path(&self, node: NodeId) -> Path {
        self.rollout.path(node)
    }

    /// Goes to a node; `frame` is clipped to the clip. Moves can be undone.
    pub fn go_to(&mut self, node: NodeId, frame: usize) {
        if node != self.current() {
            self.history.truncate(self.history_at + 1);
            self.history.push(node);
            self.history_at = self.history.len() - 1;
        }
        self.put(node, frame);
    }

    fn put(&mut self, node: NodeId, frame: usize) {
        self.rollout.go_to(node);
        self.frame = if node == Rollout::ROOT { 0 } else { frame.min(self.last_frame()) };
        let on_line = node == Rollout::ROOT || self.line().contains(&node);
        if !on_line {
            self.tip = self.end_below(node);
        }
    }

    /// The end of the newest branch below a node.
    fn end_below(&self, node: NodeId) -> NodeId {
        let mut end = node;
        while let Some(child) = self.rollout.node(end).children.last() {
            end = *child;
        }
        end
    }

    pub fn can_undo(&self) -> bool {
        self.history_at > 0
    }

    pub fn can_redo(&self) -> bool {
        self.history_at + 1 < self.history.len()
    }

    /// Returns to the node before the last move.
    pub fn undo(&mut self) -> bool {
        self.history_at.checked_sub(1).is_some_and(|at| self.revisit(at))
    }

    pub fn redo(&mut self) -> bool {
        self.can_redo() && self.revisit(self.history_at + 1)
    }

    fn revisit(&mut self, at: usize) -> bool {
        self.history_at = at;
        self.put(self.history[at], self.last_frame());
        true
    }

    /// The next node of the line after the current one.
    pub fn next_on_line(&self) -> Option<NodeId> {
        let line = self.line();
        let next = self.position().map_or(0, |position| position + 1);
        line.get(next).copied()
    }

    /// One clip back, at its end: what the current clip started from.
    pub fn back(&mut self) -> bool {
        let Some(parent) = self.rollout.node(self.current()).parent else {
            return false;
        };
        self.go_to(parent, self.last_frame());
        true
    }

    /// The last frame of the joined line.
    pub fn end(&self) -> i64 {
        (self.line().len() * self.last_frame().max(1)) as i64
    }

    /// Moves by whole frames along the line; false if its end (or start) stopped it.
    pub fn move_by(&mut self, frames: i64) -> bool {
        let wanted = self.at() + frames;
        self.seek(wanted.clamp(0, self.end()));
        (0..=self.end()).contains(&wanted)
    }

    /// As [`Self::move_by`], but no further than there are pixels and not out of `within`.
    pub fn play_by(&mut self, frames: i64, within: RangeInclusive<i64>) -> bool {
        let at = self.at();
        let (first, last) = (*within.start(), *within.end());
        let wanted = at + frames;
        let reached = if frames < 0 {
            wanted.max(first.max(0)).min(at)
        } else {
            wanted.min(last.min(self.painted_until())).max(at)
        };
        self.seek(reached);
        reached == wanted
    }

    /// The frame of the joined line up to which there are pixels from here on.
    fn painted_until(&self) -> i64 {
        let next = self.position().map_or(0, |position| position + 1);
        let ahead = self.line();
        let painted =
            ahead.iter().skip(next).take_while(|node| self.view(**node).is_painted()).count();
        ((next + painted) * self.last_frame().max(1)) as i64
    }

    /// Goes to the frame `at` of the joined line, where neighbouring clips share a frame.
    pub fn seek(&mut self, at: i64) {
        let line = self.line();
        let per_clip = self.last_frame().max(1) as i64;
        if at <= 0 || line.is_empty() {
            self.put(Rollout::ROOT, 0);
            return;
        }
        // A shared frame belongs to the clip that ends with it.
        let clip = ((at - 1) / per_clip).min(line.len() as i64 - 1);
        self.put(line[clip as usize], (at - clip * per_clip) as usize);
    }

    /// Frame on the joined line that is shown now.
    pub fn at(&self) -> i64 {
        let per_clip = self.last_frame().max(1) as i64;
        self.position().map_or(0, |p| p as i64 * per_clip + self.frame as i64)
    }

    /// Every node whose clip is stored under `key`: branches by seed share their coarse clip.
    pub fn store(&mut self, key: ClipKey, stored: &StoredClip) {
        for view in self.views.iter_mut().skip(1) {
            if view.coarse_key == key {
                view.coarse = Some(stored.clip.clone());
            }
            if view.refined_key == key {
                view.refined = Some(stored.clone());
            }
        }
    }

    /// Lets go of clips beside the line that the engine keeps no longer; they are computed or read
    /// again when somebody goes there.
    pub fn let_go(&mut self, is_kept: impl Fn(ClipKey) -> bool) {
        let line = self.line();
        for (at, view) in self.views.iter_mut().enumerate().skip(1) {
            let is_lost = |key| !is_kept(key);
            let on_line = line.contains(&NodeId(at as u32));
            let refined = view.refined.is_some() && is_lost(view.refined_key);
            let coarse = view.coarse.is_some() && is_lost(view.coarse_key);
            if on_line || !(refined || coarse) {
                continue;
            }
            let end = view.best().and_then(|clip| clip.last()).cloned().map(still);
            view.end = end.or(view.end.take());
            if refined {
                (view.refined, view.recalled) = (None, false);
            }
            if coarse {
                view.coarse = None;
            }
        }
    }

    /// A picture for the node: how its clip ends, in the best pixels there are.
    pub fn thumbnail(&self, node: NodeId) -> Option<Clip> {
        if node == Rollout::ROOT {
            return Some(self.start.clone());
        }
        let view = self.view(node);
        view.best().or(view.end.as_ref()).cloned()
    }
}
