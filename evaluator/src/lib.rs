//! Evaluator: plays greedy episodes with what a run has learned.
//!
//! ```text
//! learner ──evaluation, weights──▶ run ──▶ evaluation_episodes: an actor and an inference server
//!    ▲                              │           │
//!    └───────────── score ──────────┴───────────┘
//! ```
//!
//! [`run`](run()) plays a learner's evaluations until the run is over. [`EvaluationEpisodes`] are played
//! by an actor and an inference server that have a thread to themselves, with one version of the
//! weights.

#![deny(missing_docs)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod run;

mod evaluation_episodes;

mod error;

pub use error::EvaluatorError;
pub use evaluation_episodes::EvaluationEpisodes;
pub use run::{EvaluatorConfig, run};
