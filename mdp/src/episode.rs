//! What is said of a finished episode.

use crate::frame::Ending;

/// How an episode was left.
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
    /// Which of the actor's environments played it.
    pub env_index: u32,
    /// Decisions taken.
    pub env_steps: u32,
    /// The undiscounted sum of rewards.
    pub episode_return: f32,
    /// Whether the task was solved, where the environment can tell.
    pub success: Option<bool>,
    /// How it was left.
    pub finish: Finish,
}
