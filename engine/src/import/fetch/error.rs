//! Why the published files could not be fetched, each in one sentence.

use std::io;
use std::path::{Path, PathBuf};

use crate::memory::human;

/// Why not all files came. What came is kept, but for a file with a wrong checksum.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    #[error("{0:?} is no address of a hub: one begins with https:// or http://")]
    Endpoint(String),
    #[error(
        "{endpoint} could not be reached ({reason}); look at the network, then fetch again: it goes on where it was"
    )]
    Unreachable { endpoint: String, reason: String },
    #[error(
        "{endpoint} wants a token or an accepted licence before it gives {what}, if it still has that; accept the licence on its page and log in with the hub's own program, whose token is used here"
    )]
    Locked { endpoint: String, what: String },
    #[error(
        "{endpoint} has no {what}; it may have moved, so fetch it by hand and import the folder"
    )]
    NotFound { endpoint: String, what: String },
    #[error("{endpoint} answered {status} when it was asked for {what}; try again later")]
    Status { endpoint: String, what: String, status: u16 },
    #[error(
        "what {endpoint} answered about {repository} is no list of files; look at the address of the hub"
    )]
    NoList { endpoint: String, repository: String },
    #[error(
        "the files have {} and {} were agreed to; import --fetch on the command line asks again",
        human(*.size), human(*.agreed)
    )]
    TooMuch { size: u64, agreed: u64 },
    #[error(
        "{file} broke off after {} of {} ({reason}); fetch again: it goes on where it was",
        human(*.done), human(*.total)
    )]
    BrokenOff { file: &'static str, done: u64, total: u64, reason: String },
    #[error(
        "{file} came with another content than {endpoint} says it has, and was removed; fetch it again"
    )]
    Wrong { file: &'static str, endpoint: String },
    #[error("{} is there already and is not the published file; move it away or choose another folder", .0.display())]
    Taken(PathBuf),
    #[error("{} is being fetched by another program; wait for it", .0.display())]
    Busy(PathBuf),
    #[error(
        "the disk is full: {} could not be written; make room and fetch again: it goes on where it was", .0.display()
    )]
    Full(PathBuf),
    #[error("{} could not be written: {source}", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("the fetch was stopped; what came is kept, and the next one goes on there")]
    Cancelled,
}

impl FetchError {
    /// What writing to a file failed with.
    pub(super) fn write(path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full(path),
            _ => Self::Write { path, source },
        }
    }

    /// What a request for `what` failed with.
    pub(super) fn request(endpoint: &str, what: &str, error: ureq::Error) -> Self {
        let (endpoint, what) = (endpoint.to_owned(), what.to_owned());
        match error {
            ureq::Error::Status(401 | 403, _) => Self::Locked { endpoint, what },
            ureq::Error::Status(404, _) => Self::NotFound { endpoint, what },
            ureq::Error::Status(status, _) => Self::Status { endpoint, what, status },
            ureq::Error::Transport(transport) => {
                let reason = match transport.message() {
                    Some(message) => format!("{}: {message}", transport.kind()),
                    None => transport.kind().to_string(),
                };
                Self::Unreachable { endpoint, reason }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_told_apart() {
        let path = Path::new("downloads/.weights.part");
        let full = FetchError::write(path, io::ErrorKind::StorageFull.into()).to_string();
        assert!(full.contains("the disk is full: downloads/.weights.part"), "{full}");
        let other = FetchError::write(path, io::ErrorKind::PermissionDenied.into()).to_string();
        assert!(other.contains("could not be written: permission denied"), "{other}");
    }
}
