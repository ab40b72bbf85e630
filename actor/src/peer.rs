//! The servers that an actor depends on: what their failures mean, and how it comes back to them.

use engram_service::net::connect;
use engram_service::{Address, Backoff, Channel, NetError};
use tonic::Code;

use crate::error::ActorError;
use crate::metrics;

/// How work with a peer came to an end.
#[derive(Debug)]
pub(crate) enum End {
    /// Nothing more is wanted.
    Over,
    /// The peer failed, which a new connection may mend. The reason is for people.
    Lost(String),
    /// No new connection will mend it.
    Fatal(ActorError),
}

/// A server, at one of several addresses.
#[derive(Debug)]
pub(crate) struct Peer {
    /// What it is, in messages and metrics.
    kind: &'static str,
    addresses: Vec<Address>,
    /// The address in use.
    at: usize,
    backoff: Backoff,
    /// Whether the last that was heard of it was a failure.
    lost: bool,
}

impl Peer {
    /// A server of this kind; address number `first` (modulo their count) is tried first.
    pub(crate) fn new(
        kind: &'static str,
        addresses: Vec<Address>,
        first: usize,
        backoff: Backoff,
    ) -> Self {
        assert!(!addresses.is_empty(), "a peer has at least one address");
        let at = first % addresses.len();
        Peer { kind, addresses, at, backoff, lost: false }
    }

    /// What it is called in messages.
    pub(crate) fn name(&self) -> String {
        format!("the {} at {}", self.kind, self.addresses[self.at])
    }

    /// A fresh channel to the address in use.
    pub(crate) fn channel(&self) -> Channel {
        connect(&self.addresses[self.at], self.kind)
    }

    /// Waits before the next attempt, which goes to the next address.
    pub(crate) async fn retreat(&mut self, reason: &str) {
        if self.lost {
            tracing::debug!(reason, "{} is still away", self.name());
        } else {
            tracing::warn!(reason, "lost {}; trying until it is back", self.name());
        }
        self.lost = true;
        metrics::reconnects(self.kind);
        self.at = (self.at + 1) % self.addresses.len();
        self.backoff.wait().await;
    }

    /// It did what it is there for: the next failure counts as the first.
    pub(crate) fn served(&mut self) {
        if self.lost {
            tracing::info!("{} serves again", self.name());
        }
        self.lost = false;
        self.backoff.reset();
    }
}

impl From<NetError> for End {
    /// Codes that say "you are wrong" are final; whatever else went wrong may pass.
    fn from(error: NetError) -> Self {
        let NetError::Refused { status, .. } = &error else {
            return End::Lost(error.to_string());
        };
        match status.code() {
            Code::FailedPrecondition
            | Code::InvalidArgument
            | Code::OutOfRange
            | Code::Unauthenticated
            | Code::PermissionDenied
            | Code::Unimplemented => End::Fatal(ActorError::Refused(error)),
            code => End::Lost(format!("{} ({code:?})", status.message())),
        }
    }
}

#[cfg(test)]
mod tests {
    use tonic::Status;

    use super::*;

    fn end(status: Status) -> End {
        let (peer, doing) = ("the learner at x".to_owned(), "registering");
        NetError::Refused { peer, doing, status: Box::new(status) }.into()
    }

    #[test]
    fn a_refusal_is_final_and_an_absence_is_not() {
        let refused = end(Status::failed_precondition("another run"));
        let End::Fatal(error) = refused else { panic!("{refused:?}") };
        assert!(error.to_string().contains("the learner at x refused"), "{error}");
        assert!(error.to_string().contains("another run"), "{error}");
        for status in [Status::unavailable("starting"), Status::unknown("h2"), Status::aborted("")]
        {
            assert!(matches!(end(status), End::Lost(_)));
        }
    }
}
