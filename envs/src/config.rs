//! The `[env]` section: an environment's name and its parameters.

use std::sync::Arc;

use engram_mdp::{EnvSpec, Seed};
use toml::{Table, Value};

use crate::environment::{Environment, EnvironmentParameters};
use crate::environments::REGISTRY;
use crate::error::EnvError;

/// The key that holds the environment's name; the other keys are its parameters.
const NAME: &str = "name";

/// A valid `[env]` section.
#[derive(Clone, Debug)]
pub struct EnvConfig {
    table: Table,
    parameters: Arc<dyn EnvironmentParameters>,
}

impl EnvConfig {
    /// Reads and checks an `[env]` section. An unknown name or key is an error that names the
    /// nearest known one.
    pub fn from_table(table: Table) -> Result<Self, EnvError> {
        let mut parameters = table.clone();
        let Some(Value::String(name)) = parameters.remove(NAME) else {
            return Err(EnvError::Nameless { known: Self::names() });
        };
        let Some((_, read)) = REGISTRY.iter().find(|(known, _)| *known == name) else {
            return Err(EnvError::UnknownName { found: name, known: Self::names() });
        };
        Ok(EnvConfig { parameters: read(&name, &parameters)?, table })
    }

    /// The names of all environments.
    pub fn names() -> Vec<&'static str> {
        REGISTRY.iter().map(|(name, _)| *name).collect()
    }

    /// The section as it was read.
    pub fn table(&self) -> &Table {
        &self.table
    }

    /// Observations and actions of the environment. The spec's name carries the parameters that
    /// change what a frame looks like.
    pub fn spec(&self) -> EnvSpec {
        self.parameters.spec().checked().expect("valid parameters make a valid spec")
    }

    /// The environment itself; everything random in it comes from `seed`.
    pub fn make(&self, seed: Seed) -> Box<dyn Environment> {
        self.parameters.make(seed)
    }

    /// The expected return of an optimal policy, where it is known.
    pub fn optimum(&self) -> Option<f32> {
        self.parameters.optimum()
    }

    /// The share of episodes that the best policy without memory solves, where it is known.
    pub fn memoryless(&self) -> Option<f32> {
        self.parameters.memoryless()
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
