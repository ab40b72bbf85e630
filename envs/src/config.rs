//! The `[env]` section: an environment's name and its parameters.

use std::sync::Arc;

use engram_mdp::{EnvSpec, Seed};
use toml::{Table, Value};

use crate::environment::{Environment, EnvironmentParameters};
use crate::environments::REGISTRY;
use crate::error::EnvError;
use crate::gym::{self, GymConfig, GymEnvironment};
use crate::parse;

/// The key that holds the environment's name; the other keys are its parameters.
const NAME: &str = "name";

/// A valid `[env]` section.
#[derive(Clone, Debug)]
pub struct EnvConfig {
    table: Table,
    pub(crate) kind: EnvKind,
}

/// Place where an environment runs.
#[derive(Clone, Debug)]
pub(crate) enum EnvKind {
    /// In this process.
    Rust(Arc<dyn EnvironmentParameters>),
    /// In a Python process. Clones share the spec that it was asked for.
    Gym(Arc<GymEnvironment>),
}

impl EnvConfig {
    /// Reads and checks an `[env]` section. An unknown name or key is an error that names the
    /// nearest known one.
    pub fn from_table(table: Table) -> Result<Self, EnvError> {
        let mut parameters = table.clone();
        let Some(Value::String(name)) = parameters.remove(NAME) else {
            return Err(EnvError::Nameless { known: Self::names() });
        };
        if name == gym::NAME {
            let config = parse::read::<GymConfig>(&name, &parameters)?;
            let error = |error| EnvError::Range { environment: name.clone(), error };
            config.validate().map_err(error)?;
            return Ok(EnvConfig {
                table,
                kind: EnvKind::Gym(Arc::new(GymEnvironment::new(config))),
            });
        }
        let Some((_, read)) = REGISTRY.iter().find(|(known, _)| *known == name) else {
            return Err(EnvError::UnknownName { found: name, known: Self::names() });
        };
        Ok(EnvConfig { kind: EnvKind::Rust(read(&name, &parameters)?), table })
    }

    /// The names of all environments.
    pub fn names() -> Vec<&'static str> {
        REGISTRY.iter().map(|(name, _)| *name).chain([gym::NAME]).collect()
    }

    /// The section as it was read.
    pub fn table(&self) -> &Table {
        &self.table
    }

    /// Observations and actions of the environment. The spec's name carries the parameters that
    /// change what a frame looks like. Where only a server knows, the first call starts one, and
    /// panics if that fails: a program calls [`try_spec`](Self::try_spec) first.
    pub fn spec(&self) -> EnvSpec {
        match &self.kind {
            EnvKind::Rust(parameters) => {
                parameters.spec().checked().expect("valid parameters make a valid spec")
            }
            EnvKind::Gym(environment) => {
                environment.spec().unwrap_or_else(|error| panic!("{error}"))
            }
        }
    }

    /// The same for a program that is about to play, with the reason if a server is needed and cannot
    /// be asked, or a library and cannot be used.
    pub fn try_spec(&self) -> Result<EnvSpec, EnvError> {
        self.ready()?;
        match &self.kind {
            EnvKind::Rust(_) => Ok(self.spec()),
            EnvKind::Gym(environment) => environment.spec(),
        }
    }

    /// Checks that the library is there by which the environment is played, if it is one of those.
    pub fn ready(&self) -> Result<(), EnvError> {
        let Some(parameters) = self.parameters() else { return Ok(()) };
        let environment = || self.table[NAME].as_str().unwrap_or_default().into();
        let error = |reason| EnvError::Unavailable { environment: environment(), reason };
        parameters.ready().map_err(error)
    }

    /// The environment itself, alone; everything random in it comes from `seed`. Panics if it is
    /// served by another process: a [`VectorEnv`](crate::VectorEnv) has those.
    pub fn make(&self, seed: Seed) -> Box<dyn Environment> {
        let parameters = self.parameters().expect("an environment of this process");
        parameters.make(seed)
    }

    /// The same environment, for whoever will draw it. One of Gymnasium's draws nothing otherwise:
    /// some are slower where they can.
    pub fn drawn(mut self) -> Self {
        if let EnvKind::Gym(environment) = &self.kind {
            self.kind = EnvKind::Gym(Arc::new(environment.drawn()));
        }
        self
    }

    /// True if the environment runs in another process, which must be there to ask for its spec.
    pub fn is_served(&self) -> bool {
        matches!(self.kind, EnvKind::Gym(_))
    }

    /// The expected return of an optimal policy, where it is known.
    pub fn optimum(&self) -> Option<f32> {
        self.parameters()?.optimum()
    }

    /// The share of episodes that the best policy without memory solves, where it is known.
    pub fn memoryless(&self) -> Option<f32> {
        self.parameters()?.memoryless()
    }

    fn parameters(&self) -> Option<&dyn EnvironmentParameters> {
        match &self.kind {
            EnvKind::Rust(parameters) => Some(&**parameters),
            EnvKind::Gym(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(text: &str) -> String {
        EnvConfig::from_table(text.parse().unwrap()).unwrap_err().to_string()
    }

    #[test]
    fn an_unknown_environment_is_answered_with_the_nearest_known() {
        let message = message("name = 'recal'\ndelay = 20");
        assert!(
            message.starts_with(
                "unknown environment `recal`; did you mean `recall`? Known: counting, bandit"
            ),
            "{message}"
        );
    }

    #[test]
    fn an_unknown_key_is_answered_with_the_nearest_known() {
        assert_eq!(
            message("name = 'recall'\ndelays = 20\nchoices = 4"),
            "environment `recall` has no key `delays`; did you mean `delay`? Known: delay, choices"
        );
        assert_eq!(
            message("name = 'recall'\ndelay = 20\nchoices = 4\ncolor = 'red'"),
            "environment `recall` has no key `color`; known: delay, choices"
        );
    }

    #[test]
    fn a_missing_key_or_name_is_named() {
        assert_eq!(
            message("name = 'recall'\ndelay = 20"),
            "environment `recall` needs the key `choices`"
        );
        assert!(message("delay = 20").starts_with("[env] names no environment; set `name` to"));
    }

    #[test]
    fn a_value_of_the_wrong_type_is_named_with_its_key() {
        assert_eq!(
            message("name = 'recall'\ndelay = 'long'\nchoices = 4"),
            "`delay` of environment `recall`: invalid type: string \"long\", expected u32"
        );
        let message = message(
            "name = 'tmaze'\ncorridor_length = 5\noracle = 'pasive'\n\
                               penalty = 'behind'\ndistract_reward = 0.0",
        );
        assert_eq!(
            message,
            "`oracle` of environment `tmaze`: unknown choice `pasive`; did you mean `passive`? \
             Known: passive, active"
        );
    }

    #[test]
    fn a_value_out_of_range_is_answered_with_its_range() {
        assert_eq!(
            message("name = 'recall'\ndelay = 20\nchoices = 1"),
            "`choices` of environment `recall` is 1; it must be 2 to 4096"
        );
    }
}
