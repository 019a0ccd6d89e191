//! A golden case on disk, and the comparison of results with it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use burn::module::Module;
use burn::tensor::{Device, Int, Tensor, TensorData, f16};
use engine::media::FrameSize;
use engine::weights::{self, KeyTable, Precision, Weights};
use safetensors::tensor::{Dtype, SafeTensors};
use serde_json::Value;

/// Why a case failed, as text for its line.
pub type Failure = Box<dyn std::error::Error>;

/// One stored tensor, row-major. All number types of the fixtures fit into f64 without loss.
#[derive(Debug, Clone)]
pub struct Stored {
    pub shape: Vec<usize>,
    pub values: Vec<f64>,
    pub dtype: Dtype,
}

impl Stored {
    pub fn f32(&self) -> Vec<f32> {
        self.values.iter().map(|v| *v as f32).collect()
    }

    pub fn i64(&self) -> Vec<i64> {
        self.values.iter().map(|v| *v as i64).collect()
    }
}

/// A case: its JSON, its tensors, and the device to run it on.
#[derive(Clone)]
pub struct Case {
    json: Value,
    tensors: BTreeMap<String, Stored>,
    device: Device,
    precision: Precision,
}

impl Case {
    /// Reads `NAME.json` and the `NAME.safetensors` beside it.
    pub fn read(json_file: &Path, device: &Device, precision: Precision) -> Result<Self, Failure> {
        let json: Value = serde_json::from_slice(&std::fs::read(json_file)?)?;
        let bytes = std::fs::read(json_file.with_extension("safetensors"))?;
        let file = SafeTensors::deserialize(&bytes)?;
        let mut tensors = BTreeMap::new();
        for (name, view) in file.iter() {
            let stored = Stored {
                shape: view.shape().to_vec(),
                values: numbers(view.data(), view.dtype())?,
                dtype: view.dtype(),
            };
            tensors.insert(name.to_owned(), stored);
        }
        Ok(Self { json, tensors, device: device.clone(), precision })
    }

    /// The same case on a device that records operations for gradients.
    pub fn with_autodiff(&self) -> Self {
        Self { device: self.device.clone().autodiff(), ..self.clone() }
    }

    pub fn precision(&self) -> Precision {
        self.precision
    }

    pub fn device(&self) -> &Device {
        &self.device
    }

    /// A network with the weights of the case, which computes in the precision of the run.
    pub fn load<M: Module>(&self, fresh: M, keys: &KeyTable) -> Result<M, Failure> {
        Ok(weights::load(&self.weights(), fresh, keys, self.precision)?)
    }

    pub fn module(&self) -> &str {
        self.json["module"].as_str().unwrap_or_default()
    }

    /// The words (class, function and file names) of the module field.
    pub fn module_words(&self) -> impl Iterator<Item = &str> {
        let separator = |c: char| !c.is_alphanumeric() && c != '_';
        self.module().split(separator).filter(|w| !w.is_empty())
    }

    /// The class named first, after the file: `layers3d.py: CausalConv3d` is `CausalConv3d`.
    pub fn class(&self) -> &str {
        let (_, classes) = self.module().split_once(": ").unwrap_or_default();
        let end = classes.find(|c: char| !c.is_alphanumeric() && c != '_');
        &classes[..end.unwrap_or(classes.len())]
    }

    /// The whole JSON, for fields beside `config`.
    pub fn json(&self) -> &Value {
        &self.json
    }

    /// An entry of the configuration; `Null` when it is not there.
    pub fn config(&self, name: &str) -> &Value {
        &self.json["config"][name]
    }

    /// A whole number of the configuration.
    pub fn size(&self, name: &str) -> Result<usize, Failure> {
        let number = self.config(name).as_u64();
        Ok(number.ok_or_else(|| format!("config has no whole number {name}"))? as usize)
    }

    /// The picture size in two fields of the configuration.
    pub fn frame_size(&self, height: &str, width: &str) -> Result<FrameSize, Failure> {
        Ok(FrameSize { height: self.size(height)? as u32, width: self.size(width)? as u32 })
    }

    pub fn has(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// The names of tensors that begin with `prefix`, without it.
    pub fn names<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = &'a str> {
        self.tensors.keys().filter_map(move |name| name.strip_prefix(prefix))
    }

    pub fn stored(&self, name: &str) -> Result<&Stored, Failure> {
        Ok(self.tensors.get(name).ok_or_else(|| format!("the case has no tensor {name}"))?)
    }

    /// A stored tensor on the case's device.
    pub fn tensor<const D: usize>(&self, name: &str) -> Result<Tensor<D>, Failure> {
        self.tensor_on(name, &self.device)
    }

    /// A stored tensor on a device of the caller, for example one with autodiff.
    pub fn tensor_on<const D: usize>(
        &self,
        name: &str,
        device: &Device,
    ) -> Result<Tensor<D>, Failure> {
        let stored = self.stored(name)?;
        let data = TensorData::new(stored.f32(), self.shape::<D>(name)?);
        Ok(Tensor::from_data(data, device))
    }

    /// A stored tensor of whole numbers on the case's device.
    pub fn int_tensor<const D: usize>(&self, name: &str) -> Result<Tensor<D, Int>, Failure> {
        let stored = self.stored(name)?;
        let data = TensorData::new(stored.i64(), self.shape::<D>(name)?);
        Ok(Tensor::from_data(data, &self.device))
    }

    fn shape<const D: usize>(&self, name: &str) -> Result<[usize; D], Failure> {
        let shape = &self.stored(name)?.shape;
        let fits: Result<[usize; D], _> = shape.clone().try_into();
        Ok(fits.map_err(|s| format!("{name} has shape {s:?}, not {D} axes"))?)
    }

    /// The weights of the case, under the reference's keys.
    pub fn weights(&self) -> Weights {
        let mut weights = Weights::default();
        for (name, stored) in &self.tensors {
            weights.insert(name, stored.shape.clone(), stored.f32());
        }
        weights.strip_prefix("w.")
    }

    fn tolerance(&self, name: &str, field: &str) -> Option<f64> {
        self.json["tensors"][name][field].as_f64()
    }
}

fn numbers(data: &[u8], dtype: Dtype) -> Result<Vec<f64>, Failure> {
    let word = |b: &[u8]| {
        let mut bytes = [0; 8];
        bytes[..b.len()].copy_from_slice(b);
        u64::from_le_bytes(bytes)
    };
    let read: fn(u64) -> f64 = match dtype {
        Dtype::BOOL | Dtype::U8 => |w| w as f64,
        Dtype::F16 => |w| f16::from_bits(w as u16).to_f64(),
        Dtype::F32 => |w| f64::from(f32::from_bits(w as u32)),
        Dtype::F64 => f64::from_bits,
        Dtype::I32 => |w| f64::from(w as u32 as i32),
        Dtype::I64 => |w| w as i64 as f64,
        other => return Err(format!("number type {other:?} is not known").into()),
    };
    Ok(data.chunks_exact(dtype.bitsize() / 8).map(|b| read(word(b))).collect())
}

/// The largest error of a case so far, relative to what is allowed.
struct Worst {
    name: String,
    error: f64,
    allowed: f64,
}

/// How far results may be from the stored ones; whole numbers must agree all the same.
#[derive(Debug, Clone, Copy)]
pub enum Tolerance {
    /// So many times what the case suggests.
    Suggested(f64),
    /// This share of the largest stored value of each tensor.
    OfLargest(f64),
}

/// The comparisons of one case.
pub struct Checks {
    tolerance: Tolerance,
    compared: BTreeSet<String>,
    worst: Option<Worst>,
    excesses: Vec<String>,
}

impl Checks {
    pub fn new(tolerance: Tolerance) -> Self {
        Self { tolerance, compared: BTreeSet::new(), worst: None, excesses: Vec::new() }
    }

    /// Compares a tensor with the stored one of that name.
    pub fn tensor<const D: usize>(
        &mut self,
        case: &Case,
        name: &str,
        found: Tensor<D>,
    ) -> Result<(), Failure> {
        let shape = found.dims();
        let values: Vec<f32> = found.into_data().convert::<f32>().try_into_vec()?;
        let values: Vec<f64> = values.into_iter().map(f64::from).collect();
        self.values(case, name, &shape, &values)
    }

    /// Compares a tensor of whole numbers, which must agree exactly.
    pub fn int_tensor<const D: usize>(
        &mut self,
        case: &Case,
        name: &str,
        found: Tensor<D, Int>,
    ) -> Result<(), Failure> {
        let shape = found.dims();
        let values: Vec<i64> = found.into_data().convert::<i64>().try_into_vec()?;
        let values: Vec<f64> = values.into_iter().map(|v| v as f64).collect();
        self.values(case, name, &shape, &values)
    }

    /// Compares row-major numbers with the stored tensor of that name, under the tolerance the
    /// case's JSON gives, or 1e-6 of its largest value where it gives none.
    pub fn values(
        &mut self,
        case: &Case,
        name: &str,
        shape: &[usize],
        found: &[f64],
    ) -> Result<(), Failure> {
        let wanted = case.stored(name)?;
        let exact = !matches!(wanted.dtype, Dtype::F16 | Dtype::F32 | Dtype::F64);
        let largest = wanted.values.iter().fold(0.0_f64, |m, v| m.max(v.abs()));
        let floor = (largest * 1e-6).max(1e-7);
        let (atol, rtol) = match self.tolerance {
            _ if exact => (0.0, 0.0),
            Tolerance::OfLargest(share) => (share * largest, 0.0),
            Tolerance::Suggested(factor) => {
                let atol = case.tolerance(name, "suggested_atol").unwrap_or(floor);
                let rtol = case.tolerance(name, "suggested_rtol").unwrap_or(1e-5);
                (atol * factor, rtol * factor)
            }
        };
        self.within(case, name, shape, found, atol, rtol)
    }

    /// Compares as [`Checks::values`] does, under a tolerance the caller takes from elsewhere, for
    /// example one level of an 8-bit video.
    pub fn within(
        &mut self,
        case: &Case,
        name: &str,
        shape: &[usize],
        found: &[f64],
        atol: f64,
        rtol: f64,
    ) -> Result<(), Failure> {
        let wanted = case.stored(name)?;
        self.compared.insert(name.to_owned());
        if wanted.shape != shape {
            let problem = format!("{name}: shape {shape:?} instead of {:?}", wanted.shape);
            self.excesses.push(problem);
            return Ok(());
        }
        let mut worst = Worst { name: name.to_owned(), error: 0.0, allowed: atol };
        for (a, b) in found.iter().zip(&wanted.values) {
            let allowed = atol + rtol * b.abs();
            let error = if a == b { 0.0 } else { (a - b).abs() };
            // NaN compares false with everything, so it must be an excess by itself.
            if error.is_nan() || ratio(error, allowed) > ratio(worst.error, worst.allowed) {
                worst.error = if error.is_nan() { f64::INFINITY } else { error };
                worst.allowed = allowed;
            }
        }
        if worst.error > worst.allowed {
            let Worst { error, allowed, .. } = worst;
            self.excesses.push(format!("{name}: error {error:.3e}, allowed {allowed:.3e}"));
        }
        let so_far = self.worst.as_ref().map_or(-1.0, |w| ratio(w.error, w.allowed));
        if ratio(worst.error, worst.allowed) > so_far {
            self.worst = Some(worst);
        }
        Ok(())
    }

    /// Fails on any excess and on stored results that nothing was compared with.
    pub fn finish(&self, case: &Case) -> Result<(), Failure> {
        let outputs = case.names("out.").map(|n| format!("out.{n}"));
        let unseen: Vec<String> = outputs.filter(|n| !self.compared.contains(n)).collect();
        let mut problems = self.excesses.clone();
        if !unseen.is_empty() {
            problems.push(format!("never compared: {}", unseen.join(", ")));
        }
        if self.compared.is_empty() {
            problems.push("nothing was compared".into());
        }
        if problems.is_empty() { Ok(()) } else { Err(problems.join("\n      ").into()) }
    }

    /// How many tensors were compared, and the worst of them.
    pub fn summary(&self) -> String {
        let Some(Worst { name, error, allowed }) = &self.worst else {
            return "nothing compared".into();
        };
        let count = self.compared.len();
        format!("{count:3} tensors, largest error {error:9.2e} of {allowed:9.2e} at {name:<32}")
    }
}

/// The error as a share of what is allowed.
fn ratio(error: f64, allowed: f64) -> f64 {
    if error == 0.0 { 0.0 } else { error / allowed }
}

/// Entry `i` of a stored stack.
pub fn entry<const D: usize>(stack: &Tensor<D>, i: usize) -> Tensor<D> {
    stack.clone().narrow(0, i, 1)
}

/// The values of a tensor, row-major.
pub fn floats<const D: usize>(x: Tensor<D>) -> Result<Vec<f64>, Failure> {
    let values: Vec<f32> = x.into_data().convert::<f32>().try_into_vec()?;
    Ok(values.into_iter().map(f64::from).collect())
}
