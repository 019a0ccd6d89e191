//! Named tensors under the reference's checkpoint keys, and the one way into and out of a network.
//!
//! Every network keeps a [`KeyTable`]: how its module paths are spelled in the reference's state
//! dict. Packs, parity fixtures and the released files all use those keys, so one loader serves all.

mod load;
mod numbers;
mod visit;

use std::collections::BTreeMap;

use burn::module::Module;
use burn::tensor::Gradients;
use safetensors::tensor::{Dtype, TensorView};

pub use self::load::{TensorSource, load};
pub use self::numbers::{Numbers, Precision};
pub use self::visit::shapes_of;
use self::visit::{Path, Saver};
use crate::checkpoint::CheckpointError;

/// How the module paths of one network are written in the reference's state dict.
#[derive(Debug, Clone, Copy)]
pub struct KeyTable {
    /// Written in front of every key, for example `net.`.
    pub prefix: &'static str,
    /// `(ours, reference)`: parts of a dotted path, replaced in this order.
    pub renames: &'static [(&'static str, &'static str)],
    /// `(ending, reason)`: keys of the reference that hold nothing we load.
    pub ignored: &'static [(&'static str, &'static str)],
}

impl KeyTable {
    /// The reference's key of the parameter at `path`.
    pub fn key(&self, path: &str) -> String {
        // A leading dot lets a rename anchor at the start of a segment.
        let dotted = self
            .renames
            .iter()
            .fold(format!(".{path}"), |p, (ours, reference)| p.replace(ours, reference));
        format!("{}{}", self.prefix, dotted.trim_start_matches('.'))
    }

    /// Why a key of the reference holds nothing we load.
    pub fn ignores(&self, key: &str) -> Option<&'static str> {
        self.ignored.iter().find(|(ending, _)| key.ends_with(ending)).map(|(_, reason)| *reason)
    }
}

/// Why weights could not be read or do not fit a network.
#[derive(Debug, thiserror::Error)]
pub enum WeightsError {
    #[error(transparent)]
    File(#[from] CheckpointError),
    #[error("the safetensors file could not be made: {0}")]
    Format(#[from] safetensors::SafeTensorError),
    #[error("tensor {key} contains values that are not finite")]
    NotFinite { key: String },
    #[error("tensor {key} holds numbers beyond half precision; use --precision f32")]
    BeyondHalf { key: String },
    #[error("the weights lack {} tensor(s) this network needs, first {}", .0.len(), .0[0])]
    Missing(Vec<String>),
    #[error("the weights hold {} tensor(s) this network does not know, first {}", .0.len(), .0[0])]
    Unknown(Vec<String>),
    #[error("tensor {key} has shape {found:?}, this network needs {wanted:?}")]
    Shape { key: String, found: Vec<usize>, wanted: Vec<usize> },
}

/// One tensor in host memory, row-major.
#[derive(Debug, Clone, PartialEq)]
pub struct HostTensor {
    pub shape: Vec<usize>,
    pub values: Vec<f32>,
}

/// Named tensors in host memory, sorted by key.
#[derive(Debug, Clone, Default)]
pub struct Weights {
    tensors: BTreeMap<String, HostTensor>,
}

impl Weights {
    /// The safetensors file of these tensors.
    ///
    /// # Errors
    /// Fails when a tensor's shape and length disagree.
    pub fn to_safetensors(&self, precision: Precision) -> Result<Vec<u8>, WeightsError> {
        let bytes: Vec<(&String, &[usize], Vec<u8>)> = self
            .tensors
            .iter()
            .map(|(key, t)| (key, t.shape.as_slice(), narrow(&t.values, precision)))
            .collect();
        let dtype = match precision {
            Precision::F16 => Dtype::F16,
            Precision::F32 => Dtype::F32,
        };
        let mut views = Vec::with_capacity(bytes.len());
        for (key, shape, data) in &bytes {
            views.push((key.as_str(), TensorView::new(dtype, shape.to_vec(), data)?));
        }
        Ok(safetensors::serialize(views, None)?)
    }

    pub fn insert(&mut self, key: impl Into<String>, shape: Vec<usize>, values: Vec<f32>) {
        self.tensors.insert(key.into(), HostTensor { shape, values });
    }

    /// Sets a tensor to zeros; does nothing when there is none of that key.
    pub fn silence(&mut self, key: &str) {
        if let Some(tensor) = self.tensors.get_mut(key) {
            tensor.values.fill(0.0);
        }
    }

    pub fn get(&self, key: &str) -> Option<&HostTensor> {
        self.tensors.get(key)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &HostTensor)> {
        self.tensors.iter().map(|(key, t)| (key.as_str(), t))
    }

    pub fn len(&self) -> usize {
        self.tensors.len()
    }

    pub fn is_empty(&self) -> bool {
        self.tensors.is_empty()
    }

    /// The tensors whose key begins with `prefix`, without that prefix.
    pub fn strip_prefix(&self, prefix: &str) -> Self {
        let tensors = self
            .tensors
            .iter()
            .filter_map(|(key, t)| Some((key.strip_prefix(prefix)?.to_owned(), t.clone())))
            .collect();
        Self { tensors }
    }

    /// Takes over all tensors of `other`.
    pub fn extend(&mut self, other: Self) {
        self.tensors.extend(other.tensors);
    }

    /// Puts these weights into a network in single precision, see [`load()`].
    ///
    /// # Errors
    /// As [`load()`].
    pub fn load_into<M: Module>(&self, module: M, keys: &KeyTable) -> Result<M, WeightsError> {
        load(self, module, keys, Precision::F32)
    }

    /// Reads a network's weights under the reference's keys.
    pub fn of<M: Module>(module: &M, keys: &KeyTable) -> Self {
        Self::some_of(module, keys, |_| true)
    }

    /// As [`Weights::of`], but only those whose key is `wanted`; others are not even created if
    /// the network is fresh.
    pub fn some_of<M: Module>(module: &M, keys: &KeyTable, wanted: impl Fn(&str) -> bool) -> Self {
        let (path, weights) = (Path::default(), Self::default());
        let mut saver = Saver { keys, path, wanted, gradients: None, weights };
        module.visit(&mut saver);
        saver.weights
    }

    /// The gradients of a network's parameters under the reference's keys; parameters that got
    /// none are left out.
    pub fn of_gradients<M: Module>(module: &M, gradients: &Gradients, keys: &KeyTable) -> Self {
        let (path, weights) = (Path::default(), Self::default());
        let wanted = |_: &str| true;
        let mut saver = Saver { keys, path, wanted, gradients: Some(gradients), weights };
        module.visit(&mut saver);
        saver.weights
    }
}

fn narrow(values: &[f32], precision: Precision) -> Vec<u8> {
    match precision {
        Precision::F16 => {
            values.iter().flat_map(|v| half::f16::from_f32(*v).to_le_bytes()).collect()
        }
        Precision::F32 => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
    }
}
