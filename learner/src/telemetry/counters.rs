//! Counters of a run.

use serde::{Deserialize, Serialize};

/// Counters of a run, over all the times that it was started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Counters {
    /// Agent decisions that were learned from.
    pub env_steps: u64,
    /// Steps of the optimizer.
    pub updates: u64,
    /// Updates that were skipped because a number was not finite.
    pub non_finite_updates: u64,
    /// The newest published weights.
    pub policy_version: u64,
    /// Seconds of training.
    pub seconds: f64,
}
