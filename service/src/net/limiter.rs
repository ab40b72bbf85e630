//! Connection limiter: how many connections may be unauthenticated at once, and for how long.
//!
//! One rule: few and short places for who has not authenticated, no limit for who has. A
//! connection has until the deadline to shake hands and make its first call. Where all places are
//! taken, one that has said nothing for a second gives its place to the next comer, since a client of
//! ours speaks as soon as it is connected; those that have spoken keep theirs, and then newcomers wait
//! in the system's backlog, whatever their address. So strangers delay newcomers alone, silent ones by little, and many actors behind one address are no flood.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep};
use tokio_util::sync::{CancellationToken, PollSemaphore, WaitForCancellationFutureOwned};

/// Limits on the unauthenticated connections of one listening TCP address.
///
/// A connection is authenticated by its first call with the right token; where no token is asked
/// for, by its first call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionLimits {
    /// Unauthenticated connections at once. Each costs a file descriptor, of which a process often
    /// has 1024.
    pub unauthenticated: u32,
    /// Time for the TLS handshake and the first call together.
    pub deadline: Duration,
    /// Silence that a connection is allowed in any case, before it may have to give way.
    pub silence: Duration,
}

impl ConnectionLimits {
    /// Limits for most.
    pub const STANDARD: ConnectionLimits = ConnectionLimits {
        unauthenticated: 256,
        deadline: Duration::from_secs(5),
        silence: Duration::from_secs(1),
    };
}

/// Permits of one listener.
#[derive(Debug)]
pub(super) struct ConnectionLimiter {
    limits: ConnectionLimits,
    permits: PollSemaphore,
    silent: Arc<SilentPlaces>,
    /// Number of the next permit.
    next: u64,
    /// Wakes when the oldest silent place has been silent for long enough.
    due: Option<Pin<Box<Sleep>>>,
    refusals: Arc<RefusalLog>,
}

/// Places of connections that have said nothing, the oldest first. No more than there are places.
#[derive(Debug, Default)]
struct SilentPlaces(Mutex<BTreeMap<u64, SilentPlace>>);

#[derive(Debug)]
struct SilentPlace {
    since: Instant,
    place: OwnedSemaphorePermit,
    given_away: CancellationToken,
}

/// Log of refusals: one line per second, however many there are. Metrics count them all.
#[derive(Debug, Default)]
struct RefusalLog {
    written: Mutex<Option<Instant>>,
}

/// Permit to be unauthenticated for a while. It ends when the connection authenticates or closes,
/// or, while it is silent, when its place is given to another.
#[derive(Debug)]
pub(super) struct Permit {
    number: u64,
    deadline: Instant,
    stage: Mutex<Stage>,
    silent: Arc<SilentPlaces>,
    given_away: CancellationToken,
    refusals: Arc<RefusalLog>,
}

/// Stage of a connection.
#[derive(Debug)]
enum Stage {
    /// Its place is among the silent ones, unless it was given away.
    Silent,
    /// It has said something.
    Speaking(#[expect(dead_code, reason = "held")] OwnedSemaphorePermit),
    Authenticated,
}

const LOG_INTERVAL: Duration = Duration::from_secs(1);

impl ConnectionLimiter {
    pub(super) fn new(limits: ConnectionLimits) -> Self {
        let places = usize::try_from(limits.unauthenticated).expect("a count fits into memory");
        let permits = PollSemaphore::new(Arc::new(Semaphore::new(places)));
        ConnectionLimiter {
            limits,
            permits,
            silent: Arc::default(),
            next: 0,
            due: None,
            refusals: Arc::default(),
        }
    }

    /// Place for the next connection, once there is one. The next connection makes a permit of it.
    pub(super) fn poll_place(&mut self, cx: &mut Context<'_>) -> Poll<OwnedSemaphorePermit> {
        loop {
            if let Poll::Ready(place) = self.permits.poll_acquire(cx) {
                return Poll::Ready(place.expect("the semaphore is never closed"));
            }
            let Some(due) = self.silent.due(self.limits.silence) else { return Poll::Pending };
            if self.due.as_ref().is_none_or(|sleep| sleep.deadline() != due) {
                self.due = Some(Box::pin(tokio::time::sleep_until(due)));
            }
            let sleep = self.due.as_mut().expect("just set");
            std::task::ready!(sleep.as_mut().poll(cx));
            self.due = None;
            // It frees a place, which the next turn finds.
            self.silent.give_away_oldest();
        }
    }

    /// Permit of a connection that has just come, in a place.
    pub(super) fn admit(&mut self, place: OwnedSemaphorePermit) -> Permit {
        let (number, since) = (self.next, Instant::now());
        self.next += 1;
        let given_away = CancellationToken::new();
        let silent = SilentPlace { since, place, given_away: given_away.clone() };
        lock(&self.silent.0).insert(number, silent);
        Permit {
            number,
            deadline: since + self.limits.deadline,
            stage: Mutex::new(Stage::Silent),
            silent: self.silent.clone(),
            given_away,
            refusals: self.refusals.clone(),
        }
    }
}

impl SilentPlaces {
    /// Time from which the oldest one may be given away, if there is one.
    fn due(&self, silence: Duration) -> Option<Instant> {
        lock(&self.0).first_key_value().map(|(_, oldest)| oldest.since + silence)
    }

    /// Gives the oldest place away; its connection closes.
    fn give_away_oldest(&self) {
        let oldest = lock(&self.0).pop_first();
        if let Some((_, SilentPlace { given_away, place, .. })) = oldest {
            given_away.cancel();
            drop(place);
        }
    }

    fn take(&self, number: u64) -> Option<OwnedSemaphorePermit> {
        lock(&self.0).remove(&number).map(|silent| silent.place)
    }
}

impl Permit {
    /// Time at which the connection must be authenticated.
    pub(super) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Waits until its place is given to another connection.
    pub(super) fn given_away(&self) -> WaitForCancellationFutureOwned {
        self.given_away.clone().cancelled_owned()
    }

    /// The connection has said something: it keeps its place until the deadline.
    pub(super) fn heard(&self) {
        let mut stage = lock(&self.stage);
        if matches!(*stage, Stage::Silent)
            && let Some(place) = self.silent.take(self.number)
        {
            *stage = Stage::Speaking(place);
        }
    }

    /// Gives the place back: the connection has authenticated.
    pub(super) fn authenticated(&self) {
        drop(self.silent.take(self.number));
        *lock(&self.stage) = Stage::Authenticated;
    }

    pub(super) fn is_authenticated(&self) -> bool {
        matches!(*lock(&self.stage), Stage::Authenticated)
    }

    /// Logs a refusal, unless another one has just been logged.
    pub(super) fn log_refusal(&self, peer: &str, why: &str) {
        if self.refusals.is_due() {
            tracing::warn!(peer, "{why}");
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        drop(self.silent.take(self.number));
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

    async fn permit(limiter: &mut ConnectionLimiter) -> Permit {
        let place = poll_fn(|cx| limiter.poll_place(cx)).await;
        limiter.admit(place)
    }

    async fn waits(limiter: &mut ConnectionLimiter) -> bool {
        poll_fn(|cx| Poll::Ready(limiter.poll_place(cx).is_pending())).await
    }

    fn two() -> ConnectionLimiter {
        ConnectionLimiter::new(ConnectionLimits {
            unauthenticated: 2,
            ..ConnectionLimits::STANDARD
        })
    }

    #[tokio::test(start_paused = true)]
    async fn a_place_is_free_again_once_its_connection_authenticates_or_closes() {
        let mut limiter = two();
        let (first, second) = (permit(&mut limiter).await, permit(&mut limiter).await);
        first.heard();
        second.heard();
        tokio::time::advance(Duration::from_secs(4)).await;
        assert!(waits(&mut limiter).await, "both places are taken, and spoken for");
        first.authenticated();
        assert!(first.is_authenticated() && !second.is_authenticated());
        let third = permit(&mut limiter).await;
        drop((second, third));
        for _ in 0..3 {
            permit(&mut limiter).await.authenticated();
        }
        first.heard();
        assert!(first.is_authenticated());
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_is_silent_gives_way_the_oldest_first_and_not_at_once() {
        let mut limiter = two();
        let (oldest, other) = (permit(&mut limiter).await, permit(&mut limiter).await);
        assert!(waits(&mut limiter).await, "they may be about to speak");
        let start = Instant::now();
        let third = permit(&mut limiter).await;
        assert_eq!(start.elapsed(), ConnectionLimits::STANDARD.silence);
        oldest.given_away().await;
        assert!(!oldest.is_authenticated(), "it has lost its place, and won nothing");
        oldest.heard();
        third.heard();
        let fourth = permit(&mut limiter).await;
        other.given_away().await;
        fourth.heard();
        drop(oldest);
        assert!(waits(&mut limiter).await, "a place that was given away is not free a second time");
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_is_logged_once_a_second() {
        let log = RefusalLog::default();
        assert!(log.is_due() && !log.is_due());
        tokio::time::advance(LOG_INTERVAL).await;
        assert!(log.is_due());
    }
}
