//! Storage: a run on the disk.
//!
//! [`run_folder`] is what a run leaves, [`checkpoint`] what it resumes from, [`checkpoint_writer`] the
//! thread that waits for the disk. [`evaluation_record`] keeps what evaluations came to:
//! [`best_checkpoint`], [`final_evaluation`]. [`warm_start`] reads the weights of another run.

pub mod checkpoint;

pub mod checkpoint_writer;

pub mod evaluation_record;

pub mod best_checkpoint;

pub mod final_evaluation;

pub mod run_folder;

pub(crate) mod tensors;

pub mod warm_start;

pub(crate) mod files;

pub mod checkpoint_error;

#[cfg(test)]
mod crash_tests;
