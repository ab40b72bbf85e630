//! Sources of snapshots: pages of metrics, or a Prometheus.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Result;
use engram_service::net::http_get;
use engram_service::{Address, ClientCredentials};
use tokio::task::JoinSet;

use crate::watch::prometheus::Prometheus;
use crate::watch::samples::{Page, Snapshot};

/// Source of snapshots.
pub(super) enum SnapshotSource {
    Pages(Vec<PageTarget>),
    Prometheus(Prometheus),
}

/// A page of metrics.
pub(super) struct PageTarget {
    address: Address,
    /// The same without credentials. On this machine pages are open, unless they are on all addresses:
    /// which of both it is, its first answer tells.
    open: Option<Address>,
}

impl SnapshotSource {
    /// Pages at these addresses, read with these credentials.
    pub(super) fn pages(
        addresses: &[Address],
        credentials: &ClientCredentials,
    ) -> Result<SnapshotSource> {
        let target = |address: &Address| {
            let open = (address.is_local() && credentials.tls.is_some()).then(|| address.clone());
            Ok(PageTarget { address: credentials.at(address)?, open })
        };
        Ok(SnapshotSource::Pages(addresses.iter().map(target).collect::<Result<_>>()?))
    }

    /// A Prometheus that scrapes them.
    pub(super) fn prometheus(address: &Address) -> SnapshotSource {
        SnapshotSource::Prometheus(Prometheus { address: address.clone() })
    }

    /// Seconds over which rates are taken.
    pub(super) fn window(&self) -> f64 {
        match self {
            SnapshotSource::Pages(_) => 10.0,
            // Several scrapes.
            SnapshotSource::Prometheus(_) => 30.0,
        }
    }

    /// A snapshot to compare the first one with: of the past, or of `every` before it.
    pub(super) async fn earlier(&mut self, every: Duration) -> Result<Snapshot> {
        match self {
            SnapshotSource::Prometheus(prometheus) => {
                let past = prometheus.snapshot(seconds_now() - 30.0).await?;
                if !past.pages.is_empty() {
                    return Ok(past);
                }
                // It has not been watching for long.
                prometheus.snapshot(seconds_now() - 10.0).await
            }
            SnapshotSource::Pages(_) => {
                let snapshot = self.now().await?;
                tokio::time::sleep(every).await;
                Ok(snapshot)
            }
        }
    }

    /// The present snapshot. Pages that do not answer are named in it; a Prometheus that does not
    /// is an error.
    pub(super) async fn now(&mut self) -> Result<Snapshot> {
        match self {
            SnapshotSource::Prometheus(prometheus) => prometheus.snapshot(seconds_now()).await,
            SnapshotSource::Pages(targets) => {
                // All at once: one that is silent holds up no other.
                let mut reading = JoinSet::new();
                for (place, mut target) in targets.drain(..).enumerate() {
                    reading.spawn(async move { (place, target.read().await, target) });
                }
                let mut read = reading.join_all().await;
                read.sort_by_key(|(place, ..)| *place);
                let mut snapshot = Snapshot { seconds: seconds_now(), ..Snapshot::default() };
                for (_, page, target) in read {
                    let from = target.address.to_string();
                    targets.push(target);
                    match page {
                        Ok(page) => snapshot.pages.push(page),
                        Err(error) => snapshot.silent.push((from, format!("{error:#}"))),
                    }
                }
                Ok(snapshot)
            }
        }
    }
}

impl PageTarget {
    async fn read(&mut self) -> Result<Page> {
        let mut body = http_get(&self.address, "page of metrics", "/metrics").await;
        if let (Err(_), Some(open)) = (&body, self.open.take()) {
            let second = http_get(&open, "page of metrics", "/metrics").await;
            if second.is_ok() {
                (self.address, body) = (open, second);
            } else {
                self.open = Some(open);
            }
        }
        Page::parse(&self.address.to_string(), &String::from_utf8_lossy(&body?))
    }
}

fn seconds_now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}
