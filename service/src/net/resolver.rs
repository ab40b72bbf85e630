//! Resolver: from a name to its addresses, of which any may answer.
//!
//! Behind one name there may be many servers: a service that was scaled. Whoever resolves it may
//! get their addresses in the same order as everybody else, so each dialer begins at its own turn;
//! and some of them may be gone, so the others are tried at once.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::timeout;

/// Resolver of names: by default the system's.
#[derive(Clone, Default)]
pub struct Resolver(Option<Arc<Lookup>>);

type Lookup = dyn Fn(&str) -> io::Result<Vec<IpAddr>> + Send + Sync;

/// Time after which a silent address is raced by the next one.
const HEAD_START: Duration = Duration::from_secs(1);

impl Resolver {
    /// Resolver that asks `lookup` instead of the system.
    pub fn from_lookup(
        lookup: impl Fn(&str) -> io::Result<Vec<IpAddr>> + Send + Sync + 'static,
    ) -> Self {
        Resolver(Some(Arc::new(lookup)))
    }

    /// All addresses of a host, each once, in the order of the `turn`-th dialer: sorted, and begun
    /// at that place.
    pub(super) async fn addresses(
        &self,
        host: &str,
        port: u16,
        turn: u64,
    ) -> io::Result<Vec<SocketAddr>> {
        let mut addresses: Vec<SocketAddr> = match &self.0 {
            None => tokio::net::lookup_host((host, port)).await?.collect(),
            Some(lookup) => lookup(host)?.into_iter().map(|ip| (ip, port).into()).collect(),
        };
        addresses.sort();
        addresses.dedup();
        let Some(places) = u64::try_from(addresses.len()).ok().filter(|&places| places > 0) else {
            return Err(io::Error::new(
                io::ErrorKind::NotFound,
                format!("`{host}` has no address"),
            ));
        };
        addresses.rotate_left(usize::try_from(turn % places).expect("less than their number"));
        Ok(addresses)
    }
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Resolver(lookup)" } else { "Resolver(system)" })
    }
}

/// The first of `addresses` that `attempt` reaches. They are tried in order: the next one as soon
/// as one has failed, or beside it once it has been silent for a second. Of errors the first is told
/// that says more than that nobody listens.
pub(super) async fn first_reachable<T, F>(
    addresses: Vec<SocketAddr>,
    attempt: impl Fn(SocketAddr) -> F,
) -> io::Result<T>
where
    T: Send + 'static,
    F: Future<Output = io::Result<T>> + Send + 'static,
{
    let mut left = addresses.into_iter();
    let mut trying = JoinSet::new();
    let mut failed = io::Error::from(io::ErrorKind::ConnectionRefused);
    loop {
        match left.next() {
            Some(address) => drop(trying.spawn(attempt(address))),
            None if trying.is_empty() => return Err(failed),
            None => {}
        }
        match timeout(HEAD_START, trying.join_next()).await {
            Ok(Some(Ok(Ok(reached)))) => return Ok(reached),
            Ok(Some(Ok(Err(error)))) => {
                if failed.kind() == io::ErrorKind::ConnectionRefused {
                    failed = error;
                }
            }
            Ok(Some(Err(error))) => std::panic::resume_unwind(error.into_panic()),
            Ok(None) => unreachable!("one was begun, or is under way"),
            Err(_silent) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU8, Ordering};

    use super::*;

    fn three() -> Resolver {
        // In the order of a resolver that does not care, and one of them twice.
        Resolver::from_lookup(|_| Ok([3, 1, 2, 3].map(|n| IpAddr::from([127, 0, 0, n])).to_vec()))
    }

    fn last_bytes(addresses: &[SocketAddr]) -> Vec<u8> {
        let last = |address: &SocketAddr| match address.ip() {
            IpAddr::V4(ip) => ip.octets()[3],
            IpAddr::V6(_) => panic!("{address}"),
        };
        addresses.iter().map(last).collect()
    }

    #[tokio::test]
    async fn each_turn_begins_at_the_next_address_and_has_all_of_them() {
        for (turn, expected) in
            [(0, [1, 2, 3]), (1, [2, 3, 1]), (2, [3, 1, 2]), (3, [1, 2, 3]), (u64::MAX, [1, 2, 3])]
        {
            let addresses = three().addresses("servers", 7002, turn).await.unwrap();
            assert_eq!(last_bytes(&addresses), expected, "turn {turn}");
        }
    }

    #[tokio::test]
    async fn a_name_is_looked_up_each_time() {
        let asked = AtomicU8::new(0);
        let resolver = Resolver::from_lookup(move |_| {
            Ok(vec![[127, 0, 0, asked.fetch_add(1, Ordering::Relaxed)].into()])
        });
        for expected in [0, 1, 2] {
            let addresses = resolver.addresses("moves", 1, 0).await.unwrap();
            assert_eq!(last_bytes(&addresses), [expected]);
        }
    }

    #[tokio::test]
    async fn a_name_without_an_address_is_named() {
        let nothing = Resolver::from_lookup(|_| Ok(Vec::new()));
        let error = nothing.addresses("nobody", 1, 5).await.unwrap_err();
        assert_eq!(error.to_string(), "`nobody` has no address");
    }

    #[tokio::test]
    async fn numbers_are_their_own_addresses() {
        let addresses = Resolver::default().addresses("127.0.0.7", 80, 9).await.unwrap();
        assert_eq!(addresses, ["127.0.0.7:80".parse().unwrap()]);
    }

    async fn refuse(address: SocketAddr) -> io::Result<u8> {
        Err(io::Error::new(io::ErrorKind::ConnectionRefused, address.to_string()))
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_refuses_costs_no_time_and_one_that_is_silent_a_second() {
        let start = tokio::time::Instant::now();
        let addresses = three().addresses("servers", 1, 0).await.unwrap();
        let reached = first_reachable(addresses.clone(), async |address: SocketAddr| {
            match last_bytes(&[address])[0] {
                3 => Ok(3),
                _ => refuse(address).await,
            }
        });
        assert_eq!(reached.await.unwrap(), 3);
        assert_eq!(start.elapsed(), Duration::ZERO);

        let reached = first_reachable(addresses, async |address: SocketAddr| {
            match last_bytes(&[address])[0] {
                1 => std::future::pending().await,
                2 => refuse(address).await,
                n => Ok(n),
            }
        });
        assert_eq!(reached.await.unwrap(), 3);
        assert_eq!(start.elapsed(), HEAD_START);
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_one_is_not_given_up_for_those_that_refuse() {
        let addresses = three().addresses("servers", 1, 0).await.unwrap();
        let reached = first_reachable(addresses, async |address: SocketAddr| {
            if last_bytes(&[address])[0] != 1 {
                return refuse(address).await;
            }
            tokio::time::sleep(5 * HEAD_START / 2).await;
            Ok(1)
        });
        assert_eq!(reached.await.unwrap(), 1);
    }

    #[tokio::test]
    async fn where_nobody_answers_the_most_telling_error_is_told() {
        let addresses = three().addresses("servers", 1, 0).await.unwrap();
        let error = first_reachable::<u8, _>(addresses.clone(), refuse).await.unwrap_err();
        assert_eq!(error.to_string(), "127.0.0.3:1");
        let error = first_reachable(addresses, async |address: SocketAddr| {
            match last_bytes(&[address])[0] {
                2 => Err(io::Error::other("its certificate has expired")),
                _ => refuse(address).await,
            }
        });
        assert_eq!(error.await.unwrap_err().to_string(), "its certificate has expired");
    }
}
