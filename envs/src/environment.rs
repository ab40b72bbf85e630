//! What an environment is, and what its parameters say of it before it is made.

use engram_mdp::{Action, Ending, EnvSpec, ObservationMut, Seed};

use crate::EnvError;
use crate::canvas::Canvas;

/// One environment.
pub trait Environment: Send {
    /// What it shows and accepts.
    fn spec(&self) -> &EnvSpec;

    /// Starts an episode, and writes its first observation.
    fn reset(&mut self, observation: ObservationMut<'_>);

    /// Takes one decision, and writes what is seen after it. An action is within the spec.
    fn step(&mut self, action: Action<'_>, observation: ObservationMut<'_>) -> Outcome;

    /// Whether the task was solved, where the environment can tell. Asked when the episode has ended.
    fn success(&self) -> Option<bool> {
        None
    }

    /// Draws what is there, for people: more than the agent may see. The canvas is empty.
    fn render(&self, canvas: &mut Canvas);
}

/// What a decision led to, beside the observation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Outcome {
    /// The reward that follows the decision.
    pub reward: f32,
    /// How the episode ended, if it did.
    pub ending: Option<Ending>,
}

impl Outcome {
    /// The episode goes on.
    pub fn goes_on(reward: f32) -> Self {
        Outcome { reward, ending: None }
    }

    /// The environment itself ended the episode.
    pub fn terminated(reward: f32) -> Self {
        Outcome { reward, ending: Some(Ending::Terminated) }
    }

    /// A time limit cut the episode off.
    pub fn truncated(reward: f32) -> Self {
        Outcome { reward, ending: Some(Ending::Truncated) }
    }
}

/// The parameters of an environment.
pub trait EnvironmentParameters {
    /// Checks every parameter; the error names the range of a bad one.
    fn validate(&self) -> Result<(), EnvError>;

    /// What the environment shows and accepts. Its name carries the parameters that change what a frame
    /// looks like, and no others: an agent trained in a short corridor may be evaluated in a long
    /// one. The parameters are valid.
    fn spec(&self) -> EnvSpec;

    /// The environment itself; everything random in it comes from `seed`. The parameters are valid.
    fn make(&self, seed: Seed) -> Box<dyn Environment>;

    /// The expected return of an optimal policy, where it is known.
    fn optimum(&self) -> Option<f32>;

    /// The share of episodes that the best policy without memory solves, where it is known.
    fn memoryless(&self) -> Option<f32> {
        None
    }
}
