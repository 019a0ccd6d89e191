//! Training in stages: video autoencoder, diffusion model, dLDM warm-up, both jointly, policy.
//!
//! A run folder holds one folder a stage with its checkpoint, log and plot. Every stage resumes.

mod dye;
mod joint;
mod lesson;
mod likeness;
mod pack;
mod plot;
mod policy;
mod pool;
mod recipe;
mod run;
mod stage;
mod vae;
mod vdm;
mod videos;
mod warmup;

use std::path::{Path, PathBuf};

use crate::craft::FRAMES_PER_CLIP;

pub use lesson::{EncodedTask, encode_episode};
pub use pack::PackSettings;
pub use policy::PolicyBatch;
pub use pool::{ClipPool, Subject, stack};
pub use recipe::Recipe;
pub use run::{Run, Schedule, Tick};
pub use stage::{RunFolder, Stage};
pub use videos::TaskVideos;

/// Why training stopped before its end.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    #[error("{}: {source}", path.display())]
    File { path: PathBuf, source: std::io::Error },
    #[error("{}: {source}", path.display())]
    Checkpoint { path: PathBuf, source: Box<dyn std::error::Error + Send + Sync> },
    #[error("stage {stage} diverged at iteration {iteration}: its loss is not a number")]
    Diverged { stage: &'static str, iteration: usize },
    #[error("stage {stage} builds on {needs}, which has no checkpoint in {}; train it first", folder.display())]
    Missing { stage: &'static str, needs: &'static str, folder: PathBuf },
    #[error(
        "stage {stage} learns from clips of {FRAMES_PER_CLIP} frames and those of the pack have {found}: of this pack only the policy can be trained"
    )]
    ClipLength { stage: &'static str, found: usize },
    #[error(
        "{} holds no videos; put them into one folder a task in it, named as the task: {names}",
        folder.display()
    )]
    NoVideos { folder: PathBuf, names: String },
    #[error(
        "{} is no folder of a task; videos lie in one folder a task, named as the task: {names}",
        path.display()
    )]
    NoTask { path: PathBuf, names: String },
    #[error(
        "{} has {found} frames, one clip of the pack takes {wanted}: leave it out or take a longer one",
        path.display()
    )]
    ShortVideo { path: PathBuf, found: usize, wanted: usize },
    #[error(transparent)]
    Media(#[from] crate::media::MediaError),
    #[error(transparent)]
    Pack(#[from] crate::pack::PackError),
}

impl TrainError {
    fn file(path: &Path, source: std::io::Error) -> Self {
        Self::File { path: path.to_owned(), source }
    }

    fn checkpoint(
        path: &Path,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self::Checkpoint { path: path.to_owned(), source: source.into() }
    }
}
