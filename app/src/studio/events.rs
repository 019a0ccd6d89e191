//! What the engine says, taken into the model.

use std::sync::Arc;

use engine::memory::Taken;
use engine::pack::PackSource;
use engine::rollout::{NodeId, Rollout};
use engine::worker::{Event, JobId, PackSummary};

use super::Studio;
use super::jobs::{Job, JobKind};
use super::map::MapView;
use super::model::{PackState, Waiting};
use super::session::Outcome;
use crate::widgets::thumbnail::still;

impl Studio {
    /// Takes in everything that came since the last frame.
    pub(super) fn take_events(&mut self) {
        while let Some(event) = self.engine.poll() {
            self.take_event(event);
        }
        self.model.memory = self.engine.memory();
    }

    fn take_event(&mut self, event: Event) {
        match event {
            Event::PackOpened { job, pack, source } => {
                self.model.engine_dead = false;
                self.model.toasts.engine_lives();
                if let Some(job) = self.model.jobs.get_mut(job) {
                    job.opened = true;
                }
                self.opened(pack, source);
            }
            Event::Measured { job, taken } => {
                if self.model.jobs.get_mut(job).is_some() {
                    self.model.taken = self.model.taken.max(taken);
                }
            }
            Event::Progressed { job, progress } => {
                if let Some(job) = self.model.jobs.get_mut(job) {
                    job.progress = Some(progress);
                }
            }
            Event::Predicted { job, parent, clip } => {
                let Some(job) = self.model.jobs.get_mut(job) else {
                    return;
                };
                if let Some(session) = &mut self.model.session {
                    job.made = Some(session.grow(parent, clip));
                }
            }
            Event::CandidatesReady { job, parent, candidates } => {
                if self.model.jobs.get_mut(job).is_none() {
                    return;
                }
                if let Some(session) = &mut self.model.session {
                    let outcomes = candidates.into_iter().map(|candidate| Outcome {
                        picture: still(candidate.outcome.clone()),
                        candidate,
                    });
                    session.view_mut(parent).candidates = Some(outcomes.collect());
                }
            }
            Event::ClipReady { job, key, quality: _ } => {
                let Some(job) = self.model.jobs.get_mut(job).cloned() else {
                    return;
                };
                if let (Some(session), Some(stored)) =
                    (&mut self.model.session, self.engine.clip(key))
                {
                    session.store(key, &stored);
                }
                self.show_if_new(&job);
                self.tidy_clips();
            }
            Event::Encoded { .. } => {}
            Event::Verified { job, verified } => {
                if self.model.jobs.get_mut(job).is_some() {
                    self.model.verified = Some(verified);
                }
            }
            Event::NotKept { reason } => {
                let details = self.report(&reason);
                self.model.toasts.error(reason, details);
            }
            Event::Held { job } => self.model.jobs.held(job),
            Event::Finished { job } => {
                if let Some(job) = self.model.jobs.remove(job) {
                    self.finished(&job);
                }
            }
            Event::Cancelled { job } => {
                let opening = |job: &mut Job| job.kind == JobKind::OpenPack && !job.opened;
                let opening = self.model.jobs.get_mut(job).is_some_and(opening);
                self.ended_early(job);
                if opening {
                    self.opening_cancelled();
                }
            }
            Event::Failed { job, reason } => {
                let kind = self.model.jobs.get_mut(job).map(|job| job.kind);
                self.ended_early(job);
                if job == JobId::RESTART {
                    // Whatever became of the job meanwhile, the engine has no pack now.
                    self.model.pack = PackState::Failed(reason.clone());
                    let details = self.report(&reason);
                    let sentence = format!("The pack could not be opened again: {reason}");
                    self.model.toasts.engine_died(sentence, details);
                    return;
                }
                if kind == Some(JobKind::OpenPack) && self.model.pack().is_none() {
                    self.model.pack = PackState::Failed(reason.clone());
                }
                if kind.is_some() {
                    let details = self.report(&reason);
                    self.model.toasts.error(reason, details);
                }
            }
            Event::Died { reason } => {
                self.model.jobs.clear();
                self.model.engine_dead = true;
                self.model.player.playing = false;
                if matches!(self.model.pack, PackState::Opening) {
                    self.model.pack = PackState::Failed(reason.clone());
                }
                let details = self.report(&reason);
                let sentence = format!("The engine stopped: {reason}. Your rollout is kept");
                self.model.toasts.engine_died(sentence, details);
            }
        }
    }

    /// Goes to a predicted clip as soon as it can be seen, if the user still waits for it.
    fn show_if_new(&mut self, job: &Job) {
        let (JobKind::Extend { parent }, Some(node)) = (job.kind, job.made) else {
            return;
        };
        let Some(session) = &mut self.model.session else {
            return;
        };
        let waits = session.current() == parent && self.waiting_for == Some(parent);
        if waits && session.view(node).coarse.is_some() {
            self.waiting_for = None;
            session.go_to(node, 0);
            self.model.view.selected = None;
            self.model.player.play_once();
        }
    }

    fn finished(&mut self, job: &Job) {
        // An extension found in the store paints nothing new and sends no clip.
        if let (JobKind::Extend { .. }, Some(node)) = (job.kind, job.made) {
            self.fetch(node);
        }
        if let JobKind::Coarse(node) | JobKind::Refine(node) = job.kind {
            self.fetch(node);
            if let Some(session) = &mut self.model.session {
                let view = session.view_mut(node);
                view.coarse_given_up = view.coarse.is_none();
                view.refine_given_up |=
                    matches!(job.kind, JobKind::Refine(_)) && !view.is_refined();
            }
        }
        self.show_if_new(job);
    }

    /// The clip on the stage is in use; what is beside the line and no longer kept is let go.
    pub(super) fn tidy_clips(&mut self) {
        if let Some(session) = &mut self.model.session {
            let current = session.current();
            session.let_go(|key| self.engine.keeps(key));
            self.fetch(current);
        }
    }

    /// Takes the clips of `node` from the store if they are there.
    pub(super) fn fetch(&mut self, node: NodeId) {
        let Some(session) = &mut self.model.session else {
            return;
        };
        if node == Rollout::ROOT {
            return;
        }
        let view = session.view(node);
        for key in [view.coarse_key, view.refined_key] {
            if let Some(stored) = self.engine.clip(key) {
                session.store(key, &stored);
            }
        }
    }

    /// A job was cancelled or failed. What the user stopped is not begun again by itself; what
    /// gave way to the user's own job is.
    fn ended_early(&mut self, id: JobId) {
        let Some(job) = self.model.jobs.remove(id) else {
            return;
        };
        let gave_way = self.gave_way.remove(&id);
        let Some(session) = &mut self.model.session else {
            return;
        };
        match job.kind {
            JobKind::Refine(node) if !gave_way => session.view_mut(node).refine_given_up = true,
            JobKind::Candidates(node) if !gave_way => {
                session.view_mut(node).candidates_given_up = true;
            }
            JobKind::Coarse(node) if !gave_way => session.view_mut(node).coarse_given_up = true,
            JobKind::Recall if gave_way => session.forget_recalled(),
            JobKind::Extend { parent } => {
                self.model.player.to_the_end = false;
                if self.waiting_for == Some(parent) {
                    self.waiting_for = None;
                }
            }
            _ => {}
        }
    }

    /// The engine has the pack that it had before.
    pub(super) fn opening_cancelled(&mut self) {
        let sentence = match self.model.pack() {
            Some(pack) => format!("Opening a pack was cancelled; {} stays open", pack.name),
            None => "Opening the pack was cancelled; no pack is open".to_owned(),
        };
        if !self.model.pack.is_ready() {
            self.model.pack = PackState::Failed(sentence.clone());
        }
        self.model.toasts.info(sentence);
    }

    fn opened(&mut self, pack: Arc<PackSummary>, source: PackSource) {
        // A rollout waits for its pack where that could not be opened again after a restart.
        let waits = self.model.session.as_ref().map(|session| session.pack().id);
        let same = self.model.pack().map(|old| old.id).or(waits) == Some(pack.id);
        self.source = source.clone();
        self.model.pack = PackState::Ready(pack.clone());
        self.model.taken = Taken::default();
        if let Some(reason) = &pack.refiner_left_out {
            self.model.toasts.info(reason.as_str());
        }
        if !same {
            // What was asked of the pack before means nothing to this one.
            let others = self.model.jobs.iter().filter(|job| job.kind != JobKind::OpenPack);
            for job in others.map(|job| job.id).collect::<Vec<_>>() {
                self.engine.cancel(job);
            }
            self.put_on_stage(None);
            self.model.codes = None;
            self.model.gallery.clear();
            self.ask_for_gallery(&pack);
            let (colour, missing) = (self.model.map.colour, "The map is being read".to_owned());
            self.model.map = MapView { colour, missing: Some(missing), ..MapView::default() };
            self.drawing.ask_map(source);
        }
        match self.model.waiting.take() {
            Some(Waiting::Picture(picture)) => self.start(picture),
            Some(Waiting::Session(kept)) => self.resume(kept),
            Some(Waiting::Codes(stored)) => self.open_codes(stored),
            None => {}
        }
    }

    /// What somebody needs who is asked for help.
    pub(super) fn report(&self, reason: &str) -> String {
        let pack = self.model.pack();
        let line =
            |name: &str, value: Option<&str>| format!("{name}: {}\n", value.unwrap_or("none"));
        format!("videoworld-studio {}\n", env!("CARGO_PKG_VERSION"))
            + &line("system", Some(std::env::consts::OS))
            + &line("pack", pack.map(|pack| pack.name.as_str()))
            + &line("device", pack.map(|pack| pack.device.as_str()))
            + &line("error", Some(reason))
    }
}
