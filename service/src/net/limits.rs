//! How much a stranger may ask of a server before anything is known of him: connections at once
//! and per second, and wrong answers. Token buckets per peer address, in bounded memory.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// The limits of one listening TCP address.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// Connections open at once, in all. An actor has a handful, so the usual 4096 is a thousand
    /// actors; each costs a file descriptor and, unread, at most its flow control window.
    pub connections: u32,
    /// Connections open at once, per peer address: a host's share, so that one broken host
    /// leaves room for others.
    pub connections_per_peer: u32,
    /// New connections per second, per peer address.
    pub rate_per_peer: f64,
    /// New connections that may come at once, per peer address: all actors of a host come back
    /// together when a server was restarted.
    pub burst_per_peer: f64,
    /// Failed handshakes and wrong tokens in a row, per peer address, before it is banned. One a
    /// second is forgiven.
    pub failures_per_peer: f64,
    /// How long a ban lasts: far too long for guessing, short enough for an operator who has just
    /// mended the configuration.
    pub ban: Duration,
    /// How long a connection may take to shake hands and to say its first words.
    pub handshake: Duration,
}

impl Limits {
    /// What fits most.
    pub const STANDARD: Limits = Limits {
        connections: 4096,
        connections_per_peer: 1024,
        rate_per_peer: 128.0,
        burst_per_peer: 512.0,
        failures_per_peer: 20.0,
        ban: Duration::from_secs(15),
        handshake: Duration::from_secs(5),
    };
}

/// Why a connection is not even listened to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Denied {
    /// The server has no room.
    Full,
    /// The peer has too many open.
    Crowd,
    /// The peer comes too often.
    Rate,
    /// The peer failed too often.
    Banned,
}

impl Denied {
    /// The metric's label.
    pub(super) fn reason(self) -> &'static str {
        match self {
            Denied::Full | Denied::Crowd => "full",
            Denied::Rate => "rate",
            Denied::Banned => "banned",
        }
    }
}

/// What is known of the peers of one listener.
#[derive(Debug)]
pub(super) struct Ledger {
    limits: Limits,
    book: Mutex<Book>,
}

#[derive(Debug, Default)]
struct Book {
    connections: u32,
    peers: HashMap<IpAddr, Page>,
}

/// What is known of one peer.
#[derive(Debug)]
struct Page {
    connections: u32,
    arrivals: Bucket,
    failures: Bucket,
    banned_until: Option<Instant>,
    /// When a refusal was last worth a line in the log.
    told: Option<Instant>,
}

/// An open connection's place, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    ledger: Arc<Ledger>,
    peer: IpAddr,
}

/// Peers of which something is kept; those beyond share one page.
const PAGES: usize = 4096;

/// One line in the log per peer and second, however often it is refused.
const TELL_EVERY: Duration = Duration::from_secs(1);

/// Failures forgiven per second.
const FORGIVEN: f64 = 1.0;

impl Ledger {
    pub(super) fn new(limits: Limits) -> Arc<Self> {
        Arc::new(Ledger { limits, book: Mutex::default() })
    }

    pub(super) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// A place for a new connection.
    pub(super) fn admit(self: &Arc<Self>, peer: IpAddr) -> Result<Place, Denied> {
        let now = Instant::now();
        let mut book = self.book();
        let full = book.connections >= self.limits.connections;
        let (peer, page) = book.page(peer, &self.limits, now);
        if page.banned_until.is_some_and(|end| now < end) {
            return Err(Denied::Banned);
        }
        if !page.arrivals.take(now) {
            return Err(Denied::Rate);
        }
        if full {
            return Err(Denied::Full);
        }
        if page.connections >= self.limits.connections_per_peer {
            return Err(Denied::Crowd);
        }
        page.connections += 1;
        book.connections += 1;
        Ok(Place { ledger: self.clone(), peer })
    }

    /// Whether a refusal of this peer is worth a line in the log.
    pub(super) fn tells(&self, peer: IpAddr) -> bool {
        let now = Instant::now();
        let mut book = self.book();
        let page = book.page(peer, &self.limits, now).1;
        let tells = page.told.is_none_or(|told| now - told >= TELL_EVERY);
        if tells {
            page.told = Some(now);
        }
        tells
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// Counts a failed handshake or a wrong token. True if the peer is banned for it.
    fn fail(&self) -> bool {
        let now = Instant::now();
        let mut book = self.ledger.book();
        let limits = &self.ledger.limits;
        let page = book.page(self.peer, limits, now).1;
        let banned = !page.failures.take(now);
        if banned {
            page.banned_until = Some(now + limits.ban);
        }
        banned
    }

    /// Counts a failure, and tells the log of it.
    pub(super) fn failed(&self, what: &str) {
        if self.fail() {
            let seconds = self.ledger.limits.ban.as_secs_f64();
            tracing::warn!(peer = %self.peer, seconds, "banned, after too many failures: {what}");
        } else {
            self.tell(what);
        }
    }

    /// Tells the log, unless it has just heard of this peer.
    pub(super) fn tell(&self, what: &str) {
        if self.ledger.tells(self.peer) {
            tracing::warn!(peer = %self.peer, "{what}");
        }
    }

    /// Whether the peer has been banned since it came.
    pub(super) fn is_banned(&self) -> bool {
        let now = Instant::now();
        let mut book = self.ledger.book();
        let page = book.page(self.peer, &self.ledger.limits, now).1;
        page.banned_until.is_some_and(|end| now < end)
    }

    pub(super) fn ledger(&self) -> &Ledger {
        &self.ledger
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut book = self.ledger.book();
        book.connections -= 1;
        let page = book.peers.get_mut(&self.peer).expect("a page in use is not torn out");
        page.connections -= 1;
    }
}

impl Book {
    /// The page of a peer, and the name under which it is found.
    fn page(&mut self, peer: IpAddr, limits: &Limits, now: Instant) -> (IpAddr, &mut Page) {
        let mut peer = neighborhood(peer);
        if !self.peers.contains_key(&peer) && self.peers.len() >= PAGES {
            self.peers.retain(|_, page| !page.is_blank(now));
            if self.peers.len() >= PAGES {
                peer = Ipv6Addr::UNSPECIFIED.into();
            }
        }
        let page = self.peers.entry(peer).or_insert_with(|| Page {
            connections: 0,
            arrivals: Bucket::full(limits.burst_per_peer, limits.rate_per_peer, now),
            failures: Bucket::full(limits.failures_per_peer, FORGIVEN, now),
            banned_until: None,
            told: None,
        });
        (peer, page)
    }
}

impl Page {
    /// Whether forgetting it changes nothing.
    fn is_blank(&mut self, now: Instant) -> bool {
        let free = self.banned_until.is_none_or(|end| end <= now);
        self.connections == 0 && free && self.arrivals.is_full(now) && self.failures.is_full(now)
    }
}

/// Whoever has one IPv6 address has the 2^64 around it.
fn neighborhood(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(address) if !address.is_loopback() => {
            Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into()
        }
        peer => peer,
    }
}

/// A token bucket: it holds `size` at most, and gains `rate` a second.
#[derive(Debug)]
struct Bucket {
    size: f64,
    rate: f64,
    level: f64,
    at: Instant,
}

impl Bucket {
    fn full(size: f64, rate: f64, now: Instant) -> Self {
        Bucket { size, rate, level: size, at: now }
    }

    fn take(&mut self, now: Instant) -> bool {
        self.fill(now);
        let some = self.level >= 1.0;
        if some {
            self.level -= 1.0;
        }
        some
    }

    fn is_full(&mut self, now: Instant) -> bool {
        self.fill(now);
        self.level >= self.size
    }

    fn fill(&mut self, now: Instant) {
        let gained = (now - self.at).as_secs_f64() * self.rate;
        self.level = (self.level + gained).min(self.size);
        self.at = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        connections: 5,
        connections_per_peer: 3,
        rate_per_peer: 1.0,
        burst_per_peer: 4.0,
        failures_per_peer: 2.0,
        ban: Duration::from_secs(10),
        handshake: Duration::from_secs(1),
    };

    fn peer(number: u8) -> IpAddr {
        [10, 0, 0, number].into()
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_has_its_share_of_the_places_and_all_have_the_rest() {
        let ledger = Ledger::new(LIMITS);
        let places: Vec<_> = (0..3).map(|_| ledger.admit(peer(1)).unwrap()).collect();
        assert_eq!(ledger.admit(peer(1)).unwrap_err(), Denied::Crowd);
        let others = [ledger.admit(peer(2)).unwrap(), ledger.admit(peer(3)).unwrap()];
        assert_eq!(ledger.admit(peer(4)).unwrap_err(), Denied::Full);
        drop(places);
        drop(ledger.admit(peer(4)).unwrap());
        drop(others);
        assert_eq!(ledger.book().connections, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_comes_too_often_waits_for_the_next_second() {
        let ledger = Ledger::new(LIMITS);
        for _ in 0..4 {
            drop(ledger.admit(peer(1)).unwrap());
        }
        assert_eq!(ledger.admit(peer(1)).unwrap_err(), Denied::Rate);
        drop(ledger.admit(peer(2)).unwrap());
        tokio::time::advance(Duration::from_secs(1)).await;
        drop(ledger.admit(peer(1)).unwrap());
        assert_eq!(ledger.admit(peer(1)).unwrap_err(), Denied::Rate);
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_fails_too_often_is_banned_for_a_while_and_alone() {
        let ledger = Ledger::new(LIMITS);
        let place = ledger.admit(peer(1)).unwrap();
        assert_eq!([place.fail(), place.fail(), place.fail()], [false, false, true]);
        assert!(place.is_banned());
        assert_eq!(ledger.admit(peer(1)).unwrap_err(), Denied::Banned);
        drop(ledger.admit(peer(2)).unwrap());
        tokio::time::advance(LIMITS.ban).await;
        assert!(!place.is_banned());
        drop(ledger.admit(peer(1)).unwrap());
    }

    #[tokio::test(start_paused = true)]
    async fn many_addresses_take_no_more_memory_than_a_few_thousand() {
        let ledger = Ledger::new(Limits { connections: 9000, ..LIMITS });
        let address = |number: u32| IpAddr::from(number.to_be_bytes());
        let held: Vec<_> = (0..5000).filter_map(|n| ledger.admit(address(n)).ok()).collect();
        assert_eq!(ledger.book().peers.len(), PAGES + 1, "the others share one page");
        drop(held);
        tokio::time::advance(Duration::from_secs(5)).await;
        drop(ledger.admit(address(9999)).unwrap());
        assert_eq!(ledger.book().peers.len(), 1, "what changes nothing is forgotten");
    }

    #[test]
    fn a_network_of_ipv6_is_one_peer() {
        let at = |text: &str| neighborhood(text.parse().unwrap());
        assert_eq!(at("2001:db8::1"), at("2001:db8::ffff:1"));
        assert_ne!(at("2001:db8::1"), at("2001:db8:0:1::1"));
        assert_eq!(at("::ffff:10.0.0.1"), peer(1));
        assert_ne!(at("::1"), at("::2"));
    }

    #[tokio::test(start_paused = true)]
    async fn the_log_hears_of_a_peer_once_a_second() {
        let ledger = Ledger::new(LIMITS);
        assert!(ledger.tells(peer(1)) && !ledger.tells(peer(1)) && ledger.tells(peer(2)));
        tokio::time::advance(TELL_EVERY).await;
        assert!(ledger.tells(peer(1)));
    }
}
