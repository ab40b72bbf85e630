//! Algorithms and their settings, as a run sees them: traits.

use engram_mdp::Seed;
use engram_policy::exploration::Choice;
use engram_policy::{Batch, Carry, Exploration, Outputs, Policy};
use tch::{Device, Kind, Tensor};
use thiserror::Error;

use super::replay_batch::ReplayBatch;
use super::state_dict::{StateDict, StateError};
use crate::config::exploration::ExplorationConfig;
use crate::config::{OffPolicyConfig, OutOfRange};
use crate::telemetry::update_stats::UpdateStats;

/// Settings of an algorithm, as a run needs them.
pub trait AlgorithmConfig: std::fmt::Debug + Send + Sync {
    /// Trajectories or sequences per update.
    fn batch_size(&self) -> usize;

    /// Updates in a row that may be skipped because a number was not finite, before the run stops.
    fn max_non_finite_updates(&self) -> u32;

    /// Parts of the policy that do not learn.
    fn freeze(&self) -> &[String];

    /// Outputs of the acting network.
    fn outputs(&self) -> Outputs;

    /// Checks every range.
    fn validate(&self) -> Result<(), OutOfRange>;
}

/// Settings of an algorithm that learns from streams.
pub trait LearnsFromStreams: AlgorithmConfig {
    /// Updates for each batch, each from an equal share of its trajectories. A divisor of
    /// [`batch_size`](AlgorithmConfig::batch_size).
    fn minibatches(&self) -> usize {
        1
    }

    /// Exploration of actors, where they do not draw actions from the policy.
    fn exploration(&self) -> Option<&ExplorationConfig> {
        None
    }

    /// The algorithm, about to make its first update of `policy`.
    fn start(&self, policy: &Policy) -> Box<dyn StreamsAlgorithm>;
}

/// Settings of an algorithm that learns from a replay. [`OffPolicyConfig`] is, for every
/// [`Objective`].
pub trait LearnsFromReplay: AlgorithmConfig {
    /// Settings of the replay, its rate limiter, and exploration.
    fn shared(&self) -> OffPolicyConfig;

    /// The algorithm, about to make its first update of `policy`, which has its first weights and
    /// knows what is frozen. Networks of its own are a [`replica`](Policy::replica), or stand
    /// [`beside`](Policy::beside) it and start from `seed`.
    fn start(&self, policy: &Policy, seed: Seed) -> Box<dyn ReplayAlgorithm>;
}

/// Objective: what an off-policy algorithm learns from sequences, `[rl.objective]`.
pub trait Objective: Clone + std::fmt::Debug + Send + Sync + Sized + 'static {
    /// Outputs of the acting network.
    fn outputs(&self) -> Outputs;

    /// Checks every range, and that it goes with the `shared` settings.
    fn validate(&self, shared: &OffPolicyConfig) -> Result<(), OutOfRange>;

    /// The algorithm, about to make its first update of `policy`. Networks of its own start from
    /// `seed`.
    fn start(
        config: &OffPolicyConfig<Self>,
        policy: &Policy,
        seed: Seed,
    ) -> Box<dyn ReplayAlgorithm>;
}

/// Algorithm between two updates. It belongs to one thread, together with its policy.
pub trait Algorithm: std::fmt::Debug {
    /// Names of the numbers that an update reports.
    fn columns(&self) -> &'static [&'static str];

    /// Everything it remembers between updates, by name, for a checkpoint.
    fn state(&self) -> StateDict;

    /// Networks of its own, beside the policy: targets, critics. A learner that sets dropout for the
    /// policy sets it for them.
    fn networks(&mut self) -> Vec<&mut Policy> {
        Vec::new()
    }

    /// Goes on from what [`state`](Self::state) said; the run ends if that does not fit.
    fn load_state(&mut self, state: &[(String, Tensor)]) -> Result<(), StateError>;
}

/// An algorithm that learns from streams.
pub trait StreamsAlgorithm: Algorithm {
    /// The carry of `batch` streams that have none yet.
    fn initial_carry(&self, policy: &Policy, batch: i64) -> Carry {
        policy.initial_carry(batch)
    }

    /// Makes one update of `policy` from `batch`, whose streams carry `carry`, after the share
    /// `progress` of the run's env steps; or none at all if a number is not finite. Returns what
    /// the streams carry on, too.
    fn update(
        &mut self,
        policy: &Policy,
        batch: &Batch,
        carry: Carry,
        progress: f64,
    ) -> Result<(UpdateStats, Carry), NonFinite>;

    /// Exploration with the weights as they are, where actors do not draw from the policy.
    fn exploration(&self) -> Option<Exploration> {
        None
    }
}

/// An algorithm that learns from a replay.
pub trait ReplayAlgorithm: Algorithm {
    /// Makes one update of `policy` from sequences of a replay, or none at all if a number is not
    /// finite. Returns the TD errors of all decisions of whole rows, `[T, B]`, zero where nothing
    /// was learned, too.
    fn update(
        &mut self,
        policy: &Policy,
        batch: &ReplayBatch,
    ) -> Result<(UpdateStats, Tensor), NonFinite>;

    /// Choice of an actor's action that is not random.
    fn choice(&self) -> Choice;
}

/// An update that was skipped: weights and optimizer are as they were.
#[derive(Clone, Copy, Debug, PartialEq, Error)]
#[error("the {quantity} of an update is {value}; the update was skipped")]
pub struct NonFinite {
    /// Quantity that is not finite: the loss, or the length of its gradient.
    pub quantity: &'static str,
    /// Infinity, or not a number.
    pub value: f64,
}

impl<O: Objective> AlgorithmConfig for OffPolicyConfig<O> {
    fn batch_size(&self) -> usize {
        self.batch_size
    }

    fn max_non_finite_updates(&self) -> u32 {
        self.max_non_finite_updates
    }

    fn freeze(&self) -> &[String] {
        &self.freeze
    }

    fn outputs(&self) -> Outputs {
        self.objective.outputs()
    }

    fn validate(&self) -> Result<(), OutOfRange> {
        self.validate_shared()?;
        self.objective.validate(&OffPolicyConfig::shared(self))
    }
}

impl<O: Objective> LearnsFromReplay for OffPolicyConfig<O> {
    fn shared(&self) -> OffPolicyConfig {
        OffPolicyConfig::shared(self)
    }

    fn start(&self, policy: &Policy, seed: Seed) -> Box<dyn ReplayAlgorithm> {
        O::start(self, policy, seed)
    }
}

/// Brings scalars to the host, in one copy.
pub(super) fn to_host<const N: usize>(scalars: [&Tensor; N]) -> [f64; N] {
    let scalars = scalars.map(|scalar| scalar.detach().to_kind(Kind::Double).reshape([]));
    let host = Tensor::stack(&scalars, 0).to_device(Device::Cpu);
    let mut numbers = [0.0; N];
    host.copy_data(&mut numbers, N);
    numbers
}

impl NonFinite {
    /// Lets a finite number pass.
    pub fn check(quantity: &'static str, value: f64) -> Result<(), NonFinite> {
        if value.is_finite() {
            return Ok(());
        }
        Err(NonFinite { quantity, value })
    }
}
