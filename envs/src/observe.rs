//! Observed part of a physical environment: all of it, or positions or velocities alone.
//!
//! Hiding half of the state turns a control task into a memory task: an agent that sees only
//! positions must estimate velocities, and one that sees only velocities must integrate them
//! (Han et al. 2020; Ni et al. 2022, <https://arxiv.org/abs/2110.05038>).
//!
//! [`Observe`] chooses for robots. `observe/view.rs` is for worlds whose states have other parts too,
//! and shows windows into the past.

mod view;

use std::fmt;

use serde::Deserialize;

pub use view::Parts;
pub(crate) use view::{Part, StateLayout, View};

/// Observed part of a physical environment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Observe {
    /// Everything.
    Full,
    /// Positions only; `p` for short.
    #[serde(alias = "p")]
    Positions,
    /// Velocities only; `v` for short.
    #[serde(alias = "v")]
    Velocities,
}

impl fmt::Display for Observe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Observe::Full => "full",
            Observe::Positions => "positions",
            Observe::Velocities => "velocities",
        })
    }
}
