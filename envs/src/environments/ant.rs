//! Ant: a ball on four legs, to walk to the right without letting the ball touch the floor; the
//! shared parts are in [`locomotion`](crate::locomotion).

use engram_mdp::{EnvSpec, Seed};
use serde::Deserialize;

use crate::environment::{Environment, EnvironmentParameters};
use crate::error::ParameterError;
use crate::locomotion::{ANT, LocomotionConfig};

/// The parameters of Ant.
#[derive(Clone, Debug, Deserialize)]
#[serde(transparent)]
pub struct AntConfig(pub LocomotionConfig);

impl EnvironmentParameters for AntConfig {
    fn validate(&self) -> Result<(), ParameterError> {
        self.0.validate()
    }

    fn spec(&self) -> EnvSpec {
        self.0.spec(&ANT)
    }

    fn make(&self, seed: Seed) -> Box<dyn Environment> {
        self.0.make(&ANT, seed)
    }
}
