//! Files as `torch.save` writes them, tensor after tensor, so that none has to fit into memory.

use std::fs::File;
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::Path;

use safetensors::Dtype;

use super::tensor::{row_major, size_of};

/// Where storages begin is a multiple of this, as in PyTorch's own files.
const ALIGNMENT: u64 = 64;
const LOCAL_LEN: u64 = 30;
/// An extra field that says nothing, for alignment.
const PADDING_ID: u16 = 0x4246;
/// The zip version that knows 64-bit sizes.
const VERSION: u16 = 45;
const FOLDER: &str = "archive";

/// Writes a state dict as a zip archive of `torch.save`.
#[derive(Debug)]
pub struct TorchWriter {
    file: BufWriter<File>,
    entries: Vec<Entry>,
    tensors: Vec<Tensor>,
}

#[derive(Debug)]
struct Entry {
    name: String,
    at: u64,
    len: u64,
    crc: u32,
}

#[derive(Debug)]
struct Tensor {
    key: String,
    dtype: Dtype,
    shape: Vec<usize>,
}

impl TorchWriter {
    /// # Errors
    /// Fails when the file cannot be made.
    pub fn create(path: &Path) -> io::Result<Self> {
        let file = BufWriter::new(File::create(path)?);
        Ok(Self { file, entries: Vec::new(), tensors: Vec::new() })
    }

    /// Appends a tensor whose numbers, little-endian and in row-major order, are read from `data`.
    ///
    /// # Errors
    /// Fails when `data` has another length than the shape says, and when the file cannot be
    /// written.
    ///
    /// # Panics
    /// Panics on a type that [`super::Checkpoint`] does not read.
    pub fn tensor(
        &mut self,
        key: &str,
        dtype: Dtype,
        shape: &[usize],
        data: impl Read,
    ) -> io::Result<()> {
        let size = size_of(dtype).expect("a type of numbers that is read");
        let name = format!("{FOLDER}/data/{}", self.tensors.len());
        let len = self.entry(name, data)?;
        if len != (shape.iter().product::<usize>() * size) as u64 {
            return Err(io::Error::other(format!("{key} has {len} bytes, which is not {shape:?}")));
        }
        self.tensors.push(Tensor { key: key.to_owned(), dtype, shape: shape.to_vec() });
        Ok(())
    }

    /// Writes the names and shapes, and ends the file.
    ///
    /// # Errors
    /// Fails when the file cannot be written.
    pub fn finish(mut self) -> io::Result<()> {
        let pickle = pickle(&self.tensors);
        self.entry(format!("{FOLDER}/data.pkl"), pickle.as_slice())?;
        self.entry(format!("{FOLDER}/byteorder"), b"little".as_slice())?;
        self.entry(format!("{FOLDER}/version"), b"3\n".as_slice())?;
        let begin = self.file.stream_position()?;
        for entry in &self.entries {
            self.file.write_all(&entry.directory_header())?;
        }
        let end = self.file.stream_position()?;
        self.file.write_all(&end_of_archive(begin, end, self.entries.len() as u64))?;
        self.file.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()
    }

    /// Appends an entry and returns its length. Length and checksum are known last but stand first.
    fn entry(&mut self, name: String, mut data: impl Read) -> io::Result<u64> {
        let at = self.file.stream_position()?;
        let mut entry = Entry { name, at, len: 0, crc: 0 };
        self.file.write_all(&entry.local_header())?;
        let mut crc = crc32fast::Hasher::new();
        let mut buffer = vec![0; 1 << 16];
        loop {
            let len = data.read(&mut buffer)?;
            if len == 0 {
                break;
            }
            crc.update(&buffer[..len]);
            self.file.write_all(&buffer[..len])?;
            entry.len += len as u64;
        }
        entry.crc = crc.finalize();
        let end = self.file.stream_position()?;
        self.file.seek(SeekFrom::Start(at))?;
        self.file.write_all(&entry.local_header())?;
        self.file.seek(SeekFrom::Start(end))?;
        let len = entry.len;
        self.entries.push(entry);
        Ok(len)
    }
}

impl Entry {
    /// Version, flags, method, time, date, checksum and both sizes; the sizes are in the extra
    /// field.
    fn common(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for word in [VERSION, 0, 0, 0, 0] {
            bytes.extend(word.to_le_bytes());
        }
        bytes.extend(self.crc.to_le_bytes());
        bytes.extend([0xff; 8]);
        bytes.extend((self.name.len() as u16).to_le_bytes());
        bytes
    }

    fn local_header(&self) -> Vec<u8> {
        let mut extra = extra64(&[self.len, self.len]);
        let begin = self.at + LOCAL_LEN + self.name.len() as u64 + extra.len() as u64 + 4;
        let padding = begin.next_multiple_of(ALIGNMENT) - begin;
        extra.extend(PADDING_ID.to_le_bytes());
        extra.extend((padding as u16).to_le_bytes());
        extra.resize(extra.len() + padding as usize, 0);
        let mut bytes = b"PK\x03\x04".to_vec();
        bytes.extend(self.common());
        bytes.extend((extra.len() as u16).to_le_bytes());
        bytes.extend(self.name.as_bytes());
        bytes.extend(extra);
        bytes
    }

    fn directory_header(&self) -> Vec<u8> {
        let extra = extra64(&[self.len, self.len, self.at]);
        let mut bytes = b"PK\x01\x02".to_vec();
        bytes.extend(VERSION.to_le_bytes());
        bytes.extend(self.common());
        bytes.extend((extra.len() as u16).to_le_bytes());
        // No comment, disk 0, no attributes.
        bytes.extend([0; 10]);
        bytes.extend([0xff; 4]);
        bytes.extend(self.name.as_bytes());
        bytes.extend(extra);
        bytes
    }
}

fn extra64(fields: &[u64]) -> Vec<u8> {
    let mut bytes = 1_u16.to_le_bytes().to_vec();
    bytes.extend((8 * fields.len() as u16).to_le_bytes());
    fields.iter().for_each(|field| bytes.extend(field.to_le_bytes()));
    bytes
}

/// The record for large archives, its locator, and the record that every reader looks for.
fn end_of_archive(begin: u64, end: u64, count: u64) -> Vec<u8> {
    let mut bytes = b"PK\x06\x06".to_vec();
    bytes.extend(44_u64.to_le_bytes());
    bytes.extend(VERSION.to_le_bytes());
    bytes.extend(VERSION.to_le_bytes());
    bytes.extend([0; 8]);
    for word in [count, count, end - begin, begin] {
        bytes.extend(word.to_le_bytes());
    }
    bytes.extend(b"PK\x06\x07");
    bytes.extend([0; 4]);
    bytes.extend(end.to_le_bytes());
    bytes.extend(1_u32.to_le_bytes());
    bytes.extend(b"PK\x05\x06");
    bytes.extend([0; 4]);
    bytes.extend([0xff; 12]);
    bytes.extend([0; 2]);
    bytes
}

/// `OrderedDict` of key to `_rebuild_tensor_v2(storage, 0, shape, strides, False, OrderedDict())`.
fn pickle(tensors: &[Tensor]) -> Vec<u8> {
    const ORDERED_DICT: &[u8] = b"ccollections\nOrderedDict\n)R";
    let mut bytes = b"\x80\x02".to_vec();
    bytes.extend(ORDERED_DICT);
    for (idx, Tensor { key, dtype, shape }) in tensors.iter().enumerate() {
        text(&mut bytes, key);
        bytes.extend(b"ctorch._utils\n_rebuild_tensor_v2\n((");
        text(&mut bytes, "storage");
        bytes.extend(format!("ctorch\n{}\n", storage_class(*dtype)).as_bytes());
        text(&mut bytes, &idx.to_string());
        text(&mut bytes, "cpu");
        number(&mut bytes, shape.iter().product());
        bytes.extend(b"tQK\x00(");
        shape.iter().for_each(|n| number(&mut bytes, *n));
        bytes.extend(b"t(");
        row_major(shape).iter().for_each(|n| number(&mut bytes, *n));
        bytes.extend(b"t\x89");
        bytes.extend(ORDERED_DICT);
        bytes.extend(b"tRs");
    }
    bytes.push(b'.');
    bytes
}

fn text(bytes: &mut Vec<u8>, text: &str) {
    bytes.push(b'X');
    bytes.extend((text.len() as u32).to_le_bytes());
    bytes.extend(text.as_bytes());
}

fn number(bytes: &mut Vec<u8>, number: usize) {
    // A long of eight bytes holds every size there is.
    bytes.extend([0x8a, 8]);
    bytes.extend((number as u64).to_le_bytes());
}

fn storage_class(dtype: Dtype) -> &'static str {
    match dtype {
        Dtype::BF16 => "BFloat16Storage",
        Dtype::F16 => "HalfStorage",
        Dtype::F32 => "FloatStorage",
        Dtype::F64 => "DoubleStorage",
        Dtype::I8 => "CharStorage",
        Dtype::U8 => "ByteStorage",
        Dtype::I16 => "ShortStorage",
        Dtype::I32 => "IntStorage",
        Dtype::I64 => "LongStorage",
        Dtype::BOOL => "BoolStorage",
        other => unreachable!("{other:?} was refused when the tensor came"),
    }
}
