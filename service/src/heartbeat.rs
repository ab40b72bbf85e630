//! Heartbeats: signs of life of the threads that do a process's work, and a watch on them.
//!
//! A thread that hangs, on a device that does not answer or a folder that is gone, takes neither
//! the process nor its ports along: clients wait, and whoever asks for its health hears of a server
//! that serves. So such a thread beats, at work and while it waits, and a [`Watchdog`] counts. Where
//! the beats of one stop for as long as the limit says, the server is NOT_SERVING from then on, the
//! log says which thread it was, and [`GRACE`] later the process ends with [`EXIT_CODE`]. It ends by
//! itself since not everybody restarts who is unhealthy: Kubernetes and Swarm do, compose and systemd
//! restart who has failed.
//!
//! A thread of its own looks. What hangs may hold a lock that calls wait for, and so, one by one, all
//! threads of the runtime; nobody there would look any more.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use thiserror::Error;
use tokio::runtime::Handle;

use crate::health::Health;
use crate::shutdown::leave_at_once;
use crate::threads::spawn_named;

/// Time between NOT_SERVING and the end, for those who ask for the health to hear of it; no longer
/// than the limit.
pub const GRACE: Duration = Duration::from_secs(5);

/// Exit code of a process that a hung thread has ended: EX_SOFTWARE of `sysexits.h`.
pub const EXIT_CODE: i32 = 70;

/// Limit where nobody says otherwise.
pub const LIMIT: Duration = Duration::from_secs(120);

/// Looks at all threads within one limit. A process that was stopped for a while looks once when
/// it goes on, and so takes no thread for hung.
const LOOKS: u32 = 8;

/// Beats of a waiting thread within one limit.
const WAITING_BEATS: u32 = 4;

/// Pulse of one thread, which alone holds it. It rests until its first beat.
#[derive(Debug)]
pub struct Heartbeat {
    beats: Arc<AtomicU64>,
    interval: Duration,
}

/// Watch on threads.
#[derive(Debug)]
pub struct Watchdog {
    limit: Duration,
    threads: Vec<WatchedThread>,
}

#[derive(Debug)]
struct WatchedThread {
    name: &'static str,
    beats: Arc<AtomicU64>,
    seen: u64,
    /// Looks since it last beat.
    silent: u32,
}

/// Watch in progress, which ends when this is dropped. Once a thread was found to hang, the end of
/// the process is certain.
#[derive(Debug)]
#[must_use = "dropping it ends the watch"]
pub struct Watch {
    _watching: SyncSender<Infallible>,
}

/// A thread that hangs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error(
    "the {thread} thread has given no sign of life for {} s: it hangs, or --watchdog is shorter than \
     what it has to do",
    .limit.as_secs_f64()
)]
pub struct Hung {
    /// Name of the thread.
    pub thread: &'static str,
    /// Time without a beat.
    pub limit: Duration,
}

/// The last bit of the count says that the thread rests.
const RESTING: u64 = 1;

impl Heartbeat {
    /// One that nobody watches.
    pub fn unwatched() -> Self {
        Watchdog::new(Duration::ZERO).thread("unwatched")
    }

    /// A sign of life. Costs a store.
    pub fn beat(&self) {
        // Nobody else writes.
        let beats = self.beats.load(Ordering::Relaxed) & !RESTING;
        self.beats.store(beats.wrapping_add(2), Ordering::Relaxed);
    }

    /// Begins what may take however long it likes. The next beat ends it.
    pub fn rest(&self) {
        self.beats.fetch_or(RESTING, Ordering::Relaxed);
    }

    /// The longest that a thread waits before it beats again.
    pub fn interval(&self) -> Duration {
        self.interval
    }
}

impl Watchdog {
    /// Watch for threads that are silent for `limit`; for none if that is zero.
    pub fn new(limit: Duration) -> Self {
        Watchdog { limit, threads: Vec::new() }
    }

    /// Pulse of a thread to watch.
    pub fn thread(&mut self, name: &'static str) -> Heartbeat {
        let beats = Arc::new(AtomicU64::new(RESTING));
        self.threads.push(WatchedThread { name, beats: beats.clone(), seen: RESTING, silent: 0 });
        let interval = match self.limit {
            Duration::ZERO => Duration::from_secs(3600),
            limit => limit / WAITING_BEATS,
        };
        Heartbeat { beats, interval }
    }

    /// Watches from a thread of its own, and ends the process once a thread hangs. The health is
    /// told through the runtime that this is called from; nothing else needs that.
    pub fn watch(self, health: &Health) -> Watch {
        // Nothing is ever sent: the looks end with the sender.
        let (watching, over) = sync_channel(0);
        let (health, runtime) = (health.clone(), Handle::current());
        // Nobody joins it: it ends at once, or has found a thread that hangs.
        spawn_named("watchdog", move || {
            let grace = GRACE.min(self.limit);
            if let Some(hung) = self.hung(&over) {
                tell(hung, grace, health, &runtime);
                std::thread::sleep(grace);
                leave_at_once(EXIT_CODE)
            }
        });
        Watch { _watching: watching }
    }

    /// Looks until a thread hangs, or the watch is over. Time passes between any two looks: one wait
    /// that lasted long, since the process was stopped, is one look.
    fn hung(mut self, over: &Receiver<Infallible>) -> Option<Hung> {
        if self.limit.is_zero() {
            return None;
        }
        let interval = self.limit / LOOKS;
        while over.recv_timeout(interval) == Err(RecvTimeoutError::Timeout) {
            let hung = self.look();
            if hung.is_some() {
                return hung;
            }
        }
        None
    }

    /// Looks at all threads once, and returns the one that is silent for longest if it hangs.
    fn look(&mut self) -> Option<Hung> {
        let silent = self.threads.iter_mut().filter_map(WatchedThread::look).max();
        match silent {
            Some((LOOKS.., thread)) => Some(Hung { thread, limit: self.limit }),
            _ => None,
        }
    }
}

/// Tells those who ask and those who read the log, and waits for neither: the runtime may be what
/// hangs, and so may the lock on stderr, where nobody reads that.
fn tell(hung: Hung, grace: Duration, health: Health, runtime: &Handle) {
    runtime.spawn(async move { health.not_serving().await });
    let seconds = grace.as_secs_f64();
    let say = move || tracing::error!("{hung}; no longer serving, and ending in {seconds} s");
    // Without room for one more thread the exit code alone tells it.
    let _ = std::thread::Builder::new().name("watchdog-log".into()).spawn(say);
}

impl WatchedThread {
    /// Looks since its last beat, and its name; nothing while it rests.
    fn look(&mut self) -> Option<(u32, &'static str)> {
        let beats = self.beats.load(Ordering::Relaxed);
        let same = beats == self.seen;
        self.silent = if same { self.silent + 1 } else { 0 };
        self.seen = beats;
        (beats & RESTING == 0).then_some((self.silent, self.name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(16);

    #[test]
    fn a_thread_that_stops_beating_is_named_after_as_many_looks_as_make_the_limit() {
        let mut watchdog = Watchdog::new(LIMIT);
        let (lively, hanging) = (watchdog.thread("lively"), watchdog.thread("hanging"));
        for _ in 0..10 {
            lively.beat();
            hanging.beat();
            assert_eq!(watchdog.look(), None);
        }
        for _ in 1..LOOKS {
            lively.beat();
            assert_eq!(watchdog.look(), None);
        }
        lively.beat();
        let hung = watchdog.look().unwrap();
        assert_eq!(hung, Hung { thread: "hanging", limit: LIMIT });
        assert!(
            hung.to_string().starts_with("the hanging thread has given no sign of life for 16")
        );
    }

    #[test]
    fn a_waiting_thread_beats_between_any_looks_that_make_the_limit() {
        let heartbeat = Watchdog::new(LIMIT).thread("model");
        assert!(2 * heartbeat.interval() < LIMIT);
    }

    #[test]
    fn a_thread_that_rests_or_has_not_begun_is_not_hung_and_one_that_works_again_may_be() {
        let mut watchdog = Watchdog::new(LIMIT);
        let (heartbeat, _not_begun) = (watchdog.thread("learner"), watchdog.thread("later"));
        heartbeat.beat();
        heartbeat.rest();
        assert!((0..10 * LOOKS).all(|_| watchdog.look().is_none()));
        heartbeat.beat();
        let looks = (0..=LOOKS).map(|_| watchdog.look());
        let found: Vec<_> = looks.flatten().collect();
        assert_eq!(found, [Hung { thread: "learner", limit: LIMIT }], "the first look sees a beat");
    }

    #[test]
    fn the_looks_end_with_the_watch_and_without_a_limit_there_are_none() {
        for limit in [1000 * LIMIT, Duration::ZERO] {
            let (watching, over) = sync_channel(0);
            let mut watchdog = Watchdog::new(limit);
            watchdog.thread("learner").beat();
            let looking = std::thread::spawn(move || watchdog.hung(&over));
            if !limit.is_zero() {
                drop(watching);
            }
            assert_eq!(looking.join().unwrap(), None);
        }
        Heartbeat::unwatched().beat();
    }
}
