//! What stands in the way of a command, in words. Menu, palette, buttons and keys ask here.

use engine::rollout::Rollout;

use super::jobs::Pace;
use super::model::{Model, PackState};
use super::session::Session;
use crate::commands::{CANDIDATES, Command};

const NO_FRAME: &str = "Choose a starting frame first";
const NO_MAP: &str = "This pack has no map of its codes";
const NO_POLICY: &str = "This pack has no policy, so nothing can be predicted";
const NO_WORK: &str = "Nothing is being computed";

impl Model {
    /// Why `command` cannot be given now; `None` if it can.
    pub fn obstacle(&self, command: Command) -> Option<&'static str> {
        match command {
            Command::OpenGallery
            | Command::OpenFrame
            | Command::OpenSession
            | Command::OpenPack
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
    fn obstacle_in(&self, session: &Session, command: Command) -> Option<&'static str> {
        let at_start = session.current() == Rollout::ROOT;
        let has_next = session.next_on_line().is_some();
        match command {
            Command::Step if has_next => None,
            Command::Step if session.is_complete(session.current()) => {
                Some("The task is done; go back and branch to try another way")
            }
            Command::Branch if at_start => Some("Go to the clip that is to be another way"),
            Command::Step | Command::Branch if self.engine_dead => {
                Some("The engine stopped; restart it first")
            }
            Command::Step | Command::Branch => (!session.pack().has_policy).then_some(NO_POLICY),
            Command::Back => at_start.then_some("This is the starting frame"),
            Command::Forward => (!has_next).then_some("This is the end of the branch"),
            Command::Undo => (!session.can_undo()).then_some("There is no move to undo"),
            Command::Redo => (!session.can_redo()).then_some("No move was undone"),
            Command::Refine => (!session.pack().has_refiner)
                .then_some("This pack has no diffusion model, so there is coarse video alone"),
            Command::SaveFrame | Command::CopyFrame => {
                self.best().is_none().then_some("There is no picture on the stage yet")
            }
            Command::ClearMarks => {
                (!self.player.marks.any()).then_some("There is no in or out point")
            }
            _ => CANDIDATES.iter().position(|candidate| *candidate == command).and_then(|index| {
                let outcomes = session.view(session.current()).candidates.as_ref();
                let there = outcomes.is_some_and(|all| index < all.len());
                (!there).then_some("This candidate is not painted yet")
            }),
        }
    }

    /// Whether what `command` switches is on.
    pub fn is_on(&self, command: Command) -> bool {
        match command {
            Command::ToggleLoop => self.player.looping,
            Command::FullScreen => self.view.full_screen,
            Command::PauseWork => self.jobs.pace != Pace::Running,
            _ => false,
        }
    }
}
