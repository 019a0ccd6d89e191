//! Into a network, one tensor at a time.

use std::collections::BTreeSet;

use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::{Tensor, TensorData};
use half::f16;
use half::slice::HalfFloatSliceExt as _;

use super::numbers::eight_bits;
use super::visit::Path;
use super::{KeyTable, Numbers, Precision, Weights, WeightsError};
use crate::checkpoint::StateDict;

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
