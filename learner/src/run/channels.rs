//! What connects the services, which talk to actors, and the learner's thread, which learns.
//!
//! Two maps behind locks, because both sides need them whole; all else flows through channels.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use engram_mdp::EnvSpec;
use engram_policy::PolicyError;
use engram_service::Shutdown;
use engram_service::progress::ProgressLine;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot, watch};

use crate::rpc::publisher::{Newest, Publisher};
use crate::rpc::queue::Arrivals;
use crate::rpc::stream_positions::Streams;
use crate::telemetry::episodes::Episodes;
use crate::telemetry::metrics::Metrics;

/// What streams and episodes have come to: written by the services, saved by the learner.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    streams: Mutex<Streams>,
    episodes: Mutex<Episodes>,
}

/// What every actor must keep to, once the run's world is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Terms {
    pub(crate) spec: EnvSpec,
    /// Numbers of recurrent state that every trajectory brings.
    pub(crate) core_state_width: usize,
}

/// An actor's world, offered to a learner that has none yet.
#[derive(Debug)]
pub(crate) struct Proposal {
    pub(crate) spec: EnvSpec,
    /// Why no policy can be made for that world; dropped once there are terms.
    pub(crate) refusal: oneshot::Sender<PolicyError>,
}

/// The learner's ends.
#[derive(Debug)]
pub(crate) struct Wiring {
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) terms: watch::Sender<Option<Terms>>,
    pub(crate) proposals: mpsc::Receiver<Proposal>,
    pub(crate) arrivals: Arrivals,
    pub(crate) publisher: Publisher,
    pub(crate) newest: Newest,
    pub(crate) progress: watch::Sender<ProgressLine>,
    pub(crate) metrics: Metrics,
    pub(crate) shutdown: Shutdown,
    pub(crate) runtime: Handle,
}

impl Ledger {
    pub(crate) fn streams(&self) -> MutexGuard<'_, Streams> {
        lock(&self.streams)
    }

    pub(crate) fn episodes(&self) -> MutexGuard<'_, Episodes> {
        lock(&self.episodes)
    }
}

/// A panic elsewhere leaves these maps as good as they were: each change is one insertion.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
