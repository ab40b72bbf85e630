//! Environments: what an agent acts in.
//!
//! An [`Environment`] is one environment. [`EnvConfig`] is the `[env]` part of an experiment: it
//! names an environment, checks its parameters, and makes it. [`VectorEnv`] steps a group of them
//! in columns, resets what has ended, and records every frame, the Last ones too.
//!
//! | environment | solved by | after |
//! |---|---|---|
//! | [`counting`], [`bandit`], [`delayed_reward`], [`truncation`] | probes: each fails for one reason | – |
//! | [`recall`] | remembering one cue | – |
//! | [`catch`] | a reaction | bsuite |
//! | [`cartpole`], [`pendulum`] | control, from positions or velocities alone if asked | Gymnasium |
//! | [`tmaze`] | memory (passive), memory and credit (active) | Ni et al. 2023 |
//! | [`visual_match`] | memory, past much that pays | Ni et al. 2023 |
//! | [`key_to_door`] | credit, past much that pays | Ni et al. 2023 |
//! | [`hopper`] | locomotion, the first of a family ([`locomotion`]) | PyBullet |
//!
//! For people, every environment draws itself as a [`Canvas`](canvas::Canvas).
//!
//! A new environment is one file with a `Config` that implements [`EnvironmentParameters`], and one
//! arm of [`EnvConfig`].

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod environment;

mod config;
mod error;
mod parse;

mod vector;

mod observe;

pub mod canvas;

mod probe;

pub mod cartpole;
pub mod catch;
pub mod gridworld;
pub mod hopper;
pub mod key_to_door;
pub mod locomotion;
pub mod pendulum;
pub mod tmaze;
pub mod visual_match;

#[cfg(test)]
mod goldens;

pub use config::EnvConfig;
pub use environment::{Environment, EnvironmentParameters, Outcome};
pub use error::EnvError;
pub use observe::Observe;
pub use probe::{bandit, counting, delayed_reward, recall, truncation};
pub use vector::VectorEnv;
