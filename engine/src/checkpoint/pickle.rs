//! Pickles as data: read by the [`Machine`], then made into a tree.

use std::sync::Arc;

use safetensors::Dtype;

use super::machine::Machine;
use super::objects::{Array, Id, Node, Place};
use super::tensor::{Storage, row_major, size_of};
use super::{Refusal, Source, Tensor, Value};

/// A pickle holds names and places; the numbers of `torch.save` lie outside it.
const MAX_PICKLE: u64 = 128 << 20;
/// Levels of lists and dictionaries.
const MAX_DEPTH: usize = 32;
/// Bytes of the tree, roughly: what a pickle repeats by reference is repeated here.
const MAX_TREE: usize = 64 << 20;
const VALUE_BYTES: usize = 128;

/// What the first pickle of a file from before PyTorch 1.6 holds.
pub(super) const LEGACY_MAGIC: i128 = 0x1950_a86a_20f9_469c_fc6c;

/// Finds a storage by key, type and number of numbers.
type FindStorage<'a> = dyn Fn(&str, Dtype, usize) -> Result<Storage, Refusal> + 'a;

/// Everything a pickle built, and which of it is the result.
pub(super) struct Unpickled {
    pub nodes: Vec<Node>,
    pub root: Id,
}

/// Reads a bare pickle.
pub(super) fn read(source: &Source) -> Result<Value, Refusal> {
    let unpickled = Unpickled::read(source, 0, source.len())?;
    if matches!(unpickled.nodes[unpickled.root.0], Node::Int(LEGACY_MAGIC)) {
        return Err(Refusal::Legacy);
    }
    unpickled.value(&|key, _, _| Err(Refusal::Storage(key.into())))
}

impl Unpickled {
    pub(super) fn read(source: &Source, at: u64, len: u64) -> Result<Self, Refusal> {
        // A file from before PyTorch 1.6 may be large, and its first pickle is enough to know it.
        let head = source.bytes(at, len.min(64))?;
        if let Ok((unpickled, _)) = Machine::run(&head, true)
            && matches!(unpickled.nodes[unpickled.root.0], Node::Int(LEGACY_MAGIC))
        {
            return Ok(unpickled);
        }
        if len > MAX_PICKLE {
            return Err(Refusal::TooMuch { what: "its pickle", limit: MAX_PICKLE });
        }
        Ok(Machine::run(&source.bytes(at, len)?, true)?.0)
    }

    /// The result as a tree.
    pub(super) fn value(&self, find: &FindStorage<'_>) -> Result<Value, Refusal> {
        Tree { nodes: &self.nodes, find, left: MAX_TREE }.value(self.root, 0)
    }
}

struct Tree<'a> {
    nodes: &'a [Node],
    find: &'a FindStorage<'a>,
    /// Bytes that the tree may still take.
    left: usize,
}

impl Tree<'_> {
    fn value(&mut self, id: Id, depth: usize) -> Result<Value, Refusal> {
        if depth > MAX_DEPTH {
            return Err(Refusal::Depth(MAX_DEPTH));
        }
        self.charge(VALUE_BYTES)?;
        Ok(match &self.nodes[id.0] {
            Node::None => Value::None,
            Node::Bool(value) => Value::Bool(*value),
            Node::Int(value) => i64::try_from(*value).map_or(Value::Other, Value::Int),
            Node::Float(value) => Value::Float(*value),
            Node::Text(text) => {
                self.charge(text.len())?;
                Value::Text(text.clone())
            }
            Node::Tuple(items) | Node::List(items) => {
                let mut values = Vec::new();
                for item in items {
                    values.push(self.value(*item, depth + 1)?);
                }
                Value::List(values)
            }
            Node::Dict(entries) => {
                let mut values = Vec::new();
                for (key, value) in entries {
                    let key = match &self.nodes[key.0] {
                        Node::Text(text) => text.clone(),
                        Node::Int(number) => number.to_string(),
                        // Nothing we look for hangs on other keys.
                        _ => continue,
                    };
                    self.charge(key.len())?;
                    values.push((key, self.value(*value, depth + 1)?));
                }
                Value::Dict(values)
            }
            Node::Tensor { storage, offset, shape, strides } => {
                let Node::Storage { place, dtype, len } = &self.nodes[storage.0] else {
                    unreachable!("tensors are only made of storages");
                };
                let storage = match place {
                    Place::Key(key) => (self.find)(key, *dtype, *len)?,
                    Place::Memory(bytes) => in_memory(bytes, *len),
                };
                let tensor = Tensor::new(*dtype, shape.clone(), strides.clone(), *offset, storage)?;
                Value::Tensor(tensor)
            }
            Node::Array(Some(array)) => Value::Tensor(array.tensor()?),
            _ => Value::Other,
        })
    }

    fn charge(&mut self, bytes: usize) -> Result<(), Refusal> {
        let limit = MAX_TREE as u64;
        let left = self.left.checked_sub(bytes);
        self.left = left.ok_or(Refusal::TooMuch { what: "what its pickle unfolds to", limit })?;
        Ok(())
    }
}

fn in_memory(bytes: &Arc<[u8]>, len: usize) -> Storage {
    Storage { at: 0, len, memory: Some(bytes.clone()) }
}

impl Array {
    fn tensor(&self) -> Result<Tensor, Refusal> {
        let Self { dtype, shape, column_major, bytes } = self;
        let strides = if *column_major {
            let reversed: Vec<usize> = shape.iter().rev().copied().collect();
            row_major(&reversed).into_iter().rev().collect()
        } else {
            row_major(shape)
        };
        let size = size_of(*dtype).ok_or_else(|| Refusal::Dtype(format!("{dtype:?}")))?;
        let len = shape.iter().try_fold(1_usize, |product, n| product.checked_mul(*n));
        if len.and_then(|len| len.checked_mul(size)) != Some(bytes.len()) {
            return Err(Refusal::Bounds(shape.clone()));
        }
        let storage = in_memory(bytes, bytes.len() / size);
        Tensor::new(*dtype, shape.clone(), strides, 0, storage)
    }
}
