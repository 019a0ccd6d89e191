//! Where a pack is read from.

use std::convert::Infallible;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{Pack, PackError};

/// The word for the pack inside the program; a folder of that name is `./embedded`.
const EMBEDDED: &str = "embedded";

/// Where a pack is read from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub enum PackSource {
    #[default]
    Embedded,
    Folder(PathBuf),
}

impl PackSource {
    /// # Errors
    /// As [`Pack::open`].
    pub fn open(&self) -> Result<Pack, PackError> {
        match self {
            Self::Embedded => Pack::embedded(),
            Self::Folder(folder) => Pack::open(folder),
        }
    }
}

impl From<String> for PackSource {
    fn from(text: String) -> Self {
        if text == EMBEDDED { Self::Embedded } else { Self::Folder(text.into()) }
    }
}

impl From<PackSource> for String {
    fn from(source: PackSource) -> Self {
        source.to_string()
    }
}

impl FromStr for PackSource {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(text.to_owned().into())
    }
}

impl fmt::Display for PackSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Embedded => f.write_str(EMBEDDED),
            Self::Folder(folder) => folder.display().fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_written_as_it_is_read() {
        for text in [EMBEDDED, "./embedded", "packs/mine"] {
            let source: PackSource = text.parse().unwrap();
            assert_eq!(source == PackSource::Embedded, text == EMBEDDED);
            assert_eq!(source.to_string(), text);
        }
    }
}
