//! Writing a pack.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;

use super::{
    CONTROL, DIT, DLDM, FILES, FileFacts, Files, MANIFEST, Manifest, NEGATIVE, NEGATIVE_KEY,
    POLICY, Pack, PackError, REFERENCE, VAE, sha256,
};
use crate::atlas::ReferenceSet;
use crate::checkpoint::Source;
use crate::media::write_atomic;
use crate::weights::{HostTensor, Precision, Weights};

/// What goes into a pack beside its manifest. Weights are under the reference's keys.
#[derive(Debug, Clone, Default)]
pub struct PackContents {
    pub dldm: Weights,
    pub vae: Option<Weights>,
    pub dit: Option<Weights>,
    pub control: Option<Weights>,
    /// The context that guidance leads away from, `[1, tokens, channels]`.
    pub negative: Option<HostTensor>,
    pub policy: Option<Weights>,
    pub reference: Option<ReferenceSet>,
}

impl Pack {
    /// Writes a pack folder in half precision, the manifest last, and returns it opened. What
    /// `manifest` says about format and files is replaced by what is true.
    ///
    /// # Errors
    /// Fails when a file cannot be written or what was given does not make a pack.
    pub fn write(
        folder: &Path,
        mut manifest: Manifest,
        contents: &PackContents,
    ) -> Result<Self, PackError> {
        let mut files: BTreeMap<&'static str, Vec<u8>> = BTreeMap::new();
        let weights = [
            (DLDM, Some(&contents.dldm)),
            (VAE, contents.vae.as_ref()),
            (DIT, contents.dit.as_ref()),
            (CONTROL, contents.control.as_ref()),
            (POLICY, contents.policy.as_ref()),
        ];
        for (file, weights) in weights {
            if let Some(weights) = weights {
                files.insert(file, half(file, weights)?);
            }
        }
        if let Some(negative) = &contents.negative {
            let mut weights = Weights::default();
            weights.insert(NEGATIVE_KEY, negative.shape.clone(), negative.values.clone());
            files.insert(NEGATIVE, half(NEGATIVE, &weights)?);
        }
        if let Some(reference) = &contents.reference {
            let json = serde_json::to_vec(reference)
                .map_err(|source| PackError::Json { file: REFERENCE, source })?;
            files.insert(REFERENCE, json);
        }
        manifest.files.clear();
        manifest.check()?;
        for (name, bytes) in &files {
            write_atomic(&folder.join(name), bytes)?;
        }
        let names: Vec<&'static str> = files.keys().copied().collect();
        Self::seal(folder, manifest, &names, &mut |_, _, _| ControlFlow::Continue(()))?;
        Self::open(folder)
    }

    /// Writes a pack folder with this pack's files, byte for byte, and a policy in place of any it
    /// had, and returns it opened. `manifest` is this pack's with the policy's sizes.
    ///
    /// # Errors
    /// Fails when `folder` is this pack's own, when the policy does not fit the pack, and when a
    /// file cannot be copied or written.
    pub fn with_policy(
        &self,
        folder: &Path,
        manifest: Manifest,
        policy: &Weights,
    ) -> Result<Self, PackError> {
        if let Files::Folder(own) = &self.files
            && let (Ok(own), Ok(other)) = (own.canonicalize(), folder.canonicalize())
            && own == other
        {
            return Err(PackError::Itself { folder: folder.to_owned() });
        }
        manifest.check()?;
        let kept = FILES.into_iter().filter(|file| *file != POLICY && self.has(file));
        let mut files: Vec<&'static str> = kept.collect();
        for file in &files {
            self.files.copy(file, folder)?;
        }
        write_atomic(&folder.join(POLICY), &half(POLICY, policy)?)?;
        files.push(POLICY);
        Self::seal(folder, manifest, &files, &mut |_, _, _| ControlFlow::Continue(()))?;
        Self::open(folder)
    }

    /// Makes a pack of a folder that holds its files already, by writing the manifest with their
    /// hashes. `watch` hears of each file how many of its bytes are hashed; false when it stopped
    /// that.
    pub(crate) fn seal(
        folder: &Path,
        mut manifest: Manifest,
        files: &[&'static str],
        watch: &mut dyn FnMut(&'static str, u64, u64) -> ControlFlow<()>,
    ) -> Result<bool, PackError> {
        manifest.format = super::FORMAT;
        manifest.files.clear();
        for name in files {
            let path = folder.join(name);
            let read = |source| PackError::Read { file: path.clone(), source };
            let source = Source::open(&path).map_err(read)?;
            let bytes = source.len();
            let hash = sha256(&source, &mut |done| watch(name, done, bytes)).map_err(read)?;
            let Some(sha256) = hash else {
                return Ok(false);
            };
            manifest.files.insert((*name).to_owned(), FileFacts { bytes, sha256 });
        }
        manifest.check()?;
        let json = serde_json::to_vec_pretty(&manifest)
            .map_err(|source| PackError::Json { file: MANIFEST, source })?;
        write_atomic(&folder.join(MANIFEST), &json)?;
        Ok(true)
    }
}

fn half(file: &'static str, weights: &Weights) -> Result<Vec<u8>, PackError> {
    weights.to_safetensors(Precision::F16).map_err(|source| PackError::Weights { file, source })
}

/// Bytes as hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
