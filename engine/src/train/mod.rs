//! Training in stages: video autoencoder, diffusion model, dLDM warm-up, both jointly, policy.
//!
//! A run folder holds one folder a stage with its checkpoint, log and plot. Every stage resumes.

mod dye;
mod joint;
mod likeness;
mod pack;
mod plot;
mod policy;
mod pool;
mod run;
mod stage;
mod vae;
mod vdm;
mod warmup;

use std::path::{Path, PathBuf};

pub use pack::PackSettings;
pub use policy::{EncodedTask, PolicyBatch, encode_episode, encode_many};
pub use pool::{ClipPool, Subject, stack};
pub use run::{Run, Schedule, Tick};
pub use stage::{Recipe, RunFolder, Stage};

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
