//! The zip archives of `torch.save`: one pickle, and one stored entry for each storage.
//!
//! Entries are never unpacked, only found: all of them must be stored as they are, and their places
//! in the file are what tensors are read from. Checksums are not compared, as PyTorch does not
//! either and can be told not to write them.

use std::collections::BTreeMap;

use super::pickle::Unpickled;
use super::tensor::{Storage, size_of};
use super::{Refusal, Source, Value};

const END: &[u8] = b"PK\x05\x06";
const END_LEN: u64 = 22;
const END64: &[u8] = b"PK\x06\x06";
const END64_LEN: u64 = 56;
const LOCATOR64: &[u8] = b"PK\x06\x07";
const LOCATOR64_LEN: u64 = 20;
const ENTRY: &[u8] = b"PK\x01\x02";
const ENTRY_LEN: usize = 46;
const LOCAL: &[u8] = b"PK\x03\x04";
const LOCAL_LEN: u64 = 30;
const MAX_COMMENT: u64 = u16::MAX as u64;
/// Seven times what ten thousand tensors need.
const MAX_DIRECTORY: u64 = 8 << 20;
/// The extra field that holds what does not fit into 32 bits.
const EXTRA64: u16 = 1;

const NO_DIRECTORY: Refusal = Refusal::Damaged("its zip directory is missing");
const BAD_DIRECTORY: Refusal = Refusal::Damaged("its zip directory contradicts itself");

/// A stored entry: where its bytes lie.
#[derive(Debug, Clone, Copy)]
struct Entry {
    at: u64,
    len: u64,
}

pub(super) fn read(source: &Source) -> Result<Value, Refusal> {
    let entries = entries(source)?;
    let mut pickles = entries.keys().filter_map(|name| {
        let folder = name.strip_suffix("data.pkl")?;
        (folder.is_empty() || folder.ends_with('/')).then(|| folder.to_owned())
    });
    let (Some(folder), None) = (pickles.next(), pickles.next()) else {
        return Err(Refusal::NoTorch);
    };
    let named = |name: &str| entries.get(&format!("{folder}{name}"));
    if named("constants.pkl").is_some() {
        return Err(Refusal::TorchScript);
    }
    if let Some(order) = named("byteorder")
        && source.bytes(order.at, order.len.min(16))? != b"little"
    {
        return Err(Refusal::BigEndian);
    }
    let pickle = named("data.pkl").expect("found above");
    let unpickled = Unpickled::read(source, pickle.at, pickle.len)?;
    unpickled.value(&|key, dtype, len| {
        let entry = named(&format!("data/{key}")).ok_or_else(|| Refusal::Storage(key.into()))?;
        let size = size_of(dtype).ok_or_else(|| Refusal::Dtype(format!("{dtype:?}")))?;
        let wanted = (len as u64).saturating_mul(size as u64);
        if entry.len < wanted {
            return Err(Refusal::StorageSize { key: key.into(), found: entry.len, wanted });
        }
        Ok(Storage { at: entry.at, len, memory: None })
    })
}

/// All entries of an archive by name.
fn entries(source: &Source) -> Result<BTreeMap<String, Entry>, Refusal> {
    let (at, len) = directory(source)?;
    if len > MAX_DIRECTORY {
        return Err(Refusal::TooMuch { what: "its zip directory", limit: MAX_DIRECTORY });
    }
    let directory = source.bytes(at, len)?;
    let mut rest = directory.as_slice();
    let mut found: BTreeMap<String, Entry> = BTreeMap::new();
    // (begin of the local header, end of the bytes, name)
    let mut places = Vec::new();
    while !rest.is_empty() {
        let (name, entry, begin);
        (name, entry, begin, rest) = directory_entry(source, rest)?;
        let end = entry.at.checked_add(entry.len).filter(|end| *end <= at);
        places.push((begin, end.ok_or_else(|| Refusal::Outside(name.clone()))?, name.clone()));
        if found.insert(name.clone(), entry).is_some() {
            return Err(Refusal::Twice(name));
        }
    }
    places.sort();
    for pair in places.windows(2) {
        if pair[1].0 < pair[0].1 {
            return Err(Refusal::Overlap(pair[0].2.clone(), pair[1].2.clone()));
        }
    }
    Ok(found)
}

/// Where the directory lies.
fn directory(source: &Source) -> Result<(u64, u64), Refusal> {
    let len = source.len();
    if len < END_LEN {
        return Err(NO_DIRECTORY);
    }
    let tail_at = len - len.min(END_LEN + MAX_COMMENT);
    let tail = source.bytes(tail_at, len - tail_at)?;
    // The record is followed by a comment that ends the file.
    let fits = |at: &usize| {
        let record = &tail[*at..];
        record.starts_with(END) && END_LEN as usize + u16_at(record, 20) as usize == record.len()
    };
    let at = (0..=tail.len() - END_LEN as usize).rev().find(fits).ok_or(NO_DIRECTORY)?;
    let record = &tail[at..];
    let end = tail_at + at as u64;
    let (mut size, mut begin) = (u64::from(u32_at(record, 12)), u64::from(u32_at(record, 16)));
    let mut limit = end;
    if end >= LOCATOR64_LEN {
        let locator = source.bytes(end - LOCATOR64_LEN, LOCATOR64_LEN)?;
        if locator.starts_with(LOCATOR64) {
            let at = u64_at(&locator, 8);
            let record = source.bytes(at, END64_LEN).map_err(|_| NO_DIRECTORY)?;
            if !record.starts_with(END64) {
                return Err(NO_DIRECTORY);
            }
            (size, begin, limit) = (u64_at(&record, 40), u64_at(&record, 48), at);
        }
    }
    match begin.checked_add(size) {
        Some(end) if end <= limit => Ok((begin, size)),
        _ => Err(BAD_DIRECTORY),
    }
}

/// The first entry of the directory: its name, place, where its local header begins, and the rest.
fn directory_entry<'a>(
    source: &Source,
    directory: &'a [u8],
) -> Result<(String, Entry, u64, &'a [u8]), Refusal> {
    if directory.len() < ENTRY_LEN || !directory.starts_with(ENTRY) {
        return Err(BAD_DIRECTORY);
    }
    let (head, rest) = directory.split_at(ENTRY_LEN);
    let lens = [28, 30, 32].map(|at| usize::from(u16_at(head, at)));
    if rest.len() < lens.iter().sum() {
        return Err(BAD_DIRECTORY);
    }
    let (name, rest) = rest.split_at(lens[0]);
    let (extra, rest) = rest.split_at(lens[1]);
    let rest = &rest[lens[2]..];
    let raw_name = name;
    let name = str::from_utf8(name).map_err(|_| BAD_DIRECTORY)?.to_owned();
    let leads_out = name.split('/').any(|part| part == "..") || name.starts_with('/');
    if leads_out || name.contains(['\\', '\0', ':']) {
        return Err(Refusal::EntryName(name));
    }
    if u16_at(head, 8) & 1 != 0 {
        return Err(Refusal::Encrypted(name));
    }
    if u16_at(head, 10) != 0 {
        // The one kind of archive PyTorch compresses parts of.
        if name.contains("/code/") {
            return Err(Refusal::TorchScript);
        }
        return Err(Refusal::Compressed(name));
    }
    let [mut stored, mut len, mut begin] = [20, 24, 42].map(|at| u64::from(u32_at(head, at)));
    let mut wide = wide_fields(extra);
    // The extra field holds those of them, in this order, that do not fit.
    for field in [&mut len, &mut stored, &mut begin] {
        if *field == u64::from(u32::MAX) {
            *field = wide.next().ok_or(BAD_DIRECTORY)?;
        }
    }
    if stored != len {
        return Err(Refusal::Sizes(name));
    }
    let outside = || Refusal::Outside(name.clone());
    let local = source.bytes(begin, LOCAL_LEN).map_err(|_| outside())?;
    let name_len = u64::from(u16_at(&local, 26));
    if !local.starts_with(LOCAL) || name_len != lens[0] as u64 {
        return Err(outside());
    }
    if source.bytes(begin + LOCAL_LEN, name_len).map_err(|_| outside())? != raw_name {
        return Err(outside());
    }
    let at = begin + LOCAL_LEN + name_len + u64::from(u16_at(&local, 28));
    Ok((name, Entry { at, len }, begin, rest))
}

/// The numbers in the extra field for large files.
fn wide_fields(mut extra: &[u8]) -> impl Iterator<Item = u64> {
    let mut found: &[u8] = &[];
    while extra.len() >= 4 {
        let (id, len) = (u16_at(extra, 0), usize::from(u16_at(extra, 2)));
        let Some(field) = extra.get(4..4 + len) else { break };
        if id == EXTRA64 {
            found = field;
        }
        extra = &extra[4 + len..];
    }
    found.as_chunks::<8>().0.iter().map(|bytes| u64::from_le_bytes(*bytes))
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from(u16_at(bytes, at)) | u32::from(u16_at(bytes, at + 2)) << 16
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}
