//! Publishing: a snapshot of the weights becomes bytes, and reaches whoever subscribes, on a thread
//! of its own. The thread that learns copies the weights and goes on.
//!
//! ```text
//! training ──snapshot──▶ one place, where a newer one replaces it ──▶ bytes ──▶ publisher
//! ```
//!
//! A version is made when it is wanted: while all subscribers are busy with an older one, a newer one
//! would be made for nobody. So weights that take long to send are made less often.
//!
//! What a version was learned from stays under way until that version, or a newer one, is
//! published: an unroll that begins in its place begins with weights that know of it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use engram_policy::Snapshot;
use engram_service::heartbeat::Heartbeat;
use engram_service::threads::spawn_named;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::rpc::publisher::{Publisher, Weights};
use crate::rpc::unroll_grants::UnrollGrants;
use crate::telemetry::metrics::Metrics;

/// Patience of a run: newer weights are made at least so often, whoever is slow.
pub(crate) const PATIENCE: Duration = Duration::from_secs(1);

/// Thread that publishes, as the one that learns sees it.
#[derive(Debug)]
pub(crate) struct PublishingThread {
    inbox: Arc<Inbox>,
    thread: Option<JoinHandle<()>>,
}

/// Place of the snapshot that waits.
#[derive(Debug, Default)]
struct Inbox {
    offer: Mutex<Offer>,
    changed: Notify,
}

/// Snapshot that waits, and what else the thread is to know.
#[derive(Debug, Default)]
struct Offer {
    newest: Option<Snapshot>,
    /// Trajectories that it has learned from, and no version that was published.
    learned: usize,
    closing: bool,
}

/// Work of the thread.
#[derive(Debug)]
pub(crate) struct Publishing {
    pub(crate) publisher: Publisher,
    pub(crate) grants: UnrollGrants,
    pub(crate) metrics: Metrics,
    pub(crate) heartbeat: Heartbeat,
    /// Longest wait for a subscriber who would take newer weights.
    pub(crate) patience: Duration,
}

impl PublishingThread {
    pub(crate) fn start(publishing: Publishing, runtime: Handle) -> Self {
        let inbox = Arc::<Inbox>::default();
        let offered = inbox.clone();
        let thread = spawn_named("publisher", move || {
            while runtime.block_on(publishing.is_due(&offered)) {
                publishing.publish(&offered);
            }
        });
        PublishingThread { inbox, thread: Some(thread) }
    }

    /// Publishes these weights, or newer ones. So many trajectories are learned from with them.
    ///
    /// # Panics
    ///
    /// If the thread has, with its panic.
    pub(crate) fn offer(&mut self, weights: Snapshot, learned: usize) {
        self.inbox.change(|offer| {
            offer.newest = Some(weights);
            offer.learned += learned;
        });
        if self.thread.as_ref().is_none_or(JoinHandle::is_finished) {
            self.finish();
        }
    }

    /// Publishes what waits, and ends.
    ///
    /// # Panics
    ///
    /// If the thread has, with its panic.
    pub(crate) fn finish(&mut self) {
        self.inbox.change(|offer| offer.closing = true);
        if let Some(Err(panic)) = self.thread.take().map(JoinHandle::join) {
            std::panic::resume_unwind(panic);
        }
    }
}

impl Publishing {
    /// Waits for a snapshot that somebody wants; `false` when there will be no more.
    async fn is_due(&self, inbox: &Inbox) -> bool {
        inbox.wait_for(|offer| offer.newest.is_some() || offer.closing).await;
        tokio::select! {
            _ = timeout(self.patience, self.publisher.wanted()) => true,
            () = inbox.wait_for(|offer| offer.closing) => inbox.lock().newest.is_some(),
        }
    }

    fn publish(&self, inbox: &Inbox) {
        self.heartbeat.beat();
        let Offer { newest, learned, .. } = inbox.take();
        if let Some(snapshot) = newest {
            let weights = Weights::from(&snapshot);
            self.metrics.published(weights.policy_version, weights.bytes.len());
            self.publisher.publish(weights);
        }
        self.grants.learned(learned);
        self.heartbeat.rest();
    }
}

impl Inbox {
    fn change(&self, change: impl FnOnce(&mut Offer)) {
        change(&mut self.lock());
        self.changed.notify_one();
    }

    /// Returns once the offer is like that. One waits at a time.
    async fn wait_for(&self, is: impl Fn(&Offer) -> bool) {
        while !is(&self.lock()) {
            self.changed.notified().await;
        }
    }

    fn take(&self) -> Offer {
        let mut offer = self.lock();
        let closing = offer.closing;
        std::mem::replace(&mut *offer, Offer { closing, ..Offer::default() })
    }

    fn lock(&self) -> MutexGuard<'_, Offer> {
        self.offer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for PublishingThread {
    fn drop(&mut self) {
        // A learner that has panicked does not wait for it.
        self.inbox.change(|offer| offer.closing = true);
    }
}

#[cfg(test)]
mod tests {
    use engram_mdp::Seed;
    use engram_policy::Policy;
    use engram_service::heartbeat::Watchdog;
    use futures_util::FutureExt;
    use tch::Device;

    use super::*;
    use crate::fixtures::{resolved, spec};
    use crate::rpc::publisher::{Newest, publisher};

    /// One that waits for subscribers for as long as they take.
    fn patient(grants: &UnrollGrants, runtime: Handle) -> (PublishingThread, Newest) {
        let (publisher, newest) = publisher();
        let heartbeat = Watchdog::new(Duration::ZERO).thread("publisher");
        let (grants, patience) = (grants.clone(), Duration::MAX);
        let metrics = Metrics::new();
        let publishing = Publishing { publisher, grants, metrics, heartbeat, patience };
        (PublishingThread::start(publishing, runtime), newest)
    }

    fn policy() -> Policy {
        let config = resolved(&[]).section("seq").unwrap();
        Policy::new(&config, &spec(), Seed::new(1), Device::Cpu).unwrap()
    }

    #[tokio::test]
    async fn what_nobody_would_take_is_overtaken_and_its_trajectories_are_under_way_until_then() {
        let grants = UnrollGrants::bounded(5, 0);
        let (mut publishing, newest) = patient(&grants, Handle::current());
        let actor = grants.stream();
        actor.begin(5).await;
        (0..5).for_each(|_| actor.arrived());
        grants.batched(5);
        let mut busy = newest.subscribe();

        let policy = policy();
        publishing.offer(policy.snapshot(1), 2);
        publishing.offer(policy.snapshot(2), 3);
        assert!(actor.begin(1).now_or_never().is_none(), "nothing is published yet");
        let taken = busy.next().await.unwrap();
        assert_eq!((taken.policy_version, &taken.bytes[..]), (2, &policy.save(2)[..]));
        actor.begin(1).await;
        publishing.finish();
    }

    #[tokio::test]
    async fn a_snapshot_keeps_the_weights_of_its_moment() {
        let grants = UnrollGrants::unlimited();
        let (mut publishing, newest) = patient(&grants, Handle::current());
        let mut busy = newest.subscribe();
        let policy = policy();
        let then = policy.save(1);
        publishing.offer(policy.snapshot(1), 0);
        tch::no_grad(|| {
            let _ = policy.weights()[0].1.shallow_clone().fill_(7.0);
        });
        assert_ne!(policy.save(1), then);
        assert_eq!(busy.next().await.unwrap().bytes, then);
        publishing.finish();
    }

    #[tokio::test]
    async fn the_end_waits_for_nobody_and_publishes_what_is_left() {
        let (mut publishing, newest) = patient(&UnrollGrants::unlimited(), Handle::current());
        let mut busy = newest.subscribe();
        publishing.offer(policy().snapshot(4), 0);
        publishing.finish();
        assert_eq!(newest.version(), 4);
        assert_eq!(busy.next().await.unwrap().policy_version, 4);
        assert_eq!(busy.next().await, None, "the publisher is gone");
    }
}
