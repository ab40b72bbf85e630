//! Errors of a replay.

use std::io;
use std::path::PathBuf;

use engram_mdp::StreamId;
use thiserror::Error;

use super::episode::EpisodeId;
use crate::config::OutOfRange;
use crate::config::flags::ByteSize;

/// Failure to make, fill or sample a replay.
#[derive(Debug, Error)]
pub enum ReplayError {
    /// A setting is out of its range.
    #[error(transparent)]
    Config(#[from] OutOfRange),
    /// The policy's memory exports no state that could be stored.
    #[error(
        "rl.replay.initial_state is \"stored\", but the policy's memory exports no state; set it \
         to \"zero\", or let the state travel (seq.memory.export_state of Mamba and attention)"
    )]
    NoState,
    /// A replay on the disk has no folder.
    #[error("rl.replay.storage is \"disk\", but the run has no folder; set it to \"memory\"")]
    NoFolder,
    /// One episode is larger than the whole replay; it was dropped, all others stay.
    #[error(
        "an episode of {stream} takes more than {env_steps} env steps and {bytes}, and the whole \
         replay holds {max_env_steps} and {max_bytes}; raise rl.replay.max_env_steps and \
         rl.replay.max_bytes, or limit the length of episodes"
    )]
    EpisodeTooLarge {
        /// Its stream.
        stream: StreamId,
        /// Its env steps so far.
        env_steps: u64,
        /// Its bytes so far.
        bytes: ByteSize,
        /// The most of a replay.
        max_env_steps: u64,
        /// The most of a replay.
        max_bytes: ByteSize,
    },
    /// A trajectory's recurrent state has another width than the policy says.
    #[error("a trajectory of {stream} brings {found} numbers of recurrent state, not {expected}")]
    StateWidth {
        /// Its stream.
        stream: StreamId,
        /// The policy's width.
        expected: usize,
        /// The trajectory's.
        found: usize,
    },
    /// There is nothing to sample.
    #[error("the replay holds no complete episode yet: {open} are open")]
    Empty {
        /// Episodes that have begun.
        open: usize,
    },
    /// The disk.
    #[error("cannot {what} {}: {source}", .path.display())]
    Disk {
        /// Action that failed.
        what: &'static str,
        /// Path of the file or folder.
        path: PathBuf,
        /// Reason.
        source: io::Error,
    },
    /// A segment's file is not what the checkpoint says.
    #[error("segment {} of episodes {first} to {last} is torn: {why}", .path.display())]
    Torn {
        /// The file.
        path: PathBuf,
        /// Its first episode.
        first: EpisodeId,
        /// Its last one.
        last: EpisodeId,
        /// Reason.
        why: String,
    },
}
