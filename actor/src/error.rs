//! Errors that end an actor. Faults that a new connection may mend are retried, and not here.

use engram_envs::EnvError;
use engram_service::{ConfigError, NetError};
use thiserror::Error;

/// Reason why an actor cannot go on.
#[derive(Debug, Error)]
pub enum ActorError {
    /// A setting cannot be worked with.
    #[error("{setting} is {found}; it must be {expected}")]
    Setting {
        /// The setting.
        setting: &'static str,
        /// Its value.
        found: String,
        /// Its range.
        expected: String,
    },
    /// A peer will not work with this actor, now or later.
    #[error("{0}")]
    Refused(NetError),
    /// The learner's experiment cannot be read.
    #[error("the learner's experiment cannot be read: {0}")]
    Experiment(#[from] ConfigError),
    /// The peers serve different runs.
    #[error(
        "this actor belongs to run `{expected}`, but {peer} serves run `{found}`; point all \
         addresses at one run"
    )]
    Run {
        /// The peer that serves another run.
        peer: String,
        /// The run that the actor was given, or heard of first.
        expected: String,
        /// The other one.
        found: String,
    },
    /// The learner wants trajectories of another length.
    #[error(
        "{peer} expects an unroll_length of {expected}, but this actor was started with \
         {found}; give both the same experiment"
    )]
    UnrollLength {
        /// The learner.
        peer: String,
        /// The learner's unroll length.
        expected: usize,
        /// The actor's unroll length.
        found: usize,
    },
    /// One trajectory does not fit into a message.
    #[error(
        "a trajectory of {found} bytes does not fit into a message, whose limit is {limit}; \
         shorten unroll_length"
    )]
    Oversized {
        /// The trajectory's bytes.
        found: usize,
        /// The limit.
        limit: usize,
    },
    /// The environment is served by a Python process, which cannot be used.
    #[error(transparent)]
    Environment(#[from] EnvError),
    /// The system has no room for the actor's event loop.
    #[error("the actor's event loop could not be started: {0}")]
    Runtime(#[from] std::io::Error),
}
