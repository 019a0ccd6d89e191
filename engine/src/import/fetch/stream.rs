//! The bytes of a file over HTTP, on a thread of their own: however long a connection is silent,
//! whoever waits for them can be stopped.

use std::io::{self, Read as _};
use std::ops::ControlFlow;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use super::FetchError;

/// How long a connection may take to stand, and then be silent.
const SILENCE: Duration = Duration::from_secs(30);
/// Between two looks at whether to go on.
const LOOK: Duration = Duration::from_millis(50);
/// Bytes of a piece at most.
const PIECE: usize = 1 << 16;
/// Pieces that wait for the disk.
const WAITING: usize = 16;

/// What is asked for.
#[derive(Clone)]
pub struct Request {
    pub url: String,
    /// The header `Authorization`, which no redirect takes to another host.
    pub token: Option<String>,
}

/// What a connection has to say.
pub enum News {
    /// What follows begins at this byte of the file.
    From(u64),
    Bytes(Vec<u8>),
    BrokenOff(String),
    Refused(Box<ureq::Error>),
}

impl Request {
    /// Asks for all from `begin` on.
    pub fn send(self, begin: u64) -> Receiver<News> {
        apart(move |outbox| {
            if let Err(last) = self.read(begin, outbox) {
                outbox.send(last).ok();
            }
        })
    }

    fn read(&self, begin: u64, outbox: &SyncSender<News>) -> Result<(), News> {
        let agent = ureq::AgentBuilder::new()
            .try_proxy_from_env(true)
            .timeout_connect(SILENCE)
            .timeout_read(SILENCE)
            .redirect_auth_headers(ureq::RedirectAuthHeaders::SameHost)
            .build();
        // A range also keeps ureq from asking for a compressed answer.
        let mut request = agent.get(&self.url).set("Range", &format!("bytes={begin}-"));
        if let Some(token) = &self.token {
            request = request.set("Authorization", token);
        }
        let answer = request.call().map_err(|error| News::Refused(Box::new(error)))?;
        let begins = if answer.status() == 206 {
            let range = answer.header("Content-Range").unwrap_or_default();
            if !range.starts_with(&format!("bytes {begin}-")) {
                return Err(News::BrokenOff(format!("it answered with the range {range:?}")));
            }
            begin
        } else {
            0
        };
        // Nobody listens any more when a send fails.
        if outbox.send(News::From(begins)).is_err() {
            return Ok(());
        }
        let mut reader = answer.into_reader();
        loop {
            let mut piece = vec![0; PIECE];
            match reader.read(&mut piece) {
                Ok(0) => return Ok(()),
                Ok(read) => {
                    piece.truncate(read);
                    if outbox.send(News::Bytes(piece)).is_err() {
                        return Ok(());
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(News::BrokenOff(told(&error))),
            }
        }
    }
}

fn told(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => {
            format!("nothing came for {} s", SILENCE.as_secs())
        }
        _ => error.to_string(),
    }
}

/// Does work on a thread that nobody waits for. It ends by itself when nobody listens.
pub fn apart<T: Send + 'static>(work: impl FnOnce(&SyncSender<T>) + Send + 'static) -> Receiver<T> {
    let (outbox, inbox) = sync_channel(WAITING);
    thread::spawn(move || work(&outbox));
    inbox
}

/// The next there is to hear, `None` at the end.
///
/// # Errors
/// [`FetchError::Cancelled`] when `watch` does not want to wait any longer.
pub fn next<T>(
    inbox: &Receiver<T>,
    watch: &mut dyn FnMut() -> ControlFlow<()>,
) -> Result<Option<T>, FetchError> {
    loop {
        match inbox.recv_timeout(LOOK) {
            Ok(news) => return Ok(Some(news)),
            Err(RecvTimeoutError::Disconnected) => return Ok(None),
            Err(RecvTimeoutError::Timeout) if watch().is_break() => {
                return Err(FetchError::Cancelled);
            }
            Err(RecvTimeoutError::Timeout) => {}
        }
    }
}
