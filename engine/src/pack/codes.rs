//! Codes that came with a pack: predicted elsewhere, played here like the policy's own.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Manifest, PackError};

/// Codes of whole rollouts under the names they were published with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecordedCodes {
    /// The file they come from.
    pub source: String,
    /// For each name the codes of its clips, step after step.
    pub rollouts: BTreeMap<String, Vec<Vec<u16>>>,
}

impl RecordedCodes {
    /// Refuses codes that a pack of these sizes cannot paint.
    pub(crate) fn check(&self, manifest: &Manifest) -> Result<(), PackError> {
        let (wanted, vocabulary) = (manifest.codes_per_clip(), manifest.dldm.vocabulary());
        for (name, clips) in &self.rollouts {
            let refused = |reason| PackError::Codes { name: name.clone(), reason };
            if clips.is_empty() || clips.iter().any(|codes| codes.len() != wanted) {
                return Err(refused(format!("each clip must have {wanted} codes")));
            }
            if let Some(code) = clips.iter().flatten().find(|code| **code as usize >= vocabulary) {
                return Err(refused(format!("{code} is no code of a vocabulary of {vocabulary}")));
            }
        }
        Ok(())
    }
}
