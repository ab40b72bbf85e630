//! Peers of the learner: actors bring trajectories, inference servers take weights, evaluators
//! play with these.
//!
//! ```text
//! actors ──▶ push ──▶ membership ──▶ queue ──▶ (batches)
//!            (a task per actor; membership: who is who, and their stream_positions;
//!            unroll_grants: the right to begin unrolls)
//! (run)  ──▶ publisher ──▶ subscribe ──▶ inference servers
//!                          (a task each)
//! (run)  ──▶ evaluation_queue ──▶ evaluate ──▶ evaluators
//!                                 (a task each) └──▶ (storage)
//! ```

pub(crate) mod context;

pub(crate) mod refusal;

pub(crate) mod service;

pub(crate) mod shared_stats;

pub(crate) mod ranks;

pub(crate) mod push;

pub(crate) mod subscribe;

pub(crate) mod evaluate;

pub mod evaluation_queue;

pub mod membership;

pub mod stream_positions;

pub mod queue;

pub mod unroll_grants;

pub mod publisher;
