//! Labels of metrics: what tells apart those that have one name.

/// Phase of an update.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpdatePhase {
    /// Trajectories become tensors, on the batch thread.
    Assemble,
    /// From a batch to a loss.
    Forward,
    /// From a loss to a gradient.
    Backward,
    /// From a gradient to new weights.
    Optimizer,
    /// The weights become bytes.
    Publish,
    /// Everything becomes a checkpoint's bytes; the disk is waited for elsewhere.
    Checkpoint,
}

impl UpdatePhase {
    /// All of them, in order.
    pub const ALL: [UpdatePhase; 6] = [
        UpdatePhase::Assemble,
        UpdatePhase::Forward,
        UpdatePhase::Backward,
        UpdatePhase::Optimizer,
        UpdatePhase::Publish,
        UpdatePhase::Checkpoint,
    ];

    /// Name in graphs, tables and logs.
    pub fn name(self) -> &'static str {
        match self {
            UpdatePhase::Assemble => "assemble",
            UpdatePhase::Forward => "forward",
            UpdatePhase::Backward => "backward",
            UpdatePhase::Optimizer => "optimizer",
            UpdatePhase::Publish => "publish",
            UpdatePhase::Checkpoint => "checkpoint",
        }
    }
}

/// Reason why a trajectory was not learned from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dropped {
    /// Its weights are older than `run.max_policy_lag` versions.
    Stale,
    /// It came a second time.
    Repeat,
    /// It was malformed.
    Invalid,
    /// It belongs to an episode that is larger than the whole replay.
    Unreplayable,
}

/// Side that the rate limiter holds back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeldBack {
    /// Trajectories, and so actors.
    Insertions,
    /// Updates, and so the learner.
    Updates,
}
