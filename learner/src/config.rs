//! Settings: the flags of a learner, and what algorithms share in the `[rl]` part.
//!
//! An algorithm's own settings stand in its file. A number that is in use is written out in the
//! experiment; a feature that is not named is off. Where a limit can be switched off, `inf` does it.

pub mod flags;

mod off_policy;

pub mod exploration;

pub mod rate_limiter;

pub mod replay;

use serde::{Deserialize, Serialize};
use tch::Tensor;
use thiserror::Error;

pub use self::off_policy::{ErrorLoss, OffPolicyConfig, SelectionNetwork, TargetUpdate};

/// Change of a reward before it is learned from. Reported returns are never clipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RewardClip {
    /// Nothing.
    None,
    /// It is clamped to `[-1, 1]`.
    AbsOne,
}

impl RewardClip {
    /// `rewards` as they are learned from.
    pub fn of(self, rewards: &Tensor) -> Tensor {
        match self {
            RewardClip::None => rewards.shallow_clone(),
            RewardClip::AbsOne => rewards.clamp(-1.0, 1.0),
        }
    }
}

/// Schedule of a learning rate, or of a loss's weight, over a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Schedule {
    /// Not at all.
    Constant,
    /// Straight down to zero at the end of the env-step budget.
    Linear,
}

impl Schedule {
    /// Factor after the share `progress` of the run.
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
        /// Share of the mean square that is kept at a step.
        alpha: f64,
        /// Added to the root of the mean square.
        epsilon: f64,
        /// Share of the last step that is repeated; 0 for none.
        momentum: f64,
    },
    /// Adam (Kingma & Ba 2014, <https://arxiv.org/abs/1412.6980>).
    Adam {
        /// Share of the mean that is kept at a step.
        beta1: f64,
        /// Share of the mean square that is kept at a step.
        beta2: f64,
        /// Added to the root of the mean square.
        epsilon: f64,
        /// Share of each weight, times the step size, by which it shrinks at every step: AdamW
        /// (Loshchilov & Hutter 2019, <https://arxiv.org/abs/1711.05101>); none if not given.
        #[serde(default, skip_serializing_if = "is_default")]
        weight_decay: f64,
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
    /// Range of its values.
    pub range: &'static str,
}

impl OptimizerConfig {
    /// Adam with PyTorch's shares of the means.
    pub const fn adam(epsilon: f64) -> Self {
        OptimizerConfig::Adam { beta1: 0.9, beta2: 0.999, epsilon, weight_decay: 0.0 }
    }

    pub(crate) fn validate(&self) -> Result<(), OutOfRange> {
        match *self {
            OptimizerConfig::Rmsprop { alpha, epsilon, momentum } => {
                decay("optimizer.alpha", alpha)?;
                small("optimizer.epsilon", epsilon)?;
                decay("optimizer.momentum", momentum)
            }
            OptimizerConfig::Adam { beta1, beta2, epsilon, weight_decay } => {
                decay("optimizer.beta1", beta1)?;
                decay("optimizer.beta2", beta2)?;
                share("optimizer.weight_decay", weight_decay)?;
                small("optimizer.epsilon", epsilon)
            }
        }
    }
}

// What is not a number lies in no range, so each of these refuses it.

pub(crate) fn share(key: &'static str, found: f64) -> Result<(), OutOfRange> {
    require((0.0..=1.0).contains(&found), key, found, "between 0 and 1")
}

pub(crate) fn learning_rate(key: &'static str, found: f64) -> Result<(), OutOfRange> {
    require(found > 0.0 && found <= 1.0, key, found, "above 0 and at most 1")
}

pub(crate) fn decay(key: &'static str, found: f64) -> Result<(), OutOfRange> {
    let within = (0.0..1.0).contains(&found);
    require(within, key, found, "at least 0 and below 1")
}

pub(crate) fn cost(key: &'static str, found: f64) -> Result<(), OutOfRange> {
    let within = found >= 0.0 && found.is_finite();
    require(within, key, found, "0 or a positive number")
}

pub(crate) fn positive(key: &'static str, found: f64) -> Result<(), OutOfRange> {
    require(found > 0.0, key, found, "above 0 (inf for no limit)")
}

pub(crate) fn finite_positive(key: &'static str, found: f64) -> Result<(), OutOfRange> {
    require(found > 0.0 && found.is_finite(), key, found, "a positive number")
}

pub(crate) fn small(key: &'static str, found: f64) -> Result<(), OutOfRange> {
    let within = found > 0.0 && found <= 1.0;
    require(within, key, found, "above 0 and at most 1")
}

/// True if a setting has the value that it has where it is left out.
pub(crate) fn is_default<T: Default + PartialEq>(setting: &T) -> bool {
    *setting == T::default()
}

/// 1, what rewards are scaled by where that is left out.
pub(crate) fn unscaled() -> f64 {
    1.0
}

/// True if rewards are scaled by what they are where that is left out.
#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
pub(crate) fn is_unscaled(scale: &f64) -> bool {
    *scale == unscaled()
}

/// 1, what a number of updates is where it is left out.
pub(crate) fn one() -> u64 {
    1
}

/// True if a number of updates is what it is where it is left out.
#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
pub(crate) fn is_one(updates: &u64) -> bool {
    *updates == one()
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
