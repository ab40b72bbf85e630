//! Hopper: a torso on one leg with thigh, shin and foot, to hop to the right without falling. The
//! first of a family; the shared parts are in [`locomotion`](crate::locomotion).
//!
//! Observed in full, by positions alone (`p`), or by velocities alone (`v`): the latter two are the
//! classic partially observable versions (Ni et al. 2022, <https://arxiv.org/abs/2110.05038>).

use engram_mdp::{EnvSpec, Seed};
use serde::Deserialize;

use crate::environment::{Environment, EnvironmentParameters};
use crate::error::ParameterError;
use crate::locomotion::{HOPPER, LocomotionConfig};

/// The parameters of Hopper.
#[derive(Clone, Debug, Deserialize)]
#[serde(transparent)]
pub struct HopperConfig(pub LocomotionConfig);

impl EnvironmentParameters for HopperConfig {
    fn validate(&self) -> Result<(), ParameterError> {
        self.0.validate()
    }

    fn spec(&self) -> EnvSpec {
        self.0.spec(&HOPPER)
    }

    fn make(&self, seed: Seed) -> Box<dyn Environment> {
        self.0.make(&HOPPER, seed)
    }
}
