//! Algorithms: a batch becomes an update of the weights.
//!
//! One file each, which a reader can finish. [`ActorCritic`] learns from what streams have just
//! sent; [`Dqn`] and [`SacDiscrete`] learn from what a replay has kept, [`Replayed`]. A new
//! algorithm is a file in `algorithms/`, an arm of [`Algorithm`] and an arm of [`RlConfig`].

mod actor_critic;

mod replayed;

mod dqn;

mod sac_discrete;

mod saved;

pub mod optimizer;

pub mod target_network;

pub mod exploration;

use std::time::Duration;

use engram_mdp::Seed;
use engram_policy::exploration::Choice;
use engram_policy::{Batch, CoreState, Policy};
use tch::{Device, Kind, Tensor};
use thiserror::Error;

pub use self::actor_critic::{ActorCritic, Loss};
pub use self::dqn::Dqn;
pub use self::replayed::Replayed;
pub use self::sac_discrete::SacDiscrete;
use crate::algorithms::optimizer::StateError;
use crate::config::RlConfig;

/// What learns. It belongs to one thread, together with its policy.
#[derive(Debug)]
pub enum Algorithm {
    /// The on-policy actor-critic of IMPALA.
    Vtrace(Box<ActorCritic>),
    /// Deep Q-learning.
    Dqn(Box<Dqn>),
    /// Soft actor-critic for discrete actions.
    SacDiscrete(Box<SacDiscrete>),
}

/// What an update did.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct UpdateStats {
    /// Named numbers, those of the algorithm's `COLUMNS`, in their order.
    pub numbers: Vec<(&'static str, f64)>,
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

impl UpdateStats {
    /// The number called `name`, one of the algorithm's columns.
    pub fn get(&self, name: &str) -> f64 {
        let found = self.numbers.iter().find(|(found, _)| *found == name);
        found.unwrap_or_else(|| panic!("an update has no number `{name}`")).1
    }

    fn set(&mut self, name: &str, value: f64) {
        let found = self.numbers.iter_mut().find(|(found, _)| *found == name);
        found.unwrap_or_else(|| panic!("an update has no number `{name}`")).1 = value;
    }
}

impl Algorithm {
    /// The algorithm of `config`, about to make its first update of `policy`. Networks of its own
    /// start from `seed`.
    pub fn new(config: &RlConfig, policy: &Policy, seed: Seed) -> Self {
        match config {
            RlConfig::Vtrace(config) => {
                Algorithm::Vtrace(Box::new(ActorCritic::new(config, policy)))
            }
            RlConfig::Dqn(config) => Algorithm::Dqn(Box::new(Dqn::new(config, policy))),
            RlConfig::SacDiscrete(config) => {
                Algorithm::SacDiscrete(Box::new(SacDiscrete::new(config, policy, seed)))
            }
        }
    }

    /// Makes one update of `policy` from `batch`, whose streams carry `carry`, after the share
    /// `progress` of the run's env steps. Returns what they carry on, too. For algorithms that
    /// learn from streams.
    pub fn update(
        &mut self,
        policy: &Policy,
        batch: &Batch,
        carry: CoreState,
        progress: f64,
    ) -> Result<(UpdateStats, CoreState), NonFinite> {
        match self {
            Algorithm::Vtrace(algorithm) => algorithm.update(policy, batch, carry, progress),
            Algorithm::Dqn(_) | Algorithm::SacDiscrete(_) => {
                panic!("this algorithm learns from a replay, not from streams")
            }
        }
    }

    /// Makes one update of `policy` from sequences of a replay. Returns the TD errors of all
    /// decisions, `[T, B]`, zero where nothing was learned, too. For algorithms that learn from a
    /// replay.
    pub fn update_from_replay(
        &mut self,
        policy: &Policy,
        replayed: &Replayed,
    ) -> Result<(UpdateStats, Tensor), NonFinite> {
        match self {
            Algorithm::Vtrace(_) => panic!("this algorithm learns from streams, not from a replay"),
            Algorithm::Dqn(algorithm) => algorithm.update(policy, replayed),
            Algorithm::SacDiscrete(algorithm) => algorithm.update(policy, replayed),
        }
    }

    /// The names of the numbers that an update reports.
    pub fn columns(&self) -> &'static [&'static str] {
        match self {
            Algorithm::Vtrace(_) => ActorCritic::COLUMNS,
            Algorithm::Dqn(_) => Dqn::COLUMNS,
            Algorithm::SacDiscrete(algorithm) => algorithm.columns(),
        }
    }

    /// How actors choose an action that is not random.
    pub fn choice(&self) -> Choice {
        match self {
            Algorithm::Vtrace(_) | Algorithm::SacDiscrete(_) => Choice::Sample,
            Algorithm::Dqn(_) => Choice::Greedy,
        }
    }

    /// Everything it remembers between updates, by name, for a checkpoint.
    pub fn state(&self) -> Vec<(String, Tensor)> {
        match self {
            Algorithm::Vtrace(algorithm) => algorithm.state(),
            Algorithm::Dqn(algorithm) => algorithm.state(),
            Algorithm::SacDiscrete(algorithm) => algorithm.state(),
        }
    }

    /// Goes on from what [`state`](Self::state) said; the run ends if that does not fit.
    pub fn load_state(&mut self, state: &[(String, Tensor)]) -> Result<(), StateError> {
        match self {
            Algorithm::Vtrace(algorithm) => algorithm.load_state(state),
            Algorithm::Dqn(algorithm) => algorithm.load_state(state),
            Algorithm::SacDiscrete(algorithm) => algorithm.load_state(state),
        }
    }
}

/// Brings scalars to the host, in one copy.
fn to_host<const N: usize>(scalars: [&Tensor; N]) -> [f64; N] {
    let scalars = scalars.map(|scalar| scalar.detach().to_kind(Kind::Double).reshape([]));
    let host = Tensor::stack(&scalars, 0).to_device(Device::Cpu);
    let mut numbers = [0.0; N];
    host.copy_data(&mut numbers, N);
    numbers
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
