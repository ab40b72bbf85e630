//! Environments: what an agent acts in.
//!
//! An [`Environment`] is one environment. [`EnvConfig`] is the `[env]` part of an experiment: it
//! names an environment, checks its parameters, and makes it. [`VectorEnv`] steps a group of them
//! in columns, resets what has ended, and records every frame, the Last ones too.
//!
//! For people, every environment draws itself as a [`Canvas`](canvas::Canvas).
//!
//! # A new environment
//!
//! One file, one entry, one configuration:
//!
//! 1. `envs/src/environments/NAME.rs`: a `Config` whose fields are the keys of `[env]` (each with a
//!    doc comment that is its manual; `#[serde(deny_unknown_fields)]`, no defaults), its
//!    [`EnvironmentParameters`] (`validate`, `spec`, `make`, and `optimum` where it is known), and
//!    the [`Environment`] that it makes (`reset`, `step`, `render`, and `success` where there is
//!    such a thing). All that is random comes from the seed.
//! 2. `envs/src/environments.rs`: a `pub mod` line, and an entry of `REGISTRY` with its name.
//! 3. `configs/env/NAME.toml`: a comment that says what it is, `name = "NAME"`, every key.
//!
//! The tests in `envs/tests/environments.rs` find it by its configuration: they play it and check
//! spec, frames, determinism and seeds. `engram render NAME` draws it, `engram train EXPERIMENT
//! --env NAME` trains on it.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod environment;

mod config;
mod error;
mod parse;

mod vector;

mod observe;

pub mod canvas;

pub mod gridworld;

pub mod locomotion;

pub mod environments;

#[cfg(test)]
mod goldens;

pub use config::EnvConfig;
pub use environment::{Environment, EnvironmentParameters, Outcome};
pub use error::{EnvError, ParameterError};
pub use observe::Observe;
pub use vector::VectorEnv;
