//! Ant and a direction: an ant that must find out in which of some directions to run.
//! What an episode is and what it pays: [`locomotion`](crate::locomotion).

use engram_mdp::{EnvSpec, Seed};
use serde::Deserialize;

use crate::environment::{Environment, EnvironmentParameters};
use crate::error::ParameterError;
use crate::locomotion::{ANT, DirectionConfig};

const NAME: &str = "ant-direction";

/// The parameters of the ant and a direction.
#[derive(Clone, Debug, Deserialize)]
#[serde(transparent)]
pub struct AntDirectionConfig(pub DirectionConfig);

impl EnvironmentParameters for AntDirectionConfig {
    fn validate(&self) -> Result<(), ParameterError> {
        self.0.validate()
    }

    fn spec(&self) -> EnvSpec {
        self.0.spec(NAME, &ANT)
    }

    fn make(&self, seed: Seed) -> Box<dyn Environment> {
        self.0.make(NAME, &ANT, seed)
    }
}
