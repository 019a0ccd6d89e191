//! A hub on this machine, as far as fetching needs one: lists with sizes and checksums, redirects to
//! where the bytes lie, ranges, and all that can go wrong.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

use engine::import::PUBLISHED;
use engine::pack::hex;
use serde_json::json;
use sha2::{Digest as _, Sha256};

/// What all repositories are at.
const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// The networks of a pack under the names of the published files: content says what they are.
const NETWORKS: [(&str, &str); 5] = [
    ("VideoWorld2_dLDM_VAE.pt", "dldm.safetensors"),
    ("VideoWorld2_dLDM_DiT.pth", "dit.safetensors"),
    ("default_neg.pickle", "control.safetensors"),
    ("VideoCraft-dLDM-codes.pt", "policy.safetensors"),
    ("Wan2.1_VAE.pth", "vae.safetensors"),
];

/// A request that came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    pub host: String,
    pub path: String,
    pub range: Option<String>,
    pub token: Option<String>,
}

/// How the hub behaves.
#[derive(Default)]
pub struct Manners {
    /// Answers everything with this status.
    pub status: Option<u16>,
    /// Answers everything with a page for people.
    pub is_a_website: bool,
    /// Closes connections after so many bytes of a file, the next first.
    pub cuts: Vec<usize>,
    /// Says nothing more after so many bytes of a file.
    pub falls_silent: Option<usize>,
    /// Sends the first byte of files wrong.
    pub is_damaged: bool,
    /// Sends files whole, whatever is asked for.
    pub ignores_ranges: bool,
}

#[derive(Default)]
struct State {
    manners: Manners,
    asked: Vec<Asked>,
}

pub struct LocalHub {
    port: u16,
    state: Arc<Mutex<State>>,
}

impl LocalHub {
    /// Serves these files under their published names.
    pub fn serve(files: BTreeMap<&'static str, Vec<u8>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let state = Arc::<Mutex<State>>::default();
        let (shared, files) = (Arc::clone(&state), Arc::new(files));
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (shared, files) = (Arc::clone(&shared), Arc::clone(&files));
                // Clients hang up in the middle, which is no failure of the hub.
                thread::spawn(move || {
                    answer(&stream.expect("a client"), &shared, &files, port).ok()
                });
            }
        });
        Self { port, state }
    }

    /// The networks of the pack in a folder.
    pub fn of_pack(folder: &Path) -> Self {
        let read = |(name, file)| (name, std::fs::read(folder.join(file)).expect("a pack's file"));
        Self::serve(NETWORKS.map(read).into())
    }

    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub fn behave(&self, manners: Manners) {
        self.state().manners = manners;
    }

    pub fn asked(&self) -> Vec<Asked> {
        self.state().asked.clone()
    }

    /// The ranges asked for of a file, in their order, where its bytes lie.
    pub fn ranges(&self, file: &str) -> Vec<String> {
        let path = format!("/bytes/{file}");
        let asked = self.asked().into_iter().filter(|asked| asked.path == path);
        asked.map(|asked| asked.range.unwrap_or_default()).collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no thread of the hub panics")
    }
}

fn answer(
    mut stream: &TcpStream,
    state: &Mutex<State>,
    files: &BTreeMap<&'static str, Vec<u8>>,
    port: u16,
) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream).lines();
    let first = lines.next().unwrap_or_else(|| Ok(String::new()))?;
    let headers: BTreeMap<String, String> = lines
        .map_while(Result::ok)
        .take_while(|line| !line.is_empty())
        .filter_map(|line| {
            let (name, value) = line.split_once(':')?;
            Some((name.to_lowercase(), value.trim().to_owned()))
        })
        .collect();
    let path = first.split(' ').nth(1).unwrap_or_default().to_owned();
    let range = headers.get("range").cloned();
    let (status, is_a_website) = {
        let mut state = state.lock().expect("no thread of the hub panics");
        let host = headers.get("host").cloned().unwrap_or_default();
        let token = headers.get("authorization").cloned();
        state.asked.push(Asked { host, path: path.clone(), range: range.clone(), token });
        (state.manners.status, state.manners.is_a_website)
    };
    if let Some(status) = status {
        return write!(
            stream,
            "HTTP/1.1 {status} No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        );
    }
    if is_a_website {
        return whole(stream, b"<html>Welcome</html>");
    }
    for (repository, names) in PUBLISHED {
        if path == format!("/api/models/{repository}/revision/main?blobs=true") {
            let siblings: Vec<_> = names.iter().map(|name| {
                let content = &files[name];
                let sha256 = hex(&Sha256::digest(content));
                // One lies in a folder, as the hub's repositories have them.
                let rfilename = if name.ends_with(".pickle") { format!("more/{name}") } else { (*name).to_owned() };
                json!({ "rfilename": rfilename, "size": content.len(), "lfs": { "sha256": sha256, "size": content.len() } })
            }).collect();
            let list = json!({ "id": repository, "sha": COMMIT, "siblings": siblings });
            return whole(stream, list.to_string().as_bytes());
        }
        let beginning = format!("/{repository}/resolve/{COMMIT}/");
        if let Some(name) = path.strip_prefix(&beginning).and_then(|p| p.rsplit('/').next()) {
            // Another host in name, as the hub's bytes lie elsewhere.
            let location = format!("http://localhost:{port}/bytes/{name}");
            return write!(
                stream,
                "HTTP/1.1 302 Found\r\nLocation: {location}\r\nX-Repo-Commit: {COMMIT}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            );
        }
    }
    match path.strip_prefix("/bytes/").and_then(|name| files.get(name)) {
        Some(content) => bytes(stream, content, range.as_deref(), state),
        None => write!(stream, "HTTP/1.1 404 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"),
    }
}

fn whole(mut stream: &TcpStream, body: &[u8]) -> std::io::Result<()> {
    let len = body.len();
    write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {len}\r\nConnection: close\r\n\r\n")?;
    stream.write_all(body)
}

fn bytes(
    mut stream: &TcpStream,
    content: &[u8],
    range: Option<&str>,
    state: &Mutex<State>,
) -> std::io::Result<()> {
    let (cut, falls_silent, is_damaged, ignores_ranges) = {
        let manners = &mut state.lock().expect("no thread of the hub panics").manners;
        let cut = (!manners.cuts.is_empty()).then(|| manners.cuts.remove(0));
        (cut, manners.falls_silent, manners.is_damaged, manners.ignores_ranges)
    };
    let begin = range.and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-'));
    let begin: Option<usize> = begin.and_then(|begin| begin.parse().ok());
    let mut content = content.to_vec();
    if is_damaged {
        content[0] ^= 1;
    }
    let total = content.len();
    let rest = match begin.filter(|_| !ignores_ranges) {
        Some(begin) if begin >= total => {
            return write!(
                stream,
                "HTTP/1.1 416 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            );
        }
        Some(begin) => {
            let (rest, last) = (total - begin, total - 1);
            write!(
                stream,
                "HTTP/1.1 206 Partial\r\nContent-Range: bytes {begin}-{last}/{total}\r\nContent-Length: {rest}\r\nConnection: close\r\n\r\n"
            )?;
            &content[begin..]
        }
        None => {
            write!(
                stream,
                "HTTP/1.1 200 OK\r\nContent-Length: {total}\r\nConnection: close\r\n\r\n"
            )?;
            &content[..]
        }
    };
    let sent = cut.or(falls_silent).unwrap_or(rest.len()).min(rest.len());
    stream.write_all(&rest[..sent])?;
    stream.flush()?;
    if falls_silent.is_some() {
        thread::sleep(Duration::from_secs(60));
    }
    Ok(())
}
