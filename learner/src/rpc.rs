//! Who talks to the learner: actors bring trajectories, inference servers take weights.
//!
//! ```text
//! actors ──▶ push ──▶ stream_positions ──▶ queue ──▶ (batches)
//!            (a task per actor)
//! (run)  ──▶ publisher ──▶ subscribe ──▶ inference servers
//!                          (a task each)
//! ```

pub(crate) mod service;

pub(crate) mod push;

pub(crate) mod subscribe;

pub mod stream_positions;

pub mod queue;

pub mod publisher;

#[cfg(test)]
mod service_tests;
