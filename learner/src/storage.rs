//! Storage: a run on the disk.
//!
//! [`run_folder`] is what a run leaves, [`checkpoint`] what it resumes from, [`checkpoint_writer`]
//! the thread that waits for the disk. [`warm_start`] reads the weights of another run.

pub mod checkpoint;

pub mod checkpoint_writer;

pub mod run_folder;

pub(crate) mod tensors;

pub mod warm_start;
