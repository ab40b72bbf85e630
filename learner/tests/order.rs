//! Two connections of one actor, as after a partition: what one of them brings does not overtake what
//! the other has brought before. The test stops a connection between the moment in which its
//! trajectory is accepted and the one in which it is queued; the learner says something there, of a
//! gap. What hears that belongs to the process, so this test is alone in its own.

#![allow(clippy::unwrap_used)]

#[allow(unreachable_pub)]
mod fixtures;

#[allow(unreachable_pub)]
mod harness;

use std::fmt::Debug;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

use fixtures::{Actor, acknowledged, push, trajectory};
use harness::Run;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

/// Listener to the log, who stops whoever says that trajectories are missing.
struct Stopper {
    stopped: mpsc::Sender<()>,
    go_on: Mutex<Receiver<()>>,
}

/// True once an event's message was the one about a gap.
struct SaysGap(bool);

impl Visit for SaysGap {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0 |=
            field.name() == "message" && format!("{value:?}").contains("trajectories are missing");
    }
}

impl Subscriber for Stopper {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut says_gap = SaysGap(false);
        event.record(&mut says_gap);
        if says_gap.0 {
            self.stopped.try_send(()).unwrap();
            self.go_on.lock().unwrap().recv().unwrap();
        }
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// The learner once let go of its book of positions before it queued what it had just accepted: a
/// second connection's next trajectory was accepted and queued meanwhile, and learned from first.
#[tokio::test(flavor = "multi_thread", worker_threads = 8)]
async fn what_comes_over_another_connection_does_not_overtake_what_was_accepted() {
    let (stopped, mut is_stopped) = mpsc::channel(1);
    let (release, go_on) = sync_channel(1);
    let stopper = Stopper { stopped, go_on: Mutex::new(go_on) };
    tracing::subscriber::set_global_default(stopper).unwrap();
    let run = Run::start(None, &[]);
    let mut before = Actor::register(&run.channel).await;
    let mut after = Actor::register(&run.channel).await;
    before.send(push(&[trajectory(0, 0)])).await;
    assert_eq!(before.hear().await.unwrap(), Some(acknowledged(1)));

    before.send(push(&[trajectory(0, 5)])).await;
    is_stopped.recv().await.unwrap();
    after.send(push(&[trajectory(0, 6)])).await;
    // What may not happen has so long to happen.
    let overtaken = timeout(Duration::from_millis(500), after.hear()).await;
    release.send(()).unwrap();
    assert!(overtaken.is_err(), "the second one was queued before the first: {overtaken:?}");

    assert_eq!(before.hear().await.unwrap(), Some(acknowledged(2)));
    assert_eq!(after.hear().await.unwrap(), Some(acknowledged(1)));
    run.stop().await;
}
