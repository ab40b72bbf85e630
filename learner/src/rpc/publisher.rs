//! Weights on their way back: the newest version, for whoever subscribes.
//!
//! Publishing never waits. A subscriber that is slow finds the newest version when it looks
//! again; what was overtaken in between is gone.

use bytes::Bytes;
use tokio::sync::watch;

/// One version of the weights.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Weights {
    /// Counts published weights.
    pub policy_version: u64,
    /// Safetensors that describe themselves.
    pub bytes: Bytes,
}

/// Publisher: the place where the learner puts new weights.
#[derive(Debug)]
pub struct Publisher(watch::Sender<Option<Weights>>);

/// Newest weights: the place where they are found.
#[derive(Clone, Debug)]
pub struct Newest(watch::Receiver<Option<Weights>>);

/// A publisher that has published nothing yet, and its reader.
pub fn publisher() -> (Publisher, Newest) {
    let (sender, receiver) = watch::channel(None);
    (Publisher(sender), Newest(receiver))
}

impl Publisher {
    /// Replaces the newest weights.
    pub fn publish(&self, weights: Weights) {
        self.0.send_replace(Some(weights));
    }
}

impl Newest {
    /// Waits for weights that this reader has not seen, the newest there are. `None` once the
    /// learner is gone and nothing is newer.
    pub async fn next(&mut self) -> Option<Weights> {
        // The initial nothing counts as seen, so whatever is new is something.
        self.0.changed().await.ok()?;
        self.0.borrow_and_update().clone()
    }

    /// The newest version; 0 while there is none.
    pub fn version(&self) -> u64 {
        self.0.borrow().as_ref().map_or(0, |weights| weights.policy_version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn weights(policy_version: u64) -> Weights {
        Weights { policy_version, bytes: Bytes::from_static(b"weights") }
    }

    #[tokio::test]
    async fn a_reader_gets_the_newest_and_skips_what_was_overtaken() {
        let (publisher, newest) = publisher();
        let mut reader = newest.clone();
        publisher.publish(weights(1));
        assert_eq!(reader.next().await, Some(weights(1)));
        publisher.publish(weights(2));
        publisher.publish(weights(3));
        assert_eq!(reader.next().await, Some(weights(3)));
        let mut latecomer = newest.clone();
        assert_eq!(latecomer.next().await, Some(weights(3)));
        assert_eq!(newest.version(), 3);
    }

    #[tokio::test]
    async fn the_last_weights_are_read_even_after_the_learner_has_left() {
        let (publisher, mut newest) = publisher();
        assert_eq!(newest.version(), 0);
        publisher.publish(weights(1));
        drop(publisher);
        assert_eq!(newest.next().await, Some(weights(1)));
        assert_eq!(newest.next().await, None);
    }
}
