//! A cue, a delay, a question: the smallest task that cannot be solved without memory.
//!
//! The first frame shows one of K cues. `delay` blank frames follow, at which actions do nothing.
//! At the last frame with a decision the agent is asked, and the action must equal the cue: the
//! reward is 1 if it does, and 0 if not. Without memory nothing better than 1 in K is possible.
//!
//! ```text
//! frame       0      1 … delay   delay + 1   delay + 2
//!            cue       blank       query       (Last)
//! ```

use engram_mdp::{
    Action, ActionSpec, Dtype, EnvSpec, Generator, ObservationMut, ObservationSpec, Seed,
};
use rand::RngExt;
use serde::Deserialize;

use crate::canvas::{Canvas, FAINT, GOAL, mix};
use crate::environment::{Environment, EnvironmentParameters, Outcome};
use crate::error::{ParameterError, within};

/// The parameters of recall.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecallConfig {
    /// Blank frames between the cue and the question.
    pub delay: u32,
    /// Number of cues, and of actions.
    pub choices: usize,
}

impl EnvironmentParameters for RecallConfig {
    fn validate(&self) -> Result<(), ParameterError> {
        within("delay", self.delay, 0..=1_000_000)?;
        within("choices", self.choices, 2..=4096)
    }

    fn spec(&self) -> EnvSpec {
        EnvSpec {
            name: format!("recall(choices={})", self.choices),
            observation: ObservationSpec { dtype: Dtype::F32, shape: vec![self.choices + 2] },
            action: ActionSpec::Discrete { count: self.choices },
            frame_stack: 1,
            action_repeat: 1,
        }
    }

    fn make(&self, seed: Seed) -> Box<dyn Environment> {
        Box::new(Recall {
            spec: self.spec(),
            choices: self.choices,
            query_time: self.delay + 1,
            generator: seed.generator(),
            cue: 0,
            time: 0,
            success: false,
        })
    }

    fn optimum(&self) -> Option<f32> {
        Some(1.0)
    }

    fn memoryless(&self) -> Option<f32> {
        Some(1.0 / self.choices as f32)
    }
}

struct Recall {
    spec: EnvSpec,
    choices: usize,
    /// The index of the frame that asks.
    query_time: u32,
    generator: Generator,
    cue: usize,
    /// The index of the current frame.
    time: u32,
    success: bool,
}

impl Environment for Recall {
    fn spec(&self) -> &EnvSpec {
        &self.spec
    }

    fn reset(&mut self, observation: ObservationMut<'_>) {
        self.cue = self.generator.random_range(0..self.choices);
        self.time = 0;
        let row = observation.floats();
        row.fill(0.0);
        row[self.cue] = 1.0;
        row[self.choices] = 1.0;
    }

    fn step(&mut self, action: Action<'_>, observation: ObservationMut<'_>) -> Outcome {
        let row = observation.floats();
        row.fill(0.0);
        self.time += 1;
        if self.time > self.query_time {
            self.success = action.index() == self.cue;
            return Outcome::terminated(f32::from(u8::from(self.success)));
        }
        if self.time == self.query_time {
            row[self.choices + 1] = 1.0;
        }
        Outcome::goes_on(0.0)
    }

    fn success(&self) -> Option<bool> {
        Some(self.success)
    }

    fn render(&self, canvas: &mut Canvas) {
        canvas.set_caption(match self.time {
            0 => "the cue is shown",
            time if time < self.query_time => "wait, and remember the cue",
            time if time == self.query_time => "which cue was it?",
            _ => "the answer was given",
        });
        let side = (self.choices as f64).sqrt().ceil() as usize;
        let columns = if self.choices <= 8 { self.choices } else { side };
        let grid = canvas.grid(self.choices.div_ceil(columns), columns);
        for choice in 0..self.choices {
            let (row, column) = ((choice / columns) as i32, (choice % columns) as i32);
            let cue = if self.time == 0 { GOAL } else { mix(FAINT, GOAL, 0.35) };
            grid.fill(canvas, row, column, if choice == self.cue { cue } else { FAINT });
        }
        canvas.timeline(&[1, self.query_time - 1, 1], self.time);
    }
}

#[cfg(test)]
mod tests {
    use engram_mdp::{Actions, Episode, Observations};

    use super::*;
    use crate::{EnvConfig, VectorEnv};

    const DELAY: u32 = 3;
    const CHOICES: usize = 4;

    /// Plays 400 episodes; the policy is shown every frame.
    fn play(mut policy: impl FnMut(&[f32]) -> i32) -> Vec<Episode> {
        let text = format!("name = 'recall'\ndelay = {DELAY}\nchoices = {CHOICES}");
        let config = EnvConfig::from_table(text.parse().unwrap()).unwrap();
        let mut group = VectorEnv::new(&config, 0..1, Seed::new(1));
        let mut episodes = Vec::new();
        while episodes.len() < 400 {
            let Observations::F32(frame) = &group.frames().observations else { unreachable!() };
            let action = policy(frame);
            episodes.extend_from_slice(group.step(&Actions::Discrete(vec![action])));
        }
        episodes
    }

    fn mean_return(episodes: &[Episode]) -> f32 {
        episodes.iter().map(|episode| episode.episode_return).sum::<f32>() / episodes.len() as f32
    }

    #[test]
    fn remembering_the_cue_is_always_right() {
        let mut memory = 0;
        let episodes = play(|frame| {
            if frame[CHOICES] == 1.0 {
                memory = frame[..CHOICES].iter().position(|&x| x == 1.0).unwrap() as i32;
            }
            memory
        });
        assert_eq!(mean_return(&episodes), 1.0);
        assert!(episodes.iter().all(|episode| episode.success == Some(true)));
        assert!(episodes.iter().all(|episode| episode.env_steps == DELAY + 2));
    }

    #[test]
    fn without_memory_one_in_k_is_right() {
        // Three standard errors of a mean over 400 coins.
        let chance = 1.0 / CHOICES as f32;
        let tolerance = 3.0 * (chance * (1.0 - chance) / 400.0).sqrt();
        let found = mean_return(&play(|_| 2));
        assert!((found - chance).abs() < tolerance, "{found} is not {chance} ± {tolerance}");
    }

    #[test]
    fn only_the_first_frame_shows_the_cue_and_only_the_last_decision_is_asked() {
        let mut frames = Vec::new();
        play(|frame| {
            frames.push(frame.to_vec());
            0
        });
        let episode = &frames[..DELAY as usize + 3];
        assert_eq!(episode[0][CHOICES..], [1.0, 0.0]);
        assert_eq!(episode[0][..CHOICES].iter().sum::<f32>(), 1.0);
        let blank = vec![0.0; CHOICES + 2];
        assert!(episode[1..=DELAY as usize].iter().all(|frame| *frame == blank));
        let mut query = blank.clone();
        query[CHOICES + 1] = 1.0;
        assert_eq!(episode[DELAY as usize + 1], query);
        assert_eq!(episode[DELAY as usize + 2], blank);
    }
}
