//! Carries out what the panels and keys asked for, once a frame and in one place.

use std::sync::Arc;

use eframe::egui;
use engine::craft::Task;
use engine::gpu::DeviceChoice;
use engine::media::{Fit, Frame, FrameSize};
use engine::pack::PackSource;
use engine::remote::Remote;
use engine::rollout::{Origin, Sampling};
use engine::worker::{JobId, Request};

use super::Studio;
use super::jobs::{JobKind, Pace};
use super::keeper::Kept;
use super::model::{Action, Compare, Overlay, PackState, Waiting};
use super::player::{Mark, Marks};
use super::queue::Pending;
use super::session::{Picture, Session};
use crate::codes::{Recorded, names};
use crate::commands::{CANDIDATES, Command};
use crate::theme::Theme;
use crate::widgets::thumbnail::colour_image;

/// Slowest and fastest the player goes.
const SPEEDS: (f32, f32) = (0.125, 8.0);

impl Studio {
    /// Takes the keys that were pressed and everything the panels asked for since the last frame.
    pub(super) fn execute_all(&mut self, ctx: &egui::Context) {
        let mut actions = std::mem::take(&mut self.model.actions);
        // A dialog has the keys but the one that closes it as it opened it.
        let keys: &[Command] = match self.model.view.overlay {
            Overlay::Palette => &[Command::Palette],
            Overlay::Keys => &[Command::Keys],
            Overlay::Gallery => &[Command::OpenGallery],
            _ if self.model.has_dialog() => &[],
            _ => &Command::ALL,
        };
        actions.extend(Command::pressed(ctx, keys).into_iter().map(Action::Run));
        for action in actions {
            self.execute(ctx, action);
        }
    }

    fn execute(&mut self, ctx: &egui::Context, action: Action) {
        match action {
            Action::Run(command) => self.run_command(ctx, command),
            Action::Start(index) => {
                if let Some((starting, _)) = self.model.gallery.get(index).cloned() {
                    self.start(Picture {
                        pixels: starting.frame,
                        source: format!("unseen environment {}", starting.seed),
                        task: starting.task,
                    });
                }
            }
            Action::OpenRecent(path) => self.intake.open_path(path),
            Action::PlayCodes(name) => {
                let codes = self.model.pack().and_then(|pack| Recorded::of_pack(&name, pack));
                if let Some(codes) = codes {
                    self.play_codes(Some(Arc::new(codes)));
                }
            }
            Action::Import { from, to } => self.start_import(from, to),
            Action::AskToFetch { from, to } => self.ask_to_fetch(from, to),
            Action::Fetch => self.start_fetch(),
            Action::StopImport => self.stop_import(),
            Action::OpenImported => {
                if let Some(import) = self.model.import.take() {
                    self.open_pack(PackSource::Folder(import.to));
                }
            }
            Action::CloseImport => self.model.import = None,
            Action::SetTask(task) => self.set_task(task),
            Action::GoTo(node) => {
                self.user_acts();
                if let Some(session) = &mut self.model.session {
                    let end = session.last_frame();
                    session.go_to(node, end);
                }
                self.after_move();
            }
            Action::Seek(at) => {
                self.user_acts();
                if let Some(session) = &mut self.model.session {
                    session.seek(at);
                }
                self.after_move();
            }
            Action::SetMark(mark, at) => self.model.player.marks.set(mark, at),
            Action::Choose { node, position, code } => self.choose(node, position, code),
            Action::CancelJob(job) => self.engine.cancel(job),
            Action::CancelPending(pending) => self.cancel_pending(pending),
            Action::Connect => self.connect(),
            Action::SetSampling(sampling) => self.set_sampling(sampling),
            Action::CloseVerified => self.model.verified = None,
            Action::SelectCode { node, position } => {
                self.model.view.selected = Some((node, position));
            }
            Action::SelectPoint(point) => self.select_point(point),
            Action::SelectPoints(points) => self.model.map.select(points),
            Action::DrawClip(reference) => self.want_reference(reference),
            Action::CopyText(text) => ctx.copy_text(text),
            Action::HideLastSession => self.model.view.last_session_hidden = true,
            Action::DismissToast(id) => self.model.toasts.dismiss(id),
        }
    }

    fn run_command(&mut self, ctx: &egui::Context, command: Command) {
        if let Some(reason) = self.model.obstacle(command) {
            let reason = reason.to_owned();
            self.model.toasts.info(reason);
            return;
        }
        if let Some(index) = CANDIDATES.iter().position(|candidate| *candidate == command) {
            self.take_candidate(index);
            return;
        }
        match command {
            Command::Step => self.step(),
            Command::PlayPause => self.play_pause(),
            Command::Back => self.go(Session::back),
            Command::Forward => self.go(|session| {
                let next = session.next_on_line();
                let end = session.last_frame();
                next.is_some_and(|next| {
                    session.go_to(next, end);
                    true
                })
            }),
            Command::Undo => self.go(Session::undo),
            Command::Redo => self.go(Session::redo),
            Command::Branch => self.branch(),
            Command::Refine => self.refine(),
            Command::PauseWork => self.set_paused(self.model.jobs.pace == Pace::Running),
            Command::Cancel => self.cancel_all(),
            Command::NextFrame => self.go(|session| session.move_by(1)),
            Command::PreviousFrame => self.go(|session| session.move_by(-1)),
            Command::ForwardTen => self.go(|session| session.move_by(10)),
            Command::BackTen => self.go(|session| session.move_by(-10)),
            Command::FirstFrame => self.go(|session| session.move_by(i64::from(i32::MIN))),
            Command::LastFrame => self.go(|session| session.move_by(i64::from(i32::MAX))),
            Command::NextStep => self.move_steps(1),
            Command::PreviousStep => self.move_steps(-1),
            Command::PlayForward => self.shuttle(false),
            Command::PlayBackward => self.shuttle(true),
            Command::Pause => {
                self.user_acts();
                self.set_speed(self.model.player.speed.min(1.0));
            }
            Command::Faster => self.set_speed(self.model.player.speed * 2.0),
            Command::Slower => self.set_speed(self.model.player.speed / 2.0),
            Command::NormalSpeed => self.set_speed(1.0),
            Command::MarkIn => self.mark(Mark::In),
            Command::MarkOut => self.mark(Mark::Out),
            Command::ClearMarks => self.model.player.marks = Marks::default(),
            Command::ToggleLoop => self.model.player.looping = !self.model.player.looping,
            Command::CompareMode => self.set_compare(self.model.view.compare.next()),
            Command::ToggleCompare => {
                let compare = match self.model.view.compare {
                    Compare::Best => self.model.view.last_compare,
                    _ => Compare::Best,
                };
                self.set_compare(compare);
            }
            Command::SwapSides => self.model.view.swapped = !self.model.view.swapped,
            Command::OpenGallery => self.toggle_overlay(Overlay::Gallery),
            Command::OpenFrame => {
                let recent = self.model.settings.recent.first();
                let folder = recent.and_then(|path| path.parent().map(Into::into));
                self.intake.ask_for_picture(folder);
            }
            Command::OpenSession => {
                let folder = self.keeper.as_ref().map(|keeper| keeper.folder().to_owned());
                self.intake.ask_for_session(folder);
            }
            Command::RestoreSession => {
                if let Some(kept) = self.model.last_session.clone() {
                    self.resume(kept);
                }
            }
            Command::SaveSession => {
                if let Some(session) = &self.model.session {
                    let saved = session.saved(self.model.unfinished());
                    self.intake.ask_to_save_session(saved);
                }
            }
            Command::OpenPack => self.intake.ask_for_pack(),
            Command::ImportWeights => self.intake.ask_for_weights(),
            Command::FetchWeights => self.intake.ask_where_to_fetch(),
            Command::PolicyCodes => self.play_codes(None),
            Command::OpenCodes => self.intake.ask_for_codes(),
            Command::ToggleFit => self.toggle_fit(),
            Command::SaveFrame => {
                if let Some(frame) = self.frame_on_stage() {
                    self.intake.ask_to_save(frame);
                }
            }
            Command::CopyFrame => {
                if let Some(frame) = self.frame_on_stage() {
                    ctx.copy_image(colour_image(&frame));
                    self.model.toasts.info("The frame is on the clipboard");
                }
            }
            Command::MapColour => self.model.map.colour = self.model.map.colour.next(),
            Command::MapReset => {
                self.model.map.camera = None;
                self.model.map.select(Vec::new());
            }
            Command::Present => self.set_presenting(ctx, !self.model.view.presenting),
            Command::FullScreen => self.set_full_screen(ctx, !self.model.view.full_screen),
            Command::NextTheme => {
                self.model.settings.theme = self.model.settings.theme.next();
                self.model.theme = Theme::load(self.model.settings.theme);
                self.model.theme.apply(ctx);
                self.save_settings();
            }
            Command::Palette => {
                self.model.view.search.clear();
                self.model.view.search_at = 0;
                self.toggle_overlay(Overlay::Palette);
            }
            Command::Keys => self.toggle_overlay(Overlay::Keys),
            Command::ConnectRemote => self.toggle_overlay(Overlay::Remote),
            Command::Sampling => {
                let session = self.model.session.as_ref();
                self.model.view.sampling = session.map(|session| session.sampling().clone());
                self.toggle_overlay(Overlay::Sampling);
            }
            Command::ComputeHere => self.move_to(self.home),
            Command::VerifyDevice => self.verify_device(),
            Command::RestartEngine => self.restart_engine(),
            Command::Escape => self.escape(ctx),
            Command::Quit => ctx.send_viewport_cmd(egui::ViewportCommand::Close),
            Command::Candidate1
            | Command::Candidate2
            | Command::Candidate3
            | Command::Candidate4
            | Command::Candidate5
            | Command::Candidate6
            | Command::Candidate7
            | Command::Candidate8
            | Command::Candidate9 => {}
        }
    }

    pub(super) fn set_speed(&mut self, speed: f32) {
        self.model.player.speed = speed.clamp(SPEEDS.0, SPEEDS.1);
    }

    fn set_compare(&mut self, compare: Compare) {
        if compare != Compare::Best {
            self.model.view.last_compare = compare;
        }
        self.model.view.compare = compare;
    }

    fn cancel_all(&mut self) {
        self.user_acts();
        self.model.jobs.hold_background = true;
        // Coarse clips are asked for again by going to them.
        let pending = self.model.pending().into_iter();
        for pending in pending.filter(|pending| !matches!(pending, Pending::Coarse(_))) {
            self.cancel_pending(pending);
        }
        self.engine.cancel_all();
        self.set_paused(false);
    }

    /// Holds all work between two steps, or lets it go on.
    pub(super) fn set_paused(&mut self, paused: bool) {
        self.model.jobs.pace = if paused { Pace::Pausing } else { Pace::Running };
        self.engine.set_paused(paused);
    }

    fn verify_device(&mut self) {
        self.set_paused(false);
        self.give_way();
        self.model.verified = None;
        let id = self.engine.send(Request::Verify);
        self.model.jobs.add(id, JobKind::Verify, false);
    }

    /// Goes to the machine that the dialog names.
    fn connect(&mut self) {
        if let Some(reason) = self.model.no_move() {
            self.model.toasts.info(reason);
            return;
        }
        match self.model.view.address.parse::<Remote>() {
            Ok(remote) => {
                self.model.view.overlay = Overlay::None;
                self.model.settings.remote = remote.to_string();
                self.save_settings();
                let token = self.model.view.token.trim();
                let remote = if token.is_empty() { remote } else { remote.with_token(token) };
                self.move_to(DeviceChoice::Remote(remote));
            }
            Err(reason) => self.model.toasts.info(reason),
        }
    }

    /// Goes on with the pack on another device. What was being computed is begun again there.
    fn move_to(&mut self, device: DeviceChoice) {
        self.drop_jobs();
        self.model.verified = None;
        let id = self.engine.send(Request::Move(device));
        self.model.jobs.add(id, JobKind::Move(device), false);
    }

    /// An engine that runs without a pack tries the last one once more.
    fn restart_engine(&mut self) {
        self.model.toasts.engine_lives();
        if !std::mem::replace(&mut self.model.engine_dead, false) {
            self.open_pack(self.source.clone());
            return;
        }
        self.set_paused(false);
        if self.engine.restart() {
            self.model.jobs.add(JobId::RESTART, JobKind::Restart, false);
            if self.model.pack().is_none() {
                self.model.pack = PackState::Opening;
            }
        }
    }

    /// In or out point at the frame on the stage. Who sets one wants to see that part again.
    fn mark(&mut self, mark: Mark) {
        if let Some(session) = &self.model.session {
            self.model.player.marks.set(mark, session.at());
            self.model.player.looping = true;
        }
    }

    /// Starts a rollout from a picture, or as soon as there is a pack.
    pub(super) fn start(&mut self, picture: Picture) {
        let Some(pack) = self.model.pack().cloned() else {
            self.model.waiting = Some(Waiting::Picture(picture));
            return;
        };
        let (fit, size) = (self.model.settings.fit, pack.frame_size());
        if FrameSize::of(&picture.pixels) == size {
            let start = picture.pixels.clone();
            self.start_fitted(picture, fit, start);
        } else {
            self.awaited += 1;
            self.intake.fit(picture, fit, size, self.awaited);
        }
    }

    /// The same with a picture that has the model's size.
    pub(super) fn start_fitted(&mut self, picture: Picture, fit: Fit, start: Arc<Frame>) {
        let pack = self.model.pack().cloned();
        let Some(pack) = pack.filter(|pack| pack.frame_size() == FrameSize::of(&start)) else {
            // Another pack was opened meanwhile.
            self.start(picture);
            return;
        };
        let chosen = self.chosen_sampling.as_ref().filter(|(of, _)| *of == pack.id);
        // Seed and scale are not chosen.
        let Sampling { seed, scale, .. } = pack.sampling;
        let mut session = Session::new(picture, fit, start, pack);
        if let Some((_, sampling)) = chosen {
            session.set_sampling(&Sampling { seed, scale, ..sampling.clone() });
        }
        self.begin(session);
    }

    /// For this rollout and those begun later, until another pack's is set.
    fn set_sampling(&mut self, sampling: Sampling) {
        let Some(session) = &mut self.model.session else {
            return;
        };
        self.chosen_sampling = Some((session.pack().id, sampling.clone()));
        if session.set_sampling(&sampling) {
            // What is refined now would be refined in vain.
            self.give_way();
        }
    }

    /// Goes on with a rollout that was saved, or as soon as there is a pack.
    pub(super) fn resume(&mut self, kept: Kept) {
        let Some(pack) = self.model.pack().cloned() else {
            self.model.waiting = Some(Waiting::Session(kept));
            return;
        };
        match Session::resume(&kept.saved, self.model.settings.fit, pack.clone()) {
            Ok(session) => {
                // Codes of the pack are played on; those of a file have to be opened again.
                let tip = session.rollout.node(session.tip());
                self.model.codes = names(&pack)
                    .into_iter()
                    .filter_map(|name| Recorded::of_pack(name, &pack))
                    .find(|codes| tip.origin == Origin::Recorded { source: codes.source.clone() })
                    .map(Arc::new);
                let (saved, now) = (kept.saved.sampling.scale, session.sampling().scale);
                if saved != now {
                    self.model.toasts.info(format!(
                        "This session was refined at scale {saved}; here it goes on at {now}"
                    ));
                }
                self.begin(session);
                if kept.saved.unfinished.to_the_end {
                    self.play_to_the_end();
                }
                let unfinished = self.model.unfinished();
                if let (Some(keeper), Some(session)) = (&mut self.keeper, &self.model.session) {
                    keeper.follow(session, unfinished, &kept.path);
                }
                let last = &mut self.model.last_session;
                *last = last.take().filter(|last| last.path != kept.path);
            }
            Err(reason) => {
                let details = self.report(&reason);
                self.model.toasts.error(reason, details);
            }
        }
    }

    /// Leaves the work for the rollout that was on the stage and puts another one there.
    fn begin(&mut self, mut session: Session) {
        session.codes.clone_from(&self.model.codes);
        self.user_acts();
        self.drop_jobs();
        // A picture that is still on its way was asked for before.
        self.awaited += 1;
        self.model.view.overlay = Overlay::None;
        self.put_on_stage(Some(session));
    }

    /// Cancels all work and forgets it.
    fn drop_jobs(&mut self) {
        let opening = self.model.jobs.is_opening();
        self.engine.cancel_all();
        self.set_paused(false);
        self.model.jobs.clear();
        self.gave_way.clear();
        if opening {
            self.opening_cancelled();
        }
    }

    fn set_task(&mut self, task: Task) {
        let Some(session) = &self.model.session else {
            return;
        };
        if session.rollout.task != task {
            let (fit, start) = (session.fit, session.rollout.start.clone());
            let picture = Picture { task, ..session.picture.clone() };
            self.start_fitted(picture, fit, start);
        }
    }

    fn toggle_fit(&mut self) {
        self.model.settings.fit = match self.model.settings.fit {
            Fit::Crop => Fit::Letterbox,
            Fit::Letterbox => Fit::Crop,
        };
        self.save_settings();
        if let Some(session) = self.model.session.as_ref().filter(|session| session.is_reshaped()) {
            let picture = session.picture.clone();
            self.start(picture);
        }
    }

    fn select_point(&mut self, point: usize) {
        let map = &mut self.model.map;
        map.selected = Some(point);
        map.playing_since = None;
        let Some(found) = map.map.points.get(point) else {
            return;
        };
        let reference = found.clip;
        self.want_reference(reference);
    }

    fn frame_on_stage(&self) -> Option<Frame> {
        let (shot, _) = self.model.best()?;
        shot.clip.get(shot.frame).cloned()
    }

    fn toggle_overlay(&mut self, overlay: Overlay) {
        let view = &mut self.model.view;
        view.overlay = if view.overlay == overlay { Overlay::None } else { overlay };
    }

    fn set_presenting(&mut self, ctx: &egui::Context, presenting: bool) {
        self.model.view.presenting = presenting;
        self.set_full_screen(ctx, presenting);
    }

    fn set_full_screen(&mut self, ctx: &egui::Context, full_screen: bool) {
        self.model.view.full_screen = full_screen;
        ctx.send_viewport_cmd(egui::ViewportCommand::Fullscreen(full_screen));
    }

    /// Alternatives, then presentation, then full screen. Dialogs take their own Escape.
    fn escape(&mut self, ctx: &egui::Context) {
        let view = &mut self.model.view;
        if view.alternatives.is_some() {
            view.alternatives = None;
        } else if view.presenting {
            self.set_presenting(ctx, false);
        } else if view.full_screen {
            self.set_full_screen(ctx, false);
        } else {
            view.selected = None;
            self.model.map.select(Vec::new());
        }
    }

    pub(super) fn open_pack(&mut self, source: PackSource) {
        self.engine.cancel_all();
        self.set_paused(false);
        self.model.jobs.clear();
        if self.model.pack().is_none() {
            self.model.pack = PackState::Opening;
        }
        self.model.verified = None;
        let id = self.engine.send(Request::OpenPack(source));
        self.model.jobs.add(id, JobKind::OpenPack, false);
    }

    /// A picture of the user's own: the task is the one chosen last.
    pub(super) fn start_from_file(&mut self, pixels: Arc<Frame>, source: String) {
        let last = self.model.session.as_ref().map(|session| session.rollout.task);
        let known = self.model.pack().and_then(|pack| pack.tasks.first().copied());
        let task = last.or(known).unwrap_or(Task::ALL[0]);
        self.start(Picture { pixels, source, task });
    }
}
