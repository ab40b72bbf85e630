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

use engram_policy::{Policy, Returns};
use tch::{Tensor, no_grad};

use super::replayed::Replayed;
use super::saved::{below, copies, restore, under};
use super::{NonFinite, Phases, UpdateStats, to_host};
use crate::algorithms::optimizer::{Optimizer, StateError, clip_factor, global_norm};
use crate::algorithms::target_network::update_target;
use crate::config::{OffPolicyConfig, QLearningConfig};
use crate::losses::categorical::{CategoricalInput, Support, categorical_q_learning};
use crate::losses::q_learning::{QLearningInput, QLearningOptions, q_learning};
use crate::losses::quantile::{QuantileInput, QuantileOptions, quantile_q_learning};
use crate::losses::{ErrorLoss, ValueLoss, masked_mean};

/// The algorithm, between two updates.
pub struct Dqn {
    settings: OffPolicyConfig,
    objective: QLearningConfig,
    optimizer: Optimizer,
    target: Policy,
    updates: u64,
}

impl Dqn {
    /// What an update reports, means over decisions: what was minimized, the value of the action
    /// taken, by how much it was wrong, the gradient's length before it was clipped, the learning
    /// rate.
    pub const COLUMNS: &'static [&'static str] =
        &["critic_loss", "action_value", "td_error", "grad_norm", "learning_rate"];

    /// One that has made no update yet: the target network is that of `policy`.
    pub fn new(config: &OffPolicyConfig<QLearningConfig>, policy: &Policy) -> Self {
        let optimizer = Optimizer::new(&config.optimizer, &policy.trainable());
        let (settings, objective) = (config.shared(), config.objective.clone());
        Dqn { settings, objective, optimizer, target: policy.replica(), updates: 0 }
    }

    /// One step of gradient descent, or none at all if a number is not finite. Returns the TD
    /// errors `[T, B]` of whole rows, too.
    pub fn update(
        &mut self,
        policy: &Policy,
        replayed: &Replayed,
    ) -> Result<(UpdateStats, Tensor), NonFinite> {
        let started = Instant::now();
        let loss = self.loss(policy, replayed);
        let forward_ended = Instant::now();

        let settings = &self.settings;
        let weights = policy.trainable();
        let mut gradient = self.optimizer.gradient(&loss.loss, &weights);
        let error = masked_mean(&loss.td_errors.abs(), replayed.mask(), None);
        let scalars = [&loss.loss, &loss.mean_value, &error, &global_norm(&gradient)];
        let [critic_loss, action_value, td_error, grad_norm] = to_host(scalars);
        NonFinite::check("loss", critic_loss)?;
        NonFinite::check("gradient's length", grad_norm)?;
        let backward_ended = Instant::now();

        let factor = clip_factor(grad_norm, settings.max_grad_norm);
        if factor < 1.0 {
            gradient = gradient.g_mul_scalar_(factor);
        }
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
        Ok((stats, replayed.of_whole_rows(&loss.td_errors)))
    }

    /// The loss of `policy` on sequences of T decisions.
    pub fn loss(&self, policy: &Policy, replayed: &Replayed) -> ValueLoss {
        let values = |network: &Policy| {
            let y = replayed.remember(network);
            network.action_values(&y).remove(0).raw
        };
        let (online, target) = (values(policy), no_grad(|| values(&self.target)));
        let (online, target) = (&online, &target);
        let actions = replayed.actions();
        let decisions = replayed.taken(&actions);
        let returns = &replayed.returns(&self.settings);
        let (selection, error) = (self.objective.selection, self.settings.error);
        match self.objective.returns {
            Returns::Expected {} => {
                let input = QLearningInput { online, target, decisions, returns };
                let rescaling = self.objective.rescaling();
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

    /// Everything it remembers between updates.
    pub fn state(&self) -> Vec<(String, Tensor)> {
        let mut state = under("optimizer", self.optimizer.state());
        state.extend(under("target", copies(self.target.weights())));
        state.push(("updates".into(), Tensor::from_slice(&[self.updates as i64])));
        state
    }

    /// Goes on from what [`state`](Self::state) said.
    pub fn load_state(&mut self, state: &[(String, Tensor)]) -> Result<(), StateError> {
        restore(self.target.weights(), "target", state)?;
        self.updates =
            crate::algorithms::optimizer::find(state, "updates", &[1])?.int64_value(&[0]) as u64;
        self.optimizer.load_state(&below("optimizer", state))
    }
}

impl std::fmt::Debug for Dqn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dqn").field("updates", &self.updates).finish_non_exhaustive()
    }
}
