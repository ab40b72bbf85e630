//! Errors of servers and clients that did not meet.

use std::path::PathBuf;
use std::time::Duration;

use thiserror::Error;
use tonic::Code;

use super::address::Address;

/// Error of binding, connecting or calling.
#[derive(Debug, Error)]
pub enum NetError {
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
        /// Flags that are missing.
        missing: &'static str,
    },
    /// The system refused to listen.
    #[error("cannot listen on {address}: {source}")]
    Bind {
        /// The address.
        address: Address,
        /// Cause.
        source: std::io::Error,
    },
    /// Nobody could be reached.
    #[error("cannot reach the {peer} at {address}: {source}; is it running?")]
    Unreachable {
        /// Kind of the peer.
        peer: &'static str,
        /// Its address.
        address: Address,
        /// Cause.
        source: std::io::Error,
    },
    /// No answer in time.
    #[error("{peer} was silent for {} s while {doing}", .limit.as_secs_f64())]
    Silent {
        /// Name of the peer.
        peer: String,
        /// Call that was made.
        doing: &'static str,
        /// Time waited.
        limit: Duration,
    },
    /// An answer, but not a good one.
    #[error("{peer} refused while {doing}: {} ({:?})", .status.message(), .status.code())]
    Refused {
        /// Name of the peer.
        peer: String,
        /// Call that was made.
        doing: &'static str,
        /// Its answer.
        status: Box<tonic::Status>,
    },
    /// A page that is not there, or not for us.
    #[error("{address} answered {status}: {said}")]
    Page {
        /// Its address.
        address: Address,
        /// Status of HTTP.
        status: u16,
        /// Text of the answer.
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

impl NetError {
    /// True if no other attempt will mend it: the peer says that this process is wrong.
    pub fn is_final(&self) -> bool {
        let NetError::Refused { status, .. } = self else { return false };
        matches!(
            status.code(),
            Code::FailedPrecondition
                | Code::InvalidArgument
                | Code::OutOfRange
                | Code::Unauthenticated
                | Code::PermissionDenied
                | Code::Unimplemented
        )
    }
}
