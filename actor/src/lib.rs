//! An actor: steps environments, asks for actions, records trajectories. It never links libtorch.
//!
//! ```text
//!             ┌───────────── one thread ─────────────┐
//! environments ◀──▶ group 0 ──┐                            │
//!             │         ├── inference ───────────────┼──▶ inference server
//! environments ◀──▶ group 1 ──┘                            │
//!             │    ├─ trajectories ──▶ experience ───┼──▶ learner
//!             │    └─ episodes ──────▶ report ───────┼──▶
//!             └──────────────────────────────────────┘
//! ```
//!
//! In reading order: [`run`] starts the tasks and joins them; `group` is the loop (observe, ask,
//! decide, record, step); `inference` asks for actions and comes back to a server that was lost;
//! `recorder` cuts what was seen into trajectories; `experience` sends them until they are
//! acknowledged; `report` tells of finished episodes; `quota` says which of them an evaluation
//! counts.
//!
//! What can be lost: the unrolls in progress, when the inference server dies, because the
//! recurrent state that they began with died as well. Nothing else: a complete trajectory is sent
//! until the learner holds it, in order, and the learner ignores repeats.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod config;

mod run;

mod rollout_group;

mod inference_stream;

mod recorder;

mod trajectory_sender;

mod episode_reporter;

mod episode_quota;

mod actor_identity;

mod reconnecting_peer;

mod metrics;

mod error;

pub use config::{ActorConfig, ActorMode, MAX_UNACKNOWLEDGED, Timeouts, generation_now};
pub use error::ActorError;
pub use run::{ActorSummary, ExitReason, run, spawn};
