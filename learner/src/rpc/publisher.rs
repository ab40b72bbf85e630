//! Weights on their way back: the newest version, for whoever subscribes.
//!
//! Publishing never waits. A subscriber that is slow finds the newest version when it looks
//! again; what was overtaken in between is gone. Who makes versions may ask before whether anybody
//! would take one.

use bytes::Bytes;
use engram_policy::Snapshot;
use tokio::sync::watch;

/// One version of the weights.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Weights {
    /// Counts published weights.
    pub policy_version: u64,
    /// Safetensors that describe themselves.
    pub bytes: Bytes,
}

impl From<&Snapshot> for Weights {
    fn from(snapshot: &Snapshot) -> Self {
        Weights { policy_version: snapshot.version(), bytes: snapshot.save().into() }
    }
}

/// Publisher: the place where the learner puts new weights.
#[derive(Debug)]
pub struct Publisher {
    newest: watch::Sender<Option<Weights>>,
    subscribers: watch::Sender<Subscribers>,
}

/// Newest weights: the place where they are found.
#[derive(Clone, Debug)]
pub struct Newest {
    newest: watch::Receiver<Option<Weights>>,
    subscribers: watch::Sender<Subscribers>,
}

/// Subscription to every version that is newer than the last one it took.
#[derive(Debug)]
pub struct Subscription {
    newest: watch::Receiver<Option<Weights>>,
    subscribers: watch::Sender<Subscribers>,
}

/// Number of those who subscribe.
#[derive(Clone, Copy, Debug, Default)]
struct Subscribers {
    all: usize,
    /// Of these, who has taken the newest and waits for a newer one.
    waiting: usize,
}

/// Counts a subscriber that waits, as long as it lives.
struct Waiting<'a>(&'a watch::Sender<Subscribers>);

/// A publisher that has published nothing yet, and its reader.
pub fn publisher() -> (Publisher, Newest) {
    let (sender, receiver) = watch::channel(None);
    let subscribers = watch::Sender::default();
    let newest = Newest { newest: receiver, subscribers: subscribers.clone() };
    (Publisher { newest: sender, subscribers }, newest)
}

impl Publisher {
    /// Replaces the newest weights.
    pub fn publish(&self, weights: Weights) {
        self.newest.send_replace(Some(weights));
    }

    /// Returns once a subscriber would take newer weights at once: not while all of them are busy
    /// with what they have. Without subscribers it returns, since nobody is slow.
    pub async fn wanted(&self) {
        let wanted = |subscribers: &Subscribers| subscribers.waiting > 0 || subscribers.all == 0;
        let _ = self.subscribers.subscribe().wait_for(wanted).await;
    }
}

impl Newest {
    /// A subscription, for which the newest weights are new.
    pub fn subscribe(&self) -> Subscription {
        self.subscribers.send_modify(|subscribers| subscribers.all += 1);
        // It has seen nothing, as has the one that it is made from.
        Subscription { newest: self.newest.clone(), subscribers: self.subscribers.clone() }
    }

    /// The newest version; 0 while there is none.
    pub fn version(&self) -> u64 {
        self.newest.borrow().as_ref().map_or(0, |weights| weights.policy_version)
    }
}

impl Subscription {
    /// Waits for weights that it has not taken, the newest there are. `None` once the learner is
    /// gone and nothing is newer. May be dropped.
    pub async fn next(&mut self) -> Option<Weights> {
        let _waiting = Waiting::new(&self.subscribers);
        // The initial nothing counts as seen, so whatever is new is something.
        self.newest.changed().await.ok()?;
        self.newest.borrow_and_update().clone()
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.subscribers.send_modify(|subscribers| subscribers.all -= 1);
    }
}

impl<'a> Waiting<'a> {
    fn new(subscribers: &'a watch::Sender<Subscribers>) -> Self {
        subscribers.send_modify(|subscribers| subscribers.waiting += 1);
        Waiting(subscribers)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|subscribers| subscribers.waiting -= 1);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn weights(policy_version: u64) -> Weights {
        Weights { policy_version, bytes: Bytes::from_static(b"weights") }
    }

    #[tokio::test]
    async fn a_subscriber_gets_the_newest_and_skips_what_was_overtaken() {
        let (publisher, newest) = publisher();
        let mut subscription = newest.subscribe();
        publisher.publish(weights(1));
        assert_eq!(subscription.next().await, Some(weights(1)));
        publisher.publish(weights(2));
        publisher.publish(weights(3));
        assert_eq!(subscription.next().await, Some(weights(3)));
        assert_eq!(newest.version(), 3);
        let mut latecomer = newest.subscribe();
        assert_eq!(latecomer.next().now_or_never(), Some(Some(weights(3))), "at once");
    }

    #[tokio::test]
    async fn the_last_weights_are_read_even_after_the_learner_has_left() {
        let (publisher, newest) = publisher();
        let mut subscription = newest.subscribe();
        assert_eq!(newest.version(), 0);
        publisher.publish(weights(1));
        drop(publisher);
        assert_eq!(subscription.next().await, Some(weights(1)));
        assert_eq!(subscription.next().await, None);
    }

    #[test]
    fn weights_are_wanted_unless_all_who_subscribe_are_busy_with_older_ones() {
        let (publisher, newest) = publisher();
        let is_wanted = || publisher.wanted().now_or_never().is_some();
        assert!(is_wanted(), "nobody is slow");
        let (mut slow, mut fast) = (newest.subscribe(), newest.subscribe());
        assert!(!is_wanted(), "both have not come to ask yet");
        publisher.publish(weights(1));
        assert!(slow.next().now_or_never().is_some() && fast.next().now_or_never().is_some());
        assert!(!is_wanted(), "both send what they have taken");
        let mut asking = Box::pin(fast.next());
        assert!(asking.as_mut().now_or_never().is_none());
        assert!(is_wanted(), "one of them waits");
        drop(asking);
        assert!(!is_wanted(), "it does not wait any more");
        drop((slow, fast));
        assert!(is_wanted(), "nobody is left to be slow");
    }
}
