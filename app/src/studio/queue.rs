//! What waits to be computed for the rollout on the stage, in the order in which it will be. One
//! list, which the window works off, shows, and writes down with the rollout.

use engine::rollout::{NodeId, Rollout, Unfinished};

use super::Studio;
use super::jobs::JobKind;
use super::model::Model;
use super::session::Session;

/// Work that was asked for, by the user or by the window itself; some of it may run already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pending {
    /// Predict the clips that the task lacks.
    ToTheEnd,
    Coarse(NodeId),
    Refine(NodeId),
}

impl Pending {
    /// The job that does it; predicting takes a job a clip.
    pub fn job(self) -> Option<JobKind> {
        match self {
            Self::ToTheEnd => None,
            Self::Coarse(node) => Some(JobKind::Coarse(node)),
            Self::Refine(node) => Some(JobKind::Refine(node)),
        }
    }
}

impl Model {
    /// All that waits or runs, first what comes first.
    pub fn pending(&self) -> Vec<Pending> {
        let Some(session) = &self.session else {
            return Vec::new();
        };
        let mut pending = Vec::new();
        if self.player.to_the_end && !session.is_complete(session.tip()) {
            pending.push(Pending::ToTheEnd);
        }
        pending.extend(session.lacks_coarse().into_iter().map(Pending::Coarse));
        pending.extend(session.lacks_refined().into_iter().map(Pending::Refine));
        pending
    }

    /// The same as it is written down.
    pub fn unfinished(&self) -> Unfinished {
        let Some(session) = &self.session else {
            return Unfinished::default();
        };
        let nodes = session.rollout.nodes().iter().map(|node| node.id);
        let given_up = |node: &NodeId| {
            let view = session.view(*node);
            view.refine_given_up && !view.is_refined()
        };
        Unfinished {
            refine: session.lacks_refined(),
            cancelled: nodes.filter(|node| *node != Rollout::ROOT).filter(given_up).collect(),
            to_the_end: self.pending().contains(&Pending::ToTheEnd),
        }
    }
}

impl Session {
    /// Clips of the line to paint coarsely. Each goes on from the one before: what comes after one
    /// that was given up is not wanted either.
    fn lacks_coarse(&self) -> Vec<NodeId> {
        let line = self.line().into_iter();
        let wanted = line.take_while(|node| {
            let view = self.view(*node);
            view.coarse.is_some() || !view.coarse_given_up
        });
        wanted.filter(|node| self.view(*node).coarse.is_none()).collect()
    }

    /// The same for refining.
    fn lacks_refined(&self) -> Vec<NodeId> {
        if !self.pack().has_refiner {
            return Vec::new();
        }
        let line = self.line().into_iter();
        let wanted = line.take_while(|node| {
            let view = self.view(*node);
            view.is_refined() || !view.refine_given_up
        });
        wanted.filter(|node| !self.view(*node).is_refined()).collect()
    }
}

impl Studio {
    /// Takes one entry out of the list; what goes on from it goes with it.
    pub(super) fn cancel_pending(&mut self, pending: Pending) {
        if let Some(job) = pending.job().and_then(|kind| self.model.jobs.of_kind(kind)) {
            self.engine.cancel(job);
        }
        let Some(session) = &mut self.model.session else {
            return;
        };
        match pending {
            Pending::ToTheEnd => self.model.player.to_the_end = false,
            Pending::Coarse(node) => session.view_mut(node).coarse_given_up = true,
            Pending::Refine(node) => session.view_mut(node).refine_given_up = true,
        }
    }
}
