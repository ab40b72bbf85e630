//! A configured environment: its keys, and the spec that only its server knows.

use std::sync::{Arc, OnceLock};

use engram_mdp::{EnvSpec, Seed};

use super::config::GymConfig;
use super::group::ServedGroup;
use super::server::Server;
use crate::error::EnvError;

/// An environment of Gymnasium's.
#[derive(Debug)]
pub(crate) struct GymEnvironment {
    config: Arc<GymConfig>,
    /// The spec, once a server was asked.
    spec: OnceLock<Result<EnvSpec, EnvError>>,
}

impl GymEnvironment {
    /// An environment with valid keys. Nothing is started.
    pub(crate) fn new(config: GymConfig) -> Self {
        GymEnvironment { config: Arc::new(config), spec: OnceLock::new() }
    }

    /// The same environment, which can draw itself.
    pub(crate) fn drawn(&self) -> Self {
        GymEnvironment::new(GymConfig { pictures: true, ..GymConfig::clone(&self.config) })
    }

    /// Observations and actions. The first call starts a server, and asks it.
    pub(crate) fn spec(&self) -> Result<EnvSpec, EnvError> {
        let ask = || match Server::start(&self.config, &[0]) {
            Ok(server) => Ok(server.spec().clone()),
            Err(reason) => Err(self.config.error(reason)),
        };
        self.spec.get_or_init(ask).clone()
    }

    /// A group of as many rows as there are seeds.
    pub(crate) fn group(&self, seeds: Vec<Seed>) -> Result<ServedGroup, EnvError> {
        ServedGroup::start(&self.config, &self.spec()?, seeds)
    }
}
