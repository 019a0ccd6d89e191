//! A safetensors file written tensor after tensor, in half precision where the numbers fit.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, Seek as _, SeekFrom, Write as _};
use std::path::Path;

use half::f16;
use half::slice::HalfFloatSliceExt as _;
use safetensors::Dtype;
use safetensors::tensor::TensorInfo;

use super::ImportError;

/// Where a header's length ends and its text begins.
const LENGTH: u64 = 8;
/// Longer than any position in a file, so that the room for the header suffices.
const FAR: usize = 1_000_000_000_000_000;

/// Hands the numbers of a tensor to its argument in parts.
pub type Read<'a> =
    dyn FnMut(&mut dyn FnMut(&[f32]) -> Result<(), ImportError>) -> Result<(), ImportError> + 'a;

/// A file whose header is written last, into the room left for it.
pub struct HalfFile {
    file: BufWriter<File>,
    /// Bytes for the header's text.
    room: usize,
    header: BTreeMap<String, TensorInfo>,
    /// Bytes of the tensors so far.
    len: usize,
}

/// How the numbers of a tensor fit into half precision.
#[derive(Debug, Default, Clone, Copy)]
pub struct Fit {
    /// Not at all: they are kept in single precision.
    pub wide: bool,
    /// Numbers that became zero.
    pub flushed: u64,
}

impl HalfFile {
    /// `shapes` are those of the tensors that will be written.
    pub fn create(path: &Path, shapes: &BTreeMap<String, Vec<usize>>) -> io::Result<Self> {
        let longest: BTreeMap<&String, TensorInfo> = shapes
            .iter()
            .map(|(key, shape)| {
                let data_offsets = (FAR, FAR);
                (key, TensorInfo { dtype: Dtype::F32, shape: shape.clone(), data_offsets })
            })
            .collect();
        let room = serde_json::to_vec(&longest)?.len().next_multiple_of(LENGTH as usize);
        let mut file = BufWriter::with_capacity(1 << 20, File::create(path)?);
        file.seek(SeekFrom::Start(LENGTH + room as u64))?;
        Ok(Self { file, room, header: BTreeMap::new(), len: 0 })
    }

    /// Appends a tensor, reading it a second time when half precision does not hold it.
    pub fn tensor(
        &mut self,
        key: &str,
        shape: &[usize],
        path: &Path,
        read: &mut Read<'_>,
    ) -> Result<Fit, ImportError> {
        let failed = |source| ImportError::Write { path: path.to_owned(), source };
        let (begin, mut fit) = (self.len, Fit::default());
        let mut halves = Vec::new();
        read(&mut |values| {
            halves.resize(values.len(), f16::ZERO);
            halves.convert_from_f32_slice(values);
            fit.wide |= halves.iter().any(|half| !half.is_finite());
            if fit.wide {
                return Ok(());
            }
            let is_flushed =
                |(half, value): &(&f16, &f32)| half.to_bits() << 1 == 0 && **value != 0.0;
            fit.flushed += halves.iter().zip(values).filter(is_flushed).count() as u64;
            self.append(&halves, f16::to_le_bytes).map_err(failed)
        })?;
        if fit.wide {
            fit.flushed = 0;
            self.len = begin;
            let at = LENGTH + (self.room + begin) as u64;
            self.file.seek(SeekFrom::Start(at)).map_err(failed)?;
            read(&mut |values| self.append(values, f32::to_le_bytes).map_err(failed))?;
        }
        let dtype = if fit.wide { Dtype::F32 } else { Dtype::F16 };
        let (shape, data_offsets) = (shape.to_vec(), (begin, self.len));
        self.header.insert(key.to_owned(), TensorInfo { dtype, shape, data_offsets });
        Ok(fit)
    }

    fn append<T: Copy, const N: usize>(
        &mut self,
        values: &[T],
        bytes: impl Fn(T) -> [u8; N],
    ) -> io::Result<()> {
        let mut words = vec![[0; N]; values.len()];
        for (word, value) in words.iter_mut().zip(values) {
            *word = bytes(*value);
        }
        let bytes = words.as_flattened();
        self.len += bytes.len();
        self.file.write_all(bytes)
    }

    /// Writes the header and waits until everything is on the disk.
    pub fn finish(mut self) -> io::Result<()> {
        let mut header = serde_json::to_vec(&self.header)?;
        header.resize(self.room, b' ');
        self.file.seek(SeekFrom::Start(0))?;
        self.file.write_all(&(self.room as u64).to_le_bytes())?;
        self.file.write_all(&header)?;
        self.file.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()
    }
}
