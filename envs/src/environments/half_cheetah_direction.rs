//! HalfCheetah and a direction: a cheetah that must find out whether to run to the right or to the
//! left.
//! What an episode is and what it pays: [`locomotion`](crate::locomotion).

use engram_mdp::{EnvSpec, Seed};
use serde::Deserialize;

use crate::environment::{Environment, EnvironmentParameters};
use crate::error::ParameterError;
use crate::locomotion::{DirectionConfig, HALF_CHEETAH};

const NAME: &str = "half-cheetah-direction";

/// The parameters of the cheetah and a direction.
#[derive(Clone, Debug, Deserialize)]
#[serde(transparent)]
pub struct HalfCheetahDirectionConfig(pub DirectionConfig);

impl EnvironmentParameters for HalfCheetahDirectionConfig {
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
