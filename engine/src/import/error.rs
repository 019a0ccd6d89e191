//! Why an import is refused, each in one sentence.

use std::path::PathBuf;

use super::fetch::FetchError;
use super::part::Part;
use super::survey::Holders;
use crate::checkpoint::CheckpointError;
use crate::pack::PackError;

/// Why no pack could be made.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    #[error("{} is taken; choose another folder for the pack", .0.display())]
    Taken(PathBuf),
    #[error("{} could not be read: {source}", path.display())]
    Folder { path: PathBuf, source: std::io::Error },
    #[error("{} holds more than {limit} files; give the folder of the weights alone", folder.display())]
    TooManyFiles { folder: PathBuf, limit: usize },
    #[error(transparent)]
    File(#[from] CheckpointError),
    #[error(
        "{file} ends like a file of weights but is none this program knows: neither safetensors, nor written by torch.save, nor a pickle"
    )]
    NoFormat { file: String },
    #[error("{} holds no latent dynamics model (VideoWorld2_dLDM_VAE.pt), without which there is no pack; {looked}", folder.display())]
    NoDldm { folder: PathBuf, looked: String },
    #[error("both {first} and {second} hold the {part}; leave only one of them in the folder")]
    Both { part: &'static str, first: String, second: String },
    #[error(
        "{file} holds the {found} but no file holds the {missing} ({published}), which it cannot do without"
    )]
    Half { file: String, found: &'static str, missing: &'static str, published: &'static str },
    #[error("the {part} in {file} lacks {} of the {wanted} tensors it needs, first {}; if it is of another size, put the manifest.json of a pack of that size into the folder", keys.len(), keys[0])]
    Missing { part: &'static str, file: String, keys: Vec<String>, wanted: usize },
    #[error(
        "{key} in {file} has shape {found:?} where the {part} needs {wanted:?}; if it is of another size, put the manifest.json of a pack of that size into the folder"
    )]
    Shape { part: &'static str, file: String, key: String, found: Vec<usize>, wanted: Vec<usize> },
    #[error("{key} in {file} holds numbers that are not finite: the file is damaged")]
    NotFinite { key: String, file: String },
    #[error("the negative context in {file} has {found} tokens, of which the model takes {limit}")]
    Negative { file: String, found: usize, limit: usize },
    #[error("the codes of {name:?} in {file} cannot be used: {reason}")]
    Codes { name: String, file: String, reason: String },
    #[error("{} could not be written: {source}", path.display())]
    Write { path: PathBuf, source: std::io::Error },
    #[error(transparent)]
    Pack(#[from] PackError),
    #[error(transparent)]
    Fetch(#[from] FetchError),
    #[error("the import was cancelled; nothing of it is left")]
    Cancelled,
}

impl ImportError {
    pub(super) fn half(found: Part, missing: Part, files: &Holders<'_>) -> Self {
        let (file, found) = (files.name(), found.label());
        Self::Half { file, found, missing: missing.label(), published: missing.published() }
    }
}
