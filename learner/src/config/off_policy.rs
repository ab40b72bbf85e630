//! Settings that all algorithms share that learn from a replay.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::exploration::ExplorationConfig;
use super::rate_limiter::RateLimiterConfig;
use super::replay::{ReplayConfig, Sampling};
use super::{
    OptimizerConfig, OutOfRange, RewardClip, is_default, is_one, learning_rate, one, positive,
    require, share,
};

/// Settings of learning from a replay. The objective `O`, what is learned from sequences, is the
/// algorithm's own; all else is the same for all of them. A feature that is not named is off.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OffPolicyConfig<O = ()> {
    /// Sequences per update.
    pub batch_size: usize,
    /// γ, what a reward counts for one step later.
    pub discount: f64,
    /// Rewards that are added up before a value takes over: 1 for temporal differences.
    pub n_step: usize,
    /// Change of a reward before it is learned from.
    pub reward_clip: RewardClip,
    /// Cost of an error of a value.
    pub error: ErrorLoss,
    /// The step size.
    pub learning_rate: f64,
    /// Step sizes of parts of the networks, by name: `memory`, `torso`, `policy`, or what stands
    /// before a dot of a weight's name; the longest name that fits counts. All others have that
    /// above.
    #[serde(default, skip_serializing_if = "is_default")]
    pub learning_rates: BTreeMap<String, f64>,
    /// Gradients longer than this, all weights of an optimizer together, are shortened to it; no
    /// limit if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_grad_norm: Option<f64>,
    /// The rule that turns gradients into steps.
    pub optimizer: OptimizerConfig,
    /// Rule by which the target network follows.
    pub target: TargetUpdate,
    /// Updates between two publications of the weights.
    pub publish_updates: u64,
    /// Updates in a row that may be skipped because a number was not finite, before the run stops.
    pub max_non_finite_updates: u32,
    /// Pixels by which images are shifted at random, at most and in each direction, before they are
    /// learned from (Kostrikov et al. 2020, <https://arxiv.org/abs/2004.13649>); not if not given.
    #[serde(default, skip_serializing_if = "is_default")]
    pub random_shift: u32,
    /// Updates after which all weights and optimizers start anew, each time, while the replay stays
    /// (Nikishin et al. 2022, <https://arxiv.org/abs/2205.07802>); never if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reset_updates: Option<u64>,
    /// True if each update also reports the rank of what the memory says; `false` if not given.
    #[serde(default, skip_serializing_if = "is_default")]
    pub log_ranks: bool,
    /// Parts of the policy that do not learn: `torso`, `memory`, and so on; none if not given.
    #[serde(default, skip_serializing_if = "is_default")]
    pub freeze: Vec<String>,
    /// Exploration of the actors.
    pub exploration: ExplorationConfig,
    /// Updates per env step.
    pub rate_limiter: RateLimiterConfig,
    /// Contents of the replay, and how it is sampled.
    pub replay: ReplayConfig,
    /// Objective that is learned from it.
    pub objective: O,
}

/// When target weights change, and to what.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "snake_case", deny_unknown_fields)]
pub enum TargetUpdate {
    /// After every update, or every so many: `target ← target + τ (online − target)`.
    Polyak {
        /// 0 ≤ τ ≤ 1: 0 stands still, 1 copies.
        tau: f64,
        /// Number of updates, 1 if not given: 2 in TD3.
        #[serde(default = "one", skip_serializing_if = "is_one")]
        every: u64,
    },
    /// A copy, after every so many updates.
    Copy {
        /// Number of updates, 1 at least.
        every: u64,
    },
}

/// Network that says what action is the best of the next frame. Its value there is always said by
/// the target network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SelectionNetwork {
    /// The network that learns: double Q-learning, van Hasselt et al. 2016,
    /// <https://arxiv.org/abs/1509.06461>.
    Online,
    /// The target network: Q-learning as in Mnih et al. 2015.
    Target,
}

/// Cost of a temporal difference δ.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "snake_case", deny_unknown_fields)]
pub enum ErrorLoss {
    /// δ².
    Squared {},
    /// ½ δ² up to |δ| = κ, from there on κ (|δ| − ½ κ): half the square, but gradients are at most
    /// κ. Huber 1964.
    Huber {
        /// κ > 0, in units of the value.
        threshold: f64,
    },
}

impl<O> OffPolicyConfig<O> {
    /// The same settings without the objective.
    pub fn shared(&self) -> OffPolicyConfig {
        OffPolicyConfig {
            batch_size: self.batch_size,
            discount: self.discount,
            n_step: self.n_step,
            reward_clip: self.reward_clip,
            error: self.error,
            learning_rate: self.learning_rate,
            learning_rates: self.learning_rates.clone(),
            max_grad_norm: self.max_grad_norm,
            optimizer: self.optimizer,
            target: self.target,
            publish_updates: self.publish_updates,
            max_non_finite_updates: self.max_non_finite_updates,
            random_shift: self.random_shift,
            reset_updates: self.reset_updates,
            log_ranks: self.log_ranks,
            freeze: self.freeze.clone(),
            exploration: self.exploration,
            rate_limiter: self.rate_limiter,
            replay: self.replay.clone(),
            objective: (),
        }
    }

    /// η of prioritized sampling; none where no priorities are wanted.
    pub fn largest_share(&self) -> Option<f64> {
        match self.replay.sampling {
            Sampling::Uniform | Sampling::ByLength => None,
            Sampling::Prioritized { largest_share, .. } => Some(largest_share),
        }
    }

    /// Step size of the weight `name`, where those that no part names have `base`.
    pub fn rate_of(&self, name: &str, base: f64) -> f64 {
        let lies_below = |part: &str| {
            name.strip_prefix(part).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        let named = self.learning_rates.iter().filter(|(part, _)| lies_below(part));
        named.max_by_key(|(part, _)| part.len()).map_or(base, |(_, &rate)| rate)
    }

    /// The longest gradient that is not shortened.
    pub fn longest_gradient(&self) -> f64 {
        self.max_grad_norm.unwrap_or(f64::INFINITY)
    }

    /// Checks every range that does not depend on the objective.
    pub fn validate_shared(&self) -> Result<(), OutOfRange> {
        require(
            (1..=65_536).contains(&self.batch_size),
            "batch_size",
            self.batch_size,
            "between 1 and 65536 sequences",
        )?;
        share("discount", self.discount)?;
        let range = "between 1 and 1024 steps";
        require((1..=1024).contains(&self.n_step), "n_step", self.n_step, range)?;
        if let ErrorLoss::Huber { threshold } = self.error {
            positive("error.threshold", threshold)?;
        }
        learning_rate("learning_rate", self.learning_rate)?;
        self.check_learning_rates()?;
        positive("max_grad_norm", self.longest_gradient())?;
        self.optimizer.validate()?;
        match self.target {
            TargetUpdate::Polyak { tau, every } => {
                share("target.tau", tau)?;
                require(every >= 1, "target.every", every, "at least 1 update")?;
            }
            TargetUpdate::Copy { every } => {
                require(every >= 1, "target.every", every, "at least 1 update")?;
            }
        }
        let (publish, most) = (self.publish_updates, self.max_non_finite_updates);
        require(publish >= 1, "publish_updates", publish, "at least 1 update")?;
        require(most >= 1, "max_non_finite_updates", most, "at least 1")?;
        let (shift, range) = (self.random_shift, "at most 64 pixels");
        require(shift <= 64, "random_shift", shift, range)?;
        let reset = self.reset_updates;
        require(reset != Some(0), "reset_updates", 0, "at least 1 update, or left out")?;
        self.exploration.validate()?;
        self.rate_limiter.validate()?;
        self.replay.validate()
    }

    /// Checks that each name begins with a part that networks have, and each rate's range.
    fn check_learning_rates(&self) -> Result<(), OutOfRange> {
        for (part, &rate) in &self.learning_rates {
            let upper = part.split('.').next().unwrap_or_default();
            let range = "named after a part of the networks: torso, embed, memory, skip, policy, \
                         value, action_values, state_action_values";
            require(PARTS.contains(&upper), "learning_rates", format!("of `{part}`"), range)?;
            learning_rate("learning_rates", rate)?;
        }
        Ok(())
    }
}

/// Upper parts of the names of weights.
const PARTS: [&str; 8] =
    ["torso", "embed", "memory", "skip", "policy", "value", "action_values", "state_action_values"];
