//! Named tensors under the reference's checkpoint keys, and the one way into and out of a network.
//!
//! Every network keeps a [`KeyTable`]: how its module paths are spelled in the reference's state
//! dict. Packs, parity fixtures and the released files all use those keys, so one loader serves all.

use std::collections::{BTreeMap, BTreeSet};

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{Gradients, Tensor, TensorData};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};

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

    fn is_ignored(&self, key: &str) -> bool {
        self.ignored.iter().any(|(ending, _)| key.ends_with(ending))
    }
}

/// Why weights could not be read or do not fit a network.
#[derive(Debug, thiserror::Error)]
pub enum WeightsError {
    #[error("not a readable safetensors file: {0}")]
    Format(#[from] safetensors::SafeTensorError),
    #[error("tensor {key} is stored as {dtype:?}, which weights never are")]
    Dtype { key: String, dtype: Dtype },
    #[error("tensor {key} contains values that are not finite")]
    NotFinite { key: String },
    #[error("the weights lack {} tensor(s) this network needs, first {}", .0.len(), .0[0])]
    Missing(Vec<String>),
    #[error("the weights hold {} tensor(s) this network does not know, first {}", .0.len(), .0[0])]
    Unknown(Vec<String>),
    #[error("tensor {key} has shape {found:?}, this network needs {wanted:?}")]
    Shape { key: String, found: Vec<usize>, wanted: Vec<usize> },
}

/// How numbers are written to disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precision {
    F16,
    F32,
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
    /// Reads a safetensors file held in memory; half precision is widened to f32.
    ///
    /// # Errors
    /// Fails on a damaged file, a tensor that is not a number type, and values that are not finite.
    pub fn from_safetensors(bytes: &[u8]) -> Result<Self, WeightsError> {
        let file = SafeTensors::deserialize(bytes)?;
        let mut weights = Self::default();
        for (key, view) in file.iter() {
            let values = widen(key, &view)?;
            if !values.iter().all(|v| v.is_finite()) {
                return Err(WeightsError::NotFinite { key: key.into() });
            }
            weights.insert(key, view.shape().to_vec(), values);
        }
        Ok(weights)
    }

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

    /// Puts these weights into a network.
    ///
    /// Keys under the table's prefix must be exactly those of the network; others are not looked at.
    ///
    /// # Errors
    /// Names the missing, unknown or misshapen tensors.
    pub fn load_into<M: Module>(&self, module: M, keys: &KeyTable) -> Result<M, WeightsError> {
        let mut loader = Loader {
            weights: self,
            keys,
            path: Path::default(),
            used: BTreeSet::new(),
            missing: Vec::new(),
            misshapen: None,
        };
        let module = module.map(&mut loader);
        let Loader { used, missing, misshapen, .. } = loader;
        if let Some(error) = misshapen {
            return Err(error);
        }
        if !missing.is_empty() {
            return Err(WeightsError::Missing(missing));
        }
        let unknown: Vec<String> = self
            .tensors
            .keys()
            .filter(|key| {
                key.starts_with(keys.prefix) && !used.contains(*key) && !keys.is_ignored(key)
            })
            .cloned()
            .collect();
        if !unknown.is_empty() {
            return Err(WeightsError::Unknown(unknown));
        }
        Ok(module)
    }

    /// Reads a network's weights under the reference's keys.
    pub fn of<M: Module>(module: &M, keys: &KeyTable) -> Self {
        let mut saver =
            Saver { keys, path: Path::default(), gradients: None, weights: Self::default() };
        module.visit(&mut saver);
        saver.weights
    }

    /// The gradients of a network's parameters under the reference's keys; parameters that got
    /// none are left out.
    pub fn of_gradients<M: Module>(module: &M, gradients: &Gradients, keys: &KeyTable) -> Self {
        let mut saver = Saver {
            keys,
            path: Path::default(),
            gradients: Some(gradients),
            weights: Self::default(),
        };
        module.visit(&mut saver);
        saver.weights
    }
}

fn widen(key: &str, view: &TensorView<'_>) -> Result<Vec<f32>, WeightsError> {
    let data = view.data();
    let words = |n: usize| data.chunks_exact(n);
    Ok(match view.dtype() {
        Dtype::F16 => words(2).map(|b| half::f16::from_le_bytes([b[0], b[1]]).to_f32()).collect(),
        Dtype::BF16 => words(2).map(|b| half::bf16::from_le_bytes([b[0], b[1]]).to_f32()).collect(),
        Dtype::F32 => words(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect(),
        Dtype::I32 => {
            words(4).map(|b| i32::from_le_bytes([b[0], b[1], b[2], b[3]]) as f32).collect()
        }
        Dtype::I64 => words(8)
            .map(|b| i64::from_le_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]]) as f32)
            .collect(),
        dtype => {
            return Err(WeightsError::Dtype { key: key.into(), dtype });
        }
    })
}

fn narrow(values: &[f32], precision: Precision) -> Vec<u8> {
    match precision {
        Precision::F16 => {
            values.iter().flat_map(|v| half::f16::from_f32(*v).to_le_bytes()).collect()
        }
        Precision::F32 => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
    }
}

/// The dotted path of the parameter being visited.
#[derive(Default)]
struct Path {
    names: Vec<String>,
    containers: Vec<String>,
}

impl Path {
    fn enter(&mut self, name: &str, container: &str) {
        self.names.push(name.into());
        self.containers.push(container.into());
    }

    fn exit(&mut self) {
        self.names.pop();
        self.containers.pop();
    }

    /// burn stores the weight of `nn::Linear` as (in, out), the reference as (out, in).
    fn is_linear_weight(&self) -> bool {
        let in_linear = self.containers.last().is_some_and(|c| c == "Struct:Linear");
        in_linear && self.names.last().is_some_and(|n| n == "weight")
    }
}

struct Loader<'a> {
    weights: &'a Weights,
    keys: &'a KeyTable,
    path: Path,
    used: BTreeSet<String>,
    missing: Vec<String>,
    misshapen: Option<WeightsError>,
}

impl ModuleMapper for Loader<'_> {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.enter(name, container);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.exit();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let key = self.keys.key(&self.path.names.join("."));
        let Some(stored) = self.weights.get(&key) else {
            self.missing.push(key);
            return param;
        };
        let transposed = self.path.is_linear_weight();
        let mut wanted: Vec<usize> = param.lazy_shape().as_slice().to_vec();
        if transposed {
            wanted.reverse();
        }
        if wanted != stored.shape {
            self.misshapen.get_or_insert(WeightsError::Shape {
                key,
                found: stored.shape.clone(),
                wanted,
            });
            return param;
        }
        let device = param.lazy_device();
        let data = TensorData::new(stored.values.clone(), stored.shape.clone());
        let mut tensor = Tensor::<D>::from_data(data, &device.clone().inner());
        if transposed {
            tensor = tensor.transpose();
        }
        // To burn, a device equals itself with autodiff, so it would not move the tensor over.
        if device.is_autodiff() {
            tensor = tensor.autodiff();
        }
        self.used.insert(key);
        let id = param.id;
        param.transform_for_load(tensor, id)
    }
}

struct Saver<'a> {
    keys: &'a KeyTable,
    path: Path,
    gradients: Option<&'a Gradients>,
    weights: Weights,
}

impl ModuleVisitor for Saver<'_> {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.enter(name, container);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.exit();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let tensor = match self.gradients {
            None => param.val().without_autodiff(),
            Some(gradients) => match param.val().grad(gradients) {
                Some(gradient) => gradient,
                None => return,
            },
        };
        let tensor = if self.path.is_linear_weight() { tensor.transpose() } else { tensor };
        let shape = tensor.dims().to_vec();
        let values = tensor
            .into_data()
            .convert::<f32>()
            .try_into_vec::<f32>()
            .expect("converted to f32 just above");
        let key = self.keys.key(&self.path.names.join("."));
        self.weights.insert(key, shape, values);
    }
}
