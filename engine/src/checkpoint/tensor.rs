//! One tensor in a file: its type, its shape, and where its numbers lie.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use half::{bf16, f16};
use safetensors::Dtype;

use super::{Refusal, Source};

/// Numbers that are read at a time.
pub const CHUNK: usize = 4 << 20;

/// More axes than any network has.
pub(super) const MAX_RANK: usize = 16;

/// A tensor out of row-major order is read with all that lies between its numbers; more of that
/// than this many times its own size is refused.
const SCATTER: usize = 4;

/// A tensor whose numbers have not been read yet.
#[derive(Debug, Clone)]
pub struct Tensor {
    pub dtype: Dtype,
    pub shape: Vec<usize>,
    /// Distance between neighbours along each axis, in numbers.
    strides: Vec<usize>,
    /// Position of the first number in the file or in `memory`, in bytes.
    at: u64,
    /// For numbers that the file holds only in another form.
    memory: Option<Arc<[u8]>>,
}

/// Consecutive bytes that tensors share.
pub(super) struct Storage {
    /// In the file or in `memory`.
    pub at: u64,
    /// Numbers of the tensors' type.
    pub len: usize,
    pub memory: Option<Arc<[u8]>>,
}

/// Bytes of one number; `None` for types that are not read.
pub(super) fn size_of(dtype: Dtype) -> Option<usize> {
    match dtype {
        Dtype::BOOL | Dtype::U8 | Dtype::I8 => Some(1),
        Dtype::F16 | Dtype::BF16 | Dtype::I16 => Some(2),
        Dtype::F32 | Dtype::I32 => Some(4),
        Dtype::F64 | Dtype::I64 => Some(8),
        _ => None,
    }
}

/// Strides of a tensor that lies in row-major order.
pub(super) fn row_major(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1_usize; shape.len()];
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = strides[axis].saturating_mul(shape[axis].max(1));
    }
    strides
}

impl Tensor {
    /// A tensor in a storage, `offset` numbers behind its beginning.
    pub(super) fn new(
        dtype: Dtype,
        shape: Vec<usize>,
        strides: Vec<usize>,
        offset: usize,
        storage: Storage,
    ) -> Result<Self, Refusal> {
        let size = size_of(dtype).ok_or_else(|| Refusal::Dtype(format!("{dtype:?}")))?;
        let outside = || Refusal::Bounds(shape.clone());
        if shape.len() != strides.len() || shape.len() > MAX_RANK {
            return Err(outside());
        }
        let len = shape.iter().try_fold(1_usize, |product, n| product.checked_mul(*n));
        let len = len.ok_or_else(outside)?;
        if len > 0 {
            let mut reach = shape.iter().zip(&strides).map(|(n, s)| (n - 1).checked_mul(*s));
            let last = reach.try_fold(offset, |sum, part| sum.checked_add(part?));
            // More numbers than the storage has would be an expanded tensor, whose size in memory
            // the size of the file does not bound.
            if last.is_none_or(|last| last >= storage.len) || len > storage.len {
                return Err(outside());
            }
            let reach = last.unwrap_or(offset) - offset;
            if reach / SCATTER > len.max(CHUNK) {
                return Err(Refusal::Scattered(shape));
            }
        }
        let Storage { at, memory, .. } = storage;
        let offset = (offset as u64).checked_mul(size as u64);
        let at = offset.and_then(|offset| at.checked_add(offset)).ok_or_else(outside)?;
        Ok(Self { dtype, shape, strides, at, memory })
    }

    /// How many numbers it has.
    #[expect(clippy::len_without_is_empty, reason = "no caller asks")]
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    pub fn is_float(&self) -> bool {
        matches!(self.dtype, Dtype::F16 | Dtype::BF16 | Dtype::F32 | Dtype::F64)
    }

    fn is_row_major(&self) -> bool {
        let rows = row_major(&self.shape);
        let axes = self.shape.iter().zip(self.strides.iter().zip(&rows));
        axes.into_iter().all(|(n, (found, wanted))| *n == 1 || found == wanted)
    }

    /// What is read at a time.
    pub(super) fn parts(&self) -> impl Iterator<Item = Range<usize>> + use<> {
        let len = self.len();
        let step = if self.is_row_major() { CHUNK } else { len.max(1) };
        (0..len).step_by(step).map(move |start| start..len.min(start + step))
    }

    /// One of [`Tensor::parts`] as f32.
    pub(super) fn read(&self, source: &Source, part: Range<usize>) -> io::Result<Vec<f32>> {
        if part.is_empty() {
            return Ok(Vec::new());
        }
        let size = size_of(self.dtype).expect("checked when the tensor was made");
        if self.is_row_major() {
            let bytes = self.bytes(source, part.start * size, part.len() * size)?;
            return Ok(widen(self.dtype, &bytes));
        }
        let reach: usize = self.shape.iter().zip(&self.strides).map(|(n, s)| (n - 1) * s).sum();
        let bytes = self.bytes(source, 0, (reach + 1) * size)?;
        let stored = widen(self.dtype, &bytes);
        drop(bytes);
        let mut values = Vec::with_capacity(part.len());
        let mut place = vec![0; self.shape.len()];
        let mut index = 0;
        for _ in part {
            values.push(stored[index]);
            for axis in (0..place.len()).rev() {
                place[axis] += 1;
                index += self.strides[axis];
                if place[axis] < self.shape[axis] {
                    break;
                }
                index -= self.strides[axis] * self.shape[axis];
                place[axis] = 0;
            }
        }
        Ok(values)
    }

    fn bytes(&self, source: &Source, from: usize, len: usize) -> io::Result<Vec<u8>> {
        let at = self.at + from as u64;
        match &self.memory {
            None => source.bytes(at, len as u64),
            Some(memory) => {
                let from = usize::try_from(at).ok();
                let found = from.and_then(|from| memory.get(from..)?.get(..len));
                found.map(<[u8]>::to_vec).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
            }
        }
    }
}

/// Little-endian numbers of a type that [`size_of`] knows.
pub(super) fn widen(dtype: Dtype, bytes: &[u8]) -> Vec<f32> {
    fn each<const N: usize>(bytes: &[u8], number: impl Fn([u8; N]) -> f32) -> Vec<f32> {
        let (words, _) = bytes.as_chunks::<N>();
        words.iter().map(|word| number(*word)).collect()
    }
    match dtype {
        Dtype::F16 => each(bytes, |b| f16::from_le_bytes(b).to_f32()),
        Dtype::BF16 => each(bytes, |b| bf16::from_le_bytes(b).to_f32()),
        Dtype::F32 => each(bytes, f32::from_le_bytes),
        Dtype::F64 => each(bytes, |b| f64::from_le_bytes(b) as f32),
        Dtype::I8 => each(bytes, |b| f32::from(i8::from_le_bytes(b))),
        Dtype::I16 => each(bytes, |b| f32::from(i16::from_le_bytes(b))),
        Dtype::I32 => each(bytes, |b| i32::from_le_bytes(b) as f32),
        Dtype::I64 => each(bytes, |b| i64::from_le_bytes(b) as f32),
        Dtype::BOOL | Dtype::U8 => each(bytes, |[b]| f32::from(b)),
        other => unreachable!("no tensor of {other:?} is ever made"),
    }
}
