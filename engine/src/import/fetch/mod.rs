//! The published files, fetched from the hub they lie on.
//!
//! Nothing is sent before [`Hub::list`], which only those call who asked the user. `hf-hub` knows
//! the addresses, the settings and the token of the user; the bytes are taken by [`stream`], since
//! a download of hf-hub's cannot be stopped, waits on a silent connection for ever, and compares
//! nothing with the checksum.
//!
//! A file grows beside its place under a hidden name. It goes on there whenever it broke off, and
//! gets its name when its SHA-256 is the one in the hub's list.

mod error;
mod stream;

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Read as _, Seek as _, Write as _};
use std::ops::{ControlFlow, RangeInclusive};
use std::path::Path;
use std::time::Duration;

use hf_hub::api::sync::{ApiBuilder, ApiRepo};
use hf_hub::{Repo, RepoType};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use self::stream::{News, Request, apart, next};
use super::{Progress, Stage, Watch};
use crate::pack::hex;

pub use self::error::FetchError;

/// The repositories and what an import takes of them, in whichever folder it lies there. Wan's
/// `Wan2.1_VAE.pth` is the `tokenizer.pth` of the release under another name.
pub const PUBLISHED: [(&str, &[&str]); 2] = [
    (
        "maverickrzw/VideoWorld2_dLDM_2B",
        &[
            "VideoWorld2_dLDM_VAE.pt",
            "VideoWorld2_dLDM_DiT.pth",
            "default_neg.pickle",
            "VideoCraft-dLDM-codes.pt",
        ],
    ),
    ("Wan-AI/Wan2.1-T2V-1.3B", &["Wan2.1_VAE.pth"]),
];

/// Bytes that all files together are thought to have, before the hub is asked: with the tensors of
/// the release in half and in single precision.
pub const ESTIMATE: RangeInclusive<u64> = 5_000_000_000..=10_000_000_000;

/// How long a list of files may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// Bytes hashed between two looks at whether to go on.
const HASHED: usize = 1 << 20;

/// A hub that speaks the protocol of `hf-hub`. Making one sends nothing.
#[derive(Debug, Clone)]
pub struct Hub {
    endpoint: String,
}

/// What the hub has of [`PUBLISHED`]: what will be fetched, to the byte.
pub struct Listing {
    endpoint: String,
    files: Vec<Listed>,
}

struct Listed {
    name: &'static str,
    size: u64,
    /// In hexadecimal digits; `None` for small files that the hub keeps without.
    sha256: Option<String>,
    request: Request,
}

/// The hub's answer about a repository, as far as it matters here.
#[derive(Deserialize)]
struct Answer {
    sha: String,
    siblings: Vec<Sibling>,
}

#[derive(Deserialize)]
struct Sibling {
    rfilename: String,
    size: u64,
    lfs: Option<Lfs>,
}

#[derive(Deserialize)]
struct Lfs {
    sha256: String,
}

impl Hub {
    /// The hub at an address; otherwise that of the environment variable `HF_ENDPOINT`, or the
    /// public one.
    ///
    /// # Errors
    /// Fails when the address is none of HTTP.
    pub fn new(endpoint: Option<&str>) -> Result<Self, FetchError> {
        // hf-hub does not tell its endpoint, but every address begins with it.
        let default = || {
            let url = repository(ApiBuilder::from_env(), Repo::model(String::new())).url("");
            url.trim_end_matches("/resolve/main/").to_owned()
        };
        let endpoint = endpoint.map_or_else(default, str::to_owned);
        let endpoint = endpoint.trim_end_matches('/').to_owned();
        let is_http = ["http://", "https://"]
            .iter()
            .any(|scheme| endpoint.strip_prefix(scheme).is_some_and(|rest| !rest.is_empty()));
        if is_http { Ok(Self { endpoint }) } else { Err(FetchError::Endpoint(endpoint)) }
    }

    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Asks the hub for sizes and checksums: the first that goes over the network.
    ///
    /// # Errors
    /// Fails when the hub cannot be reached, refuses, or lacks a file;
    /// [`FetchError::Cancelled`] when stopped.
    pub fn list(&self, watch: &mut Watch<'_>) -> Result<Listing, FetchError> {
        let mut files = Vec::new();
        for (done, (name, wanted)) in (0..).zip(PUBLISHED) {
            let at = Progress { stage: Stage::Asking, done, total: PUBLISHED.len() as u64 };
            go_on(watch(at))?;
            files.extend(self.list_one(name, wanted, &mut || watch(at))?);
        }
        Ok(Listing { endpoint: self.endpoint.clone(), files })
    }

    fn list_one(
        &self,
        name: &'static str,
        wanted: &[&'static str],
        watch: &mut dyn FnMut() -> ControlFlow<()>,
    ) -> Result<Vec<Listed>, FetchError> {
        let at =
            |repo| repository(ApiBuilder::from_env().with_endpoint(self.endpoint.clone()), repo);
        let request = at(Repo::model(name.to_owned())).info_request().query("blobs", "true");
        let token = request.header("Authorization").map(str::to_owned);
        let endpoint = self.endpoint.clone();
        let answers = apart(move |outbox| {
            let answer = request.timeout(PATIENCE).call();
            let answer = answer.map_err(|error| FetchError::request(&endpoint, name, error));
            let answer = answer.and_then(|answer| {
                let repository = name.to_owned();
                answer
                    .into_json::<Answer>()
                    .map_err(|_| FetchError::NoList { endpoint, repository })
            });
            outbox.send(answer).ok();
        });
        let Answer { sha, siblings } =
            next(&answers, watch)?.expect("the thread ends with an answer")?;
        // All files of one moment, whatever is published meanwhile.
        let repo = at(Repo::with_revision(name.to_owned(), RepoType::Model, sha));
        wanted
            .iter()
            .map(|&wanted| {
                let is_it = |file: &&Sibling| file.rfilename.rsplit('/').next() == Some(wanted);
                let file = siblings.iter().find(is_it).ok_or_else(|| FetchError::NotFound {
                    endpoint: self.endpoint.clone(),
                    what: format!("{wanted} in {name}"),
                })?;
                let request = Request { url: repo.url(&file.rfilename), token: token.clone() };
                let sha256 = file.lfs.as_ref().map(|lfs| lfs.sha256.to_ascii_lowercase());
                Ok(Listed { name: wanted, size: file.size, sha256, request })
            })
            .collect()
    }
}

impl Listing {
    /// Name and size in bytes of each file.
    pub fn files(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.files.iter().map(|file| (file.name, file.size))
    }

    /// Bytes of all files.
    pub fn size(&self) -> u64 {
        self.files.iter().map(|file| file.size).sum()
    }

    /// For where there is no second question.
    ///
    /// # Errors
    /// Fails when there are more bytes than a user agreed to.
    pub fn refuse_beyond(&self, agreed: u64) -> Result<(), FetchError> {
        let size = self.size();
        if size > agreed { Err(FetchError::TooMuch { size, agreed }) } else { Ok(()) }
    }

    /// Fetches into a folder what it does not hold yet. A connection that breaks off is taken up
    /// again as long as it brings something.
    ///
    /// # Errors
    /// Fails at the first file that cannot be had whole; [`FetchError::Cancelled`] when stopped.
    pub fn fetch(&self, to: &Path, watch: &mut Watch<'_>) -> Result<(), FetchError> {
        fs::create_dir_all(to).map_err(|error| FetchError::write(to, error))?;
        self.files.iter().try_for_each(|file| self.fetch_one(file, to, watch))
    }

    fn fetch_one(&self, file: &Listed, to: &Path, watch: &mut Watch<'_>) -> Result<(), FetchError> {
        let place = to.join(file.name);
        if place.exists() {
            let failed = |error| FetchError::write(&place, error);
            let is_whole = place.metadata().map_err(failed)?.len() == file.size && {
                let mut found = Growing::of(File::open(&place).map_err(failed)?, &place, file);
                found.hash(watch)?;
                found.is_published()
            };
            return if is_whole { Ok(()) } else { Err(FetchError::Taken(place)) };
        }
        let beside = to.join(format!(".{}.part", file.name));
        let failed = |error| FetchError::write(&beside, error);
        let part = OpenOptions::new().read(true).append(true).create(true).open(&beside);
        let part = part.map_err(failed)?;
        part.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => FetchError::Busy(place.clone()),
            TryLockError::Error(error) => failed(error),
        })?;
        let mut part = Growing::of(part, &beside, file);
        part.hash(watch)?;
        while part.len < file.size {
            let before = part.len;
            let reason = self.take(&mut part, watch)?;
            if part.len <= before {
                let (done, total) = (part.len, file.size);
                return Err(FetchError::BrokenOff { file: file.name, done, total, reason });
            }
        }
        if !part.is_published() {
            drop(part);
            fs::remove_file(&beside).map_err(failed)?;
            let endpoint = self.endpoint.clone();
            return Err(FetchError::Wrong { file: file.name, endpoint });
        }
        part.file.sync_all().and_then(|()| fs::rename(&beside, &place)).map_err(failed)
    }

    /// Takes what one connection brings, and says why it brings no more.
    fn take(&self, part: &mut Growing<'_>, watch: &mut Watch<'_>) -> Result<String, FetchError> {
        let &Listed { name, size: total, ref request, .. } = part.listed;
        let stage = Stage::Fetching(name);
        let pieces = request.clone().send(part.len);
        loop {
            let at = Progress { stage, done: part.len, total };
            go_on(watch(at))?;
            match next(&pieces, &mut || watch(at))? {
                Some(News::From(0)) if part.len > 0 => part.begin_anew()?,
                Some(News::From(_)) => {}
                Some(News::Bytes(bytes)) => part.add(&bytes)?,
                Some(News::BrokenOff(reason)) => return Ok(reason),
                Some(News::Refused(error)) => {
                    return Err(FetchError::request(&self.endpoint, name, *error));
                }
                None => return Ok("the connection was closed".to_owned()),
            }
            if part.len > total {
                // No more of it is wanted; the checksum will tell.
                return Ok("there was too much".to_owned());
            }
        }
    }
}

/// A file on its way, and the hash of what is there.
struct Growing<'a> {
    listed: &'a Listed,
    path: &'a Path,
    file: File,
    hash: Sha256,
    len: u64,
}

impl<'a> Growing<'a> {
    fn of(file: File, path: &'a Path, listed: &'a Listed) -> Self {
        Self { listed, path, file, hash: Sha256::new(), len: 0 }
    }

    /// Takes in what is there already.
    fn hash(&mut self, watch: &mut Watch<'_>) -> Result<(), FetchError> {
        let failed = |error| FetchError::write(self.path, error);
        let stage = Stage::Checking(self.listed.name);
        let total = self.file.metadata().map_err(failed)?.len();
        let mut buffer = vec![0; HASHED];
        loop {
            let read = self.file.read(&mut buffer).map_err(failed)?;
            if read == 0 {
                return Ok(());
            }
            self.hash.update(&buffer[..read]);
            self.len += read as u64;
            let at = Progress { stage, done: self.len, total };
            go_on(watch(at))?;
        }
    }

    fn add(&mut self, bytes: &[u8]) -> Result<(), FetchError> {
        self.file.write_all(bytes).map_err(|error| FetchError::write(self.path, error))?;
        self.hash.update(bytes);
        self.len += bytes.len() as u64;
        Ok(())
    }

    /// Throws away what is there, which the hub sends once more.
    fn begin_anew(&mut self) -> Result<(), FetchError> {
        let emptied = self.file.set_len(0).and_then(|()| self.file.rewind());
        emptied.map_err(|error| FetchError::write(self.path, error))?;
        (self.hash, self.len) = (Sha256::new(), 0);
        Ok(())
    }

    fn is_published(&self) -> bool {
        let found = || hex(&self.hash.clone().finalize());
        self.len == self.listed.size
            && self.listed.sha256.as_ref().is_none_or(|sha| *sha == found())
    }
}

fn go_on(flow: ControlFlow<()>) -> Result<(), FetchError> {
    if flow.is_break() { Err(FetchError::Cancelled) } else { Ok(()) }
}

fn repository(builder: ApiBuilder, repo: Repo) -> ApiRepo {
    let api = builder.with_progress(false).build();
    api.expect("only the TLS of another feature of hf-hub can fail").repo(repo)
}
