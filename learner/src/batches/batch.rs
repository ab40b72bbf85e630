//! Batch on its way to the learner, and the numbers of what has arrived for it.

use std::time::Duration;

/// Batches that wait for the learner, beside the one that it works on.
pub const BATCHES_AHEAD: usize = 1;

/// Batch for one update; `C` is what is learned from.
#[derive(Debug)]
pub struct LearnerBatch<C> {
    /// Tensors to learn from.
    pub content: C,
    /// Versions of the oldest weights in each trajectory that has arrived.
    pub policy_versions: Vec<u64>,
    /// True for the last of the updates that learn from trajectories which were selected together,
    /// or that a replay owes in turns: the weights are published after it.
    pub last_minibatch: bool,
    /// Agent decisions in those.
    pub env_steps: u64,
    /// Trajectories that were dropped on the way because they were stale.
    pub stale: u64,
    /// Time that the tensors took to make.
    pub assembly_time: Duration,
}
