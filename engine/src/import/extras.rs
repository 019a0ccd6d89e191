//! The small files beside the networks: the negative context of guidance, and predicted codes.
//!
//! Nobody wrote down how they are nested, so what is looked for is what only they can hold.

use std::collections::BTreeMap;

use super::ImportError;
use crate::checkpoint::{Checkpoint, Tensor, Value};
use crate::pack::Manifest;
use crate::weights::HostTensor;

/// A negative context may come with a mask and a text or two, never with a network.
const MAX_COMPANIONS: usize = 4;

/// Codes of a thousand long rollouts.
const MAX_CODES: usize = 1 << 20;

/// The codes of the clips of each rollout.
type Rollouts = BTreeMap<String, Vec<Vec<u16>>>;

/// What a file that holds no network may hold.
pub enum Extra {
    /// `[1, tokens, channels]`
    Negative(HostTensor),
    Codes(Rollouts),
    /// Whole numbers that are no codes, and why not.
    Numbers(String),
}

/// The negative context, the codes or other whole numbers in a file; `None` when it holds none.
pub fn of(file: &Checkpoint, manifest: &Manifest) -> Result<Option<Extra>, ImportError> {
    if let Some(negative) = negative(file, manifest)? {
        return Ok(Some(Extra::Negative(negative)));
    }
    codes(file, manifest)
}

/// The one tensor of floats whose last axis is as wide as a context token.
fn negative(file: &Checkpoint, manifest: &Manifest) -> Result<Option<HostTensor>, ImportError> {
    let Some(vdm) = &manifest.vdm else { return Ok(None) };
    let channels = vdm.dit.crossattn_emb_channels;
    let tensors = file.value.tensors();
    let fits = |tensor: &&&Tensor| {
        let is_one = tensor.shape.len() == 2 || (tensor.shape.len() == 3 && tensor.shape[0] == 1);
        tensor.is_float() && is_one && tensor.shape.last() == Some(&channels)
    };
    let mut fitting = tensors.iter().filter(fits);
    let (Some(tensor), None) = (fitting.next(), fitting.next()) else { return Ok(None) };
    if tensors.len() > MAX_COMPANIONS {
        return Ok(None);
    }
    let tokens = tensor.len() / channels;
    let (name, limit) = (file.name.clone(), vdm.dit.context_tokens);
    if tokens == 0 || tokens > limit {
        return Err(ImportError::Negative { file: name, found: tokens, limit });
    }
    let values = file.read(tensor)?;
    if !values.iter().all(|value| value.is_finite()) {
        return Err(ImportError::NotFinite { key: "the negative context".to_owned(), file: name });
    }
    Ok(Some(HostTensor { shape: vec![1, tokens, channels], values }))
}

/// Whole numbers under names, if that is what the file holds. They are codes when any of them are
/// whole clips of the pack's codes: then all must be.
fn codes(file: &Checkpoint, manifest: &Manifest) -> Result<Option<Extra>, ImportError> {
    if file.value.tensors().iter().any(|tensor| tensor.is_float() && tensor.len() > 0) {
        return Ok(None);
    }
    let (mut rollouts, mut wrong) = (BTreeMap::new(), None);
    for (name, value) in entries(&file.value) {
        let reader = Reader { file, manifest };
        if let Some(numbers) = reader.numbers(value)? {
            match reader.clips(&numbers) {
                Ok(clips) => drop(rollouts.insert(name, clips)),
                Err(reason) => drop(wrong.get_or_insert((name, reason))),
            }
        }
    }
    match wrong {
        None => Ok(Some(rollouts).filter(|rollouts| !rollouts.is_empty()).map(Extra::Codes)),
        Some((_, reason)) if rollouts.is_empty() => Ok(Some(Extra::Numbers(reason))),
        Some((name, reason)) => Err(ImportError::Codes { name, file: file.name.clone(), reason }),
    }
}

/// The named parts of a file: those of its dictionary, or of the only dictionary in that; a list is
/// counted through.
fn entries(value: &Value) -> Vec<(String, &Value)> {
    match value {
        Value::Dict(entries) => match entries.as_slice() {
            [(_, inner @ Value::Dict(several))] if several.len() > 1 => self::entries(inner),
            entries => entries.iter().map(|(name, value)| (name.clone(), value)).collect(),
        },
        Value::List(items) if !items.iter().all(|item| matches!(item, Value::Int(_))) => {
            items.iter().enumerate().map(|(i, value)| (i.to_string(), value)).collect()
        }
        value => vec![("codes".to_owned(), value)],
    }
}

struct Reader<'a> {
    file: &'a Checkpoint,
    manifest: &'a Manifest,
}

impl Reader<'_> {
    /// All whole numbers in a list, a tensor or nested lists, in their order; `None` when there is
    /// anything else. Of a dictionary the one entry with a clip's worth of them counts.
    fn numbers(&self, value: &Value) -> Result<Option<Vec<i64>>, ImportError> {
        match value {
            Value::Tensor(tensor)
                if !tensor.is_float() && !tensor.shape.is_empty() && tensor.len() <= MAX_CODES =>
            {
                // Codes are below 65536, which single precision holds exactly.
                let values = self.file.read(tensor)?;
                Ok(Some(values.iter().map(|value| *value as i64).collect()))
            }
            Value::List(items) => {
                let mut all = Vec::new();
                for item in items {
                    match item {
                        Value::Int(number) => all.push(*number),
                        item => match self.numbers(item)? {
                            Some(numbers) => all.extend(numbers),
                            None => return Ok(None),
                        },
                    }
                }
                Ok(Some(all).filter(|all| !all.is_empty()))
            }
            Value::Dict(entries) => {
                let mut found = None;
                for (_, value) in entries {
                    let numbers = self.numbers(value)?;
                    let is_clip = |n: &Vec<i64>| n.len() >= self.manifest.codes_per_clip();
                    if let Some(numbers) = numbers.filter(is_clip) {
                        if found.is_some() {
                            return Ok(None);
                        }
                        found = Some(numbers);
                    }
                }
                Ok(found)
            }
            _ => Ok(None),
        }
    }

    fn clips(&self, numbers: &[i64]) -> Result<Vec<Vec<u16>>, String> {
        let (per_clip, vocabulary) =
            (self.manifest.codes_per_clip(), self.manifest.dldm.vocabulary());
        if numbers.is_empty() || !numbers.len().is_multiple_of(per_clip) {
            let found = numbers.len();
            return Err(format!("{found} codes are no whole clips of {per_clip}"));
        }
        let code = |number: &i64| {
            let code = u16::try_from(*number).ok().filter(|code| usize::from(*code) < vocabulary);
            code.ok_or_else(|| format!("{number} is no code of a vocabulary of {vocabulary}"))
        };
        numbers.chunks(per_clip).map(|clip| clip.iter().map(code).collect()).collect()
    }
}
