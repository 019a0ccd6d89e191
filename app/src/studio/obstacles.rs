//! What stands in the way of a command, in words. Menu, palette, buttons and keys ask here.

use engine::remote;
use engine::rollout::Rollout;

use super::importer::Import;
use super::jobs::{JobKind, Pace};
use super::model::{Model, PackState};
use super::session::Session;
use crate::commands::{CANDIDATES, Command};

const NO_FRAME: &str = "Choose a starting frame first";
const NO_MAP: &str = "This pack has no map of its codes";
const NO_CODES: &str =
    "This pack has no policy: choose recorded codes beside the stage, or open a file of codes";
const NO_REFINER: &str = "This pack has no diffusion model, so there is coarse video alone";
const STOPPED: &str = "The engine stopped; restart it first";
const NO_WORK: &str = "Nothing is being computed";

impl Model {
    /// Why `command` cannot be given now; `None` if it can.
    pub fn obstacle(&self, command: Command) -> Option<&str> {
        match command {
            Command::OpenGallery
            | Command::OpenFrame
            | Command::OpenSession
            | Command::OpenPack
            | Command::OpenCodes
            | Command::ToggleFit
            | Command::Faster
            | Command::Slower
            | Command::NormalSpeed
            | Command::ToggleLoop
            | Command::CompareMode
            | Command::ToggleCompare
            | Command::SwapSides
            | Command::FullScreen
            | Command::NextTheme
            | Command::Palette
            | Command::Keys
            | Command::Escape
            | Command::Quit => None,
            Command::RestoreSession if self.last_session.is_none() => {
                Some("There is no earlier session")
            }
            Command::RestoreSession => match self.pack {
                PackState::Ready(_) => None,
                PackState::Opening | PackState::Failed(_) => Some("The pack is not open"),
            },
            Command::PolicyCodes => match self.pack() {
                Some(pack) => (!pack.has_policy).then_some("This pack has no policy"),
                None => Some("The pack is not open"),
            },
            Command::ImportWeights | Command::FetchWeights => {
                let runs = self.import.as_ref().is_some_and(Import::is_running);
                runs.then_some("An import is running; wait for it or cancel it")
            }
            Command::ConnectRemote if !remote::BUILT => Some(remote::NOT_BUILT),
            Command::ConnectRemote | Command::ComputeHere if self.engine_dead => Some(STOPPED),
            Command::ConnectRemote => None,
            Command::ComputeHere => {
                (!self.is_elsewhere()).then_some("This machine computes already")
            }
            Command::VerifyDevice if self.engine_dead => Some(STOPPED),
            Command::VerifyDevice if self.jobs.of_kind(JobKind::Verify).is_some() => {
                Some("The device is being compared; wait for it or cancel it")
            }
            Command::VerifyDevice => self.pack().is_none().then_some("The pack is not open"),
            Command::RestartEngine => (!self.engine_dead).then_some("The engine is running"),
            Command::Cancel => self.jobs.is_empty().then_some(NO_WORK),
            Command::PauseWork => {
                (self.jobs.is_empty() && self.jobs.pace == Pace::Running).then_some(NO_WORK)
            }
            Command::MapColour | Command::MapReset => {
                self.map.map.points.is_empty().then_some(NO_MAP)
            }
            Command::Present if self.view.presenting => None,
            _ => match &self.session {
                Some(session) => self.obstacle_in(session, command),
                None => Some(NO_FRAME),
            },
        }
    }

    /// The same where there is a rollout.
    fn obstacle_in<'a>(&self, session: &'a Session, command: Command) -> Option<&'a str> {
        let at_start = session.current() == Rollout::ROOT;
        let has_next = session.next_on_line().is_some();
        match command {
            Command::Step if has_next => None,
            Command::PlayPause if !session.line().is_empty() => None,
            Command::PlayPause => (!session.can_grow()).then_some(NO_CODES),
            Command::Step | Command::Branch if !session.can_grow() => Some(NO_CODES),
            Command::Step if session.is_complete(session.current()) => Some(match session.codes {
                Some(_) => "These codes are at their end; go back, or choose others",
                None => "The task is done; go back and branch to try another way",
            }),
            Command::Branch if at_start => Some("Go to the clip that is to be another way"),
            Command::Step | Command::Branch if self.engine_dead => Some(STOPPED),
            Command::Branch => session.codes.as_ref().and_then(|codes| {
                let clips = session.rollout.line(session.current()).len();
                if clips > codes.clips.len() {
                    return Some("The codes end before this clip");
                }
                let same = "Another seed changes refined video alone, and this pack has none";
                (!session.pack().has_refiner).then_some(same)
            }),
            Command::Step => None,
            Command::Back => at_start.then_some("This is the starting frame"),
            Command::Forward => (!has_next).then_some("This is the end of the branch"),
            Command::Undo => (!session.can_undo()).then_some("There is no move to undo"),
            Command::Redo => (!session.can_redo()).then_some("No move was undone"),
            Command::Sampling => {
                let pack = session.pack();
                let none = !pack.has_policy && !pack.has_refiner;
                none.then_some("This pack neither draws codes nor refines video")
            }
            Command::Refine if session.pack().has_refiner => None,
            Command::Refine => {
                Some(session.pack().refiner_left_out.as_deref().unwrap_or(NO_REFINER))
            }
            Command::SaveFrame | Command::CopyFrame => {
                self.best().is_none().then_some("There is no picture on the stage yet")
            }
            Command::ClearMarks => {
                (!self.player.marks.any()).then_some("There is no in or out point")
            }
            _ if CANDIDATES.contains(&command) && session.codes.is_some() => {
                Some("Recorded codes have no candidates; play the policy's codes to see some")
            }
            _ => CANDIDATES.iter().position(|candidate| *candidate == command).and_then(|index| {
                let outcomes = session.view(session.current()).candidates.as_ref();
                let there = outcomes.is_some_and(|all| index < all.len());
                (!there).then_some("This candidate is not painted yet")
            }),
        }
    }

    /// Whether another machine computes.
    pub fn is_elsewhere(&self) -> bool {
        self.pack().is_some_and(|pack| pack.elsewhere)
    }

    /// Whether what `command` switches is on.
    pub fn is_on(&self, command: Command) -> bool {
        match command {
            Command::PolicyCodes => {
                self.codes.is_none() && self.pack().is_some_and(|pack| pack.has_policy)
            }
            Command::ConnectRemote => self.is_elsewhere(),
            Command::ComputeHere => !self.is_elsewhere(),
            Command::ToggleLoop => self.player.looping,
            Command::FullScreen => self.view.full_screen,
            Command::PauseWork => self.jobs.pace != Pace::Running,
            _ => false,
        }
    }
}
