//! Summary of a run.

use std::path::PathBuf;

use crate::storage::final_evaluation::FinalScore;
use crate::telemetry::episodes::Means;
use crate::telemetry::time_profile::TimeShares;

/// End of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ended {
    /// It has had its env steps, and what it has learned is evaluated.
    Finished,
    /// It was told to stop; it can be resumed.
    #[default]
    Stopped,
}

/// Summary of a run. Counts are those of the run, times those of this process.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RunSummary {
    /// End of the run.
    pub ended: Ended,
    /// Agent decisions learned from.
    pub env_steps: u64,
    /// Steps of the optimizer.
    pub updates: u64,
    /// The newest published weights.
    pub policy_version: u64,
    /// Finished episodes.
    pub episodes: u64,
    /// Means over the latest 1000 of them.
    pub means: Means,
    /// Trajectories dropped because they were stale.
    pub stale_trajectories: u64,
    /// Env steps per second of this process's life.
    pub env_steps_per_second: f64,
    /// Shares of the learner's time.
    pub shares: TimeShares,
    /// The newest checkpoint.
    pub checkpoint: Option<PathBuf>,
    /// Scores of the final evaluation, where one was asked for.
    pub final_evaluation: Vec<FinalScore>,
}
