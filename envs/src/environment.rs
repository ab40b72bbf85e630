//! The two traits of an environment: its parameters, and the environment that they make.

use std::fmt;

use engram_mdp::{Action, Ending, EnvSpec, ObservationMut, Seed};

use crate::canvas::Canvas;
use crate::error::ParameterError;

/// One environment.
pub trait Environment: Send {
    /// Its observations and actions.
    fn spec(&self) -> &EnvSpec;

    /// Starts an episode, and writes its first observation.
    fn reset(&mut self, observation: ObservationMut<'_>);

    /// Takes one decision, and writes the next observation. An action is within the spec.
    fn step(&mut self, action: Action<'_>, observation: ObservationMut<'_>) -> Outcome;

    /// Success of the episode that has just ended; `None` where the task has no such notion.
    fn success(&self) -> Option<bool> {
        None
    }

    /// Draws the whole state for people, on an empty canvas.
    fn render(&self, canvas: &mut Canvas);
}

/// Result of a decision, beside the observation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Outcome {
    /// The reward that follows the decision.
    pub reward: f32,
    /// Ending of the episode, if it ended.
    pub ending: Option<Ending>,
    /// True if the episode ended because the environment itself failed.
    pub broken: bool,
}

impl Outcome {
    /// The episode goes on.
    pub fn goes_on(reward: f32) -> Self {
        Outcome { reward, ending: None, broken: false }
    }

    /// The environment itself ended the episode.
    pub fn terminated(reward: f32) -> Self {
        Outcome { reward, ending: Some(Ending::Terminated), broken: false }
    }

    /// A time limit cut the episode off.
    pub fn truncated(reward: f32) -> Self {
        Outcome { reward, ending: Some(Ending::Truncated), broken: false }
    }

    /// The episode goes on, or is cut off when `time` has come to `limit`; both count decisions.
    pub fn until(limit: u32, time: u32, reward: f32) -> Self {
        if time < limit { Outcome::goes_on(reward) } else { Outcome::truncated(reward) }
    }

    /// The environment failed, as physics may: the episode is cut off. Its last observation must
    /// hold numbers nevertheless.
    pub fn broken() -> Self {
        Outcome { reward: 0.0, ending: Some(Ending::Truncated), broken: true }
    }
}

/// The parameters of an environment.
pub trait EnvironmentParameters: fmt::Debug + Send + Sync {
    /// Checks every parameter; the error names the range of a bad one.
    fn validate(&self) -> Result<(), ParameterError>;

    /// Observations and actions of the environment. The spec's name holds the parameters that
    /// change a frame's look, and no others: an agent trained in a short corridor may be evaluated
    /// in a long one. The parameters are valid.
    fn spec(&self) -> EnvSpec;

    /// Checks that what the environment is played by is there, where that is a library of somebody
    /// else's, or was left out of this program. The error says what brings it. Everything but `make` works without.
    fn ready(&self) -> Result<(), String> {
        Ok(())
    }

    /// The environment itself; everything random in it comes from `seed`. The parameters are valid.
    fn make(&self, seed: Seed) -> Box<dyn Environment>;

    /// The expected return of an optimal policy, where it is known.
    fn optimum(&self) -> Option<f32> {
        None
    }

    /// The share of episodes that the best policy without memory solves, where it is known.
    fn memoryless(&self) -> Option<f32> {
        None
    }
}
