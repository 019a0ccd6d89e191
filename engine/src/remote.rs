//! Another machine's device used from here, and this one's lent to others: burn's remote backend
//! over a WebSocket, with a token.
//!
//! burn keeps a connection for as long as the program runs and never opens it again once it is
//! lost; so every connection made here is a new one to burn, under a number behind the token.

use std::fmt;
use std::str::FromStr;

/// Whether this build can compute elsewhere.
pub const BUILT: bool = cfg!(feature = "remote");
/// What a build that cannot says, with how to get one that can.
pub const NOT_BUILT: &str = "this build computes on its own machine alone; one made with cargo build --release --features remote can use another's";
/// How an address begins.
pub const SCHEME: &str = "ws://";
/// The port where none is named.
pub const PORT: u16 = 7431;
/// Holds the token where none is given: a list of processes shows arguments to everybody.
pub const TOKEN_VARIABLE: &str = "VIDEOWORLD_TOKEN";

/// A machine where `videoworld-studio serve` runs, and the token that it asks for.
///
/// Small enough to be copied about: its words stay in memory until the program ends, as burn's own
/// list of connections does.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Remote {
    /// `host:port`.
    address: &'static str,
    token: Option<&'static str>,
}

impl Remote {
    /// The same machine, asked with this token.
    pub fn with_token(self, token: &str) -> Self {
        Self { token: Some(String::from(token).leak()), ..self }
    }

    /// The token to ask with, if any is known.
    pub fn token(self) -> Option<String> {
        self.token.map(str::to_owned).or_else(|| std::env::var(TOKEN_VARIABLE).ok())
    }
}

impl FromStr for Remote {
    type Err = String;

    /// Reads `ws://host:port`; scheme and port may be left out.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || format!("'{text}' is no address: write {SCHEME}HOST:PORT, as serve says it");
        let place = text.trim().trim_end_matches('/');
        let place = place.strip_prefix(SCHEME).unwrap_or(place);
        // The colons of an IPv6 address stand in brackets.
        let (host, port) = match place.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => {
                (host, port.parse().map_err(|_| wrong())?)
            }
            _ => (place, PORT),
        };
        let plain = |c: char| c.is_alphanumeric() || "-._[]:%".contains(c);
        if host.is_empty() || !host.chars().all(plain) {
            return Err(wrong());
        }
        Ok(Self { address: format!("{host}:{port}").leak(), token: None })
    }
}

impl fmt::Display for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}", self.address)
    }
}

/// Never shows the token.
impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A token that nobody guesses.
pub fn new_token() -> String {
    format!("{:016x}", rand::random::<u64>())
}

/// Why a device could be neither used elsewhere nor lent.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    #[error("{NOT_BUILT}")]
    NotBuilt,
    #[error("{0} cannot be reached ({1}): see that videoworld-studio serve runs there")]
    Unreachable(Remote, String),
    #[error("{0} refused the token; take the one that serve showed there")]
    WrongToken(Remote),
    #[error("{0} cannot be used: {1}")]
    Unusable(Remote, String),
    #[error("a token is needed that is not empty")]
    NoToken,
    #[error("this device cannot be lent: {0}")]
    NotServed(String),
}

#[cfg(feature = "remote")]
pub use built::{connect, lost, serve};

#[cfg(not(feature = "remote"))]
mod left_out {
    use std::net::TcpListener;

    use super::{Remote, RemoteError};
    use crate::gpu::Chosen;

    /// # Errors
    /// Always: the feature `remote` is off.
    pub fn connect(_remote: Remote) -> Result<Chosen, RemoteError> {
        Err(RemoteError::NotBuilt)
    }

    /// # Errors
    /// Always: the feature `remote` is off.
    pub fn serve(
        _chosen: &Chosen,
        _listener: TcpListener,
        _token: &str,
    ) -> Result<(), RemoteError> {
        Err(RemoteError::NotBuilt)
    }

    /// No connection can be lost where none can be made.
    pub fn lost() -> Option<Remote> {
        None
    }
}

#[cfg(not(feature = "remote"))]
pub use left_out::{connect, lost, serve};

#[cfg(feature = "remote")]
mod built {
    use std::net::{TcpListener, TcpStream, ToSocketAddrs as _};
    use std::panic::{self, AssertUnwindSafe, catch_unwind};
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::sync::{Mutex, Once, PoisonError};
    use std::time::Duration;

    use burn::remote::{ConnectError, RemoteHost};
    use burn::server::{
        AuthorizationRequest, Credential, PeerAuthorizer as _, RemoteServer, TokenAuthorizer,
        WebSocketTransport,
    };
    use burn::tensor::Device;

    use super::{Remote, RemoteError};
    use crate::gpu::Chosen;
    use crate::weights::Numbers;

    /// How long an address may take to answer at all; burn alone would try for 16 seconds, and
    /// wait for minutes where nothing answers.
    const PATIENCE: Duration = Duration::from_secs(5);

    /// Stands between the token and the number of the connection.
    const NUMBER_MARK: u8 = b'#';

    /// The connection that was made last.
    static LAST: Mutex<Option<(Remote, Device)>> = Mutex::new(None);

    /// Opens a new connection and the device behind it.
    ///
    /// What stands there is not known: it counts as a card, whose memory is nobody's to count here.
    ///
    /// # Errors
    /// When nothing answers there, or what answers refuses the token or speaks another protocol.
    pub fn connect(remote: Remote) -> Result<Chosen, RemoteError> {
        static NUMBER: AtomicU64 = AtomicU64::new(1);
        answers(remote)?;
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let mut credential = remote.token().unwrap_or_default().into_bytes();
        credential.push(NUMBER_MARK);
        credential.extend(number.to_string().bytes());
        let host = RemoteHost::websocket(&remote.to_string()).with_credential(credential);
        let device = Device::remote_options(&host).init().map_err(|error| match error {
            ConnectError::Unauthorized => RemoteError::WrongToken(remote),
            ConnectError::Unreachable { reason } => RemoteError::Unreachable(remote, reason),
            error => RemoteError::Unusable(remote, error.to_string()),
        })?;
        *LAST.lock().unwrap_or_else(PoisonError::into_inner) = Some((remote, device.clone()));
        quieten();
        Ok(Chosen {
            device,
            numbers: Numbers::default(),
            half_card: false,
            description: format!("another machine, {remote}"),
            in_own_memory: false,
            elsewhere: true,
            compiles: true,
            fused_attention: false,
            largest_tensor: None,
            card_memory: None,
        })
    }

    fn answers(remote: Remote) -> Result<(), RemoteError> {
        let unreachable = |error: std::io::Error| {
            RemoteError::Unreachable(remote, error.to_string().to_lowercase())
        };
        let mut failed = std::io::Error::other("the name has no address");
        for address in remote.address.to_socket_addrs().map_err(unreachable)? {
            match TcpStream::connect_timeout(&address, PATIENCE) {
                Ok(_) => return Ok(()),
                Err(error) => failed = error,
            }
        }
        Err(unreachable(failed))
    }

    /// The machine whose connection was made last, if it no longer answers.
    pub fn lost() -> Option<Remote> {
        let last = LAST.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let (remote, device) = last?;
        let synced = catch_unwind(AssertUnwindSafe(|| device.sync()));
        (!matches!(synced, Ok(Ok(())))).then_some(remote)
    }

    /// burn tells a lost connection by a panic at the next read, which is caught and told in a
    /// sentence: the panic's own lines would only stand before it.
    fn quieten() {
        static ONCE: Once = Once::new();
        ONCE.call_once(|| {
            let loud = panic::take_hook();
            panic::set_hook(Box::new(move |info| {
                let said = info.payload_as_str().unwrap_or_default();
                let lost =
                    ["Failed to read tensor:", "Remote response channel", "Service call failed"];
                if !lost.iter().any(|words| said.contains(words)) {
                    loud(info);
                }
            }));
        });
    }

    /// Lends a device to everybody who knows `token`, until the process is told to stop.
    ///
    /// # Errors
    /// When the token is empty, or burn cannot lend this device (LibTorch) or wait on `listener`.
    pub fn serve(chosen: &Chosen, listener: TcpListener, token: &str) -> Result<(), RemoteError> {
        let token = TokenAuthorizer::new(token).map_err(|_| RemoteError::NoToken)?;
        let admit = move |request: AuthorizationRequest<'_>| {
            let told = request.credential.as_bytes();
            let end = told.iter().rposition(|byte| *byte == NUMBER_MARK).unwrap_or(told.len());
            let credential = &Credential::from(&told[..end]);
            token.authorize(AuthorizationRequest { credential, ..request })
        };
        RemoteServer::new([chosen.device.clone()])
            .with_authorizer(admit)
            .serve(WebSocketTransport::from_listener(listener))
            .map_err(|error| RemoteError::NotServed(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_people_write_them() {
        let read = |text: &str| text.parse::<Remote>().map(|remote| remote.to_string());
        for (text, address) in [
            ("ws://workstation:9000", "ws://workstation:9000"),
            ("ws://10.0.0.7:9000/", "ws://10.0.0.7:9000"),
            (" workstation ", "ws://workstation:7431"),
            ("ws://[fe80::1]", "ws://[fe80::1]:7431"),
            ("[::1]:80", "ws://[::1]:80"),
        ] {
            assert_eq!(read(text), Ok(address.to_owned()));
        }
        for text in ["", "ws://", "ws://:9000", "wss://host:1", "host:door", "host:70000", "a b"] {
            let error = read(text).unwrap_err();
            assert!(error.contains("HOST:PORT"), "{text}: {error}");
        }
    }

    #[test]
    fn a_token_is_never_printed() {
        let remote = "host".parse::<Remote>().unwrap().with_token("secret");
        assert_eq!(remote.token().as_deref(), Some("secret"));
        assert!(!format!("{remote:?} {remote}").contains("secret"));
    }
}
