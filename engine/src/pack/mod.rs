//! Packs: a folder with all weights and settings of one trained system.
//!
//! `manifest.json` says what the system is and holds the hash of every other file; the weights are
//! safetensors in half precision under the reference's keys. One pack is embedded in the program.

mod check;
mod codes;
mod error;
mod estimate;
mod manifest;
mod networks;
mod scale;
mod source;
#[cfg(test)]
pub(crate) mod tests;
mod write;

use std::borrow::Cow;
use std::fmt;
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use burn::tensor::Device;
use sha2::{Digest as _, Sha256};

pub use codes::RecordedCodes;
pub use error::PackError;
pub use estimate::{Estimate, Job, Lack, Residence, Smaller, StageMemory, TooLarge};
pub use manifest::{FORMAT, FileFacts, Manifest, SamplerDefaults, TaskEntry};
pub use networks::Networks;
pub(crate) use networks::drawn;
pub use scale::Scale;
pub use source::PackSource;
pub use write::{PackContents, hex};

use crate::atlas::ReferenceSet;
use crate::checkpoint::{Source, StateDict};
use crate::gpu::Chosen;
use crate::media::{copy_atomic, write_atomic};
use crate::weights::Numbers;

pub(crate) const MANIFEST: &str = "manifest.json";
pub(crate) const DLDM: &str = "dldm.safetensors";
pub(crate) const VAE: &str = "vae.safetensors";
pub(crate) const DIT: &str = "dit.safetensors";
pub(crate) const CONTROL: &str = "control.safetensors";
pub(crate) const NEGATIVE: &str = "negative.safetensors";
pub(crate) const POLICY: &str = "policy.safetensors";
const REFERENCE: &str = "reference.json";
pub(crate) const CODES: &str = "codes.json";

/// All that a pack may have beside its manifest.
const FILES: [&str; 8] = [DLDM, VAE, DIT, CONTROL, NEGATIVE, POLICY, REFERENCE, CODES];

/// How much of a file is read at a time to hash it.
const HASH_BYTES: usize = 1 << 20;

/// Key of the only tensor in [`NEGATIVE`]: `[1, tokens, channels]`.
pub(crate) const NEGATIVE_KEY: &str = "negative_context";

/// Names the content of a pack: the hash of its manifest, which holds the hashes of its files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PackId(pub [u8; 32]);

/// Hexadecimal digits.
impl fmt::Display for PackId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

/// A pack whose manifest was read and whose files were found as the manifest says they are.
#[derive(Debug, Clone)]
pub struct Pack {
    pub manifest: Manifest,
    pub id: PackId,
    files: Files,
}

#[derive(Debug, Clone)]
enum Files {
    Embedded,
    Folder(PathBuf),
}

macro_rules! embedded {
    ($($name:expr => $file:literal),* $(,)?) => {
        &[$(($name, include_bytes!(concat!(
            env!("CARGO_MANIFEST_DIR"), "/../assets/pack/craft-mini/", $file
        )))),*]
    };
}

const EMBEDDED: &[(&str, &[u8])] = embedded![
    MANIFEST => "manifest.json",
    DLDM => "dldm.safetensors",
    VAE => "vae.safetensors",
    DIT => "dit.safetensors",
    CONTROL => "control.safetensors",
    POLICY => "policy.safetensors",
    REFERENCE => "reference.json",
];

impl Pack {
    /// The pack inside the program.
    ///
    /// # Errors
    /// As [`Pack::open`]; a release never fails here, its tests open it.
    pub fn embedded() -> Result<Self, PackError> {
        Self::of(Files::Embedded)
    }

    /// Opens a pack folder and checks every file against its hash.
    ///
    /// # Errors
    /// Says what is missing, damaged, newer than this program, or no pack at all.
    pub fn open(folder: &Path) -> Result<Self, PackError> {
        Self::of(Files::Folder(folder.to_owned()))
    }

    fn of(files: Files) -> Result<Self, PackError> {
        let text = files.read(MANIFEST)?;
        let manifest = Manifest::parse(&text, &files.name())?;
        manifest.check()?;
        for (name, facts) in &manifest.files {
            let source = files.open(name)?;
            if source.len() != facts.bytes {
                let (found, wanted) = (source.len(), facts.bytes);
                return Err(PackError::Length { file: name.clone(), found, wanted });
            }
            let hash = sha256(&source, &mut |_| ControlFlow::Continue(()));
            if hash.map_err(|error| files.unread(name, error))? != Some(facts.sha256.clone()) {
                return Err(PackError::Hash { file: name.clone() });
            }
        }
        let id = PackId(Sha256::digest(&text).into());
        Ok(Self { manifest, id, files })
    }

    /// The networks of this pack on a device, in single precision.
    ///
    /// # Errors
    /// Fails when weights do not fit the sizes in the manifest.
    pub fn load(&self, device: &Device) -> Result<Networks, PackError> {
        Networks::load(self, device, Residence::Kept, Numbers::default())
    }

    /// The same without the video diffusion model.
    ///
    /// # Errors
    /// As [`Pack::load`].
    pub fn load_coarse(&self, device: &Device) -> Result<Networks, PackError> {
        Networks::load(self, device, Residence::CoarseOnly, Numbers::default())
    }

    /// The same with some weights left out, on a device and in the numbers that were chosen.
    ///
    /// # Errors
    /// As [`Pack::load`], and where weights are beyond half precision.
    pub fn load_on(&self, chosen: &Chosen, residence: Residence) -> Result<Networks, PackError> {
        Networks::load(self, &chosen.device, residence, chosen.numbers)
    }

    /// The reference set for the map; `None` when the pack has none.
    ///
    /// # Errors
    /// Fails when the file is no reference set or not one of this pack's codes.
    pub fn reference(&self) -> Result<Option<ReferenceSet>, PackError> {
        if !self.has(REFERENCE) {
            return Ok(None);
        }
        let bytes = self.files.read(REFERENCE)?;
        let set: ReferenceSet = serde_json::from_slice(&bytes)
            .map_err(|source| PackError::Json { file: REFERENCE, source })?;
        set.check(&self.manifest.dldm.levels)?;
        Ok(Some(set))
    }

    /// Codes that came with the pack, as others predicted them; `None` when there are none.
    ///
    /// # Errors
    /// Fails when the file holds no codes or not ones of this pack.
    pub fn recorded_codes(&self) -> Result<Option<RecordedCodes>, PackError> {
        if !self.has(CODES) {
            return Ok(None);
        }
        let bytes = self.files.read(CODES)?;
        let codes: RecordedCodes = serde_json::from_slice(&bytes)
            .map_err(|source| PackError::Json { file: CODES, source })?;
        codes.check(&self.manifest)?;
        Ok(Some(codes))
    }

    fn has(&self, file: &str) -> bool {
        self.manifest.files.contains_key(file)
    }

    /// The tensors of a file, to be read one at a time.
    fn weights(&self, file: &'static str) -> Result<StateDict, PackError> {
        if !self.has(file) {
            return Err(PackError::Missing { file: file.to_owned(), pack: self.files.name() });
        }
        let source = self.files.open(file)?;
        StateDict::safetensors(file.to_owned(), source)
            .map_err(|source| PackError::Weights { file, source: source.into() })
    }
}

impl Files {
    /// For errors.
    fn name(&self) -> String {
        match self {
            Self::Embedded => "the embedded pack".to_owned(),
            Self::Folder(folder) => folder.display().to_string(),
        }
    }

    fn open(&self, file: &str) -> Result<Source, PackError> {
        let missing = || PackError::Missing { file: file.to_owned(), pack: self.name() };
        match self {
            Self::Embedded => {
                let found = EMBEDDED.iter().find(|(name, _)| *name == file);
                let (_, bytes) = found.ok_or_else(missing)?;
                Ok(Source::Memory(Cow::Borrowed(bytes)))
            }
            Self::Folder(folder) => match Source::open(&folder.join(file)) {
                Ok(source) => Ok(source),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Err(missing()),
                Err(error) => Err(self.unread(file, error)),
            },
        }
    }

    /// A file that is small enough to be read at once.
    fn read(&self, file: &str) -> Result<Cow<'static, [u8]>, PackError> {
        match self.open(file)? {
            Source::Memory(bytes) => Ok(bytes),
            source => {
                let bytes = source.bytes(0, source.len());
                Ok(Cow::Owned(bytes.map_err(|error| self.unread(file, error))?))
            }
        }
    }

    /// Copies a file, byte for byte.
    fn copy(&self, file: &str, folder: &Path) -> Result<(), PackError> {
        let to = folder.join(file);
        match self {
            Self::Embedded => write_atomic(&to, &self.read(file)?)?,
            Self::Folder(own) => copy_atomic(&own.join(file), &to)?,
        }
        Ok(())
    }

    fn unread(&self, file: &str, source: io::Error) -> PackError {
        let file = match self {
            Self::Embedded => file.into(),
            Self::Folder(folder) => folder.join(file),
        };
        PackError::Read { file, source }
    }
}

/// The hash of everything in a source, as hexadecimal digits; `None` when `watch`, which hears how
/// many bytes are done, stopped it.
fn sha256(
    source: &Source,
    watch: &mut dyn FnMut(u64) -> ControlFlow<()>,
) -> io::Result<Option<String>> {
    let mut hash = Sha256::new();
    let mut buffer = vec![0; HASH_BYTES];
    let mut at = 0;
    while at < source.len() {
        let len = buffer.len().min(usize::try_from(source.len() - at).unwrap_or(usize::MAX));
        source.read_at(at, &mut buffer[..len])?;
        hash.update(&buffer[..len]);
        at += len as u64;
        if watch(at).is_break() {
            return Ok(None);
        }
    }
    Ok(Some(hex(&hash.finalize())))
}
