//! The ways through the tree: steps, branches, choices, and moves between what is there.

use std::sync::Arc;

use engine::pack::Scale;
use engine::rollout::{NewClip, NodeId, Origin, Rollout, Sampling};
use engine::worker::Request;

use super::Studio;
use super::jobs::JobKind;
use super::model::Waiting;
use super::player::Mark;
use super::session::Session;
use crate::codes::{Recorded, StoredCodes};

/// Temperature of a branch where the pack's own would draw the same codes again.
const BRANCH_TEMPERATURE: f32 = 0.8;

impl Studio {
    /// The user wants something: background work may go on afterwards.
    pub(super) fn user_acts(&mut self) {
        self.model.jobs.hold_background = false;
        self.model.player.playing = false;
        self.model.player.backward = false;
        self.model.player.once = false;
        self.model.player.to_the_end = false;
        self.waiting_for = None;
    }

    pub(super) fn after_move(&mut self) {
        self.model.view.selected = None;
        self.model.view.alternatives = None;
        self.leave_other_places();
        if let Some(session) = &mut self.model.session {
            let node = session.current();
            session.want_coarse(node);
            self.fetch(node);
            self.tidy_clips();
        }
    }

    pub(super) fn go(&mut self, way: impl FnOnce(&mut Session) -> bool) {
        self.user_acts();
        let Some(session) = &mut self.model.session else {
            return;
        };
        let before = session.current();
        way(session);
        if session.current() != before {
            self.after_move();
        }
    }

    pub(super) fn move_steps(&mut self, steps: i64) {
        self.go(|session| {
            let pack = session.pack();
            let per_step = session.last_frame() / pack.steps_per_clip.max(1);
            session.move_by(steps * per_step.max(1) as i64)
        });
    }

    pub(super) fn step(&mut self) {
        self.user_acts();
        let Some(session) = &mut self.model.session else {
            return;
        };
        if let Some(next) = session.next_on_line() {
            session.go_to(next, 0);
            self.after_move();
            self.model.player.play_once();
            return;
        }
        let current = session.current();
        self.waiting_for = Some(current);
        self.grow(current, self.sampling_at(current));
    }

    /// Asks for the clip after `parent`: that of the recorded codes, or else the policy's.
    pub(super) fn grow(&mut self, parent: NodeId, sampling: Sampling) {
        let Some(session) = &mut self.model.session else {
            return;
        };
        let Some(codes) = session.codes.clone() else {
            self.extend(parent, Vec::new(), Origin::Policy, sampling);
            return;
        };
        let Some(clip) = codes.clip(session.rollout.line(parent).len(), sampling.seed) else {
            return;
        };
        let node = session.grow(parent, clip);
        let request = Request::Coarse { path: session.path(node), sampling };
        self.set_paused(false);
        self.give_way();
        let id = self.engine.send(request);
        self.model.jobs.add(id, JobKind::Extend { parent }, false);
        if let Some(job) = self.model.jobs.get_mut(id) {
            job.made = Some(node);
        }
    }

    /// Plays recorded codes from here on, or with `None` the policy's again.
    pub(super) fn play_codes(&mut self, codes: Option<Arc<Recorded>>) {
        self.user_acts();
        self.give_way();
        // What is being predicted would go on with the codes that are left now.
        for id in self.model.jobs.extending() {
            self.engine.cancel(id);
        }
        let sentence = codes.as_ref().map(|codes| {
            let (clips, source) = (codes.clips.len(), &codes.source);
            let plural = if clips == 1 { "clip" } else { "clips" };
            match self.model.session {
                Some(_) => format!("Step plays the codes of {source}, {clips} {plural}"),
                None => format!("Choose a starting frame to play the codes of {source} from"),
            }
        });
        self.model.toasts.info(sentence.unwrap_or_else(|| "Step asks the policy".to_owned()));
        self.model.codes.clone_from(&codes);
        if let Some(session) = &mut self.model.session {
            session.codes = codes;
            session.follow_codes();
        }
    }

    /// Codes from a file, as soon as there is a pack.
    pub(super) fn open_codes(&mut self, stored: StoredCodes) {
        let Some(pack) = self.model.pack() else {
            self.model.waiting = Some(Waiting::Codes(stored));
            return;
        };
        match stored.fit(pack) {
            Ok(codes) => self.play_codes(Some(Arc::new(codes))),
            Err(error) => {
                let reason = error.to_string();
                let details = self.report(&reason);
                self.model.toasts.error(reason, details);
            }
        }
    }

    /// Another way for the clip on the stage: the same start, another seed.
    pub(super) fn branch(&mut self) {
        self.user_acts();
        let Some(session) = &self.model.session else {
            return;
        };
        let current = session.current();
        let parent = session.rollout.node(current).parent.unwrap_or(current);
        let seeds = session.rollout.nodes().iter().map(|node| node.choice.seed);
        let mut sampling = session.sampling().clone();
        sampling.seed = seeds.max().map_or(0, |seed| seed.wrapping_add(1));
        sampling.temperature = sampling.temperature.max(BRANCH_TEMPERATURE);
        self.wait_at(parent);
        self.grow(parent, sampling);
    }

    /// Goes to `parent` so that the branch growing there is shown when it comes.
    pub(super) fn wait_at(&mut self, parent: NodeId) {
        if let Some(session) = &mut self.model.session {
            let end = session.last_frame();
            session.go_to(parent, end);
        }
        self.after_move();
        self.waiting_for = Some(parent);
    }

    pub(super) fn choose(&mut self, node: NodeId, position: usize, code: u16) {
        self.user_acts();
        self.model.view.alternatives = None;
        let Some(session) = &self.model.session else {
            return;
        };
        let chosen = session.rollout.node(node);
        let Some(parent) = chosen.parent else {
            return;
        };
        if chosen.choice.codes.get(position) == Some(&code) {
            return;
        }
        let before = chosen.choice.codes.iter().take(position).copied();
        let mut fixed: Vec<(usize, u16)> = before.enumerate().collect();
        fixed.push((position, code));
        let mut sampling = session.sampling().clone();
        sampling.seed = chosen.choice.seed;
        self.wait_at(parent);
        self.extend(parent, fixed, Origin::Chosen { position, code }, sampling);
    }

    /// The outcome of a candidate was painted already: taking it needs no prediction.
    pub(super) fn take_candidate(&mut self, index: usize) {
        let Some(session) = &mut self.model.session else {
            return;
        };
        let current = session.current();
        let outcomes = session.view(current).candidates.as_ref();
        let Some(candidate) = outcomes.and_then(|all| all.get(index)) else {
            return;
        };
        let candidate = candidate.candidate.clone();
        let seed = session.sampling().seed;
        let origin = Origin::Chosen { position: 0, code: candidate.code };
        let clip = NewClip { origin, predictions: candidate.predictions, seed };
        let node = session.grow(current, clip);
        session.go_to(node, 0);
        self.user_acts();
        self.after_move();
        self.model.player.play_once();
    }

    pub(super) fn refine(&mut self) {
        self.user_acts();
        let Some(session) = &mut self.model.session else {
            return;
        };
        for node in session.line() {
            let view = session.view_mut(node);
            view.refine_given_up = false;
            view.coarse_given_up = false;
        }
        self.set_paused(false);
    }

    pub(super) fn sampling_at(&self, parent: NodeId) -> Sampling {
        let session = self.model.session.as_ref();
        let mut sampling = session.map_or(
            Sampling {
                temperature: 0.0,
                seed: 0,
                refine_steps: 1,
                guidance: 1.0,
                scale: Scale::default(),
            },
            |session| session.sampling().clone(),
        );
        // A branch keeps its seed further down.
        if let Some(session) = session
            && parent != Rollout::ROOT
        {
            sampling.seed = session.rollout.node(parent).choice.seed;
        }
        sampling
    }

    pub(super) fn extend(
        &mut self,
        parent: NodeId,
        fixed: Vec<(usize, u16)>,
        origin: Origin,
        sampling: Sampling,
    ) {
        if self.model.jobs.extends(parent) && fixed.is_empty() && sampling == self.last_sampling {
            return;
        }
        let Some(session) = &self.model.session else {
            return;
        };
        let request = Request::Extend {
            path: session.path(parent),
            parent,
            fixed,
            origin,
            sampling: sampling.clone(),
        };
        self.last_sampling = sampling;
        // Who asks for a clip wants it now.
        self.set_paused(false);
        self.give_way();
        let id = self.engine.send(request);
        self.model.jobs.add(id, JobKind::Extend { parent }, false);
    }

    pub(super) fn play_pause(&mut self) {
        let playing = self.model.player.playing || self.model.player.to_the_end;
        self.user_acts();
        if playing {
            return;
        }
        let Some(session) = &mut self.model.session else {
            return;
        };
        let complete = session.is_complete(session.tip());
        let at_end = session.next_on_line().is_none() && session.frame() >= session.last_frame();
        let ends = complete || !session.can_grow();
        if ends && at_end {
            session.seek(0);
        }
        // A part that is marked is played as it is.
        let marked = self.model.player.marks.get(Mark::Out).is_some();
        if ends || marked {
            self.run_player();
        } else {
            self.play_to_the_end();
        }
    }

    /// Plays, and predicts what the task lacks.
    pub(super) fn play_to_the_end(&mut self) {
        self.run_player();
        self.model.player.to_the_end = true;
        self.set_paused(false);
    }

    /// Plays what is painted in one direction; faster if it plays that way already.
    pub(super) fn shuttle(&mut self, backward: bool) {
        let player = &self.model.player;
        let (played, speed) = (player.playing, player.speed);
        if played && player.backward == backward {
            self.set_speed(2.0 * speed);
            return;
        }
        self.user_acts();
        if played {
            // Turning round at eight times the speed would end far from here.
            self.set_speed(1.0);
        }
        self.model.player.backward = backward;
        self.run_player();
    }

    /// Starts the player, between the marks.
    fn run_player(&mut self) {
        let player = &mut self.model.player;
        player.playing = true;
        player.shown_at = None;
        if let Some(session) = &mut self.model.session
            && let Some(entry) = player.entry(session.at())
        {
            session.seek(entry);
        }
    }
}
