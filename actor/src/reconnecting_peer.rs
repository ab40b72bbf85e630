//! Reconnecting peer: a server that the actor depends on, the meaning of its failures, and the way
//! back to it.

use engram_service::net::connect_at;
use engram_service::{Address, Backoff, Channel, NetError};

use crate::error::ActorError;
use crate::metrics;

/// Reason for the end of work with a peer.
#[derive(Debug)]
pub(crate) enum Disconnect {
    /// Nothing more is wanted.
    Finished,
    /// The peer failed, which a new connection may mend. The reason is for people.
    Lost(String),
    /// No new connection will mend it.
    Fatal(ActorError),
}

/// A server, at one of several addresses, each of which may be a name that several servers share.
#[derive(Debug)]
pub(crate) struct ReconnectingPeer {
    /// Its kind, in messages and metrics.
    kind: &'static str,
    addresses: Vec<Address>,
    /// Counts through the addresses, and through the servers behind each of them.
    turn: u64,
    backoff: Backoff,
    /// True if its last sign was a failure.
    lost: bool,
}

impl ReconnectingPeer {
    /// A server of this kind. Peers whose `turn` differs by one begin at different servers, if
    /// there are several.
    pub(crate) fn new(
        kind: &'static str,
        addresses: Vec<Address>,
        turn: u64,
        backoff: Backoff,
    ) -> Self {
        assert!(!addresses.is_empty(), "a peer has at least one address");
        ReconnectingPeer { kind, addresses, turn, backoff, lost: false }
    }

    /// Its name in messages.
    pub(crate) fn name(&self) -> String {
        format!("the {} at {}", self.kind, self.place().0)
    }

    /// A fresh channel to the server in use.
    pub(crate) fn channel(&self) -> Channel {
        let (address, turn) = self.place();
        connect_at(address, self.kind, turn)
    }

    /// The address in use, and at which of its servers to begin.
    fn place(&self) -> (&Address, u64) {
        let count = self.addresses.len() as u64;
        (&self.addresses[(self.turn % count) as usize], self.turn / count)
    }

    /// Waits before the next attempt, which goes to the next server.
    pub(crate) async fn back_off(&mut self, reason: &str) {
        if self.lost {
            tracing::debug!(reason, "{} is still away", self.name());
        } else {
            tracing::warn!(reason, "lost {}; trying until it is back", self.name());
        }
        self.lost = true;
        metrics::reconnects(self.kind);
        self.turn += 1;
        self.backoff.wait().await;
    }

    /// Marks it as healthy: the next failure counts as the first.
    pub(crate) fn served(&mut self) {
        if self.lost {
            tracing::info!("{} serves again", self.name());
        }
        self.lost = false;
        self.backoff.reset();
    }
}

impl From<NetError> for Disconnect {
    fn from(error: NetError) -> Self {
        match error {
            error if error.is_final() => Disconnect::Fatal(ActorError::Refused(error)),
            NetError::Refused { status, .. } => {
                Disconnect::Lost(format!("{} ({:?})", status.message(), status.code()))
            }
            error => Disconnect::Lost(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use tonic::Status;

    use super::*;

    fn end(status: Status) -> Disconnect {
        let (peer, doing) = ("the learner at x".to_owned(), "registering");
        NetError::Refused { peer, doing, status: Box::new(status) }.into()
    }

    #[tokio::test(start_paused = true)]
    async fn turns_go_through_all_addresses_before_they_come_to_the_next_server_of_each() {
        let addresses = ["a:1", "b:1", "c:1"].map(|text| text.parse().unwrap()).to_vec();
        let mut peer = ReconnectingPeer::new("inference server", addresses, 5, Backoff::new(1));
        let mut seen = Vec::new();
        for _ in 0..4 {
            let (address, turn) = peer.place();
            seen.push((address.to_string(), turn));
            peer.back_off("a test").await;
        }
        let expected = [("c:1", 1), ("a:1", 2), ("b:1", 2), ("c:1", 2)];
        assert_eq!(seen, expected.map(|(address, turn)| (address.to_string(), turn)));
    }

    #[test]
    fn a_refusal_is_final_and_an_absence_is_not() {
        let refused = end(Status::failed_precondition("another run"));
        let Disconnect::Fatal(error) = refused else { panic!("{refused:?}") };
        assert!(error.to_string().contains("the learner at x refused"), "{error}");
        assert!(error.to_string().contains("another run"), "{error}");
        for status in [Status::unavailable("starting"), Status::unknown("h2"), Status::aborted("")]
        {
            assert!(matches!(end(status), Disconnect::Lost(_)));
        }
    }
}
