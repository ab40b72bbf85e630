//! Trajectories become weights.
//!
//! ```text
//!  actors ──▶ push ──▶ streams ──▶ queue ─┬▶ assembly ──┬▶ training ──▶ publisher ──▶ subscribe ──▶
//!             (a task per actor)           └▶ replaying ─┘  (a thread)              (a task each)
//!                                             (a thread)
//! ```
//!
//! In reading order: `service` takes what arrives: `push` checks an actor's trajectories,
//! [`streams`] accepts each exactly once, [`queue`] bounds what waits. On-policy, [`assembly`] turns
//! it into batches, of trajectories that `gathering` has chosen; off-policy, [`replaying`] puts it
//! into a [`replay`] and draws from that, as a [`limiter`] of updates per env step lets. `training` is the loop of the thread that
//! learns; [`learner`] is what it changes: a policy by one of the [`algorithms`], which are made
//! of [`vtrace`] and [`optimizer`] and set up by [`config`]; [`carried`] is what it keeps of each
//! stream between unrolls. [`publisher`] and `subscribe` bring the weights back.
//!
//! What learning from a replay is made of: [`n_step`] returns, on a scale of [`value_rescaling`], the
//! [`losses`] that they are the targets of, the [`target_network`] and [`exploration`].
//!
//! What stays: [`run_folder`] is what a run leaves, [`checkpoint`] what it resumes from, [`writer`]
//! who waits for the disk, [`curves`] and [`tensorboard`] what it looked like. [`episodes`],
//! [`interval`], [`meter`] and [`metrics`] count. `opening` and `wiring` tie it together, [`flags`]
//! say where and how, and [`transfer`] brings weights from another run.

#![deny(missing_docs)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod run;

pub mod storage;

pub mod batches;

pub mod rpc;

pub mod algorithms;

pub mod replay;

pub mod losses;

pub mod telemetry;

pub mod config;

#[cfg(test)]
#[path = "../tests/fixtures/mod.rs"]
#[allow(missing_docs, unreachable_pub)]
mod fixtures;

pub use algorithms::{NonFinite, RlConfig, UpdateStats};
pub use config::flags::LearnerArgs;
pub use run::error::LearnerError;
pub use run::learner_config::LearnerConfig;
pub use run::run;
pub use run::summary::{Ended, Summary};
pub use telemetry::time_profile::Shares;
