//! What pickles of torch and numpy build, and the fixed list of what they may call.
//!
//! Nothing here runs code of the file: each name on the list stands for a few lines of ours.

use std::sync::Arc;

use safetensors::Dtype;

use super::Refusal;
use super::machine::Machine;
use super::pickle::LEGACY_MAGIC;
use super::tensor::{MAX_RANK, size_of, widen};

/// Bytes of the name of a storage, which torch counts through.
const MAX_KEY: usize = 64;
/// What one byte of a pickled tensor may cost, as it is read again whenever it is called for.
const NESTED_COST: usize = 4;

/// A node of what a pickle builds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Id(pub usize);

#[derive(Debug, Clone)]
pub(super) enum Node {
    None,
    Bool(bool),
    Int(i128),
    Float(f64),
    Text(String),
    Bytes(Arc<[u8]>),
    Tuple(Vec<Id>),
    List(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    Global(Global),
    Storage {
        place: Place,
        dtype: Dtype,
        len: usize,
    },
    Tensor {
        storage: Id,
        offset: usize,
        shape: Vec<usize>,
        strides: Vec<usize>,
    },
    NumpyType(Dtype),
    /// A numpy array; none until its state has come.
    Array(Option<Array>),
    /// Something that is carried along and never looked at.
    Opaque,
}

/// Where the numbers of a storage are.
#[derive(Debug, Clone)]
pub(super) enum Place {
    /// An entry of the archive.
    Key(String),
    Memory(Arc<[u8]>),
}

#[derive(Debug, Clone)]
pub(super) struct Array {
    pub dtype: Dtype,
    pub shape: Vec<usize>,
    pub column_major: bool,
    pub bytes: Arc<[u8]>,
}

/// What a pickle may name.
#[derive(Debug, Clone, Copy)]
pub(super) enum Global {
    OrderedDict,
    Size,
    RebuildTensor,
    RebuildParameter,
    Storage(Dtype),
    LoadStorage,
    NumpyReconstruct,
    NumpyFromBuffer,
    NumpyArray,
    NumpyType,
    NumpyScalar,
    Encode,
    /// How older protocols write no bytes.
    Bytes,
    /// Transformer-Engine keeps an empty one in each of its layers.
    BytesIo,
}

impl Global {
    pub(super) fn named(module: &str, name: &str) -> Option<Self> {
        Some(match (module, name) {
            ("collections", "OrderedDict") => Self::OrderedDict,
            ("torch", "Size") => Self::Size,
            ("torch._utils", "_rebuild_tensor_v2" | "_rebuild_tensor") => Self::RebuildTensor,
            ("torch._utils", "_rebuild_parameter") => Self::RebuildParameter,
            ("torch.storage", "_load_from_bytes") => Self::LoadStorage,
            ("torch", storage) => Self::Storage(storage_type(storage)?),
            ("numpy.core.multiarray" | "numpy._core.multiarray", "_reconstruct") => {
                Self::NumpyReconstruct
            }
            ("numpy.core.multiarray" | "numpy._core.multiarray", "scalar") => Self::NumpyScalar,
            ("numpy.core.numeric" | "numpy._core.numeric", "_frombuffer") => Self::NumpyFromBuffer,
            ("numpy", "ndarray") => Self::NumpyArray,
            ("numpy", "dtype") => Self::NumpyType,
            ("_codecs", "encode") => Self::Encode,
            ("__builtin__" | "builtins", "bytes") => Self::Bytes,
            ("_io", "BytesIO") => Self::BytesIo,
            _ => return None,
        })
    }
}

fn storage_type(name: &str) -> Option<Dtype> {
    Some(match name {
        "BFloat16Storage" => Dtype::BF16,
        "HalfStorage" => Dtype::F16,
        "FloatStorage" => Dtype::F32,
        "DoubleStorage" => Dtype::F64,
        "CharStorage" => Dtype::I8,
        "ByteStorage" => Dtype::U8,
        "ShortStorage" => Dtype::I16,
        "IntStorage" => Dtype::I32,
        "LongStorage" => Dtype::I64,
        "BoolStorage" => Dtype::BOOL,
        _ => return None,
    })
}

fn numpy_type(name: &str) -> Option<Dtype> {
    Some(match name.trim_start_matches(['<', '|', '=']) {
        "f2" => Dtype::F16,
        "f4" => Dtype::F32,
        "f8" => Dtype::F64,
        "i1" => Dtype::I8,
        "u1" => Dtype::U8,
        "i2" => Dtype::I16,
        "i4" => Dtype::I32,
        "i8" => Dtype::I64,
        "b1" => Dtype::BOOL,
        _ => return None,
    })
}

/// The storage that a persistent id names: `("storage", class, key, location, numbers, ...)`.
pub(super) fn storage(machine: &Machine<'_>, id: Id) -> Result<Node, Refusal> {
    let wrong = Refusal::Call { what: "for a storage" };
    let Node::Tuple(items) = machine.node(id) else { return Err(wrong) };
    let [kind, class, key, _, len, ..] = items.as_slice() else { return Err(wrong) };
    let is_storage = matches!(machine.node(*kind), Node::Text(kind) if kind == "storage");
    match (machine.node(*class), machine.node(*key), size(machine, *len)) {
        (Node::Global(Global::Storage(dtype)), Node::Text(key), Some(len))
            if is_storage && key.len() <= MAX_KEY =>
        {
            Ok(Node::Storage { place: Place::Key(key.clone()), dtype: *dtype, len })
        }
        _ => Err(wrong),
    }
}

/// What calling a name of the list gives.
pub(super) fn call(
    machine: &mut Machine<'_>,
    global: Global,
    arguments: &[Id],
) -> Result<Id, Refusal> {
    let made = match global {
        Global::OrderedDict => ordered_dict(machine, arguments),
        Global::Size | Global::RebuildParameter => return first(arguments, "a wrapper"),
        Global::RebuildTensor => rebuild_tensor(machine, arguments),
        Global::LoadStorage => Some(load_storage(machine, arguments)?),
        Global::NumpyReconstruct | Global::NumpyArray => Some(Node::Array(None)),
        Global::NumpyFromBuffer => from_buffer(machine, arguments),
        Global::NumpyType => match arguments.first().map(|id| machine.node(*id)) {
            Some(Node::Text(name)) => {
                let known = numpy_type(name).map(Node::NumpyType);
                Some(known.ok_or_else(|| Refusal::Dtype(format!("numpy's {name}")))?)
            }
            _ => None,
        },
        Global::NumpyScalar => scalar(machine, arguments),
        Global::Encode => encode(machine, arguments)?,
        Global::Bytes => arguments.is_empty().then(|| Node::Bytes([].into())),
        Global::BytesIo => Some(Node::Opaque),
        Global::Storage(_) => None,
    };
    let made = made.ok_or(Refusal::Call { what: global.label() })?;
    machine.add(made)
}

/// Gives an object the state that the pickle kept for it.
pub(super) fn build(machine: &mut Machine<'_>, object: Id, state: Id) -> Result<(), Refusal> {
    match machine.node(object) {
        Node::Array(None) => {
            let array = array_state(machine, state);
            let array = array.ok_or(Refusal::Call { what: "numpy's array" })?;
            *machine.node_mut(object) = Node::Array(Some(array));
        }
        Node::NumpyType(_) => {
            let is_big = match machine.node(state) {
                Node::Tuple(items) => items.get(1).is_some_and(
                    |order| matches!(machine.node(*order), Node::Text(order) if order == ">"),
                ),
                _ => false,
            };
            if is_big {
                return Err(Refusal::BigEndian);
            }
        }
        // Attributes such as the version numbers that a state dict carries.
        Node::Dict(_) | Node::Tensor { .. } | Node::Opaque => {}
        _ => return Err(Refusal::Call { what: "for a state" }),
    }
    Ok(())
}

impl Global {
    fn label(self) -> &'static str {
        match self {
            Self::OrderedDict => "OrderedDict",
            Self::RebuildTensor => "torch's tensor",
            Self::NumpyReconstruct | Self::NumpyArray | Self::NumpyFromBuffer => "numpy's array",
            Self::NumpyType => "numpy's dtype",
            Self::NumpyScalar => "numpy's scalar",
            Self::Encode => "encode",
            _ => "a class",
        }
    }
}

fn first(arguments: &[Id], what: &'static str) -> Result<Id, Refusal> {
    arguments.first().copied().ok_or(Refusal::Call { what })
}

fn size(machine: &Machine<'_>, id: Id) -> Option<usize> {
    match machine.node(id) {
        Node::Int(value) => usize::try_from(*value).ok(),
        _ => None,
    }
}

fn sizes(machine: &Machine<'_>, id: Id) -> Option<Vec<usize>> {
    match machine.node(id) {
        Node::Tuple(items) | Node::List(items) if items.len() <= MAX_RANK => {
            items.iter().map(|item| size(machine, *item)).collect()
        }
        _ => None,
    }
}

/// Empty, or of a list of pairs.
fn ordered_dict(machine: &mut Machine<'_>, arguments: &[Id]) -> Option<Node> {
    let [pairs] = arguments else { return Some(Node::Dict(Vec::new())) };
    let Node::List(pairs) = machine.node(*pairs) else { return None };
    let pair = |id: &Id| match machine.node(*id) {
        Node::Tuple(items) | Node::List(items) => match items[..] {
            [key, value] => Some((key, value)),
            _ => None,
        },
        _ => None,
    };
    let entries: Vec<_> = pairs.iter().map(pair).collect::<Option<_>>()?;
    machine.charge(size_of_val(entries.as_slice())).ok()?;
    Some(Node::Dict(entries))
}

/// `(storage, offset, shape, strides, ...)`
fn rebuild_tensor(machine: &Machine<'_>, arguments: &[Id]) -> Option<Node> {
    let [storage, offset, shape, strides, ..] = arguments else { return None };
    let Node::Storage { .. } = machine.node(*storage) else { return None };
    let (offset, shape) = (size(machine, *offset)?, sizes(machine, *shape)?);
    let strides = sizes(machine, *strides)?;
    Some(Node::Tensor { storage: *storage, offset, shape, strides })
}

/// A storage in PyTorch's old format, which is how `pickle.dump` keeps a tensor: four pickles, one
/// more with the keys of the storages, then for each its length and its numbers.
fn load_storage(machine: &mut Machine<'_>, arguments: &[Id]) -> Result<Node, Refusal> {
    let wrong = || Refusal::Call { what: "torch's storage" };
    let Some(Node::Bytes(bytes)) = arguments.first().map(|id| machine.node(*id)) else {
        return Err(wrong());
    };
    if !machine.may_nest {
        return Err(wrong());
    }
    let bytes = bytes.clone();
    machine.charge(NESTED_COST * bytes.len())?;
    let mut rest: &[u8] = &bytes;
    let mut pickles = Vec::new();
    for _ in 0..5 {
        let (unpickled, len) = Machine::run(rest, false)?;
        pickles.push(unpickled);
        rest = &rest[len..];
    }
    let is_legacy = matches!(pickles[0].nodes[pickles[0].root.0], Node::Int(LEGACY_MAGIC));
    let Node::Storage { dtype, len, .. } = &pickles[3].nodes[pickles[3].root.0] else {
        return Err(wrong());
    };
    let (count, numbers) = rest.split_first_chunk::<8>().ok_or_else(wrong)?;
    let size = size_of(*dtype).ok_or_else(wrong)?;
    let wanted = len.checked_mul(size).ok_or_else(wrong)?;
    if !is_legacy || usize::try_from(u64::from_le_bytes(*count)) != Ok(*len) {
        return Err(wrong());
    }
    let numbers = numbers.get(..wanted).ok_or_else(wrong)?;
    Ok(Node::Storage { place: Place::Memory(numbers.into()), dtype: *dtype, len: *len })
}

/// `(version, shape, dtype, column major, bytes)`
fn array_state(machine: &Machine<'_>, state: Id) -> Option<Array> {
    let Node::Tuple(items) = machine.node(state) else { return None };
    let [.., shape, dtype, column_major, bytes] = items.as_slice() else { return None };
    let Node::NumpyType(dtype) = machine.node(*dtype) else { return None };
    let Node::Bytes(bytes) = machine.node(*bytes) else { return None };
    let column_major = match machine.node(*column_major) {
        Node::Bool(column_major) => *column_major,
        Node::Int(column_major) => *column_major != 0,
        _ => return None,
    };
    let (dtype, bytes) = (*dtype, bytes.clone());
    Some(Array { dtype, shape: sizes(machine, *shape)?, column_major, bytes })
}

/// `(buffer, dtype, shape, order)`
fn from_buffer(machine: &Machine<'_>, arguments: &[Id]) -> Option<Node> {
    let [bytes, dtype, shape, order] = arguments else { return None };
    let Node::NumpyType(dtype) = machine.node(*dtype) else { return None };
    let Node::Bytes(bytes) = machine.node(*bytes) else { return None };
    let Node::Text(order) = machine.node(*order) else { return None };
    let column_major = order == "F";
    let (dtype, bytes) = (*dtype, bytes.clone());
    let array = Array { dtype, shape: sizes(machine, *shape)?, column_major, bytes };
    Some(Node::Array(Some(array)))
}

/// `(dtype, bytes)`
fn scalar(machine: &Machine<'_>, arguments: &[Id]) -> Option<Node> {
    let [dtype, bytes] = arguments else { return None };
    let Node::NumpyType(dtype) = machine.node(*dtype) else { return None };
    let Node::Bytes(bytes) = machine.node(*bytes) else { return None };
    if size_of(*dtype) != Some(bytes.len()) {
        return None;
    }
    let value = *widen(*dtype, bytes).first()?;
    let is_float = matches!(dtype, Dtype::F16 | Dtype::F32 | Dtype::F64);
    Some(if is_float { Node::Float(value.into()) } else { Node::Int(value as i128) })
}

/// `(text, "latin1")`: how older protocols write bytes.
fn encode(machine: &mut Machine<'_>, arguments: &[Id]) -> Result<Option<Node>, Refusal> {
    let [text, encoding] = arguments else { return Ok(None) };
    let (Node::Text(text), Node::Text(encoding)) = (machine.node(*text), machine.node(*encoding))
    else {
        return Ok(None);
    };
    let is_latin = ["latin1", "latin-1"].contains(&encoding.as_str());
    let bytes: Option<Vec<u8>> = text.chars().map(|c| u8::try_from(u32::from(c)).ok()).collect();
    let Some(bytes) = bytes.filter(|_| is_latin) else { return Ok(None) };
    machine.charge(bytes.len())?;
    Ok(Some(Node::Bytes(bytes.into())))
}
