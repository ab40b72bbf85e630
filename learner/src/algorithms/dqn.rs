//! Deep Q-learning on sequences: one network values the actions at every frame, and another, which
//! follows it slowly, says what the next frame is worth.
//!
//! Mnih et al. 2015, <https://doi.org/10.1038/nature14236>; on sequences Hausknecht & Stone 2015,
//! <https://arxiv.org/abs/1507.06527>. What it knows of returns may be more than their expectation.
//!
//! ```text
//! sequences ─▶ unroll both networks over T + 1 frames ─▶ values, values of the target network
//!           ─▶ returns of n steps ─▶ loss ─▶ gradient ─▶ clip ─▶ optimizer ─▶ target network
//! ```
//!
//! One unroll serves for the value of a frame's action and for the choice of the next frame's.

use std::time::Instant;

use engram_mdp::Seed;
use engram_policy::exploration::Choice;
use engram_policy::{Outputs, Policy, Returns};
use serde::{Deserialize, Serialize};
use tch::{Tensor, no_grad};

use super::algorithm::{Algorithm, NonFinite, Objective, ReplayAlgorithm, to_host};
use super::optimizer::{Optimizer, clipped, global_norm};
use super::replay_batch::ReplayBatch;
use super::state_dict::{StateDict, StateError, below, copies, find, restore, under};
use super::target_network::update_target;
use crate::config::{ErrorLoss, OffPolicyConfig, OutOfRange, SelectionNetwork, cost, require};
use crate::losses::categorical::{CategoricalInput, Support, categorical_q_learning};
use crate::losses::q_learning::{QLearningInput, QLearningOptions, q_learning};
use crate::losses::quantile::{QuantileInput, QuantileOptions, quantile_q_learning};
use crate::losses::value_rescaling::ValueRescaling;
use crate::losses::{ValueLoss, masked_mean};
use crate::telemetry::update_stats::{Phases, UpdateStats};

/// The objective of deep Q-learning on sequences (Mnih et al. 2015,
/// <https://doi.org/10.1038/nature14236>; Hausknecht & Stone 2015,
/// <https://arxiv.org/abs/1507.06527>).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QLearningConfig {
    /// Network that says what action is the best of the next frame.
    pub selection: SelectionNetwork,
    /// Knowledge that the critic has of returns; their expectation if not given.
    #[serde(default = "expected", skip_serializing_if = "is_expected")]
    pub returns: Returns,
    /// ε of the scale on which values are learned (Pohlen et al. 2018,
    /// <https://arxiv.org/abs/1805.11593>); that of returns if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value_rescaling: Option<f64>,
}

/// The algorithm, between two updates.
pub struct Dqn {
    settings: OffPolicyConfig,
    objective: QLearningConfig,
    optimizer: Optimizer,
    target: Policy,
    updates: u64,
}

impl Dqn {
    /// Columns that an update reports, means over decisions: what was minimized, the value of the
    /// action taken, by how much it was wrong, the gradient's length before it was clipped, the
    /// learning rate.
    pub const COLUMNS: &'static [&'static str] =
        &["critic_loss", "action_value", "td_error", "grad_norm", "learning_rate"];

    /// One that has made no update yet: the target network is that of `policy`.
    pub fn new(config: &OffPolicyConfig<QLearningConfig>, policy: &Policy) -> Self {
        let optimizer = Optimizer::of(config, &policy.trainable());
        let (settings, objective) = (config.shared(), config.objective.clone());
        Dqn { settings, objective, optimizer, target: policy.replica(), updates: 0 }
    }

    /// The loss of `policy` on sequences of T decisions.
    pub fn loss(&self, policy: &Policy, batch: &ReplayBatch) -> ValueLoss {
        let values = |network: &Policy| {
            let y = batch.remember(network);
            network.action_values(&y).remove(0).raw
        };
        let (online, target) = (values(policy), no_grad(|| values(&self.target)));
        let (online, target) = (&online, &target);
        let actions = batch.actions();
        let decisions = batch.taken(&actions);
        let returns = &batch.returns(&self.settings);
        let (selection, error) = (self.objective.selection, self.settings.error);
        match self.objective.returns {
            Returns::Expected {} => {
                let input = QLearningInput { online, target, decisions, returns };
                let rescaling = self.objective.value_rescaling;
                let rescaling = rescaling.map(|epsilon| ValueRescaling { epsilon });
                q_learning(&input, QLearningOptions { selection, error, rescaling })
            }
            Returns::Categorical { atoms, least, greatest } => {
                let input = CategoricalInput { online, target, decisions, returns };
                categorical_q_learning(&input, Support { least, greatest, atoms }, selection)
            }
            Returns::Quantiles { .. } => {
                let input = QuantileInput { online, target, decisions, returns };
                let threshold = match error {
                    ErrorLoss::Squared {} => f64::INFINITY,
                    ErrorLoss::Huber { threshold } => threshold,
                };
                quantile_q_learning(&input, QuantileOptions { selection, threshold })
            }
        }
    }
}

impl Algorithm for Dqn {
    fn columns(&self) -> &'static [&'static str] {
        Self::COLUMNS
    }

    fn state(&self) -> StateDict {
        let mut state = under("optimizer", self.optimizer.state());
        state.extend(under("target", copies(self.target.weights())));
        state.push(("updates".into(), Tensor::from_slice(&[self.updates as i64])));
        state
    }

    fn networks(&mut self) -> Vec<&mut Policy> {
        vec![&mut self.target]
    }

    fn load_state(&mut self, state: &[(String, Tensor)]) -> Result<(), StateError> {
        restore(self.target.weights(), "target", state)?;
        self.updates = find(state, "updates", &[1])?.int64_value(&[0]) as u64;
        self.optimizer.load_state(&below("optimizer", state))
    }
}

impl ReplayAlgorithm for Dqn {
    fn update(
        &mut self,
        policy: &Policy,
        batch: &ReplayBatch,
    ) -> Result<(UpdateStats, Tensor), NonFinite> {
        let started = Instant::now();
        let loss = self.loss(policy, batch);
        let forward_ended = Instant::now();

        let settings = &self.settings;
        let weights = policy.trainable();
        let gradient = self.optimizer.gradient(&loss.loss, &weights);
        let error = masked_mean(&loss.td_errors.abs(), batch.mask(), None);
        let scalars = [&loss.loss, &loss.mean_value, &error, &global_norm(&gradient)];
        let [critic_loss, action_value, td_error, grad_norm] = to_host(scalars);
        NonFinite::check("loss", critic_loss)?;
        NonFinite::check("gradient's length", grad_norm)?;
        let backward_ended = Instant::now();

        let gradient = clipped(gradient, grad_norm, settings.longest_gradient());
        self.optimizer.step(&weights, &gradient, settings.learning_rate);
        self.updates += 1;
        update_target(self.target.weights(), policy.weights(), settings.target, self.updates);
        let numbers = [critic_loss, action_value, td_error, grad_norm, settings.learning_rate];
        let stats = UpdateStats {
            numbers: Self::COLUMNS.iter().copied().zip(numbers).collect(),
            phases: Phases {
                forward: forward_ended - started,
                backward: backward_ended - forward_ended,
                optimizer: backward_ended.elapsed(),
            },
        };
        Ok((stats, batch.of_whole_rows(&loss.td_errors)))
    }

    fn choice(&self) -> Choice {
        Choice::Greedy
    }
}

impl Objective for QLearningConfig {
    fn outputs(&self) -> Outputs {
        Outputs::ActionValues { critics: 1, returns: self.returns }
    }

    fn validate(&self, shared: &OffPolicyConfig) -> Result<(), OutOfRange> {
        if let Some(epsilon) = self.value_rescaling {
            cost("objective.value_rescaling", epsilon)?;
        }
        match self.returns {
            Returns::Expected {} => return Ok(()),
            Returns::Categorical { atoms, least, greatest } => {
                let range = "between 2 and 4096";
                require((2..=4096).contains(&atoms), "objective.returns.atoms", atoms, range)?;
                let good = least.is_finite() && greatest.is_finite() && least < greatest;
                require(
                    good,
                    "objective.returns.greatest",
                    greatest,
                    "finite and above returns.least",
                )?;
            }
            Returns::Quantiles { quantiles } => {
                let range = "between 1 and 4096";
                let within = (1..=4096).contains(&quantiles);
                require(within, "objective.returns.quantiles", quantiles, range)?;
                let huber = matches!(shared.error, ErrorLoss::Huber { .. });
                let range = "\"huber\" where returns are quantiles; its threshold is their κ";
                require(huber, "error.name", "\"squared\"", range)?;
            }
        }
        let Some(epsilon) = self.value_rescaling else { return Ok(()) };
        let range = "left out where returns are distributions, which have the scale of returns";
        require(false, "objective.value_rescaling", epsilon, range)
    }

    fn start(config: &OffPolicyConfig<Self>, policy: &Policy, _: Seed) -> Box<dyn ReplayAlgorithm> {
        Box::new(Dqn::new(config, policy))
    }
}

fn expected() -> Returns {
    Returns::Expected {}
}

fn is_expected(returns: &Returns) -> bool {
    *returns == expected()
}

impl std::fmt::Debug for Dqn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dqn").field("updates", &self.updates).finish_non_exhaustive()
    }
}
