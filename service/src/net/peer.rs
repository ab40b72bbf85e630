//! Other end of a connection, and whether it has authenticated.

use std::fmt;
use std::sync::Arc;

use hyper::header::{AUTHORIZATION, HeaderMap};
use tonic::Status;

use super::Token;
use super::limiter::Permit;
use crate::metrics;

/// Other end of a connection, as far as the transport can tell.
#[derive(Clone, Debug)]
pub struct Peer {
    pub(super) name: String,
    pub(super) authentication: Option<Arc<Authentication>>,
}

/// Authentication of one connection.
#[derive(Debug)]
pub(crate) struct Authentication {
    /// Permit; given back once it authenticates, or with the last clone of its [`Peer`].
    pub(super) permit: Permit,
    /// Peer's address, for the log.
    pub(super) address: String,
    /// Token that its calls must show.
    pub(super) token: Option<Token>,
}

/// Reason of a connection that was closed for the sake of another.
pub(super) const GAVE_WAY: &str = "it said nothing, while others waited for its place";

impl Peer {
    /// State of its authentication; `None` where none is asked for.
    pub(crate) fn authentication(&self) -> Option<&Arc<Authentication>> {
        self.authentication.as_ref()
    }

    /// Sender of a request to a server of ours.
    pub fn of<T>(request: &tonic::Request<T>) -> Self {
        request
            .extensions()
            .get()
            .cloned()
            .unwrap_or_else(|| Peer { name: "an unknown peer".into(), authentication: None })
    }
}

impl Authentication {
    /// Checks a call's headers. Where no token is asked for, any call authenticates.
    pub(crate) fn check(&self, headers: &HeaderMap) -> Result<(), Status> {
        let Some(token) = &self.token else {
            self.permit.authenticated();
            return Ok(());
        };
        let mut shown = headers.get_all(AUTHORIZATION).iter();
        let why = match (shown.next(), shown.next()) {
            (Some(header), None) if token.matches(header) => {
                self.permit.authenticated();
                return Ok(());
            }
            (None, _) => "this server asks for a token: pass --token-file, or set ENGRAM_TOKEN",
            (Some(_), _) => "the token is not this server's: compare --token-file on both sides",
        };
        metrics::connection_refused("token");
        self.permit.log_refusal(&self.address, "a call without the right token was refused");
        Err(Status::unauthenticated(why))
    }

    /// Counts and logs a connection that came to nothing, for a `reason` of the metric.
    pub(super) fn failed(&self, reason: &'static str, why: &str) {
        metrics::connection_refused(reason);
        self.permit.log_refusal(&self.address, &format!("a connection failed: {why}"));
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}
