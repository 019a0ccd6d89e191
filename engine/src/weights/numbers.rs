//! The numbers that weights are kept in: on disk, on a device, and how many bytes that takes.

use std::fmt;

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::quantization::{QuantScheme, QuantValue, ScaleDtype};
use burn::tensor::{DType, Device, Tensor};
use half::f16;

use super::visit::Path;

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
    pub(super) fn in_eight_bits(self, outputs: Option<usize>) -> bool {
        self.eight_bit && outputs.is_some_and(|outputs| outputs.is_multiple_of(BLOCK))
    }

    /// Bytes of a network's weights, and of the largest of them before it is quantised.
    pub fn bytes_of<M: Module>(self, module: &M) -> (u64, u64) {
        let mut sizes = Sizes { numbers: self, path: Path::default(), all: 0, largest: 0 };
        module.visit(&mut sizes);
        (sizes.all, sizes.largest)
    }
}

pub(super) fn eight_bits(device: &Device) -> QuantScheme {
    let scheme = device.settings().quantization.scheme.with_value(QuantValue::Q8S);
    scheme.per_block([BLOCK as u8], ScaleDtype::F32)
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
