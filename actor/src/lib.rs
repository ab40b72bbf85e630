//! Actor: steps environments, asks for actions, records trajectories. It never links libtorch.
//!
//! ```text
//!             ┌───────────── one thread ─────────────┐
//!   envs ◀──▶ group 0 ──┐                            │
//!             │         ├── inference_stream ────────┼──▶ inference server
//!   envs ◀──▶ group 1 ──┘                            │
//!             │    ├─ trajectories ─▶ trajectory_sender ─▶ learner
//!             │    └─ episodes ─────▶ episode_reporter ──▶ learner
//!             └──────────────────────────────────────┘
//! ```
//!
//! In reading order: [`run`] starts the tasks and joins them; `rollout_group` is the loop (observe,
//! ask, decide, record, step); `inference_stream` asks for actions; `recorder` cuts frames into
//! trajectories; `trajectory_sender` sends them until they are acknowledged; `episode_reporter`
//! reports finished episodes; `episode_quota` counts those of an evaluation; `reconnecting_peer`
//! comes back to a server that was lost. An actor that is given no experiment gets the learner's, by
//! `learner_experiment`.
//!
//! The unrolls in progress are lost when the inference server dies, because the recurrent state
//! that they began with died as well. Nothing else is lost: a complete trajectory is sent until the
//! learner holds it, in order, and the learner ignores repeats.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod config;

mod run;

mod rollout_group;

mod inference_stream;

mod recorder;

mod trajectory_sender;

mod episode_reporter;

mod episode_quota;

mod learner_experiment;

mod actor_identity;

mod reconnecting_peer;

mod metrics;

mod error;

pub use config::{ActorConfig, ActorMode, MAX_UNACKNOWLEDGED, Timeouts};
pub use error::ActorError;
pub use learner_experiment::learner_experiment;
pub use run::{ActorSummary, ExitReason, run, spawn};
