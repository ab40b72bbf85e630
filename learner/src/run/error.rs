//! Errors that can end a run.

use std::io;
use std::path::PathBuf;

use engram_policy::PolicyError;
use engram_service::{ConfigError, NetError};
use thiserror::Error;

use crate::algorithms::NonFinite;
use crate::batches::carry_table::TooLittleMemory;
use crate::config::OutOfRange;
use crate::durable::owner::Taken;
use crate::replay::ReplayError;
use crate::storage::checkpoint_error::CheckpointError;
use crate::storage::run_folder::RunFolderError;
use crate::storage::warm_start::WarmStartError;

/// Why a learner could not start, or could not go on.
#[derive(Debug, Error)]
pub enum LearnerError {
    /// The configuration cannot be read.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A setting of the algorithm is out of its range.
    #[error(transparent)]
    Rl(#[from] OutOfRange),
    /// A setting of the policy is out of its range.
    #[error(transparent)]
    Policy(PolicyError),
    /// An environment does not fit the policy.
    #[error(transparent)]
    Environment(PolicyError),
    /// There is no such part to freeze.
    #[error("rl.freeze: {0}")]
    Freeze(PolicyError),
    /// Every weight is frozen.
    #[error("rl.freeze leaves nothing that learns: it names {}", .frozen.join(", "))]
    NothingLearns {
        /// The parts.
        frozen: Vec<String>,
    },
    /// The state that streams carry does not find room.
    #[error(transparent)]
    StreamMemory(#[from] TooLittleMemory),
    /// There is no replay that could be learned from.
    #[error(transparent)]
    Replay(#[from] ReplayError),
    /// There are no weights to begin with.
    #[error(transparent)]
    WarmStart(#[from] WarmStartError),
    /// The run's folder cannot be used.
    #[error(transparent)]
    RunFolder(#[from] RunFolderError),
    /// Another learner has taken the run's folder over.
    #[error(transparent)]
    Taken(#[from] Taken),
    /// The newest checkpoint cannot be used.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The progress log cannot be opened.
    #[error("cannot open the learning curves in {}: {source}", .folder.display())]
    ProgressLog {
        /// The run's folder.
        folder: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The server's transport broke.
    #[error(transparent)]
    Net(#[from] NetError),
    /// Checked trajectories did not make a batch.
    #[error("checked trajectories did not make a batch: {0}")]
    Batch(PolicyError),
    /// Training has diverged.
    #[error(
        "{in_a_row} updates in a row were not finite ({last}); the weights of the last checkpoint \
         are good: go on from there with a smaller rl.learning_rate or rl.max_grad_norm"
    )]
    NonFinite {
        /// Number of those updates.
        in_a_row: u32,
        /// The last one.
        last: NonFinite,
    },
    /// A thread panicked: a bug.
    #[error("the {thread} thread panicked: {reason}")]
    Panicked {
        /// Name of the thread.
        thread: &'static str,
        /// Message of the panic.
        reason: String,
    },
}
