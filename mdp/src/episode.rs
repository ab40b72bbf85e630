//! Report of a finished episode.

use crate::frame::Ending;

/// Finish of an episode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finish {
    /// The environment ended it.
    Ended(Ending),
    /// The agent was cut off from its policy, and the environment was reset.
    Interrupted,
}

/// A finished episode, measured in the environment's own rewards.
#[derive(Clone, Debug, PartialEq)]
pub struct Episode {
    /// Index of its environment within the actor.
    pub env_index: u32,
    /// Decisions taken.
    pub env_steps: u32,
    /// The undiscounted sum of rewards.
    pub episode_return: f32,
    /// Success; `None` where the task has no such notion.
    pub success: Option<bool>,
    /// Its finish.
    pub finish: Finish,
}
