//! The keys that every robot has, and what they show of it.

use serde::Deserialize;

use super::gravity::Gravity;
use super::robot::Robot;
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
