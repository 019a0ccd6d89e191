//! Work that was asked of the engine and is not finished.

use engine::gpu::DeviceChoice;
use engine::rollout::NodeId;
use engine::worker::{JobId, Progress};

/// What a job is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobKind {
    OpenPack,
    /// Open the pack again that was open when the engine stopped.
    Restart,
    /// Go on with the pack on another device.
    Move(DeviceChoice),
    /// Predict or take from recorded codes the clip after this node, and paint it.
    Extend {
        parent: NodeId,
    },
    Coarse(NodeId),
    Refine(NodeId),
    Candidates(NodeId),
    /// Read refined clips of the line from the disk.
    Recall,
    /// Compare the device with the processor.
    Verify,
}

/// A job that waits or runs.
#[derive(Debug, Clone)]
pub struct Job {
    pub id: JobId,
    pub kind: JobKind,
    /// The node that an extension made.
    pub made: Option<NodeId>,
    pub progress: Option<Progress>,
    /// The pack that it opens is open.
    pub opened: bool,
    /// Asked for by the window itself while nothing else was to do; gives way to the user's jobs.
    pub background: bool,
}

/// Whether work goes on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Pace {
    #[default]
    Running,
    /// The running job stops at its next step.
    Pausing,
    Paused,
}

/// All jobs, oldest first.
#[derive(Debug, Default)]
pub struct Jobs {
    jobs: Vec<Job>,
    /// Set by the user's Cancel: no background work until the user does something.
    pub hold_background: bool,
    pub pace: Pace,
}

impl Jobs {
    pub fn add(&mut self, id: JobId, kind: JobKind, background: bool) {
        self.jobs.push(Job { id, kind, made: None, progress: None, opened: false, background });
    }

    /// `None` for a job that is over: its late events mean nothing.
    pub fn get_mut(&mut self, id: JobId) -> Option<&mut Job> {
        self.jobs.iter_mut().find(|job| job.id == id)
    }

    pub fn remove(&mut self, id: JobId) -> Option<Job> {
        let at = self.jobs.iter().position(|job| job.id == id)?;
        Some(self.jobs.remove(at))
    }

    /// The engine says that a job stands still.
    pub fn held(&mut self, id: JobId) {
        if self.pace == Pace::Pausing && self.jobs.iter().any(|job| job.id == id) {
            self.pace = Pace::Paused;
        }
    }

    pub fn clear(&mut self) {
        self.jobs.clear();
    }

    pub fn iter(&self) -> impl Iterator<Item = &Job> {
        self.jobs.iter()
    }

    pub fn is_empty(&self) -> bool {
        self.jobs.is_empty()
    }

    /// The job that has progress to show.
    pub fn running(&self) -> Option<&Job> {
        let reporting = self.jobs.iter().find(|job| job.progress.is_some());
        reporting.or(self.jobs.first())
    }

    /// Whether a pack is on its way to be opened.
    pub fn is_opening(&self) -> bool {
        self.jobs.iter().any(|job| job.kind == JobKind::OpenPack && !job.opened)
    }

    /// Whether a clip after `parent` is being predicted.
    pub fn extends(&self, parent: NodeId) -> bool {
        self.jobs.iter().any(|job| job.kind == JobKind::Extend { parent })
    }

    /// The jobs that make another clip.
    pub fn extending(&self) -> Vec<JobId> {
        let extending = self.jobs.iter().filter(|job| matches!(job.kind, JobKind::Extend { .. }));
        extending.map(|job| job.id).collect()
    }

    /// The job of this kind, if there is one.
    pub fn of_kind(&self, kind: JobKind) -> Option<JobId> {
        self.jobs.iter().find(|job| job.kind == kind).map(|job| job.id)
    }

    pub fn background_ids(&self) -> Vec<JobId> {
        let background = self.jobs.iter().filter(|job| job.background);
        background.map(|job| job.id).collect()
    }
}
