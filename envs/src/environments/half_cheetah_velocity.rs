//! HalfCheetah and a speed: a cheetah that must find out how fast to run.
//! What an episode is and what it pays: [`locomotion`](crate::locomotion).

use engram_mdp::{EnvSpec, Seed};
use serde::Deserialize;

use crate::environment::{Environment, EnvironmentParameters};
use crate::error::ParameterError;
use crate::locomotion::{HALF_CHEETAH, VelocityConfig};

const NAME: &str = "half-cheetah-velocity";

/// The parameters of the cheetah and a speed.
#[derive(Clone, Debug, Deserialize)]
#[serde(transparent)]
pub struct HalfCheetahVelocityConfig(pub VelocityConfig);

impl EnvironmentParameters for HalfCheetahVelocityConfig {
    fn validate(&self) -> Result<(), ParameterError> {
        self.0.validate()
    }

    fn spec(&self) -> EnvSpec {
        self.0.spec(NAME, &HALF_CHEETAH)
    }

    fn make(&self, seed: Seed) -> Box<dyn Environment> {
        self.0.make(NAME, &HALF_CHEETAH, seed)
    }
}
