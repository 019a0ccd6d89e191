//! Named tensors under the reference's checkpoint keys, and the one way into and out of a network.
//!
//! Every network keeps a [`KeyTable`]: how its module paths are spelled in the reference's state
//! dict. Packs, parity fixtures and the released files all use those keys, so one loader serves all.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::quantization::{QuantScheme, QuantValue, ScaleDtype};
use burn::tensor::{DType, Device, Gradients, Tensor, TensorData};
use half::f16;
use half::slice::HalfFloatSliceExt as _;
use safetensors::tensor::{Dtype, TensorView};

use crate::checkpoint::{CheckpointError, StateDict};

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

/// A type of numbers: of weights on disk and on a device, where a network computes in that of its
/// weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Precision {
    F16,
    #[default]
    F32,
}

impl Precision {
    pub fn dtype(self) -> DType {
        match self {
            Self::F16 => DType::F16,
            Self::F32 => DType::F32,
        }
    }

    /// Bytes of one number.
    pub fn bytes(self) -> usize {
        match self {
            Self::F16 => size_of::<f16>(),
            Self::F32 => size_of::<f32>(),
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::F16 => "f16",
            Self::F32 => "f32",
        }
    }
}

/// Numbers that share a scale in 8-bit weights.
const BLOCK: usize = 32;

/// How the weights of a network lie in a device's memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Numbers {
    /// Of all that is not in 8 bits, and of what is computed.
    pub precision: Precision,
    /// Whether the weights of linear layers are in 8 bits, with a scale for every 32 of them: to
    /// save memory, not time, as they are made whole again whenever they are used.
    pub eight_bit: bool,
}

impl From<Precision> for Numbers {
    fn from(precision: Precision) -> Self {
        Self { precision, eight_bit: false }
    }
}

/// As people read it.
impl fmt::Display for Numbers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.precision.name())?;
        f.write_str(if self.eight_bit { ", 8-bit weights" } else { "" })
    }
}

impl Numbers {
    /// Whether a parameter is in 8 bits; `outputs` are those of a linear layer whose weight it is.
    fn in_eight_bits(self, outputs: Option<usize>) -> bool {
        self.eight_bit && outputs.is_some_and(|outputs| outputs.is_multiple_of(BLOCK))
    }

    /// Bytes of a network's weights, and of the largest of them before it is quantised.
    pub fn bytes_of<M: Module>(self, module: &M) -> (u64, u64) {
        let mut sizes = Sizes { numbers: self, path: Path::default(), all: 0, largest: 0 };
        module.visit(&mut sizes);
        (sizes.all, sizes.largest)
    }
}

fn eight_bits(device: &Device) -> QuantScheme {
    let scheme = device.settings().quantization.scheme.with_value(QuantValue::Q8S);
    scheme.per_block([BLOCK as u8], ScaleDtype::F32)
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

    /// Puts these weights into a network in single precision, see [`load`].
    ///
    /// # Errors
    /// As [`load`].
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

/// Where a network's tensors come from, one at a time.
pub trait TensorSource {
    fn keys(&self) -> impl Iterator<Item = &str>;

    fn shape(&self, key: &str) -> Option<&[usize]>;

    /// The numbers of a tensor that has a shape, row-major.
    ///
    /// # Errors
    /// Fails when they cannot be read or are not finite.
    fn values(&self, key: &str) -> Result<Vec<f32>, WeightsError>;

    /// The same in half precision.
    ///
    /// # Errors
    /// As [`TensorSource::values`], and where one of them is beyond half precision.
    fn halves(&self, key: &str) -> Result<Vec<f16>, WeightsError> {
        let halves: Vec<f16> = self.values(key)?.into_iter().map(f16::from_f32).collect();
        match halves.iter().all(|half| half.is_finite()) {
            true => Ok(halves),
            false => Err(WeightsError::BeyondHalf { key: key.to_owned() }),
        }
    }
}

impl TensorSource for Weights {
    fn keys(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    fn shape(&self, key: &str) -> Option<&[usize]> {
        self.get(key).map(|tensor| tensor.shape.as_slice())
    }

    fn values(&self, key: &str) -> Result<Vec<f32>, WeightsError> {
        Ok(self.tensors[key].values.clone())
    }
}

impl TensorSource for StateDict {
    fn keys(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    fn shape(&self, key: &str) -> Option<&[usize]> {
        self.tensors.get(key).map(|tensor| tensor.shape.as_slice())
    }

    fn values(&self, key: &str) -> Result<Vec<f32>, WeightsError> {
        let values = self.file.read(&self.tensors[key])?;
        match values.iter().all(|value| value.is_finite()) {
            true => Ok(values),
            false => Err(WeightsError::NotFinite { key: key.to_owned() }),
        }
    }

    fn halves(&self, key: &str) -> Result<Vec<f16>, WeightsError> {
        let tensor = &self.tensors[key];
        let mut halves = Vec::with_capacity(tensor.len());
        let mut finite = true;
        self.file.read_parts(tensor, |values| -> Result<(), WeightsError> {
            let begin = halves.len();
            halves.resize(begin + values.len(), f16::ZERO);
            halves[begin..].convert_from_f32_slice(values);
            finite &= values.iter().all(|value| value.is_finite());
            Ok(())
        })?;
        let key = || key.to_owned();
        match (finite, halves.iter().all(|half| half.is_finite())) {
            (false, _) => Err(WeightsError::NotFinite { key: key() }),
            (true, false) => Err(WeightsError::BeyondHalf { key: key() }),
            (true, true) => Ok(halves),
        }
    }
}

/// Puts weights into a network, which then computes in the precision of `numbers`.
///
/// Keys under the table's prefix must be exactly those of the network; others are not looked at.
/// Tensors are read one after another, so that nothing but the network itself is ever whole in
/// memory.
///
/// # Errors
/// Names the missing, unknown, misshapen or unreadable tensors.
pub fn load<M: Module>(
    source: &impl TensorSource,
    module: M,
    keys: &KeyTable,
    numbers: impl Into<Numbers>,
) -> Result<M, WeightsError> {
    let mut loader = Loader {
        source,
        keys,
        numbers: numbers.into(),
        path: Path::default(),
        used: BTreeSet::new(),
        missing: Vec::new(),
        failed: None,
    };
    let module = module.map(&mut loader);
    let Loader { used, missing, failed, .. } = loader;
    if let Some(error) = failed {
        return Err(error);
    }
    if !missing.is_empty() {
        return Err(WeightsError::Missing(missing));
    }
    let unknown: Vec<String> = source
        .keys()
        .filter(|key| key.starts_with(keys.prefix) && !used.contains(*key))
        .filter(|key| keys.ignores(key).is_none())
        .map(str::to_owned)
        .collect();
    if !unknown.is_empty() {
        return Err(WeightsError::Unknown(unknown));
    }
    Ok(module)
}

/// Keys and shapes of a network's parameters as the reference stores them; fresh parameters are
/// not created for this.
pub fn shapes_of<M: Module>(module: &M, keys: &KeyTable) -> BTreeMap<String, Vec<usize>> {
    let mut shapes = Shapes { keys, path: Path::default(), found: BTreeMap::new() };
    module.visit(&mut shapes);
    shapes.found
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

struct Loader<'a, S> {
    source: &'a S,
    keys: &'a KeyTable,
    numbers: Numbers,
    path: Path,
    used: BTreeSet<String>,
    missing: Vec<String>,
    /// Why the first tensor that could not be used could not be.
    failed: Option<WeightsError>,
}

impl<S: TensorSource> Loader<'_, S> {
    /// The data of a tensor whose shape is that of the parameter.
    fn data(
        &self,
        key: &str,
        found: &[usize],
        wanted: Vec<usize>,
    ) -> Result<TensorData, WeightsError> {
        if found != wanted {
            return Err(WeightsError::Shape { key: key.into(), found: found.to_vec(), wanted });
        }
        Ok(match self.numbers.precision {
            Precision::F16 => TensorData::new(self.source.halves(key)?, wanted),
            Precision::F32 => TensorData::new(self.source.values(key)?, wanted),
        })
    }
}

impl<S: TensorSource> ModuleMapper for Loader<'_, S> {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.enter(name, container);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.exit();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let key = self.keys.key(&self.path.names.join("."));
        let Some(found) = self.source.shape(&key) else {
            self.missing.push(key);
            return param;
        };
        if self.failed.is_some() {
            return param;
        }
        let transposed = self.path.is_linear_weight();
        let mut wanted: Vec<usize> = param.lazy_shape().as_slice().to_vec();
        if transposed {
            wanted.reverse();
        }
        let data = match self.data(&key, found, wanted) {
            Ok(data) => data,
            Err(error) => {
                self.failed = Some(error);
                return param;
            }
        };
        let device = param.lazy_device();
        let options = (&device.clone().inner(), self.numbers.precision.dtype());
        let mut tensor = Tensor::<D>::from_data(data, options);
        if transposed {
            tensor = tensor.transpose();
        }
        let outputs = transposed.then(|| tensor.dims()[D - 1]);
        if self.numbers.in_eight_bits(outputs) {
            tensor = tensor.quantize_dynamic(&eight_bits(&device));
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

struct Saver<'a, F> {
    keys: &'a KeyTable,
    path: Path,
    wanted: F,
    gradients: Option<&'a Gradients>,
    weights: Weights,
}

impl<F: Fn(&str) -> bool> ModuleVisitor for Saver<'_, F> {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.enter(name, container);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.exit();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let key = self.keys.key(&self.path.names.join("."));
        if !(self.wanted)(&key) {
            return;
        }
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
        self.weights.insert(key, shape, values);
    }
}

struct Sizes {
    numbers: Numbers,
    path: Path,
    all: u64,
    largest: u64,
}

impl ModuleVisitor for Sizes {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.enter(name, container);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.exit();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let shape = param.lazy_shape();
        let count = shape.num_elements();
        let outputs = self.path.is_linear_weight().then(|| shape.as_slice()[D - 1]);
        let whole = count * self.numbers.precision.bytes();
        self.largest = self.largest.max(whole as u64);
        self.all += match self.numbers.in_eight_bits(outputs) {
            true => count + count / BLOCK * size_of::<f32>(),
            false => whole,
        } as u64;
    }
}

struct Shapes<'a> {
    keys: &'a KeyTable,
    path: Path,
    found: BTreeMap<String, Vec<usize>>,
}

impl ModuleVisitor for Shapes<'_> {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.enter(name, container);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.exit();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let mut shape = param.lazy_shape().as_slice().to_vec();
        if self.path.is_linear_weight() {
            shape.reverse();
        }
        self.found.insert(self.keys.key(&self.path.names.join(".")), shape);
    }
}
