//! Evaluator: plays greedy episodes with what a run has learned.
//!
//! ```text
//! learner ──evaluation, weights──▶ run ──▶ greedy_episodes: an actor and an inference server
//!    ▲                              │           │
//!    └───────────── score ──────────┴───────────┘
//! ```
//!
//! [`run`](run()) plays a learner's evaluations until the run is over. [`GreedyEpisodes`] are played
//! by an actor and an inference server that have a thread to themselves, with one version of the
//! weights.

#![deny(missing_docs)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod run;

mod greedy_episodes;

mod error;

pub use error::EvaluatorError;
pub use greedy_episodes::GreedyEpisodes;
pub use run::{EvaluatorConfig, run};
