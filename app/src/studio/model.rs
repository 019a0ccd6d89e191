//! Everything the panels show and change. Panels never call the engine: they push [`Action`]s.

use std::path::PathBuf;
use std::sync::Arc;

use engine::craft::Task;
use engine::eval::Verified;
use engine::media::Clip;
use engine::memory::Taken;
use engine::rollout::{ClipQuality, CodePrediction, NodeId, Rollout, Sampling};
use engine::worker::{JobId, PackSummary};

use super::importer::Import;
use super::jobs::Jobs;
use super::keeper::Kept;
use super::map::{ClipRef, MapView};
use super::player::{Mark, Player};
use super::queue::Pending;
use super::session::{Picture, Session};
use super::toasts::Toasts;
use super::world::StartingFrame;
use crate::codes::{Recorded, StoredCodes};
use crate::commands::Command;
use crate::state::Settings;
use crate::theme::Theme;
use crate::widgets::frame_view::Shot;
use crate::widgets::thumbnail::Thumbnails;

/// What panels ask for, beside the commands: things that need something to point at.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    Run(Command),
    /// Start from the n-th picture of the gallery.
    Start(usize),
    OpenRecent(PathBuf),
    /// Play the codes that came with the pack under this name.
    PlayCodes(String),
    /// Make a pack of the weights in a folder.
    Import {
        from: PathBuf,
        to: PathBuf,
    },
    /// Ask whether the published files may be fetched into a folder, to make a pack of them.
    AskToFetch {
        from: PathBuf,
        to: PathBuf,
    },
    /// The answer is yes.
    Fetch,
    StopImport,
    OpenImported,
    CloseImport,
    SetTask(Task),
    GoTo(NodeId),
    /// To a frame of the joined line of clips.
    Seek(i64),
    /// The in or out point to a frame of the joined line.
    SetMark(Mark, i64),
    /// Grow a branch of `node` where the code at `position` is `code`.
    Choose {
        node: NodeId,
        position: usize,
        code: u16,
    },
    CancelJob(JobId),
    /// Take something out of the queue.
    CancelPending(Pending),
    CloseVerified,
    /// Compute on the machine that the dialog names.
    Connect,
    /// Draw codes and refine video so from now on.
    SetSampling(Sampling),
    /// The offer to go on with the last rollout goes from the gallery; the menu keeps it.
    HideLastSession,
    SelectCode {
        node: NodeId,
        position: usize,
    },
    /// A point of the code map.
    SelectPoint(usize),
    /// All points that a line was drawn around; none ends the selection.
    SelectPoints(Vec<usize>),
    /// A clip of the reference set is looked at and has to be drawn.
    DrawClip(ClipRef),
    CopyText(String),
    DismissToast(u64),
}

/// What came in before there was a pack, and is used as soon as there is one.
#[derive(Debug, Clone)]
pub enum Waiting {
    Picture(Picture),
    Session(Kept),
    Codes(StoredCodes),
}

/// Whether there is a pack to work with.
#[derive(Debug, Clone)]
pub enum PackState {
    Opening,
    Ready(Arc<PackSummary>),
    Failed(String),
}

/// How two versions of a clip are shown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Compare {
    /// The best pixels alone.
    #[default]
    Best,
    Wipe,
    SideBySide,
    Difference,
}

impl Compare {
    pub fn next(self) -> Self {
        match self {
            Self::Best => Self::Wipe,
            Self::Wipe => Self::SideBySide,
            Self::SideBySide => Self::Difference,
            Self::Difference => Self::Best,
        }
    }

    pub fn label(self) -> &'static str {
        match self {
            Self::Best => "Best",
            Self::Wipe => "Wipe",
            Self::SideBySide => "Side by side",
            Self::Difference => "Difference",
        }
    }
}

/// Tabs of the right column when the window is small.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum RightTab {
    #[default]
    Next,
    Code,
    Map,
}

/// What lies over the window.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Overlay {
    #[default]
    None,
    Palette,
    Keys,
    Gallery,
    /// Asks for another machine's address and token.
    Remote,
    /// Asks how codes are drawn and video is refined.
    Sampling,
}

/// How the window is looked at. Nothing of it touches the rollout.
#[derive(Debug, Clone)]
pub struct ViewState {
    pub compare: Compare,
    /// The mode that [`Command::ToggleCompare`] returns to.
    pub last_compare: Compare,
    pub swapped: bool,
    /// Where the wipe stands, 0..1 of the picture.
    pub wipe: f32,
    /// Code under inspection.
    pub selected: Option<(NodeId, usize)>,
    /// Code whose alternatives are open.
    pub alternatives: Option<(NodeId, usize)>,
    pub overlay: Overlay,
    pub search: String,
    pub search_at: usize,
    /// Another machine's address and token, as the dialog asks for them.
    pub address: String,
    pub token: String,
    /// As the dialog has it now.
    pub sampling: Option<Sampling>,
    pub right_tab: RightTab,
    pub last_session_hidden: bool,
    pub presenting: bool,
    pub full_screen: bool,
}

/// A version of the frame on the stage, and what it is.
pub type Side = (Shot, String);

/// The state of the window.
pub struct Model {
    pub theme: Arc<Theme>,
    pub settings: Settings,
    pub pack: PackState,
    pub session: Option<Session>,
    pub gallery: Vec<(StartingFrame, Clip)>,
    pub player: Player,
    pub view: ViewState,
    pub map: MapView,
    pub jobs: Jobs,
    pub toasts: Toasts,
    pub thumbs: Thumbnails,
    pub actions: Vec<Action>,
    /// Codes that are played in place of the policy's; a new rollout begins with them.
    pub codes: Option<Arc<Recorded>>,
    pub import: Option<Import>,
    /// How the device compared with the processor, until it is closed.
    pub verified: Option<Arc<Verified>>,
    /// What came before the pack was ready.
    pub waiting: Option<Waiting>,
    /// The rollout of the last time, until it is taken up again.
    pub last_session: Option<Kept>,
    /// Bytes of finished clips and the most that may be kept.
    pub memory: (usize, usize),
    /// What the open pack has taken so far, by itself and for all else in this process.
    pub taken: Taken,
    /// The picture that is being read or brought to the model's size.
    pub reading: Option<String>,
    pub engine_dead: bool,
}

impl Model {
    pub fn new(settings: Settings) -> Self {
        Self {
            theme: Theme::load(settings.theme),
            pack: PackState::Opening,
            session: None,
            gallery: Vec::new(),
            player: Player::default(),
            view: ViewState {
                compare: Compare::default(),
                last_compare: Compare::Wipe,
                swapped: false,
                wipe: 0.42,
                selected: None,
                alternatives: None,
                overlay: Overlay::None,
                search: String::new(),
                search_at: 0,
                address: settings.remote.clone(),
                token: String::new(),
                sampling: None,
                right_tab: RightTab::default(),
                last_session_hidden: false,
                presenting: false,
                full_screen: false,
            },
            map: MapView { missing: Some("The pack is not open".to_owned()), ..MapView::default() },
            jobs: Jobs::default(),
            toasts: Toasts::default(),
            thumbs: Thumbnails::default(),
            actions: Vec::new(),
            codes: None,
            import: None,
            verified: None,
            waiting: None,
            last_session: None,
            memory: (0, 0),
            taken: Taken::default(),
            reading: None,
            engine_dead: false,
            settings,
        }
    }

    pub fn run(&mut self, command: Command) {
        self.actions.push(Action::Run(command));
    }

    /// Whether a dialog lies over the window and has the keys.
    pub fn has_dialog(&self) -> bool {
        let verified = self.verified.is_some() && !self.view.presenting;
        self.view.overlay != Overlay::None || verified
    }

    pub fn pack(&self) -> Option<&Arc<PackSummary>> {
        match &self.pack {
            PackState::Ready(pack) => Some(pack),
            PackState::Opening | PackState::Failed(_) => None,
        }
    }

    /// Whether the codes that came with the pack under `name` are played.
    pub fn plays(&self, name: &str) -> bool {
        let Some(codes) = &self.codes else {
            return false;
        };
        let named = self.pack().and_then(|pack| Recorded::of_pack(name, pack));
        named.is_some_and(|named| named.source == codes.source)
    }

    /// The versions of the frame on the stage: A (coarse) and B (preview or refined), each with
    /// what it is. On the starting frame there is one version, and a preview that is smaller than
    /// the coarse clip goes when its refining is given up.
    pub fn sides(&self) -> (Option<Side>, Option<Side>) {
        let Some(session) = &self.session else {
            return (None, None);
        };
        let node = session.current();
        let frame = session.frame();
        if node == Rollout::ROOT {
            let start = Shot::new(session.start.clone(), 0);
            return (Some((start, "starting frame".to_owned())), None);
        }
        let view = session.view(node);
        let coarse =
            view.coarse.as_ref().map(|clip| (Shot::new(clip.clone(), frame), "coarse".to_owned()));
        let given_up = view.refine_given_up && view.is_sketched();
        let refined = view.refined.as_ref().filter(|_| !given_up).map(|stored| {
            let name = match stored.quality {
                ClipQuality::Preview { step, of } if view.refine_given_up => {
                    format!("preview {step}/{of}, refining stopped")
                }
                ClipQuality::Preview { step, of } => format!("preview {step}/{of}"),
                ClipQuality::Coarse | ClipQuality::Refined => "refined".to_owned(),
            };
            (Shot::new(stored.clip.clone(), frame), name)
        });
        (coarse, refined)
    }

    /// The best version of the frame on the stage, to be presented, saved and copied: B, unless it
    /// is a preview with fewer pixels than A.
    pub fn best(&self) -> Option<Side> {
        let (a, b) = self.sides();
        let session = self.session.as_ref()?;
        let sketched = session.view(session.current()).is_sketched();
        b.filter(|_| !sketched).or(a)
    }

    /// The code under inspection: the one selected, or the first of the step on the stage.
    pub fn inspected(&self) -> Option<(NodeId, usize, CodePrediction)> {
        let session = self.session.as_ref()?;
        let (node, position) = self.view.selected.unwrap_or_else(|| {
            let position = session.step() * session.pack().codes_per_step;
            (session.current(), position)
        });
        let prediction = session.rollout.node(node).predictions.get(position)?;
        Some((node, position, prediction.clone()))
    }

    /// Title of what is on the stage.
    pub fn title(&self) -> String {
        self.session.as_ref().map_or_else(
            || "choose a starting frame".to_owned(),
            |session| {
                let title = format!("{}, {}", session.rollout.task.label(), session.rollout.source);
                match &session.codes {
                    Some(codes) => format!("{title}, codes of {}", codes.source),
                    None => title,
                }
            },
        )
    }
}
