//! The keys that every robot has, and the spec that they make.

use engram_mdp::{ActionSpec, Dtype, EnvSpec, ObservationSpec, Seed};
use serde::Deserialize;

use super::gravity::Gravity;
use super::robot::Robot;
use super::task::Task;
use super::walk::Locomotion;
use crate::environment::Environment;
use crate::error::{ParameterError, within};
use crate::observe::Observe;

/// The parameters of a robot that moves to the right.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LocomotionConfig {
    /// Decisions after which an episode is cut off; 1000 in the original.
    pub max_steps: u32,
    /// Every joint starts at an angle drawn from plus or minus this, in radians; 0.1 in the
    /// original.
    pub reset_noise: f32,
    /// Observed part of the state.
    pub observe: Observe,
    /// Gravity of an episode; fixed at 9.8 in the original.
    pub gravity: Gravity,
}

impl Task for LocomotionConfig {
    fn validate(&self) -> Result<(), ParameterError> {
        within("max_steps", self.max_steps, 1..=1_000_000)?;
        within("reset_noise", self.reset_noise, 0.0..=0.5)?;
        self.gravity.validate()
    }

    fn spec(&self, name: &str, robot: &Robot) -> EnvSpec {
        EnvSpec {
            name: format!("{name}(observe={})", self.observe),
            observation: ObservationSpec {
                dtype: Dtype::F32,
                shape: vec![shown(robot, self.observe).len()],
            },
            action: ActionSpec::Continuous { dimensions: robot.limbs.len() },
            action_repeat: 1,
        }
    }

    fn make(&self, _name: &str, robot: &'static Robot, seed: Seed) -> Box<dyn Environment> {
        Box::new(Locomotion::new(robot, self, seed))
    }
}

/// The indices of the full observation that are shown.
pub(super) fn shown(robot: &Robot, observe: Observe) -> Vec<usize> {
    let is_velocity = |index: &usize| robot.velocities().any(|velocity| velocity == *index);
    let all = 0..robot.observation_len();
    match observe {
        Observe::Full => all.collect(),
        Observe::Positions => all.filter(|index| !is_velocity(index)).collect(),
        Observe::Velocities => all.filter(is_velocity).collect(),
    }
}
