//! Connection limiter: how many connections may be unauthenticated at once, and for how long.
//!
//! Authenticated connections have no limit, so a flood of strangers takes nothing from them. It
//! delays newcomers only: beyond the limit they wait in the system's backlog, whatever their
//! address. Many actors behind one address are therefore no flood.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tokio_util::sync::PollSemaphore;

/// Limits on the unauthenticated connections of one listening TCP address.
///
/// A connection is authenticated by its first call with the right token; where no token is asked
/// for, by its first call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionLimits {
    /// Unauthenticated connections at once. Each costs a file descriptor, of which a process often
    /// has 1024.
    pub unauthenticated: u32,
    /// Time for the TLS handshake, and as much again for the first call.
    pub deadline: Duration,
}

impl ConnectionLimits {
    /// Limits for most.
    pub const STANDARD: ConnectionLimits =
        ConnectionLimits { unauthenticated: 256, deadline: Duration::from_secs(5) };
}

/// Permits of one listener.
#[derive(Debug)]
pub(super) struct ConnectionLimiter {
    limits: ConnectionLimits,
    permits: PollSemaphore,
    refusals: Arc<RefusalLog>,
}

/// Log of refusals: one line per second, however many there are. Metrics count them all.
#[derive(Debug, Default)]
struct RefusalLog {
    written: Mutex<Option<Instant>>,
}

/// Permit to be unauthenticated for a while. It ends when the connection authenticates or closes.
#[derive(Debug)]
pub(super) struct Permit {
    place: Mutex<Option<OwnedSemaphorePermit>>,
    deadline: Duration,
    refusals: Arc<RefusalLog>,
}

const LOG_INTERVAL: Duration = Duration::from_secs(1);

impl ConnectionLimiter {
    pub(super) fn new(limits: ConnectionLimits) -> Self {
        let places = usize::try_from(limits.unauthenticated).expect("a count fits into memory");
        let permits = PollSemaphore::new(Arc::new(Semaphore::new(places)));
        ConnectionLimiter { limits, permits, refusals: Arc::default() }
    }

    /// Permit for the next connection, once there is one.
    pub(super) fn poll_permit(&mut self, cx: &mut Context<'_>) -> Poll<Permit> {
        let place = ready!(self.permits.poll_acquire(cx)).expect("the semaphore is never closed");
        Poll::Ready(Permit {
            place: Mutex::new(Some(place)),
            deadline: self.limits.deadline,
            refusals: self.refusals.clone(),
        })
    }
}

impl Permit {
    /// Time for each of the two steps: handshake, first call.
    pub(super) fn deadline(&self) -> Duration {
        self.deadline
    }

    /// Gives the permit back: the connection has authenticated.
    pub(super) fn authenticated(&self) {
        lock(&self.place).take();
    }

    pub(super) fn is_authenticated(&self) -> bool {
        lock(&self.place).is_none()
    }

    /// Logs a refusal, unless another one has just been logged.
    pub(super) fn log_refusal(&self, peer: &str, why: &str) {
        if self.refusals.is_due() {
            tracing::warn!(peer, "{why}");
        }
    }
}

impl RefusalLog {
    fn is_due(&self) -> bool {
        let now = Instant::now();
        let mut written = lock(&self.written);
        let due = written.is_none_or(|written| now - written >= LOG_INTERVAL);
        if due {
            *written = Some(now);
        }
        due
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    #[tokio::test]
    async fn a_permit_is_free_again_once_its_connection_authenticates_or_closes() {
        let limits = ConnectionLimits { unauthenticated: 2, ..ConnectionLimits::STANDARD };
        let mut limiter = ConnectionLimiter::new(limits);
        let first = poll_fn(|cx| limiter.poll_permit(cx)).await;
        let second = poll_fn(|cx| limiter.poll_permit(cx)).await;
        let waits = poll_fn(|cx| Poll::Ready(limiter.poll_permit(cx).is_pending()));
        assert!(waits.await, "both permits are taken");
        first.authenticated();
        assert!(first.is_authenticated() && !second.is_authenticated());
        let third = poll_fn(|cx| limiter.poll_permit(cx)).await;
        drop((second, third));
        for _ in 0..2 {
            poll_fn(|cx| limiter.poll_permit(cx)).await.authenticated();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_is_logged_once_a_second() {
        let log = RefusalLog::default();
        assert!(log.is_due() && !log.is_due());
        tokio::time::advance(LOG_INTERVAL).await;
        assert!(log.is_due());
    }
}
