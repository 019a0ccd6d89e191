//! Why a file of tensors is refused, each in one sentence.

use safetensors::Dtype;

/// Why a file of tensors could not be read.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    #[error("{name} could not be read: {source}")]
    Read { name: String, source: std::io::Error },
    #[error("{name} cannot be used: {refusal}")]
    Refused { name: String, refusal: Refusal },
}

/// What is wrong with a file.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    #[error("it could not be read: {0}")]
    Read(#[from] std::io::Error),
    #[error(
        "it is a pointer of Git LFS instead of the file itself; fetch the file with git lfs pull"
    )]
    LfsPointer,

    #[error("it is cut short or damaged: {0}; download it again")]
    Damaged(&'static str),
    #[error("{what} is larger than {limit}, the most that is read")]
    TooMuch { what: &'static str, limit: u64 },

    #[error("its zip entry {0} is compressed, which torch.save never does")]
    Compressed(String),
    #[error("its zip entry {0} is encrypted")]
    Encrypted(String),
    #[error("its zip entry {0} states two different sizes")]
    Sizes(String),
    #[error("its zip entries {0} and {1} lie over each other")]
    Overlap(String, String),
    #[error("its zip entry {0} lies outside the file")]
    Outside(String),
    #[error("the name of its zip entry {0:?} leads out of the archive")]
    EntryName(String),
    #[error("the name {0} occurs twice in it")]
    Twice(String),
    #[error("it is a zip archive without the one data.pkl that torch.save writes")]
    NoTorch,
    #[error(
        "it is a TorchScript program, which would have to be executed; save its state_dict() with torch.save"
    )]
    TorchScript,
    #[error("it was written on a big-endian machine, whose numbers are not read")]
    BigEndian,
    #[error(
        "it was saved by PyTorch before version 1.6; load it there or in a newer one and save it again with torch.save"
    )]
    Legacy,

    #[error("its pickle is damaged at byte {at}: {what}")]
    Pickle { at: usize, what: &'static str },
    #[error(
        "its pickle uses the instruction {code:#04x} at byte {at}, which no file of tensors needs"
    )]
    Instruction { at: usize, code: u8 },
    #[error("its pickle asks for {0}, which is not on the list of what is safe")]
    Global(String),
    #[error("its pickle nests deeper than {0} levels or contains itself")]
    Depth(usize),
    #[error("its pickle calls {what} in a way torch and numpy never do")]
    Call { what: &'static str },
    #[error("its pickle names the storage {0}, which the file does not hold")]
    Storage(String),
    #[error("its storage {key} holds {found} bytes instead of {wanted}")]
    StorageSize { key: String, found: u64, wanted: u64 },
    #[error("a tensor of shape {0:?} reaches outside its storage")]
    Bounds(Vec<usize>),
    #[error(
        "a tensor of shape {0:?} is a few numbers out of a far larger storage; save a contiguous() copy"
    )]
    Scattered(Vec<usize>),
    #[error("numbers stored as {0} are not read")]
    Dtype(String),

    #[error("its header is not that of a safetensors file: {0}")]
    Header(String),
    #[error("{key} states shape {shape:?} as {dtype:?}, which does not fit its place in the file")]
    Place { key: String, shape: Vec<usize>, dtype: Dtype },

    #[error("it holds no named tensors")]
    NoTensors,
}
