//! The named tensors of a network in a file.

use std::collections::BTreeMap;

use super::{Checkpoint, CheckpointError, Refusal, Source, Tensor, Value};

/// Under which of its keys a file may hold the tensors instead of being the dictionary itself.
const WRAPPERS: [&str; 2] = ["model", "state_dict"];

/// What training code may put in front of every key.
const PREFIXES: [&str; 2] = ["module.", "model."];

/// Named tensors that are read one at a time.
#[derive(Debug)]
pub struct StateDict {
    pub file: Checkpoint,
    pub tensors: BTreeMap<String, Tensor>,
    /// `(key, kind)` of entries that are no tensors.
    pub others: Vec<(String, &'static str)>,
}

impl StateDict {
    /// Opens safetensors; no other format will do.
    ///
    /// # Errors
    /// Says why the file is refused.
    pub fn safetensors(name: String, source: Source) -> Result<Self, CheckpointError> {
        Self::of(Checkpoint::safetensors(name, source)?)
    }

    /// The dictionary in a file, without what only wraps it.
    ///
    /// # Errors
    /// Fails when the file is no dictionary of tensors or names one twice.
    pub fn of(file: Checkpoint) -> Result<Self, CheckpointError> {
        let inner = WRAPPERS.iter().find_map(|key| file.value.get(key));
        let (mut tensors, mut others) = (BTreeMap::new(), Vec::new());
        let mut twice = None;
        if let Value::Dict(entries) = inner.unwrap_or(&file.value) {
            for (key, value) in entries {
                match value {
                    Value::Tensor(tensor) => {
                        if tensors.insert(key.clone(), tensor.clone()).is_some() {
                            twice.get_or_insert_with(|| key.clone());
                        }
                    }
                    other => others.push((key.clone(), other.kind())),
                }
            }
        }
        let refusal = match twice {
            Some(key) => Refusal::Twice(key),
            None if tensors.is_empty() => Refusal::NoTensors,
            None => return Ok(Self { file, tensors: unprefixed(tensors), others }),
        };
        Err(CheckpointError::Refused { name: file.name, refusal })
    }
}

fn unprefixed(mut tensors: BTreeMap<String, Tensor>) -> BTreeMap<String, Tensor> {
    for prefix in PREFIXES {
        if tensors.keys().all(|key| key.starts_with(prefix)) {
            let short = |(key, tensor): (String, Tensor)| (key[prefix.len()..].to_owned(), tensor);
            tensors = tensors.into_iter().map(short).collect();
        }
    }
    tensors
}
