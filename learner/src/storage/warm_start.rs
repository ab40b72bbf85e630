//! Warm start: a run begins with parts of another run's weights.
//!
//! They come from a run's folder (its newest checkpoint), a checkpoint's folder, or a file; the
//! other run's environment and network may differ, as long as the parts have the same tensors. They
//! are read once, when the run begins: what is learned afterwards is in its own checkpoints.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use engram_policy::{Loaded, Policy, PolicyError};
use thiserror::Error;

use crate::storage::checkpoint::{CheckpointStore, WEIGHTS};
use crate::storage::checkpoint_error::CheckpointError;

/// Weights of another run to begin with.
#[derive(Clone, Debug)]
pub struct WarmStart {
    file: PathBuf,
    parts: Vec<String>,
    bytes: Bytes,
}

/// Failure to begin with another run's weights.
#[derive(Debug, Error)]
pub enum WarmStartError {
    /// There are none.
    #[error(
        "--init-from {} is no run, no checkpoint and no weights: {source}",
        .path.display()
    )]
    Path {
        /// Path that was given.
        path: PathBuf,
        /// Reason.
        source: io::Error,
    },
    /// A run without a checkpoint.
    #[error("--init-from {} is a run without a complete checkpoint", .path.display())]
    NoCheckpoint {
        /// Folder of the run.
        path: PathBuf,
    },
    /// The run's checkpoints cannot be read.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The weights do not fit the policy.
    #[error("--init-from {} does not fit: {source}", .file.display())]
    Misfit {
        /// File of the weights.
        file: PathBuf,
        /// Reason.
        source: PolicyError,
    },
}

impl WarmStart {
    /// Reads the weights that lie at `path`, for the sake of `parts`.
    pub fn read(path: &Path, parts: &[String]) -> Result<Self, WarmStartError> {
        let (file, bytes) = match path.join("checkpoints").is_dir() {
            true => newest(path)?,
            false => {
                let file = if path.is_dir() { path.join(WEIGHTS) } else { path.into() };
                let bytes = fs::read(&file)
                    .map_err(|source| WarmStartError::Path { path: path.into(), source })?;
                (file, bytes.into())
            }
        };
        Ok(WarmStart { file, parts: parts.to_vec(), bytes })
    }

    /// Copies the parts into `policy`.
    pub fn apply(&self, policy: &mut Policy) -> Result<Loaded, WarmStartError> {
        policy
            .init_from(&self.bytes, &self.parts)
            .map_err(|source| WarmStartError::Misfit { file: self.file.clone(), source })
    }
}

impl std::fmt::Display for WarmStart {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} of {}", self.parts.join(", "), self.file.display())
    }
}

/// Weights of the newest complete checkpoint of a run.
fn newest(run: &Path) -> Result<(PathBuf, Bytes), WarmStartError> {
    let store = CheckpointStore::new(run.join("checkpoints"), usize::MAX);
    match store.newest()? {
        Some((path, checkpoint)) => Ok((path.join(WEIGHTS), checkpoint.weights)),
        None => Err(WarmStartError::NoCheckpoint { path: run.into() }),
    }
}
