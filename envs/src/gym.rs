//! Gymnasium's environments, served by a Python process: `name = "gym"` in `[env]`.
//!
//! | file | is |
//! |---|---|
//! | [`environment`] | the keys with the spec that only the server knows |
//! | [`config`] | the keys |
//! | [`wire`] | the protocol's messages |
//! | [`process`] | the server's process: its start, its log, its end |
//! | [`server`] | one connection: spec, steps, pictures |
//! | [`group`] | the servers of a group, and the replacement of those that are lost |
//!
//! The other side is `envs/python`, a package that is installed with pip.

mod environment;

mod config;

mod wire;

mod process;

mod server;

mod group;

pub use config::GymConfig;
pub(crate) use config::NAME;
pub(crate) use environment::GymEnvironment;
pub(crate) use group::{Order, RowEnd, ServedGroup};
