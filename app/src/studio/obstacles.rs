//! What stands in the way of a command, in words. Menu, palette, buttons and keys ask here.

use engine::remote;
use engine::rollout::{NodeId, Rollout};

use super::importer::Import;
use super::jobs::{JobKind, Pace};
use super::model::{Model, PackState};
use super::session::Session;
use crate::commands::{CANDIDATES, Command};

const NO_FRAME: &str = "Choose a starting frame first";
const NO_PACK: &str = "The pack is not open";
const OPENING: &str = "A pack is being opened; wait for it or cancel it";
const NO_MAP: &str = "This pack has no map of its codes";
const NO_CODES: &str =
    "This pack has no policy: choose recorded codes beside the stage, or open a file of codes";
const NO_POLICY: &str = "This pack has no policy";
const NO_TASK: &str = "This pack has not learned this task; choose another one";
const RECORDED: &str = "Recorded codes have no candidates; play the policy's codes to see some";
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
            Command::RestoreSession => self.no_pack(),
            Command::PolicyCodes => match self.pack() {
                Some(pack) => (!pack.has_policy).then_some(NO_POLICY),
                None => self.no_pack(),
            },
            Command::ImportWeights | Command::FetchWeights => {
                let runs = self.import.as_ref().is_some_and(Import::is_running);
                runs.then_some("An import is running; wait for it or cancel it")
            }
            Command::ConnectRemote if !remote::BUILT => Some(remote::NOT_BUILT),
            Command::ConnectRemote => self.no_move(),
            Command::ComputeHere if self.pack().is_some() && !self.is_elsewhere() => {
                Some("This machine computes already")
            }
            Command::ComputeHere => self.no_move(),
            Command::VerifyDevice if self.jobs.of_kind(JobKind::Verify).is_some() => {
                Some("The device is being compared; wait for it or cancel it")
            }
            Command::VerifyDevice => self.no_engine(),
            Command::RestartEngine if self.engine_dead => None,
            Command::RestartEngine => match self.pack {
                PackState::Failed(_) => None,
                _ => Some("The engine is running"),
            },
            Command::Cancel => self.jobs.is_empty().then_some(NO_WORK),
            Command::PauseWork => {
                (self.jobs.is_empty() && self.jobs.pace == Pace::Running).then_some(NO_WORK)
            }
            Command::MapColour | Command::MapReset => {
                let why = self.map.missing.as_deref().unwrap_or(NO_MAP);
                self.map.map.points.is_empty().then_some(why)
            }
            Command::Present if self.view.presenting => None,
            _ => match &self.session {
                Some(session) => self.obstacle_in(session, command),
                None => self.no_pack().or(Some(NO_FRAME)),
            },
        }
    }

    /// Why the pack cannot go to another device now; `None` if it can.
    pub fn no_move(&self) -> Option<&'static str> {
        let opening = self.jobs.is_opening().then_some(OPENING);
        opening.or_else(|| self.no_engine())
    }

    /// Why nothing can be computed now; `None` if it can.
    fn no_engine(&self) -> Option<&'static str> {
        if self.engine_dead { Some(STOPPED) } else { self.no_pack() }
    }

    fn no_pack(&self) -> Option<&'static str> {
        match self.pack {
            PackState::Ready(_) => None,
            PackState::Opening => Some(OPENING),
            PackState::Failed(_) => Some(NO_PACK),
        }
    }

    /// The same where there is a rollout.
    fn obstacle_in<'a>(&self, session: &'a Session, command: Command) -> Option<&'a str> {
        let at_start = session.current() == Rollout::ROOT;
        let has_next = session.next_on_line().is_some();
        match command {
            Command::Step if has_next => None,
            Command::PlayPause if !session.line().is_empty() => None,
            Command::PlayPause | Command::Step | Command::Branch if !session.can_grow() => {
                Some(NO_CODES)
            }
            Command::PlayPause | Command::Step | Command::Branch if !session.knows_task() => {
                Some(NO_TASK)
            }
            Command::PlayPause => self.no_engine(),
            Command::Step if session.is_complete(session.current()) => Some(match session.codes {
                Some(_) => "These codes are at their end; go back, or choose others",
                None => "The task is done; go back and branch to try another way",
            }),
            Command::Branch if at_start => Some("Go to the clip that is to be another way"),
            Command::Step | Command::Branch if self.no_engine().is_some() => self.no_engine(),
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
            Command::Refine if !session.pack().has_refiner => {
                Some(session.pack().refiner_left_out.as_deref().unwrap_or(NO_REFINER))
            }
            Command::Refine => {
                let line = session.line();
                let is_refined = |node: &NodeId| session.view(*node).is_refined();
                match line.iter().all(is_refined) {
                    true if line.is_empty() => Some("There is no clip to refine yet"),
                    true => Some("Every clip of this branch is refined"),
                    false => self.no_engine(),
                }
            }
            Command::SaveFrame | Command::CopyFrame => {
                self.best().is_none().then_some("There is no picture on the stage yet")
            }
            Command::ClearMarks => {
                (!self.player.marks.any()).then_some("There is no in or out point")
            }
            _ => CANDIDATES.iter().position(|candidate| *candidate == command).and_then(|index| {
                let node = session.current();
                let outcomes = session.view(node).candidates.as_ref();
                match outcomes.map(Vec::len) {
                    _ if session.codes.is_some() => Some(RECORDED),
                    Some(count) if index < count => None,
                    Some(_) => Some("There are not so many candidates"),
                    None if !session.pack().has_policy => Some(NO_POLICY),
                    None if !session.knows_task() => Some(NO_TASK),
                    None if session.is_complete(node) => Some("The task is done"),
                    None if self.no_engine().is_some() => self.no_engine(),
                    None => Some("This candidate is not painted yet"),
                }
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
