//! Parallel Q-learning: λ-returns of the best actions' values over unrolls of many environments,
//! without a replay and without a target network. A norm in the network keeps it stable.
//!
//! Gallici et al. 2024, <https://arxiv.org/abs/2407.04811>; the returns are Peng & Williams 1994's,
//! <https://doi.org/10.1016/B978-1-55860-335-6.50035-0>.
//!
//! ```text
//! batch ─▶ unroll without gradients ─▶ max Q ─▶ λ-returns
//!   └─▶ epochs × minibatches: unroll ─▶ squared error of Q(a) ─▶ gradient ─▶ clip ─▶ step
//! ```

use std::time::Instant;

use engram_policy::exploration::Choice;
use engram_policy::{Batch, Carry, Exploration, Outputs, Policy, PolicyOutput, Returns};
use engram_policy::{UnrollContext, Unrolled};
use serde::{Deserialize, Serialize};
use tch::Tensor;

use super::algorithm::{
    Algorithm, AlgorithmConfig, LearnsFromStreams, NonFinite, StreamsAlgorithm,
};
use super::epochs::{EpochMeans, EpochPlan, Epochs, PartLoss};
use super::state_dict::{StateDict, StateError, find};
use crate::config::exploration::ExplorationConfig;
use crate::config::{
    OptimizerConfig, OutOfRange, RewardClip, Schedule, finite_positive, is_unscaled, learning_rate,
    positive, require, share, unscaled,
};
use crate::losses::advantages::{GaeInput, gae};
use crate::losses::masked_mean;
use crate::telemetry::update_stats::UpdateStats;

/// Parallel Q-learning (Gallici et al. 2024, <https://arxiv.org/abs/2407.04811>).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PqnConfig {
    /// Trajectories per batch.
    pub batch_size: usize,
    /// Passes over a batch.
    pub epochs: usize,
    /// Optimizer steps of an epoch, each from an equal, random share of the batch's trajectories. A
    /// divisor of `batch_size`.
    pub minibatches: usize,
    /// γ, what a reward counts for one step later.
    pub discount: f64,
    /// λ of the returns: 0 is one step, 1 trusts the rewards alone.
    pub lambda: f64,
    /// Change of a reward before it is learned from.
    pub reward_clip: RewardClip,
    /// Factor of a reward, after its change, before it is learned from: so that values are near 1.
    #[serde(default = "unscaled", skip_serializing_if = "is_unscaled")]
    pub reward_scale: f64,
    /// The step size at the start.
    pub learning_rate: f64,
    /// Schedule of the step size on the way.
    pub schedule: Schedule,
    /// Gradients longer than this, all weights together, are shortened to it.
    pub max_grad_norm: f64,
    /// The rule that turns gradients into steps.
    pub optimizer: OptimizerConfig,
    /// Share of random actions. There is no warm-up: ε falls from the first env step on.
    pub exploration: ExplorationConfig,
    /// Updates in a row that may be skipped because a number was not finite, before the run stops.
    pub max_non_finite_updates: u32,
    /// Parts of the policy that do not learn: `torso`, `memory`, and so on.
    pub freeze: Vec<String>,
}

/// The algorithm, between two updates.
#[derive(Debug)]
pub struct Pqn {
    config: PqnConfig,
    epochs: Epochs,
    /// Env steps that were learned from.
    env_steps: u64,
}

impl Pqn {
    /// Columns that an update reports, means over its optimizer steps: what was minimized, the value
    /// of the action taken, the gradient's length before it was clipped. Then the learning rate, ε,
    /// the optimizer steps, and the share of the returns' variance that the best actions' values
    /// account for (1 is perfect).
    pub const COLUMNS: &'static [&'static str] = &[
        "loss",
        "action_value",
        "grad_norm",
        "learning_rate",
        "epsilon",
        "optimizer_steps",
        "explained_variance",
    ];

    /// An algorithm that has made no update yet.
    pub fn new(config: &PqnConfig, policy: &Policy) -> Self {
        let epochs = Epochs::new(&config.optimizer, policy);
        Pqn { config: config.clone(), epochs, env_steps: 0 }
    }

    /// λ-returns of the decisions of `batch` by `policy`, `[T, B]`, and the share of their variance
    /// that its values account for.
    pub fn returns(&self, policy: &Policy, batch: &Batch, carry: &Carry) -> (Tensor, f64) {
        let output = policy.evaluate_streams(&batch.inputs, &batch.core_state, carry);
        let output = output.expect("core states are checked where trajectories enter");
        let best = action_values(&output).amax([2], false);
        let going_on = 1.0 - batch.terminated.to_kind(best.kind());
        // λ-returns are the values plus what GAE says of them.
        let input = GaeInput {
            rewards: &(self.config.reward_clip.of(&batch.rewards) * self.config.reward_scale),
            discounts: &(going_on * self.config.discount),
            weights: &batch.weights,
            values: &best,
        };
        let returns = gae(&input, self.config.lambda);
        (returns.targets, returns.summary.explained_variance)
    }

    /// Half the mean squared error of `policy` on `batch`, whose returns are `returns`; the mean value
    /// of the actions taken; and the context that the error reaches back to.
    pub fn loss(
        policy: &Policy,
        batch: &Batch,
        carry: Carry,
        returns: &Tensor,
    ) -> (Tensor, Tensor, UnrollContext) {
        let unrolled = policy.unroll_streams(&batch.inputs, &batch.core_state, carry);
        let Unrolled { output, context } =
            unrolled.expect("core states are checked where trajectories enter");
        let values = action_values(&output).narrow(0, 0, batch.unroll_length());
        let taken = values.gather(2, &batch.actions.unsqueeze(2), false).squeeze_dim(2);
        let mean = |x: &Tensor| masked_mean(x, &batch.weights, None);
        let loss = mean(&((&taken - returns).square() * 0.5));
        (loss, mean(&taken.detach()), context)
    }

    fn explore(&self) -> Exploration {
        self.config.exploration.at(Choice::Greedy, Some(self.env_steps))
    }
}

/// Values of all actions, `[T + 1, B, A]`.
fn action_values(output: &PolicyOutput) -> Tensor {
    output.values.actions()[0].raw.shallow_clone()
}

impl Algorithm for Pqn {
    fn columns(&self) -> &'static [&'static str] {
        Self::COLUMNS
    }

    fn state(&self) -> StateDict {
        let mut state = self.epochs.state();
        state.push(("env_steps".into(), Tensor::from_slice(&[self.env_steps as i64])));
        state
    }

    fn load_state(&mut self, state: &[(String, Tensor)]) -> Result<(), StateError> {
        let env_steps = find(state, "env_steps", &[1])?.int64_value(&[0]);
        self.epochs.load_state(state)?;
        self.env_steps = env_steps as u64;
        Ok(())
    }
}

impl StreamsAlgorithm for Pqn {
    fn update(
        &mut self,
        policy: &Policy,
        batch: &Batch,
        carry: Carry,
        progress: f64,
    ) -> Result<(UpdateStats, Carry), NonFinite> {
        let started = Instant::now();
        let (returns, explained_variance) = self.returns(policy, batch, &carry);
        let before = started.elapsed();
        let config = &self.config;
        let learning_rate = config.learning_rate * config.schedule.factor(progress);
        let plan = EpochPlan {
            epochs: config.epochs,
            minibatches: config.minibatches,
            learning_rate,
            max_grad_norm: config.max_grad_norm,
        };
        let loss = |part: &Batch, carry: Carry, rows: &Tensor| {
            let returns = returns.index_select(1, rows);
            let (total, value, context) = Pqn::loss(policy, part, carry, &returns);
            PartLoss { total, numbers: [value], context }
        };
        let learned = self.epochs.learn(policy, batch, &carry, &plan, loss, |_| false)?;
        let EpochMeans { steps, loss, grad_norm, numbers: [value], mut phases, carry } = learned;
        phases.forward += before;
        self.env_steps += batch.weights.sum(batch.weights.kind()).double_value(&[]) as u64;
        let epsilon = self.explore().epsilon;
        let numbers = [loss, value, grad_norm, learning_rate, epsilon, steps, explained_variance];
        let numbers = Self::COLUMNS.iter().copied().zip(numbers).collect();
        Ok((UpdateStats { numbers, phases }, carry))
    }

    fn exploration(&self) -> Option<Exploration> {
        Some(self.explore())
    }
}

impl AlgorithmConfig for PqnConfig {
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
        Outputs::ActionValues { critics: 1, returns: Returns::Expected {} }
    }

    fn validate(&self) -> Result<(), OutOfRange> {
        EpochPlan::validate(self.batch_size, self.epochs, self.minibatches)?;
        share("discount", self.discount)?;
        finite_positive("reward_scale", self.reward_scale)?;
        share("lambda", self.lambda)?;
        positive("max_grad_norm", self.max_grad_norm)?;
        learning_rate("learning_rate", self.learning_rate)?;
        let borne = self.max_non_finite_updates;
        require(borne >= 1, "max_non_finite_updates", borne, "at least 1")?;
        self.exploration.validate()?;
        self.optimizer.validate()
    }
}

impl LearnsFromStreams for PqnConfig {
    fn exploration(&self) -> Option<&ExplorationConfig> {
        Some(&self.exploration)
    }

    fn start(&self, policy: &Policy) -> Box<dyn StreamsAlgorithm> {
        Box::new(Pqn::new(self, policy))
    }
}
