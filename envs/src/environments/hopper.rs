//! Hopper: a torso on one leg with thigh, shin and foot, to hop to the right without falling. The
//! first of a family; the shared parts are in [`locomotion`](crate::locomotion).
//!
//! Observed in full, by positions alone (`p`), or by velocities alone (`v`): the latter two are the
//! classic partially observable versions (Ni et al. 2022, <https://arxiv.org/abs/2110.05038>).

use std::f32::consts::FRAC_PI_4;

use engram_mdp::{EnvSpec, Seed};
use serde::Deserialize;

use crate::environment::{Environment, EnvironmentParameters};
use crate::error::{ParameterError, within};
use crate::locomotion::{
    Capsule, GroundContact, Limb, Locomotion, LocomotionSettings, Parent, Robot,
};
use crate::observe::{ObservationLayout, Observe};

/// Thigh, leg and foot hang below one another in the plane y = 0.
static HOPPER: Robot = Robot {
    name: "hopper",
    torso: Capsule { from: [0.0, 0.0, 1.45], to: [0.0, 0.0, 1.05], radius: 0.05 },
    limbs: &[
        Limb {
            parent: Parent::Torso,
            hinge: [0.0, 0.0, 1.05],
            axis: [0.0, -1.0, 0.0],
            limits: [-2.618, 0.0],
            torque: 75.0,
            capsule: Capsule { from: [0.0, 0.0, 1.05], to: [0.0, 0.0, 0.6], radius: 0.05 },
            ground_contact: GroundContact::Hidden,
        },
        Limb {
            parent: Parent::Limb(0),
            hinge: [0.0, 0.0, 0.6],
            axis: [0.0, -1.0, 0.0],
            limits: [-2.618, 0.0],
            torque: 75.0,
            capsule: Capsule { from: [0.0, 0.0, 0.6], to: [0.0, 0.0, 0.1], radius: 0.04 },
            ground_contact: GroundContact::Hidden,
        },
        Limb {
            parent: Parent::Limb(1),
            hinge: [0.0, 0.0, 0.1],
            axis: [0.0, -1.0, 0.0],
            limits: [-FRAC_PI_4, FRAC_PI_4],
            torque: 75.0,
            capsule: Capsule { from: [-0.13, 0.0, 0.1], to: [0.26, 0.0, 0.1], radius: 0.06 },
            ground_contact: GroundContact::Observed,
        },
    ],
    friction: 0.8,
    root_parts: 3,
    min_height: 0.8,
    max_pitch: 1.0,
};

const LAYOUT: ObservationLayout = ObservationLayout {
    full: &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14],
    positions: &[0, 1, 2, 6, 7, 8, 10, 12, 14],
    velocities: &[3, 4, 5, 9, 11, 13],
};

/// The parameters of Hopper.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HopperConfig {
    /// Decisions after which an episode is cut off; 1000 in the original.
    pub max_steps: u32,
    /// Every joint starts at an angle drawn from plus or minus this, in radians; 0.1 in the
    /// original.
    pub reset_noise: f32,
    /// Observed part of the state.
    pub observe: Observe,
}

impl HopperConfig {
    fn settings(&self) -> LocomotionSettings {
        LocomotionSettings {
            shown: LAYOUT.shown(self.observe),
            observe: self.observe,
            max_steps: self.max_steps,
            reset_noise: self.reset_noise,
        }
    }
}

impl EnvironmentParameters for HopperConfig {
    fn validate(&self) -> Result<(), ParameterError> {
        within("max_steps", self.max_steps, 1..=1_000_000)?;
        within("reset_noise", self.reset_noise, 0.0..=0.5)
    }

    fn spec(&self) -> EnvSpec {
        self.settings().spec(&HOPPER)
    }

    fn make(&self, seed: Seed) -> Box<dyn Environment> {
        Box::new(Locomotion::new(&HOPPER, self.settings(), seed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::locomotion::flight;

    #[test]
    fn in_flight_the_center_of_mass_falls_freely_whatever_the_legs_do() {
        // 36 substeps of 4 ms: 0.111 m. The turning leg costs the integrator a few percent of it;
        // Bullet's falls 0.130 m and drifts 8 mm under the same torques.
        let (fall, drift) = flight(&HOPPER, &[-0.3, -0.5, 0.2], 9);
        assert!((fall - 0.111).abs() < 0.012, "it fell {fall}");
        assert!(drift.abs() < 0.002, "it drifted {drift}");
    }

    #[test]
    fn positions_and_velocities_together_are_the_whole_observation() {
        assert_eq!(LAYOUT.full.len(), HOPPER.observation_len());
        let mut parts = [LAYOUT.positions, LAYOUT.velocities].concat();
        parts.sort_unstable();
        assert_eq!(parts, LAYOUT.full, "every number is a position or a velocity");
    }
}
