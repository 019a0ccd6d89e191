//! Files of tensors that others wrote, read without ever executing anything in them.
//!
//! Three formats, told apart by their first bytes: safetensors, the zip archives of `torch.save`,
//! and bare pickles of numpy arrays, tensors or numbers. A pickle is a program; `machine` runs
//! only the instructions that build data and knows a fixed list of classes, so the worst a file
//! can do is to be refused. Everything is bounded: instructions, nesting, memory, and every
//! position is checked against the file before it is read.
//!
//! Opening reads names, shapes and positions only. Numbers are read later, one tensor or one part
//! of a tensor at a time.

mod archive;
mod error;
mod header;
mod machine;
mod objects;
mod pickle;
mod source;
mod state_dict;
mod tensor;
#[cfg(test)]
mod tests;
mod value;
pub mod write;

use std::path::Path;

pub use self::error::{CheckpointError, Refusal};
pub use self::source::Source;
pub use self::state_dict::StateDict;
pub use self::tensor::{CHUNK, Tensor};
pub use self::value::Value;

/// What a file begins with that Git left in the place of a large one.
const LFS_POINTER: &[u8] = b"version https://git-lfs";

/// An opened file: what it holds, and where its numbers lie.
#[derive(Debug)]
pub struct Checkpoint {
    /// For errors: the file's path.
    pub name: String,
    pub value: Value,
    source: Source,
}

impl Checkpoint {
    /// Opens a file of any format; `None` when its first bytes belong to none of them.
    ///
    /// # Errors
    /// Says why a file of a known format is refused.
    pub fn open(path: &Path) -> Result<Option<Self>, CheckpointError> {
        let name = path.display().to_string();
        let read = |source| CheckpointError::Read { name: name.clone(), source };
        let source = Source::open(path).map_err(read)?;
        let refused = |refusal| CheckpointError::Refused { name: name.clone(), refusal };
        let value = sniff(&source).map_err(refused)?;
        Ok(value.map(|value| Self { name, value, source }))
    }

    /// Opens safetensors; no other format will do.
    ///
    /// # Errors
    /// Says why the file is refused.
    pub fn safetensors(name: String, source: Source) -> Result<Self, CheckpointError> {
        match header::read(&source) {
            Ok(value) => Ok(Self { name, value, source }),
            Err(refusal) => Err(CheckpointError::Refused { name, refusal }),
        }
    }

    /// The numbers of a tensor of this file, in row-major order, as f32.
    ///
    /// # Errors
    /// Fails when the file cannot be read any more.
    pub fn read(&self, tensor: &Tensor) -> Result<Vec<f32>, CheckpointError> {
        let mut values = Vec::with_capacity(tensor.len());
        tensor
            .parts()
            .try_for_each(|part| {
                values.extend(tensor.read(&self.source, part)?);
                Ok(())
            })
            .map_err(|source| self.unread(source))?;
        Ok(values)
    }

    /// As [`Checkpoint::read`], but in parts of at most [`CHUNK`] numbers, each given to `take`.
    /// A tensor that does not lie in row-major order comes in one part.
    ///
    /// # Errors
    /// As [`Checkpoint::read`], and with what `take` fails with.
    pub fn read_parts<E: From<CheckpointError>>(
        &self,
        tensor: &Tensor,
        mut take: impl FnMut(&[f32]) -> Result<(), E>,
    ) -> Result<(), E> {
        for part in tensor.parts() {
            let values = tensor.read(&self.source, part).map_err(|source| self.unread(source))?;
            take(&values)?;
        }
        Ok(())
    }

    fn unread(&self, source: std::io::Error) -> CheckpointError {
        CheckpointError::Read { name: self.name.clone(), source }
    }
}

fn sniff(source: &Source) -> Result<Option<Value>, Refusal> {
    let mut head = [0; LFS_POINTER.len()];
    let known = head.len().min(usize::try_from(source.len()).unwrap_or(head.len()));
    let head = &mut head[..known];
    source.read_at(0, head)?;
    if head.starts_with(b"PK\x03\x04") {
        return archive::read(source).map(Some);
    }
    // Protocols 2 to 5; torch and numpy write no other.
    if head.len() >= 2 && head[0] == 0x80 && (2..=5).contains(&head[1]) {
        return pickle::read(source).map(Some);
    }
    if head.len() > 8 && head[8] == b'{' {
        return header::read(source).map(Some);
    }
    if head == LFS_POINTER {
        return Err(Refusal::LfsPointer);
    }
    Ok(None)
}
