//! Heartbeats: signs of life of the threads that do a process's work, and a watch on them.
//!
//! A thread that hangs, on a device that does not answer or a folder that is gone, takes neither
//! the process nor its ports along: clients wait, and whoever asks for its health hears of a server
//! that serves. So such a thread beats, at work and while it waits, and a [`Watchdog`] counts. Where
//! the beats of one stop for as long as the limit says, the server is NOT_SERVING from then on, the
//! log says which thread it was, and [`GRACE`] later the process ends with [`EXIT_CODE`]. It ends by
//! itself since not everybody restarts who is unhealthy: Kubernetes and Swarm do, compose and systemd
//! restart who has failed.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use thiserror::Error;
use tokio::time::{MissedTickBehavior, interval};

use crate::health::Health;
use crate::shutdown::leave_at_once;
use crate::threads::spawn_named;

/// Time between NOT_SERVING and the end, for those who ask for the health to hear of it.
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

    /// Waits for a thread that hangs.
    pub async fn hung(&mut self) -> Hung {
        if self.limit.is_zero() {
            return std::future::pending().await;
        }
        let mut looks = interval(self.limit / LOOKS);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            looks.tick().await;
            let silent = self.threads.iter_mut().filter_map(WatchedThread::look).max();
            if let Some((LOOKS.., thread)) = silent {
                return Hung { thread, limit: self.limit };
            }
        }
    }

    /// Ends the process once a thread hangs.
    pub async fn guard(mut self, health: &Health) -> Infallible {
        let hung = self.hung().await;
        // Whatever is waited for from here on may be what hangs: an orderly end, and the lock on
        // stderr too, where nobody reads that.
        spawn_named::<(), _>("watchdog", || {
            std::thread::sleep(GRACE);
            leave_at_once(EXIT_CODE)
        });
        health.not_serving().await;
        tracing::error!("{hung}; no longer serving, and ending in {} s", GRACE.as_secs());
        tokio::time::sleep(GRACE).await;
        leave_at_once(EXIT_CODE)
    }
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
    use tokio::time::{Instant, sleep, timeout};

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn a_thread_that_stops_beating_is_named_within_the_limit_and_a_look() {
        let mut watchdog = Watchdog::new(16 * SECOND);
        let (lively, hanging) = (watchdog.thread("lively"), watchdog.thread("hanging"));
        let work = async {
            for _ in 0..10 {
                lively.beat();
                hanging.beat();
                sleep(SECOND).await;
            }
            let stopped = Instant::now();
            loop {
                lively.beat();
                sleep(lively.interval()).await;
                assert!(stopped.elapsed() < 20 * SECOND, "it is found");
            }
        };
        let start = Instant::now();
        let hung = tokio::select! {
            hung = watchdog.hung() => hung,
            never = work => never,
        };
        assert_eq!(hung, Hung { thread: "hanging", limit: 16 * SECOND });
        let last_beat = 9 * SECOND;
        let silence = start.elapsed() - last_beat;
        assert!(silence >= 16 * SECOND && silence <= 18 * SECOND, "{silence:?}");
        assert!(
            hung.to_string().starts_with("the hanging thread has given no sign of life for 16")
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_thread_that_rests_or_has_not_begun_is_not_hung_and_one_that_works_again_may_be() {
        let mut watchdog = Watchdog::new(16 * SECOND);
        let (heartbeat, _not_begun) = (watchdog.thread("learner"), watchdog.thread("later"));
        heartbeat.beat();
        heartbeat.rest();
        assert!(timeout(1000 * SECOND, watchdog.hung()).await.is_err());
        heartbeat.beat();
        assert_eq!(watchdog.hung().await.thread, "learner");
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_limit_nobody_is_watched() {
        let mut watchdog = Watchdog::new(Duration::ZERO);
        watchdog.thread("learner").beat();
        assert!(timeout(100_000 * SECOND, watchdog.hung()).await.is_err());
        Heartbeat::unwatched().beat();
    }
}
