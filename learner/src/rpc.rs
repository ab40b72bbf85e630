//! Peers of the learner: actors bring trajectories, inference servers take weights.
//!
//! ```text
//! actors ──▶ push ──▶ stream_positions ──▶ queue ──▶ (batches)
//!            (a task per actor; unroll_grants: the right to begin unrolls)
//! (run)  ──▶ publisher ──▶ subscribe ──▶ inference servers
//!                          (a task each)
//! ```

pub(crate) mod context;

pub(crate) mod refusal;

pub(crate) mod service;

pub(crate) mod shared_stats;

pub(crate) mod ranks;

pub(crate) mod push;

pub(crate) mod subscribe;

pub mod stream_positions;

pub mod queue;

pub mod unroll_grants;

pub mod publisher;
