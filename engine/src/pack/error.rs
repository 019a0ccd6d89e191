//! Why a pack is refused, each in one sentence.

use std::path::PathBuf;

use super::FORMAT;
use crate::atlas::ReferenceError;
use crate::media::MediaError;
use crate::weights::WeightsError;

/// Why a pack could not be opened, loaded or written.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    #[error("{pack} lacks the file {file}: it is no pack, or not a whole one")]
    Missing { file: String, pack: String },
    #[error("{} could not be read: {source}", file.display())]
    Read { file: PathBuf, source: std::io::Error },
    #[error("the manifest of {pack} is damaged or not one of ours: {source}")]
    Manifest { pack: String, source: serde_json::Error },
    #[error(
        "{pack} was made by a newer version (format {found}, this one reads up to {FORMAT}): update the program"
    )]
    Newer { pack: String, found: u32 },
    #[error("{file} of the pack is damaged: it has {found} bytes instead of {wanted}")]
    Length { file: String, found: u64, wanted: u64 },
    #[error("{file} of the pack is damaged: its hash is not the one in the manifest")]
    Hash { file: String },
    #[error("the manifest names the file {0}, which no pack has")]
    UnknownFile(String),
    #[error("the sizes in the pack's manifest contradict each other: {0}")]
    Sizes(String),
    #[error("{file} of the pack does not fit its manifest: {source}")]
    Weights { file: &'static str, source: WeightsError },
    #[error("{file} of the pack cannot be understood: {source}")]
    Json { file: &'static str, source: serde_json::Error },
    #[error(
        "{} is the pack that the policy was trained for and stays as it is: write the new one into another folder",
        folder.display()
    )]
    Itself { folder: PathBuf },
    #[error("the recorded codes {name:?} cannot be played: {reason}")]
    Codes { name: String, reason: String },
    #[error(transparent)]
    Reference(#[from] ReferenceError),
    #[error(transparent)]
    Write(#[from] MediaError),
}
