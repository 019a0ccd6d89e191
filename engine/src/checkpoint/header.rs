//! The header of a safetensors file, checked against the file's size.

use std::fmt;

use safetensors::tensor::TensorInfo;
use serde::Deserialize;
use serde::de::{Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};

use super::tensor::{Storage, row_major, size_of};
use super::{Refusal, Source, Tensor, Value};

/// A header of ten thousand tensors has a tenth of this.
const MAX_HEADER: u64 = 16 << 20;
/// Bytes of the header's own length.
const LENGTH: u64 = 8;
const METADATA: &str = "__metadata__";

/// Entries in the order of the file; a name that occurs twice is refused.
struct Header(Vec<(String, TensorInfo)>);

impl<'de> Deserialize<'de> for Header {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = Header;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("tensors under their names")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Header, A::Error> {
                let mut names = std::collections::BTreeSet::new();
                let mut entries = Vec::new();
                while let Some(name) = map.next_key::<String>()? {
                    if !names.insert(name.clone()) {
                        return Err(A::Error::custom(format!("the name {name} occurs twice")));
                    }
                    if name == METADATA {
                        map.next_value::<IgnoredAny>()?;
                    } else {
                        entries.push((name, map.next_value()?));
                    }
                }
                Ok(Header(entries))
            }
        }
        deserializer.deserialize_map(Entries)
    }
}

pub(super) fn read(source: &Source) -> Result<Value, Refusal> {
    let cut = Refusal::Damaged("its header is not whole");
    if source.len() < LENGTH {
        return Err(cut);
    }
    let mut length = [0; LENGTH as usize];
    source.read_at(0, &mut length)?;
    let length = u64::from_le_bytes(length);
    if length > MAX_HEADER {
        return Err(Refusal::TooMuch { what: "its header", limit: MAX_HEADER });
    }
    let begin = LENGTH + length;
    if begin > source.len() {
        return Err(cut);
    }
    let text = source.bytes(LENGTH, length)?;
    let Header(mut entries) =
        serde_json::from_slice(&text).map_err(|error| Refusal::Header(error.to_string()))?;
    entries.sort_by_key(|(_, info)| info.data_offsets);
    let mut end = 0;
    let mut tensors = Vec::with_capacity(entries.len());
    for (key, info) in entries {
        let (from, to) = info.data_offsets;
        let TensorInfo { dtype, shape, .. } = info;
        let Some(size) = size_of(dtype) else {
            return Err(Refusal::Dtype(format!("{dtype:?}")));
        };
        let len = shape.iter().try_fold(1_usize, |product, n| product.checked_mul(*n));
        let bytes = len.and_then(|len| len.checked_mul(size));
        // Whoever leaves a hole or lets tensors overlap has something to hide.
        if from != end || to < from || bytes != Some(to - from) {
            return Err(Refusal::Place { key, shape, dtype });
        }
        end = to;
        let storage = Storage {
            at: begin.checked_add(from as u64).ok_or(Refusal::Damaged("its header"))?,
            len: (to - from) / size,
            memory: None,
        };
        let strides = row_major(&shape);
        tensors.push((key, Value::Tensor(Tensor::new(dtype, shape, strides, 0, storage)?)));
    }
    match begin.checked_add(end as u64) {
        Some(end) if end == source.len() => Ok(Value::Dict(tensors)),
        _ => Err(Refusal::Damaged("its tensors do not end where the file does")),
    }
}
