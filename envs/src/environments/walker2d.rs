//! Walker2D: a torso on two legs, to walk to the right without falling; the shared parts are in
//! [`locomotion`](crate::locomotion).

use engram_mdp::{EnvSpec, Seed};
use serde::Deserialize;

use crate::environment::{Environment, EnvironmentParameters};
use crate::error::ParameterError;
use crate::locomotion::{LocomotionConfig, WALKER};

/// The parameters of Walker2D.
#[derive(Clone, Debug, Deserialize)]
#[serde(transparent)]
pub struct Walker2dConfig(pub LocomotionConfig);

impl EnvironmentParameters for Walker2dConfig {
    fn validate(&self) -> Result<(), ParameterError> {
        self.0.validate()
    }

    fn spec(&self) -> EnvSpec {
        self.0.spec(&WALKER)
    }

    fn make(&self, seed: Seed) -> Box<dyn Environment> {
        self.0.make(&WALKER, seed)
    }
}
