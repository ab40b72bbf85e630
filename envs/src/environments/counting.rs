//! Frames that are numbered: proof that none is lost, doubled or out of place.
//!
//! A frame shows how many frames this environment had shown before it, over all episodes; its
//! index within the episode; and the action that led to it. The reward that comes with a frame is
//! the frame's number, so a reward that was moved by one step shows as well. Numbers are exact in
//! f32 for the first 16 million frames.

use engram_mdp::{
    Action, ActionSpec, Dtype, Ending, EnvSpec, ObservationMut, ObservationSpec, Seed,
};
use serde::Deserialize;

use crate::canvas::{ACTOR, Canvas, FAINT};
use crate::environment::{Environment, EnvironmentParameters, Outcome};
use crate::error::{ParameterError, within};

/// Number of actions to echo.
const ACTIONS: usize = 4;

/// The parameters of the counting environment.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CountingConfig {
    /// Decisions per episode.
    pub episode_length: u32,
    /// Ending of every episode.
    pub ending: EpisodeEnding,
}

/// Ending of every episode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EpisodeEnding {
    /// The environment ends it.
    Terminated,
    /// A time limit ends it.
    Truncated,
}

impl EnvironmentParameters for CountingConfig {
    fn validate(&self) -> Result<(), ParameterError> {
        within("episode_length", self.episode_length, 1..=1_000_000)
    }

    fn spec(&self) -> EnvSpec {
        EnvSpec {
            name: "counting".into(),
            observation: ObservationSpec { dtype: Dtype::F32, shape: vec![3] },
            action: ActionSpec::Discrete { count: ACTIONS },
            frame_stack: 1,
            action_repeat: 1,
        }
    }

    fn make(&self, _seed: Seed) -> Box<dyn Environment> {
        Box::new(Counting { config: self.clone(), spec: self.spec(), shown: 0, index: 0 })
    }
}

struct Counting {
    config: CountingConfig,
    spec: EnvSpec,
    /// Frames shown so far, over all episodes.
    shown: u64,
    /// The index of the current frame within its episode.
    index: u32,
}

impl Counting {
    /// Shows the next frame, and returns its number.
    fn show(&mut self, previous_action: usize, observation: ObservationMut<'_>) -> f32 {
        let number = self.shown as f32;
        self.shown += 1;
        let frame = [number, self.index as f32, previous_action as f32];
        observation.floats().copy_from_slice(&frame);
        number
    }
}

impl Environment for Counting {
    fn spec(&self) -> &EnvSpec {
        &self.spec
    }

    fn reset(&mut self, observation: ObservationMut<'_>) {
        self.index = 0;
        self.show(0, observation);
    }

    fn step(&mut self, action: Action<'_>, observation: ObservationMut<'_>) -> Outcome {
        self.index += 1;
        let reward = self.show(action.index(), observation);
        let ending = match self.config.ending {
            EpisodeEnding::Terminated => Ending::Terminated,
            EpisodeEnding::Truncated => Ending::Truncated,
        };
        let ending = (self.index == self.config.episode_length).then_some(ending);
        Outcome { ending, ..Outcome::goes_on(reward) }
    }

    fn render(&self, canvas: &mut Canvas) {
        canvas.set_caption(format!("frame {} of this episode", self.index));
        let frames = self.config.episode_length + 1;
        let shown = frames.min(100);
        let grid = canvas.grid(1, shown as usize);
        for frame in 0..shown {
            let passed = frame * frames / shown <= self.index;
            grid.fill(canvas, 0, frame as i32, if passed { ACTOR } else { FAINT });
        }
        canvas.timeline(&[self.config.episode_length], self.index);
    }
}

#[cfg(test)]
mod tests {
    use engram_mdp::{Actions, Observations, StepType};

    use super::*;
    use crate::{EnvConfig, VectorEnv};

    #[test]
    fn every_frame_is_numbered_once_and_echoes_its_action() {
        let text = "name = 'counting'\nepisode_length = 2\nending = 'truncated'";
        let config = EnvConfig::from_table(text.parse().unwrap()).unwrap();
        let mut group = VectorEnv::new(&config, 0..1, Seed::new(0));
        let mut seen = Vec::new();
        for action in [3, 1, 2, 1] {
            let Observations::F32(frame) = &group.frames().observations else { unreachable!() };
            let step_type = group.frames().step_types[0];
            seen.push((frame.clone(), group.frames().previous_rewards[0], step_type));
            group.step(&Actions::Discrete(vec![action]));
        }
        assert_eq!(
            seen,
            [
                (vec![0.0, 0.0, 0.0], 0.0, StepType::First),
                (vec![1.0, 1.0, 3.0], 1.0, StepType::Mid),
                (vec![2.0, 2.0, 1.0], 2.0, StepType::Last(Ending::Truncated)),
                (vec![3.0, 0.0, 0.0], 0.0, StepType::First),
            ]
        );
    }
}
