//! The `[env]` section: an environment's name and its parameters.

use engram_mdp::{EnvSpec, Seed};
use serde::{Deserialize, Serialize};

use crate::environment::{Environment, EnvironmentParameters};
use crate::environments::{
    bandit, cartpole, catch, counting, delayed_reward, hopper, key_to_door, pendulum, recall,
    tmaze, truncation, visual_match,
};
use crate::error::EnvError;
use crate::parse;

/// Every environment by name, with its parameters. `name` is the tag; the other keys are the
/// environment's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "kebab-case")]
pub enum EnvConfig {
    /// Probe: frames that are numbered.
    Counting(counting::Config),
    /// Probe: one decision, one good arm.
    Bandit(bandit::Config),
    /// Probe: the first decision is paid for much later.
    DelayedReward(delayed_reward::Config),
    /// Probe: a constant reward, cut off by time.
    Truncation(truncation::Config),
    /// A cue, a delay, a question.
    Recall(recall::Config),
    /// Catch a falling ball.
    Catch(catch::Config),
    /// Balance a pole on a cart.
    Cartpole(cartpole::Config),
    /// Swing a pendulum up.
    Pendulum(pendulum::Config),
    /// Find the goal that an oracle told of.
    Tmaze(tmaze::Config),
    /// Remember a color past many apples.
    VisualMatch(visual_match::Config),
    /// Take a key for a door behind many apples.
    KeyToDoor(key_to_door::Config),
    /// Hop on one leg.
    Hopper(hopper::Config),
}

impl EnvConfig {
    /// Reads an `[env]` section and validates it. An unknown name or key is an error that names
    /// the nearest known one.
    pub fn from_table(table: toml::Table) -> Result<Self, EnvError> {
        let config: Self = parse::from_table(table)?;
        config.validate()?;
        Ok(config)
    }

    /// The names of all environments.
    pub fn names() -> &'static [&'static str] {
        parse::variants::<Self>()
    }

    /// Checks every parameter; the error names the range of a bad one.
    pub fn validate(&self) -> Result<(), EnvError> {
        self.environment().validate()
    }

    /// Observations and actions of the environment; the parameters are valid. The spec's name
    /// carries the parameters that change what a frame looks like.
    pub fn spec(&self) -> EnvSpec {
        self.environment().spec().checked().expect("valid parameters make a valid spec")
    }

    /// The environment itself; everything random in it comes from `seed`.
    pub fn make(&self, seed: Seed) -> Result<Box<dyn Environment>, EnvError> {
        self.validate()?;
        Ok(self.environment().make(seed))
    }

    /// The expected return of an optimal policy, where it is known.
    pub fn optimum(&self) -> Option<f32> {
        self.environment().optimum()
    }

    /// The share of episodes that the best policy without memory solves, where it is known.
    pub fn memoryless(&self) -> Option<f32> {
        self.environment().memoryless()
    }

    fn environment(&self) -> &dyn EnvironmentParameters {
        match self {
            EnvConfig::Counting(config) => config,
            EnvConfig::Bandit(config) => config,
            EnvConfig::DelayedReward(config) => config,
            EnvConfig::Truncation(config) => config,
            EnvConfig::Recall(config) => config,
            EnvConfig::Catch(config) => config,
            EnvConfig::Cartpole(config) => config,
            EnvConfig::Pendulum(config) => config,
            EnvConfig::Tmaze(config) => config,
            EnvConfig::VisualMatch(config) => config,
            EnvConfig::KeyToDoor(config) => config,
            EnvConfig::Hopper(config) => config,
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

    #[test]
    fn a_config_survives_being_written_and_read() {
        let text = "name = \"cartpole\"\nmax_steps = 500\nobserve = \"positions\"\n";
        let config = EnvConfig::from_table(text.parse().unwrap()).unwrap();
        assert_eq!(toml::to_string(&config).unwrap(), text);
    }
}
