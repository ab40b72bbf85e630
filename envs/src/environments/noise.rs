//! Pictures of noise: frames of any size that cost next to nothing, to measure what follows them.

use engram_mdp::{
    Action, ActionSpec, Dtype, Ending, EnvSpec, ObservationMut, ObservationSpec, Seed,
};
use rand::Rng;
use serde::Deserialize;

use crate::canvas::{ACTOR, Canvas, FAINT};
use crate::environment::{Environment, EnvironmentParameters, Outcome};
use crate::error::{ParameterError, within};

/// Frames of noise that are made once, and shown again and again.
const FRAMES: usize = 4;

/// The parameters of the noise.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoiseConfig {
    /// Pictures on top of one another.
    pub channels: usize,
    /// Rows of a picture.
    pub height: usize,
    /// Columns of a picture.
    pub width: usize,
    /// Observations that an agent sees side by side.
    pub frame_stack: u32,
    /// Number of actions; one of them, drawn for each environment, pays 1.
    pub actions: usize,
    /// Decisions after which an episode is truncated.
    pub episode_length: u32,
}

impl EnvironmentParameters for NoiseConfig {
    fn validate(&self) -> Result<(), ParameterError> {
        within("channels", self.channels, 1..=64)?;
        within("height", self.height, 1..=512)?;
        within("width", self.width, 1..=512)?;
        within("frame_stack", self.frame_stack, 1..=16)?;
        within("actions", self.actions, 2..=4096)?;
        within("episode_length", self.episode_length, 1..=1_000_000)
    }

    fn spec(&self) -> EnvSpec {
        EnvSpec {
            name: format!("noise({}x{}x{})", self.channels, self.height, self.width),
            observation: ObservationSpec {
                dtype: Dtype::U8,
                shape: vec![self.channels, self.height, self.width],
            },
            action: ActionSpec::Discrete { count: self.actions },
            frame_stack: self.frame_stack,
            action_repeat: 1,
        }
    }

    fn make(&self, seed: Seed) -> Box<dyn Environment> {
        let spec = self.spec();
        let mut frames = vec![0; FRAMES * spec.observation.len()];
        seed.derive("noise", 0).generator().fill_bytes(&mut frames);
        let best = (seed.derive("best", 0).number() % self.actions as u64) as usize;
        Box::new(Noise { episode_length: self.episode_length, spec, frames, best, index: 0 })
    }
}

struct Noise {
    episode_length: u32,
    spec: EnvSpec,
    frames: Vec<u8>,
    best: usize,
    /// The index of the current frame within its episode.
    index: u32,
}

impl Noise {
    fn show(&self, observation: ObservationMut<'_>) {
        let length = self.spec.observation.len();
        let start = self.index as usize % FRAMES * length;
        observation.bytes().copy_from_slice(&self.frames[start..start + length]);
    }
}

impl Environment for Noise {
    fn spec(&self) -> &EnvSpec {
        &self.spec
    }

    fn reset(&mut self, observation: ObservationMut<'_>) {
        self.index = 0;
        self.show(observation);
    }

    fn step(&mut self, action: Action<'_>, observation: ObservationMut<'_>) -> Outcome {
        self.index += 1;
        self.show(observation);
        let reward = f32::from(u8::from(action.index() == self.best));
        let ending = (self.index == self.episode_length).then_some(Ending::Truncated);
        Outcome { ending, ..Outcome::goes_on(reward) }
    }

    fn render(&self, canvas: &mut Canvas) {
        canvas.set_caption(format!("noise, frame {} of {}", self.index, self.episode_length));
        let grid = canvas.grid(1, FRAMES);
        for frame in 0..FRAMES {
            let shown = self.index as usize % FRAMES == frame;
            grid.fill(canvas, 0, frame as i32, if shown { ACTOR } else { FAINT });
        }
    }
}

#[cfg(test)]
mod tests {
    use engram_mdp::{Actions, Observations, StepType};

    use super::*;
    use crate::{EnvConfig, VectorEnv};

    #[test]
    fn frames_change_are_full_of_noise_and_one_action_pays() {
        let text = "name = 'noise'\nchannels = 2\nheight = 3\nwidth = 5\nframe_stack = 4\n\
                    actions = 2\nepisode_length = 3";
        let config = EnvConfig::from_table(text.parse().unwrap()).unwrap();
        let mut group = VectorEnv::new(&config, 0..1, Seed::new(0));
        let (mut seen, mut rewards) = (Vec::new(), Vec::new());
        for action in [0, 1, 1] {
            let Observations::U8(frame) = &group.frames().observations else { unreachable!() };
            seen.push(frame.clone());
            group.step(&Actions::Discrete(vec![action]));
            rewards.push(group.frames().previous_rewards[0]);
        }
        assert_eq!(group.frames().step_types, [StepType::Last(Ending::Truncated)]);
        assert!(seen[0] != seen[1] && seen[1] != seen[2] && seen[0].len() == 30);
        assert_eq!(rewards[0] + rewards[1], 1.0, "one of two actions pays");
        assert_eq!(rewards[1], rewards[2]);
    }
}
