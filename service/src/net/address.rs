//! Address of a server: `host:port`, `unix:/path`, or a pipe within this process.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use thiserror::Error;
use tokio::io::DuplexStream;
use tokio::sync::mpsc;

use super::security_error::SecurityError;
use super::{ClientCredentials, Resolver};

/// Address of a server.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// `host:port`.
    Tcp {
        /// A name or a number; IPv6 without its brackets.
        host: String,
        /// Zero, when bound, takes a free one.
        port: u16,
    },
    /// `unix:/path`.
    Unix(PathBuf),
    /// A pipe within this process: made by [`Listener::memory`](super::Listener::memory).
    Memory(Pipe),
    /// One of the others with credentials and a resolver: made by [`ClientCredentials::at`] and
    /// [`Address::resolved_by`].
    Target(Arc<Target>),
}

/// Error of text that is no address.
#[derive(Debug, Error)]
#[error("`{text}` is no address: {why}; write host:port, http://host:port or unix:/path")]
pub struct AddressError {
    /// Text that was read.
    pub text: String,
    /// Fault of it.
    pub why: &'static str,
}

/// Target of a client: an address, its resolver, and the credentials to show there. Targets are
/// equal that have the same address.
#[derive(Debug)]
pub struct Target {
    pub(super) address: Address,
    pub(super) credentials: ClientCredentials,
    pub(super) resolver: Resolver,
}

/// Dialing end of a listener within this process.
#[derive(Clone, Debug)]
pub struct Pipe {
    id: u64,
    dial: mpsc::Sender<DuplexStream>,
}

impl Address {
    /// A port of this machine, not reachable from others. Port 0 takes a free one.
    pub fn loopback(port: u16) -> Self {
        Address::Tcp { host: "127.0.0.1".into(), port }
    }

    /// Address by which this machine reaches a server that listens here: `localhost` where it
    /// listens on all addresses.
    pub fn from_here(&self) -> Self {
        match self {
            Address::Tcp { host, port }
                if host.parse::<IpAddr>().is_ok_and(|ip| ip.is_unspecified()) =>
            {
                Address::Tcp { host: "localhost".into(), port: *port }
            }
            other => other.clone(),
        }
    }

    /// The same address, its name resolved by `resolver`.
    pub fn resolved_by(&self, resolver: Resolver) -> Self {
        let (address, credentials) = match self {
            Address::Target(target) => (target.address.clone(), target.credentials.clone()),
            bare => (bare.clone(), ClientCredentials::default()),
        };
        Address::Target(Arc::new(Target { address, credentials, resolver }))
    }

    /// True if its name says that it is of this machine alone.
    pub fn is_local(&self) -> bool {
        match self {
            Address::Tcp { host, .. } => {
                let number = host.parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback());
                number || host.eq_ignore_ascii_case("localhost")
            }
            Address::Unix(_) | Address::Memory(_) => true,
            Address::Target(target) => target.address.is_local(),
        }
    }
}

impl ClientCredentials {
    /// Address to dial with these credentials, for [`connect`](super::connect). Refused if the
    /// token could be read on its way there.
    pub fn at(&self, address: &Address) -> Result<Address, SecurityError> {
        let readable = self.tls.is_none() && !address.is_local();
        if self.token.is_some() && readable && !self.insecure {
            return Err(SecurityError::UnencryptedToken { address: address.to_string() });
        }
        // An address has one set of credentials: the last.
        let (address, resolver) = match address {
            Address::Target(target) => (&target.address, target.resolver.clone()),
            bare => (bare, Resolver::default()),
        };
        let target = Target { address: address.clone(), credentials: self.clone(), resolver };
        Ok(Address::Target(Arc::new(target)))
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let refuse = |why| AddressError { text: text.into(), why };
        if let Some(path) = text.strip_prefix("unix:") {
            // gRPC writes absolute paths with an empty authority: unix:///path.
            let path = path.strip_prefix("//").unwrap_or(path);
            return match path.len() {
                0 => Err(refuse("the path is missing")),
                // The size of sockaddr_un's path, less its final zero.
                108.. => Err(refuse("a socket's path has at most 107 bytes")),
                _ => Ok(Address::Unix(path.into())),
            };
        }
        if text.starts_with("https://") {
            return Err(refuse("TLS is asked for with --tls-ca, not by the address"));
        }
        let rest = text.strip_prefix("http://").unwrap_or(text).trim_end_matches('/');
        let (host, port) = rest.rsplit_once(':').ok_or_else(|| refuse("the port is missing"))?;
        let port = port.parse().map_err(|_| refuse("the port must be a number up to 65535"))?;
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        match bare.unwrap_or(host) {
            "" => Err(refuse("the host is missing")),
            host if bare.is_none() && host.contains(':') => {
                Err(refuse("an IPv6 host needs brackets, as in [::1]:5000"))
            }
            host if host.contains(['/', ' ', '@']) => Err(refuse("the host is no name")),
            host => Ok(Address::Tcp { host: host.into(), port }),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Address::Tcp { host, port } => write!(f, "{host}:{port}"),
            Address::Unix(path) => {
                // Two slashes of its own would be read as those of an empty authority.
                let path = path.display().to_string();
                let authority = if path.starts_with("//") { "//" } else { "" };
                write!(f, "unix:{authority}{path}")
            }
            Address::Memory(pipe) => write!(f, "memory:{}", pipe.id),
            Address::Target(target) => target.address.fmt(f),
        }
    }
}

impl Pipe {
    /// Connections that wait to be accepted; a dialer beyond them waits, as at a full backlog.
    const BACKLOG: usize = 128;

    /// Bytes on their way in one direction; a writer beyond them waits.
    const CAPACITY: usize = 256 << 10;

    pub(super) fn new() -> (Self, mpsc::Receiver<DuplexStream>) {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let (dial, accept) = mpsc::channel(Self::BACKLOG);
        (Pipe { id: NEXT.fetch_add(1, Ordering::Relaxed), dial }, accept)
    }

    /// Dials its listener: bytes, and no protocol yet.
    pub async fn dial(&self) -> std::io::Result<DuplexStream> {
        let (near, far) = tokio::io::duplex(Self::CAPACITY);
        let gone = |_| std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
        self.dial.send(far).await.map_err(gone)?;
        Ok(near)
    }
}

impl PartialEq for Target {
    fn eq(&self, other: &Self) -> bool {
        self.address == other.address
    }
}

impl Eq for Target {}

impl Hash for Target {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.address.hash(state);
    }
}

impl PartialEq for Pipe {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl Eq for Pipe {}

impl Hash for Pipe {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.id.hash(state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_print_as_they_parse() {
        for (text, printed) in [
            ("127.0.0.1:5000", "127.0.0.1:5000"),
            ("learner:5000", "learner:5000"),
            ("http://learner:5000/", "learner:5000"),
            ("[::1]:0", "[::1]:0"),
            ("unix:/run/engram.sock", "unix:/run/engram.sock"),
            ("unix:///run/engram.sock", "unix:/run/engram.sock"),
            ("unix:engram.sock", "unix:engram.sock"),
        ] {
            let address: Address = text.parse().unwrap();
            assert_eq!(address.to_string(), printed);
            assert_eq!(printed.parse::<Address>().unwrap(), address);
        }
    }

    #[test]
    fn a_machine_knows_itself_and_what_is_its_own() {
        for (text, from_here, local) in [
            ("0.0.0.0:1", "localhost:1", false),
            ("[::]:1", "localhost:1", false),
            ("127.0.0.2:1", "127.0.0.2:1", true),
            ("[::ffff:127.0.0.1]:1", "[::ffff:127.0.0.1]:1", true),
            ("[::1]:1", "[::1]:1", true),
            ("LocalHost:1", "LocalHost:1", true),
            ("localhost.example.org:1", "localhost.example.org:1", false),
            ("10.0.0.5:1", "10.0.0.5:1", false),
            ("unix:/x", "unix:/x", true),
        ] {
            let address: Address = text.parse().unwrap();
            assert_eq!(address.from_here().to_string(), from_here);
            assert_eq!(address.is_local(), local, "{text}");
        }
    }

    #[test]
    fn what_is_no_address_is_refused_with_the_reason() {
        for (text, why) in [
            ("learner", "the port is missing"),
            (":5000", "the host is missing"),
            ("learner:70000", "the port must be a number up to 65535"),
            ("::1:5000", "an IPv6 host needs brackets"),
            ("https://learner:5000", "TLS is asked for with --tls-ca"),
            ("unix:", "the path is missing"),
            (&format!("unix:/{}", "x".repeat(107)), "at most 107 bytes"),
        ] {
            let error = text.parse::<Address>().unwrap_err().to_string();
            assert!(error.contains(why) && error.contains("write host:port"), "{error}");
        }
    }
}
