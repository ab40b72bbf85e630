//! Environments: what an agent acts in.
//!
//! An [`Environment`] is one environment. [`EnvConfig`] is the `[env]` part of an experiment: it
//! names an environment, checks its parameters, and makes it. [`VectorEnv`] steps a group of them
//! in columns, resets what has ended, and records every frame, the Last ones too.
//!
//! Most environments are Rust, in this process. Those of Gymnasium (`gym`) are served by Python
//! processes; a group looks the same.
//!
//! For people, every environment draws itself as a [`Canvas`](canvas::Canvas).
//!
//! Adding an environment: `docs/guide/own-environment.md`.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod environment;

mod config;
mod error;
mod parse;

mod vector;

mod observe;

mod chance;

mod tasks;

mod libenv;

pub mod canvas;

pub mod gridworld;

pub mod locomotion;

pub mod rooms;

mod gym;

pub mod environments;

#[cfg(test)]
mod goldens;

pub use config::EnvConfig;
pub use environment::{Environment, EnvironmentParameters, Outcome};
pub use error::{EnvError, ParameterError};
pub use gym::GymConfig;
pub use observe::{Observe, Parts};
pub use tasks::Split;
pub use vector::{Mishaps, VectorEnv};
