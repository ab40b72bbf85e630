//! Shared stats: membership and episodes, written by calls, saved by the learner.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::rpc::membership::Membership;
use crate::telemetry::episodes::Episodes;

/// Two tables behind locks, because both sides need them whole.
#[derive(Debug, Default)]
pub(crate) struct SharedStats {
    membership: Mutex<Membership>,
    episodes: Mutex<Episodes>,
}

impl SharedStats {
    pub(crate) fn membership(&self) -> MutexGuard<'_, Membership> {
        lock(&self.membership)
    }

    pub(crate) fn episodes(&self) -> MutexGuard<'_, Episodes> {
        lock(&self.episodes)
    }
}

/// A panic elsewhere leaves these tables as good as they were: nothing in them panics.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
