//! How processes meet: [`Address`], [`Listener`], [`connect`], [`Backoff`]; and how they keep
//! others out: [`Door`], [`Keys`].
//!
//! TCP, Unix sockets and in-memory pipes are one thing from here on: a service takes a bound
//! [`Listener`] and serves its connections, a client takes an [`Address`] and gets a channel.
//! Loopback, Unix sockets and pipes need no lock. Any other address needs a [`Door`] with TLS and
//! a token, or [`Exposure::Insecure`]; clients then dial an address with their [`Keys`].
//!
//! ```text
//! both     address     where              backoff   when to try again
//! server   door        what is locked     limiter   how many strangers there may be
//!          listener    who came in        guard     the token of every call
//! client   channel     calls, with keys   fetch     pages, with keys
//!          names       the servers behind one name
//! both     connection  bytes              tls, token
//! ```

mod address;
mod backoff;
mod channel;
mod client;
mod connection;
mod door;
mod fetch;
mod guard;
mod limiter;
mod listener;
mod names;
mod tls;
mod token;

use std::path::PathBuf;
use std::time::Duration;

use thiserror::Error;

pub use address::{Address, Keyed, Pipe};
pub use backoff::Backoff;
pub use channel::{Guarding, answer, serve, server_builder};
pub use client::{Channel, connect, connect_at};
pub use connection::{Connection, Peer};
pub use door::{Door, DoorError, Keys};
pub use fetch::fetch;
pub use guard::{Guard, GuardLayer, Guarded};
pub use limiter::ConnectionLimits;
pub use listener::{Exposure, Incoming, Listener};
pub use names::Names;
pub use tls::{ClientTls, Identity, ServerTls};
pub use token::{TOKEN_VARIABLE, Token};

/// Why processes did not meet.
#[derive(Debug, Error)]
pub enum NetError {
    /// Text that is no address.
    #[error("`{text}` is no address: {why}; write host:port, http://host:port or unix:/path")]
    Address {
        /// The text.
        text: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// Another process listens there.
    #[error(
        "{address} is in use: another process listens there; stop it, or choose another address \
         (port 0 takes a free one)"
    )]
    InUse {
        /// The address.
        address: Address,
    },
    /// A file that is no socket stands where a socket should be.
    #[error("{} is a file, but no socket: move it, or choose another path", .path.display())]
    NotASocket {
        /// The file.
        path: PathBuf,
    },
    /// Other machines could reach it.
    #[error(
        "{address} can be reached from other machines, so it needs {missing}; or bind 127.0.0.1 \
         or a Unix socket, or pass --insecure if you trust the network"
    )]
    Exposed {
        /// The address.
        address: Address,
        /// What the door lacks.
        missing: &'static str,
    },
    /// The system refused to listen.
    #[error("cannot listen on {address}: {source}")]
    Bind {
        /// The address.
        address: Address,
        /// Why.
        source: std::io::Error,
    },
    /// Nobody could be reached.
    #[error("cannot reach the {peer} at {address}: {source}; is it running?")]
    Unreachable {
        /// Who was sought.
        peer: &'static str,
        /// Where.
        address: Address,
        /// Why.
        source: std::io::Error,
    },
    /// No answer in time.
    #[error("{peer} was silent for {} s while {doing}", .limit.as_secs_f64())]
    Silent {
        /// Who was asked.
        peer: String,
        /// For what.
        doing: &'static str,
        /// How long it was waited.
        limit: Duration,
    },
    /// An answer, but not a good one.
    #[error("{peer} refused while {doing}: {} ({:?})", .status.message(), .status.code())]
    Refused {
        /// Who was asked.
        peer: String,
        /// For what.
        doing: &'static str,
        /// What it answered.
        status: Box<tonic::Status>,
    },
    /// A page that is not there, or not for us.
    #[error("{address} answered {status}: {said}")]
    Page {
        /// Who was asked.
        address: Address,
        /// The status of HTTP.
        status: u16,
        /// What it said.
        said: String,
    },
    /// A server that lives, but is not ready.
    #[error("the server at {address} is not serving yet")]
    NotServing {
        /// The address.
        address: Address,
    },
    /// A server's transport broke.
    #[error("the server failed: {0}")]
    Transport(#[from] tonic::transport::Error),
}
