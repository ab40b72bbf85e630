//! The first decision is paid for many steps later: credit must travel back in time.
//!
//! Action 1 at the first frame earns a reward of 1 at the end of the episode, action 0 nothing.
//! The decisions between change nothing. No memory is needed, since nothing has to be recalled.

use engram_mdp::{Action, ActionSpec, Dtype, EnvSpec, ObservationMut, ObservationSpec, Seed};
use serde::Deserialize;

use crate::canvas::{ACTOR, Canvas, FAINT, GOAL};
use crate::environment::{Environment, EnvironmentParameters, Outcome};
use crate::error::{ParameterError, within};

/// The action at the first frame that earns the reward.
const RIGHT: usize = 1;

/// The parameters of the delayed reward.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DelayedRewardConfig {
    /// Decisions between the first one and the reward.
    pub delay: u32,
}

impl EnvironmentParameters for DelayedRewardConfig {
    fn validate(&self) -> Result<(), ParameterError> {
        within("delay", self.delay, 0..=1_000_000)
    }

    fn spec(&self) -> EnvSpec {
        EnvSpec {
            name: "delayed-reward".into(),
            observation: ObservationSpec { dtype: Dtype::F32, shape: vec![2] },
            action: ActionSpec::Discrete { count: 2 },
            frame_stack: 1,
            action_repeat: 1,
        }
    }

    fn make(&self, _seed: Seed) -> Box<dyn Environment> {
        let (config, spec) = (self.clone(), self.spec());
        Box::new(DelayedReward { config, spec, time: 0, right: false })
    }

    fn optimum(&self) -> Option<f32> {
        Some(1.0)
    }
}

struct DelayedReward {
    config: DelayedRewardConfig,
    spec: EnvSpec,
    /// Decisions taken in this episode.
    time: u32,
    /// True if the first decision was the right one.
    right: bool,
}

impl Environment for DelayedReward {
    fn spec(&self) -> &EnvSpec {
        &self.spec
    }

    fn reset(&mut self, observation: ObservationMut<'_>) {
        self.time = 0;
        observation.floats().copy_from_slice(&[1.0, 0.0]);
    }

    fn step(&mut self, action: Action<'_>, observation: ObservationMut<'_>) -> Outcome {
        observation.floats().copy_from_slice(&[0.0, 1.0]);
        if self.time == 0 {
            self.right = action.index() == RIGHT;
        }
        self.time += 1;
        if self.time <= self.config.delay {
            return Outcome::goes_on(0.0);
        }
        Outcome::terminated(f32::from(u8::from(self.right)))
    }

    fn success(&self) -> Option<bool> {
        Some(self.right)
    }

    fn render(&self, canvas: &mut Canvas) {
        canvas.set_caption(match (self.time, self.right) {
            (0, _) => "now decide",
            (_, true) => "the right decision was taken, and will be paid for",
            (_, false) => "the wrong decision was taken",
        });
        let grid = canvas.grid(1, 2);
        for action in [0, 1] {
            let taken = self.time > 0 && (action == RIGHT) == self.right;
            let color = if action == RIGHT { GOAL } else { FAINT };
            grid.fill(canvas, 0, action as i32, color);
            if taken {
                canvas.disc(grid.center(0, action as i32), 0.2 * grid.side, ACTOR);
            }
        }
        canvas.timeline(&[1, self.config.delay], self.time);
    }
}
