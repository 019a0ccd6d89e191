//! The networks of a pack, and what each of them needs of a file.

use std::collections::BTreeMap;

use burn::tensor::Device;

use super::ImportError;
use super::survey::Holders;
use crate::checkpoint::StateDict;
use crate::dldm;
use crate::pack::{CONTROL, DIT, DLDM, Manifest, POLICY, VAE};
use crate::policy::PLANNER_KEYS;
use crate::vdm::{CONTROL_KEYS, DIT_KEYS, VAE_KEYS};
use crate::weights::{KeyTable, shapes_of};

/// Where a planner keeps the policy itself, which a file may hold without this in front.
const TRANSFORMER: &str = "policy.transformer.";

/// Keys that no network of a pack needs: `(beginning or part, reason)`.
const NEVER_NEEDED: [(&str, &str); 4] = [
    ("ldm_net.", "a copy of the dLDM, which has a file of its own"),
    ("net_ema.", "running averages of the training run"),
    ("loss.", "belongs to the training loss"),
    ("_extra_state", "book-keeping of Transformer-Engine"),
];

/// One network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    Dldm,
    Vae,
    Dit,
    Control,
    Policy,
}

impl Part {
    /// Its file in the pack.
    pub fn file(self) -> &'static str {
        match self {
            Self::Dldm => DLDM,
            Self::Vae => VAE,
            Self::Dit => DIT,
            Self::Control => CONTROL,
            Self::Policy => POLICY,
        }
    }

    pub fn label(self) -> &'static str {
        match self {
            Self::Dldm => "latent dynamics model",
            Self::Vae => "video autoencoder",
            Self::Dit => "video transformer",
            Self::Control => "control branch",
            Self::Policy => "policy",
        }
    }

    /// The file it was published in.
    pub fn published(self) -> &'static str {
        match self {
            Self::Dldm => "VideoWorld2_dLDM_VAE.pt",
            Self::Vae => "tokenizer.pth of Wan 2.1",
            Self::Dit | Self::Control => "VideoWorld2_dLDM_DiT.pth",
            Self::Policy => "none",
        }
    }

    pub fn keys(self) -> &'static KeyTable {
        match self {
            Self::Dldm => &dldm::KEYS,
            Self::Vae => &VAE_KEYS,
            Self::Dit => &DIT_KEYS,
            Self::Control => &CONTROL_KEYS,
            Self::Policy => &PLANNER_KEYS,
        }
    }

    /// The key under which a file holds the tensor `key`.
    pub fn stored<'k>(self, state: &StateDict, key: &'k str) -> Option<&'k str> {
        let short = key.strip_prefix(TRANSFORMER).filter(|_| self == Self::Policy);
        [Some(key), short].into_iter().flatten().find(|key| state.tensors.contains_key(*key))
    }
}

/// Why a key that no network took is no loss.
pub fn never_needed(key: &str) -> Option<&'static str> {
    let (_, reason) = NEVER_NEEDED.iter().find(|(part, _)| key.contains(part))?;
    Some(reason)
}

/// A network that a manifest names, with the tensors it needs.
pub struct Wanted {
    pub part: Part,
    pub shapes: BTreeMap<String, Vec<usize>>,
}

impl Wanted {
    /// All networks of a manifest. None of their weights are created for this.
    pub fn of(manifest: &Manifest) -> Vec<Self> {
        let device = Device::flex();
        let shapes = shapes_of(&manifest.dldm.init(&device), &dldm::KEYS);
        let mut all = vec![Self { part: Part::Dldm, shapes }];
        if let Some(config) = &manifest.vdm {
            let vdm = config.init(&device);
            all.push(Self { part: Part::Vae, shapes: shapes_of(&vdm.vae, &VAE_KEYS) });
            all.push(Self { part: Part::Dit, shapes: shapes_of(&vdm.dit, &DIT_KEYS) });
            all.push(Self { part: Part::Control, shapes: shapes_of(&vdm.control, &CONTROL_KEYS) });
        }
        if let Some(config) = &manifest.planner {
            let shapes = shapes_of(&config.init(&device), &PLANNER_KEYS);
            all.push(Self { part: Part::Policy, shapes });
        }
        all
    }

    /// Whether a file is meant to hold this network: at least half of what it could share with it
    /// by name it does.
    pub fn is_in(&self, state: &StateDict) -> bool {
        let shared = self.shapes.keys().filter(|key| self.part.stored(state, key).is_some());
        let shared = shared.count();
        let prefix = self.part.keys().prefix;
        let possible = state.tensors.keys().filter(|key| key.starts_with(prefix)).count();
        shared > 0 && 2 * shared >= possible.min(self.shapes.len())
    }

    /// Refuses a network that is not whole.
    pub fn check(&self, files: &Holders<'_>) -> Result<(), ImportError> {
        let part = self.part.label();
        let mut missing = Vec::new();
        for (key, wanted) in &self.shapes {
            let Some((file, stored, found)) = files.find(self.part, key) else {
                missing.push(key.clone());
                continue;
            };
            if found != wanted {
                let (file, key) = (file.name().to_owned(), stored.to_owned());
                let (found, wanted) = (found.to_vec(), wanted.clone());
                return Err(ImportError::Shape { part, file, key, found, wanted });
            }
        }
        if missing.is_empty() {
            return Ok(());
        }
        let wanted = self.shapes.len();
        Err(ImportError::Missing { part, file: files.name(), keys: missing, wanted })
    }
}
