//! A reward of 1 forever, cut off by time: the value of every frame is `1 / (1 - gamma)`, but only
//! for a learner that bootstraps from the last frame of a truncated episode.

use engram_mdp::{Action, ActionSpec, Dtype, EnvSpec, ObservationMut, ObservationSpec, Seed};
use serde::Deserialize;

use crate::canvas::{Canvas, GOAL};
use crate::environment::{Environment, EnvironmentParameters, Outcome};
use crate::error::{ParameterError, within};

/// The parameters of the truncation probe.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TruncationConfig {
    /// Decisions after which an episode is cut off.
    pub episode_length: u32,
}

impl EnvironmentParameters for TruncationConfig {
    fn validate(&self) -> Result<(), ParameterError> {
        within("episode_length", self.episode_length, 1..=1_000_000)
    }

    fn spec(&self) -> EnvSpec {
        EnvSpec {
            name: "truncation".into(),
            observation: ObservationSpec { dtype: Dtype::F32, shape: vec![1] },
            action: ActionSpec::Discrete { count: 2 },
            frame_stack: 1,
            action_repeat: 1,
        }
    }

    fn make(&self, _seed: Seed) -> Box<dyn Environment> {
        Box::new(Truncation { config: self.clone(), spec: self.spec(), time: 0 })
    }

    fn optimum(&self) -> Option<f32> {
        Some(self.episode_length as f32)
    }
}

struct Truncation {
    config: TruncationConfig,
    spec: EnvSpec,
    time: u32,
}

impl Environment for Truncation {
    fn spec(&self) -> &EnvSpec {
        &self.spec
    }

    fn reset(&mut self, observation: ObservationMut<'_>) {
        self.time = 0;
        observation.floats().fill(1.0);
    }

    fn step(&mut self, _action: Action<'_>, observation: ObservationMut<'_>) -> Outcome {
        observation.floats().fill(1.0);
        self.time += 1;
        if self.time < self.config.episode_length {
            return Outcome::goes_on(1.0);
        }
        Outcome::truncated(1.0)
    }

    fn render(&self, canvas: &mut Canvas) {
        canvas.set_caption("every decision pays 1, until time cuts the episode off");
        let area = canvas.area();
        canvas.disc([area.width / 2.0, area.height / 2.0], 0.2 * area.height, GOAL);
        canvas.timeline(&[self.config.episode_length], self.time);
    }
}
