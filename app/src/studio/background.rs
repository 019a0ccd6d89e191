//! What the window asks of the engine when the user asks for nothing: prediction while playing to
//! the end, then pixels, then refinement, then candidates. One job at a time, so that the user's
//! next wish never waits behind a queue.

use engine::rollout::ClipKey;
use engine::worker::{JobId, Request};

use super::Studio;
use super::jobs::{JobKind, Pace};
use super::queue::Pending;

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

    fn next_background(&mut self) -> Option<(JobKind, Request)> {
        if let Some(keys) = self.recall_next() {
            return Some((JobKind::Recall, Request::Recall { keys }));
        }
        let pending = self.model.pending();
        let session = self.model.session.as_ref()?;
        let pack = session.pack();
        let current = session.current();
        let sampling = session.sampling().clone();
        for pending in pending {
            match pending {
                Pending::ToTheEnd => {}
                Pending::Coarse(node) => {
                    let path = session.path(node);
                    return Some((JobKind::Coarse(node), Request::Coarse { path, sampling }));
                }
                Pending::Refine(node) => {
                    let path = session.path(node);
                    return Some((JobKind::Refine(node), Request::Refine { path, sampling }));
                }
            }
        }
        let view = session.view(current);
        let wants_candidates = pack.has_policy
            && session.codes.is_none()
            && session.knows_task()
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

    /// Names of refined clips that an earlier run may have kept; asked for once.
    fn recall_next(&mut self) -> Option<Vec<ClipKey>> {
        let session = self.model.session.as_mut()?;
        let mut keys = Vec::new();
        for node in session.line() {
            let view = session.view_mut(node);
            if !std::mem::replace(&mut view.recalled, true) && !view.is_refined() {
                keys.push(view.refined_key);
            }
        }
        (!keys.is_empty()).then_some(keys)
    }

    /// Stops what the window began for another place. A clip of this line goes on being refined:
    /// it may have taken minutes, and is needed here as well.
    pub(super) fn leave_other_places(&mut self) {
        let Some(session) = &self.model.session else {
            return;
        };
        let line = session.line();
        let lacks_coarse = line.iter().any(|node| session.view(*node).coarse.is_none());
        let is_needed = |kind: JobKind| match kind {
            JobKind::Refine(node) => line.contains(&node) && !lacks_coarse,
            JobKind::Coarse(node) => line.contains(&node),
            JobKind::Candidates(node) => node == session.current(),
            JobKind::Recall => false,
            JobKind::OpenPack
            | JobKind::Restart
            | JobKind::Move(_)
            | JobKind::Extend { .. }
            | JobKind::Verify => true,
        };
        let background = self.model.jobs.iter().filter(|job| job.background);
        let left: Vec<JobId> =
            background.filter(|job| !is_needed(job.kind)).map(|job| job.id).collect();
        self.stop_for_now(left);
    }

    /// Stops the window's own jobs so that the user's comes first; they are begun again later.
    pub(super) fn give_way(&mut self) {
        self.stop_for_now(self.model.jobs.background_ids());
    }

    fn stop_for_now(&mut self, jobs: Vec<JobId>) {
        for id in jobs {
            self.gave_way.insert(id);
            self.engine.cancel(id);
        }
    }
}
