//! What the window asks of the engine when the user asks for nothing: prediction while playing to
//! the end, then pixels, then refinement, then candidates. One job at a time, so that the user's
//! next wish never waits behind a queue.

use engine::rollout::{NodeId, Rollout};
use engine::worker::Request;

use super::Studio;
use super::jobs::{JobKind, Pace};

/// Candidates shown at once, one for each of the keys 1 to 6 of the panel's two rows.
pub const CANDIDATES_SHOWN: usize = 6;

impl Studio {
    /// Sends the next job of the window's own if nothing else is under way.
    pub(super) fn work_ahead(&mut self) {
        let paused = self.model.jobs.pace != Pace::Running;
        if self.model.engine_dead || self.model.pack().is_none() || paused {
            return;
        }
        if self.model.player.to_the_end {
            self.predict_ahead();
        }
        if !self.model.jobs.is_empty() || self.model.jobs.hold_background {
            return;
        }
        if let Some((kind, request)) = self.next_background() {
            let id = self.engine.send(request);
            self.model.jobs.add(id, kind, true);
        }
    }

    /// While playing to the end of the task the next clip is predicted before it is needed.
    fn predict_ahead(&mut self) {
        let Some(session) = &self.model.session else {
            return;
        };
        let tip = session.tip();
        if session.is_complete(tip) || self.model.jobs.extends(tip) {
            return;
        }
        // Recorded clips need no prediction: without a check all would be asked for at once.
        if session.codes.is_some() && !self.model.jobs.extending().is_empty() {
            return;
        }
        self.grow(tip, self.sampling_at(tip));
    }

    fn next_background(&self) -> Option<(JobKind, Request)> {
        let session = self.model.session.as_ref()?;
        let pack = session.pack();
        let current = session.current();
        let line = session.line();
        let sampling = pack.sampling.clone();
        let lacks_coarse = |node: &NodeId| {
            let view = session.view(*node);
            view.coarse.is_none() && !view.coarse_given_up
        };
        // The clip on the stage first, then the others of the line in order.
        let here = (current != Rollout::ROOT).then_some(current);
        let nodes: Vec<NodeId> = here.into_iter().chain(line.iter().copied()).collect();
        if let Some(node) = nodes.iter().copied().find(lacks_coarse) {
            let path = session.path(node);
            return Some((JobKind::Coarse(node), Request::Coarse { path, sampling }));
        }
        let lacks_refined = |node: &NodeId| {
            let view = session.view(*node);
            !view.is_refined() && !view.refine_given_up
        };
        if pack.has_refiner
            && let Some(node) = nodes.iter().copied().find(lacks_refined)
        {
            let path = session.path(node);
            return Some((JobKind::Refine(node), Request::Refine { path, sampling }));
        }
        let view = session.view(current);
        let wants_candidates = pack.has_policy
            && session.codes.is_none()
            && view.candidates.is_none()
            && !view.candidates_given_up
            && !session.is_complete(current);
        wants_candidates.then(|| {
            let request = Request::Candidates {
                path: session.path(current),
                parent: current,
                count: CANDIDATES_SHOWN,
                sampling,
            };
            (JobKind::Candidates(current), request)
        })
    }

    /// Stops the window's own jobs so that the user's comes first; they are begun again later.
    pub(super) fn give_way(&mut self) {
        for id in self.model.jobs.background_ids() {
            self.gave_way.insert(id);
            self.engine.cancel(id);
        }
    }
}
