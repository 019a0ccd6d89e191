//! What a file holds, as plain data.

use super::Tensor;

/// Data as pickles and safetensors hold it. A tree: what a pickle shares is repeated, and how much
/// there may be of it is bounded.
#[derive(Debug, Clone)]
pub enum Value {
    None,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    /// Lists and tuples.
    List(Vec<Value>),
    /// In the order of the file; keys that are numbers are written out.
    Dict(Vec<(String, Value)>),
    Tensor(Tensor),
    /// Something nobody needs: bytes, a class, an open buffer.
    Other,
}

impl Value {
    /// What it is, for people.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::None => "nothing",
            Self::Bool(_) => "a truth value",
            Self::Int(_) | Self::Float(_) => "a number",
            Self::Text(_) => "a text",
            Self::List(_) => "a list",
            Self::Dict(_) => "a dictionary",
            Self::Tensor(_) => "a tensor",
            Self::Other => "data of another kind",
        }
    }

    /// The entry of a dictionary.
    pub fn get(&self, key: &str) -> Option<&Self> {
        match self {
            Self::Dict(entries) => entries.iter().find(|(k, _)| k == key).map(|(_, v)| v),
            _ => None,
        }
    }

    /// All tensors in it.
    pub fn tensors(&self) -> Vec<&Tensor> {
        match self {
            Self::Tensor(tensor) => vec![tensor],
            Self::List(items) => items.iter().flat_map(Self::tensors).collect(),
            Self::Dict(entries) => entries.iter().flat_map(|(_, v)| v.tensors()).collect(),
            _ => Vec::new(),
        }
    }
}
