//! Algorithms: a batch becomes an update of the weights.
//!
//! One file each, which a reader can finish. A new algorithm is a file in `algorithms/`, an arm of
//! [`Algorithm`] and an arm of [`RlConfig`].

mod actor_critic;

use std::time::Duration;

use engram_policy::{Batch, CoreState, Policy};
use tch::Tensor;
use thiserror::Error;

pub use self::actor_critic::{ActorCritic, Loss};
use crate::config::RlConfig;
use crate::optimizer::StateError;

/// What learns. It belongs to one thread, together with its policy.
#[derive(Debug)]
pub enum Algorithm {
    /// The on-policy actor-critic of IMPALA.
    Vtrace(ActorCritic),
}

/// What an update did.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct UpdateStats {
    /// The loss that was minimized: a sum or a mean, as configured.
    pub loss: f64,
    /// The mean over decisions of −log π · advantage.
    pub policy_loss: f64,
    /// The mean over decisions of half the squared error of the values.
    pub value_loss: f64,
    /// The mean over decisions of the policy's entropy, in nats.
    pub entropy: f64,
    /// The length of the gradient, before it was clipped.
    pub grad_norm: f64,
    /// The learning rate that was used.
    pub learning_rate: f64,
    /// The mean over decisions of the values.
    pub mean_value: f64,
    /// The mean over decisions of the importance weight π / μ, not clipped.
    pub mean_rho: f64,
    /// The share of the value targets' variance that the values account for; 1 is perfect.
    pub explained_variance: f64,
    /// Where the time went.
    pub phases: Phases,
}

/// The phases of an update. Each ends where numbers are read back from the device, but for the
/// last: on an accelerator it is only the time to ask for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Phases {
    /// From a batch, and what its streams carry, to a loss.
    pub forward: Duration,
    /// From a loss to a gradient.
    pub backward: Duration,
    /// From a gradient to new weights, and to what is carried on.
    pub optimizer: Duration,
}

/// An update that was skipped: weights and optimizer are as they were.
#[derive(Clone, Copy, Debug, PartialEq, Error)]
#[error("the {quantity} of an update is {value}; the update was skipped")]
pub struct NonFinite {
    /// What is not finite: the loss, or the length of its gradient.
    pub quantity: &'static str,
    /// Infinity, or not a number.
    pub value: f64,
}

impl Algorithm {
    /// The algorithm of `config`, about to make its first update of `policy`.
    pub fn new(config: &RlConfig, policy: &Policy) -> Self {
        match config {
            RlConfig::Vtrace(config) => Algorithm::Vtrace(ActorCritic::new(config, policy)),
        }
    }

    /// Makes one update of `policy` from `batch`, whose streams carry `carry`, after the share
    /// `progress` of the run's env steps. Returns what they carry on, too.
    pub fn update(
        &mut self,
        policy: &Policy,
        batch: &Batch,
        carry: &CoreState,
        progress: f64,
    ) -> Result<(UpdateStats, CoreState), NonFinite> {
        match self {
            Algorithm::Vtrace(algorithm) => algorithm.update(policy, batch, carry, progress),
        }
    }

    /// Everything it remembers between updates, by name, for a checkpoint.
    pub fn state(&self) -> Vec<(String, Tensor)> {
        match self {
            Algorithm::Vtrace(algorithm) => algorithm.state(),
        }
    }

    /// Goes on from what [`state`](Self::state) said; untouched if that does not fit.
    pub fn load_state(&mut self, state: &[(String, Tensor)]) -> Result<(), StateError> {
        match self {
            Algorithm::Vtrace(algorithm) => algorithm.load_state(state),
        }
    }
}

impl NonFinite {
    /// Lets a finite number pass.
    fn check(quantity: &'static str, value: f64) -> Result<(), NonFinite> {
        if value.is_finite() {
            return Ok(());
        }
        Err(NonFinite { quantity, value })
    }
}
