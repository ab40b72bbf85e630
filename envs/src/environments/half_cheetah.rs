//! HalfCheetah: a back with a head, a hind and a front leg, to run to the right on its feet; the
//! shared parts are in [`locomotion`](crate::locomotion). It cannot fall for good: an episode lasts
//! until its time is over.

use engram_mdp::{EnvSpec, Seed};
use serde::Deserialize;

use crate::environment::{Environment, EnvironmentParameters};
use crate::error::ParameterError;
use crate::locomotion::{HALF_CHEETAH, LocomotionConfig};

/// The parameters of HalfCheetah.
#[derive(Clone, Debug, Deserialize)]
#[serde(transparent)]
pub struct HalfCheetahConfig(pub LocomotionConfig);

impl EnvironmentParameters for HalfCheetahConfig {
    fn validate(&self) -> Result<(), ParameterError> {
        self.0.validate()
    }

    fn spec(&self) -> EnvSpec {
        self.0.spec(&HALF_CHEETAH)
    }

    fn make(&self, seed: Seed) -> Box<dyn Environment> {
        self.0.make(&HALF_CHEETAH, seed)
    }
}
