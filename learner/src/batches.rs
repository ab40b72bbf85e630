//! Batches, and how trajectories become them.
//!
//! From streams: [`selector`] chooses the trajectories, [`batcher`] turns them into tensors, and
//! [`carry_table`] keeps what an unroll leaves to the next one of its stream. From a replay:
//! [`replay_worker`] puts trajectories in and draws sequences out.

pub mod batch;

pub mod batcher;

pub mod carry_table;

pub mod random_shift;

pub mod replay_worker;

pub mod selector;
