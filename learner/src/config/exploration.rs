//! Exploration settings: how often actors act at random.

use engram_policy::Exploration;
use engram_policy::exploration::{Choice, EpsilonSpread};
use serde::{Deserialize, Serialize};

use super::{OutOfRange, cost, is_default, require, share};

/// Exploration over a run: at random during the warm-up, then ever less.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExplorationConfig {
    /// Env steps after the warm-up over which ε falls from 1, on a line.
    pub env_steps: u64,
    /// ε from then on.
    pub last_epsilon: f64,
    /// A different ε for each actor, as in Ape-X; the same for all if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spread: Option<SpreadConfig>,
    /// Standard deviation of the Gaussian noise on the actions of policies that are certain of a
    /// vector, as DDPG's and TD3's are; none if not given.
    #[serde(default, skip_serializing_if = "is_default")]
    pub action_noise: f64,
}

/// EpsilonSpread of ε over actors (Horgan et al. 2018, <https://arxiv.org/abs/1803.00933>).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SpreadConfig {
    /// Actors that differ.
    pub actors: u32,
    /// α: the last actor's ε is `ε^(1 + α)`.
    pub exponent: f64,
}

impl ExplorationConfig {
    /// Exploration so many env steps after the warm-up, or before its end; `choice` is how actors
    /// choose an action that is not random.
    pub fn at(&self, choice: Choice, since_warm_up: Option<u64>) -> Exploration {
        let schedule = LinearEpsilon { steps: self.env_steps, last: self.last_epsilon };
        let epsilon = since_warm_up.map_or(1.0, |env_steps| schedule.at(env_steps));
        let spread = |spread: SpreadConfig| EpsilonSpread {
            actors: spread.actors,
            exponent: spread.exponent,
        };
        Exploration {
            choice,
            epsilon,
            spread: self.spread.map(spread),
            action_noise: self.action_noise,
        }
    }

    pub(crate) fn validate(&self) -> Result<(), OutOfRange> {
        share("exploration.last_epsilon", self.last_epsilon)?;
        cost("exploration.action_noise", self.action_noise)?;
        let Some(SpreadConfig { actors, exponent }) = self.spread else { return Ok(()) };
        require(actors >= 2, "exploration.spread.actors", actors, "2 or more")?;
        cost("exploration.spread.exponent", exponent)
    }
}

/// Linear ε: it falls from 1 to a last value, and stays there.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LinearEpsilon {
    /// Env steps that the fall takes; 0 is a jump.
    pub steps: u64,
    /// ε from then on, 0..=1.
    pub last: f64,
}

impl LinearEpsilon {
    /// ε so many env steps after learning has started.
    pub fn at(self, env_steps: u64) -> f64 {
        let LinearEpsilon { steps, last } = self;
        assert!((0.0..=1.0).contains(&last), "ε is a probability, not {last}");
        if env_steps >= steps {
            return last;
        }
        1.0 + (last - 1.0) * (env_steps as f64 / steps as f64)
    }
}
