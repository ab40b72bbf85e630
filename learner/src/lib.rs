//! Learner: trajectories become weights.
//!
//! ```text
//!  actors ──▶ rpc ──▶ batches ──▶ run ──▶ rpc ──▶ inference servers
//!  (a task each)      (a thread)  (a thread)      (a task each)
//! ```
//!
//! Folders from top to bottom; imports run down this list, and `cargo xtask tidy` keeps it:
//!
//! | folder | question |
//! |---|---|
//! | [`parity`] | does an accelerator learn what the CPU does? |
//! | [`run`](mod@run) | how does a run start, go on and end? |
//! | [`storage`] | what is on the disk? |
//! | [`batches`] | how do trajectories become a batch? |
//! | [`rpc`] | who talks to us? |
//! | [`algorithms`] | how does a batch change the weights? One file each |
//! | [`replay`] | what is kept, how is it drawn? |
//! | [`losses`] | pure functions of tensors |
//! | [`telemetry`] | what is shown? |
//! | [`config`] | what may be configured? |
//! | `durable` | what is still there after a power cut? |
//!
//! A run learns from streams or from a replay. That is decided once, by [`RlConfig`]; from there on
//! it is a type, a [`Pipeline`](run::pipeline::Pipeline).

#![deny(missing_docs)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod parity;

pub mod run;

pub mod storage;

pub mod batches;

pub mod rpc;

pub mod algorithms;

pub mod replay;

pub mod losses;

pub mod telemetry;

pub mod config;

pub mod durable;

#[cfg(test)]
#[path = "../tests/fixtures/mod.rs"]
#[allow(missing_docs, unreachable_pub)]
mod fixtures;

#[cfg(test)]
#[path = "../../proto/tests/support/damage.rs"]
mod damage;

pub use algorithms::{NonFinite, RlConfig, UpdateStats};
pub use config::flags::LearnerArgs;
pub use run::error::LearnerError;
pub use run::learner_config::LearnerConfig;
pub use run::run;
pub use run::summary::{Ended, RunSummary};
pub use telemetry::time_profile::TimeShares;
