//! One decision, one good arm: the least that a learner must be able to do.

use engram_mdp::{Action, ActionSpec, Dtype, EnvSpec, ObservationMut, ObservationSpec, Seed};
use serde::Deserialize;

use crate::canvas::{Canvas, FAINT, GOAL};
use crate::environment::{Environment, EnvironmentParameters, Outcome};
use crate::error::{ParameterError, within};

/// The parameters of the bandit.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BanditConfig {
    /// Number of arms.
    pub arms: usize,
    /// The arm that pays 1; the others pay nothing.
    pub best: usize,
}

impl EnvironmentParameters for BanditConfig {
    fn validate(&self) -> Result<(), ParameterError> {
        within("arms", self.arms, 2..=4096)?;
        within("best", self.best, 0..=self.arms - 1)
    }

    fn spec(&self) -> EnvSpec {
        EnvSpec {
            name: format!("bandit(arms={})", self.arms),
            observation: ObservationSpec { dtype: Dtype::F32, shape: vec![1] },
            action: ActionSpec::Discrete { count: self.arms },
            frame_stack: 1,
            action_repeat: 1,
        }
    }

    fn make(&self, _seed: Seed) -> Box<dyn Environment> {
        Box::new(Bandit { config: self.clone(), spec: self.spec(), success: false })
    }

    fn optimum(&self) -> Option<f32> {
        Some(1.0)
    }
}

struct Bandit {
    config: BanditConfig,
    spec: EnvSpec,
    success: bool,
}

impl Environment for Bandit {
    fn spec(&self) -> &EnvSpec {
        &self.spec
    }

    fn reset(&mut self, observation: ObservationMut<'_>) {
        observation.floats().fill(1.0);
    }

    fn step(&mut self, action: Action<'_>, observation: ObservationMut<'_>) -> Outcome {
        observation.floats().fill(1.0);
        self.success = action.index() == self.config.best;
        Outcome::terminated(f32::from(u8::from(self.success)))
    }

    fn success(&self) -> Option<bool> {
        Some(self.success)
    }

    fn render(&self, canvas: &mut Canvas) {
        canvas.set_caption("one arm pays");
        let grid = canvas.grid(1, self.config.arms);
        for arm in 0..self.config.arms {
            let color = if arm == self.config.best { GOAL } else { FAINT };
            grid.fill(canvas, 0, arm as i32, color);
        }
    }
}
