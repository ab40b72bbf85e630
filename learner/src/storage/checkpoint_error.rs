//! Errors of checkpoints.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::durable::owner::Taken;

/// Failure to write, read or use a checkpoint.
#[derive(Debug, Error)]
pub enum CheckpointError {
    /// The run's folder has another owner.
    #[error(transparent)]
    Taken(#[from] Taken),
    /// The disk failed.
    #[error("cannot {what} {}: {source}", .path.display())]
    Disk {
        /// Action that failed.
        what: &'static str,
        /// Path of the file or folder.
        path: PathBuf,
        /// Reason.
        source: io::Error,
    },
    /// It was not completely written, or it was changed since.
    #[error("checkpoint {} is torn: {why}", .path.display())]
    Torn {
        /// Folder of the checkpoint.
        path: PathBuf,
        /// Reason.
        why: String,
    },
    /// Another build wrote it.
    #[error(
        "checkpoint {} has format {found}, this build reads {reads}; go on with the release \
         that wrote it, or start a run under another name",
        .path.display()
    )]
    Format {
        /// Folder of the checkpoint.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// Format that this build reads.
        reads: u32,
    },
    /// It belongs to another experiment.
    #[error(
        "checkpoint {} was made by another experiment: {}; set these back, or start a run under \
         another name",
        .path.display(), .differences.join("; ")
    )]
    Config {
        /// Folder of the checkpoint.
        path: PathBuf,
        /// Each setting that differs, with both values.
        differences: Vec<String>,
    },
    /// Its tensors do not fit the policy, the optimizer, or what streams carry.
    #[error("checkpoint {} does not fit this build: {why}", .path.display())]
    Tensors {
        /// Folder of the checkpoint.
        path: PathBuf,
        /// Reason.
        why: String,
    },
}

/// The disk has refused `what` at `path`.
pub(crate) fn disk(
    what: &'static str,
    path: &Path,
) -> impl Fn(io::Error) -> CheckpointError + use<> {
    let path = path.to_path_buf();
    move |source| CheckpointError::Disk { what, path: path.clone(), source }
}

/// The checkpoint at `path` is not whole.
pub(crate) fn torn(path: &Path, why: impl ToString) -> CheckpointError {
    CheckpointError::Torn { path: path.into(), why: why.to_string() }
}
