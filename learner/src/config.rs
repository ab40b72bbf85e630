//! The `[rl]` part of an experiment: which algorithm learns, and with which numbers.
//!
//! Every number is written out in the experiment: there are no defaults here. Where a limit can
//! be switched off, `inf` does it.

pub mod flags;

mod off_policy;

use engram_policy::Outputs;
use serde::{Deserialize, Serialize};
use thiserror::Error;

pub use self::off_policy::{
    Encoder, ExplorationConfig, OffPolicyConfig, QLearningConfig, SacDiscreteConfig, Temperature,
};
use crate::losses::vtrace::VtraceOptions;

/// An algorithm and its settings; the key `algorithm` names it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "algorithm", rename_all = "snake_case")]
pub enum RlConfig {
    /// The on-policy actor-critic of IMPALA.
    Vtrace(VtraceConfig),
    /// Deep Q-learning.
    Dqn(OffPolicyConfig<QLearningConfig>),
    /// Soft actor-critic for discrete actions.
    SacDiscrete(OffPolicyConfig<SacDiscreteConfig>),
}

/// A V-trace actor-critic (Espeholt et al. 2018, <https://arxiv.org/abs/1802.01561>).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VtraceConfig {
    /// Trajectories per update.
    pub batch_size: usize,
    /// γ, what a reward counts for one step later.
    pub discount: f64,
    /// λ, by which every trace is multiplied: 1 trusts the rewards, less trusts the values more.
    pub lambda: f64,
    /// ρ̄, the largest importance weight of a temporal difference.
    pub rho_clip: f64,
    /// c̄, the largest importance weight of a trace; at most `rho_clip`.
    pub c_clip: f64,
    /// The largest importance weight of an advantage.
    pub pg_rho_clip: f64,
    /// What becomes of a reward before it is learned from.
    pub reward_clip: RewardClip,
    /// The weight of the value loss.
    pub baseline_cost: f64,
    /// The weight of the entropy bonus.
    pub entropy_cost: f64,
    /// How the losses of single decisions are put together.
    pub reduction: Reduction,
    /// The step size at the start.
    pub learning_rate: f64,
    /// What becomes of it on the way.
    pub schedule: Schedule,
    /// Gradients longer than this, all weights together, are shortened to it.
    pub max_grad_norm: f64,
    /// The rule that turns gradients into steps.
    pub optimizer: OptimizerConfig,
    /// Updates in a row that may be skipped because a number was not finite, before the run stops.
    pub max_non_finite_updates: u32,
    /// Parts of the policy that do not learn: `torso`, `memory`, and so on.
    pub freeze: Vec<String>,
}

/// What becomes of a reward before it is learned from. Reported returns are never clipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RewardClip {
    /// Nothing.
    None,
    /// It is clamped to `[-1, 1]`.
    AbsOne,
}

/// How the losses of single decisions are put together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reduction {
    /// Their sum, as in IMPALA: gradients grow with the batch and the unroll.
    Sum,
    /// Their mean.
    Mean,
}

/// How the learning rate changes over a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Schedule {
    /// Not at all.
    Constant,
    /// Straight down to zero at the end of the env-step budget.
    Linear,
}

impl Schedule {
    /// What the learning rate is multiplied by, after the share `progress` of the run.
    pub fn factor(self, progress: f64) -> f64 {
        match self {
            Schedule::Constant => 1.0,
            Schedule::Linear => 1.0 - progress.clamp(0.0, 1.0),
        }
    }
}

/// A rule that turns gradients into steps; the key `name` names it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "snake_case", deny_unknown_fields)]
pub enum OptimizerConfig {
    /// RMSprop with ε outside the root, not centered.
    Rmsprop {
        /// How much of the mean square is kept at a step.
        alpha: f64,
        /// Added to the root of the mean square.
        epsilon: f64,
        /// How much of the last step is repeated; 0 for none.
        momentum: f64,
    },
    /// Adam (Kingma & Ba 2014, <https://arxiv.org/abs/1412.6980>).
    Adam {
        /// How much of the mean is kept at a step.
        beta1: f64,
        /// How much of the mean square is kept at a step.
        beta2: f64,
        /// Added to the root of the mean square.
        epsilon: f64,
    },
}

/// A setting outside its range.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("rl.{key} is {found}; it must be {range}")]
pub struct OutOfRange {
    /// The setting, below `rl`.
    pub key: &'static str,
    /// Its value.
    pub found: String,
    /// What it may be.
    pub range: &'static str,
}

impl RlConfig {
    /// Trajectories or sequences per update.
    pub fn batch_size(&self) -> usize {
        match self {
            RlConfig::Vtrace(config) => config.batch_size,
            RlConfig::Dqn(config) => config.batch_size,
            RlConfig::SacDiscrete(config) => config.batch_size,
        }
    }

    /// Updates in a row that may be skipped because a number was not finite.
    pub fn max_non_finite_updates(&self) -> u32 {
        match self {
            RlConfig::Vtrace(config) => config.max_non_finite_updates,
            RlConfig::Dqn(config) => config.max_non_finite_updates,
            RlConfig::SacDiscrete(config) => config.max_non_finite_updates,
        }
    }

    /// Parts of the policy that do not learn.
    pub fn freeze(&self) -> &[String] {
        match self {
            RlConfig::Vtrace(config) => &config.freeze,
            RlConfig::Dqn(config) => &config.freeze,
            RlConfig::SacDiscrete(config) => &config.freeze,
        }
    }

    /// What the acting network says of frames.
    pub fn outputs(&self) -> Outputs {
        match self {
            RlConfig::Vtrace(_) => Outputs::ActorCritic {},
            RlConfig::Dqn(config) => config.objective.outputs(),
            RlConfig::SacDiscrete(config) => config.objective.outputs(),
        }
    }

    /// What all algorithms share that learn from a replay, where this one does.
    pub fn off_policy(&self) -> Option<OffPolicyConfig> {
        match self {
            RlConfig::Vtrace(_) => None,
            RlConfig::Dqn(config) => Some(config.shared()),
            RlConfig::SacDiscrete(config) => Some(config.shared()),
        }
    }

    /// Checks every range.
    pub fn validate(&self) -> Result<(), OutOfRange> {
        match self {
            RlConfig::Vtrace(config) => config.validate(),
            RlConfig::Dqn(config) => {
                config.validate_shared()?;
                config.objective.validate(config.error)
            }
            RlConfig::SacDiscrete(config) => {
                config.validate_shared()?;
                config.objective.validate()
            }
        }
    }
}

impl VtraceConfig {
    /// The settings of V-trace proper.
    pub fn vtrace_options(&self) -> VtraceOptions {
        VtraceOptions {
            rho_clip: self.rho_clip,
            c_clip: self.c_clip,
            pg_rho_clip: self.pg_rho_clip,
            lambda: self.lambda,
        }
    }

    fn validate(&self) -> Result<(), OutOfRange> {
        require(
            (1..=65_536).contains(&self.batch_size),
            "batch_size",
            self.batch_size,
            "between 1 and 65536 trajectories",
        )?;
        share("discount", self.discount)?;
        share("lambda", self.lambda)?;
        positive("rho_clip", self.rho_clip)?;
        positive("c_clip", self.c_clip)?;
        let c_within_rho = self.c_clip <= self.rho_clip;
        require(c_within_rho, "c_clip", self.c_clip, "at most rl.rho_clip")?;
        positive("pg_rho_clip", self.pg_rho_clip)?;
        cost("baseline_cost", self.baseline_cost)?;
        cost("entropy_cost", self.entropy_cost)?;
        positive("max_grad_norm", self.max_grad_norm)?;
        learning_rate("learning_rate", self.learning_rate)?;
        require(
            self.max_non_finite_updates >= 1,
            "max_non_finite_updates",
            self.max_non_finite_updates,
            "at least 1",
        )?;
        self.optimizer.validate()
    }
}

impl OptimizerConfig {
    fn validate(&self) -> Result<(), OutOfRange> {
        match *self {
            OptimizerConfig::Rmsprop { alpha, epsilon, momentum } => {
                decay("optimizer.alpha", alpha)?;
                small("optimizer.epsilon", epsilon)?;
                decay("optimizer.momentum", momentum)
            }
            OptimizerConfig::Adam { beta1, beta2, epsilon } => {
                decay("optimizer.beta1", beta1)?;
                decay("optimizer.beta2", beta2)?;
                small("optimizer.epsilon", epsilon)
            }
        }
    }
}

// What is not a number lies in no range, so each of these refuses it.

fn share(key: &'static str, found: f64) -> Result<(), OutOfRange> {
    require((0.0..=1.0).contains(&found), key, found, "between 0 and 1")
}

fn learning_rate(key: &'static str, found: f64) -> Result<(), OutOfRange> {
    require(found > 0.0 && found <= 1.0, key, found, "above 0 and at most 1")
}

fn decay(key: &'static str, found: f64) -> Result<(), OutOfRange> {
    let within = (0.0..1.0).contains(&found);
    require(within, key, found, "at least 0 and below 1")
}

fn cost(key: &'static str, found: f64) -> Result<(), OutOfRange> {
    let within = found >= 0.0 && found.is_finite();
    require(within, key, found, "0 or a positive number")
}

fn positive(key: &'static str, found: f64) -> Result<(), OutOfRange> {
    require(found > 0.0, key, found, "above 0 (inf for no limit)")
}

fn small(key: &'static str, found: f64) -> Result<(), OutOfRange> {
    let within = found > 0.0 && found <= 1.0;
    require(within, key, found, "above 0 and at most 1")
}

/// Lets a setting pass that is within its range.
pub(crate) fn require(
    within: bool,
    key: &'static str,
    found: impl ToString,
    range: &'static str,
) -> Result<(), OutOfRange> {
    if within {
        return Ok(());
    }
    let found = found.to_string();
    Err(OutOfRange { key, found, range })
}
