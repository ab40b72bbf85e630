//! Shared stats: stream positions and episodes, written by calls, saved by the learner.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::rpc::stream_positions::StreamPositions;
use crate::telemetry::episodes::Episodes;

/// Two maps behind locks, because both sides need them whole.
#[derive(Debug, Default)]
pub(crate) struct SharedStats {
    stream_positions: Mutex<StreamPositions>,
    episodes: Mutex<Episodes>,
}

impl SharedStats {
    pub(crate) fn stream_positions(&self) -> MutexGuard<'_, StreamPositions> {
        lock(&self.stream_positions)
    }

    pub(crate) fn episodes(&self) -> MutexGuard<'_, Episodes> {
        lock(&self.episodes)
    }
}

/// A panic elsewhere leaves these maps as good as they were: each change is one insertion.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
