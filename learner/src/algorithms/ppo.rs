//! Proximal policy optimization with a memory: several epochs of minibatches over one batch of
//! unrolls, each unrolled again from the state that came with it.
//!
//! Schulman et al. 2017, <https://arxiv.org/abs/1707.06347>.
//!
//! ```text
//! batch ─▶ unroll without gradients ─▶ V, log π before the first step ─▶ GAE ─▶ targets, advantages
//!   └─▶ epochs × minibatches: unroll ─▶ clipped surrogate, value loss ─▶ gradient ─▶ clip ─▶ step
//! ```
//!
//! **What streams carry.** Every epoch begins with the carry that streams had before the batch, and
//! the last epoch's unrolls say what they carry on. So a state that does not travel, and the
//! sensitivities of RTRL, are those of the newest weights within the batch, and those of older ones
//! before it.

use std::time::Instant;

use engram_policy::{Batch, Carry, Outputs, Policy, UnrollContext, Unrolled};
use serde::{Deserialize, Serialize};
use tch::Tensor;

use super::algorithm::{
    Algorithm, AlgorithmConfig, LearnsFromStreams, NonFinite, StreamsAlgorithm,
};
use super::epochs::{EpochMeans, EpochPlan, Epochs, PartLoss};
use super::state_dict::{StateDict, StateError};
use crate::config::{
    OptimizerConfig, OutOfRange, RewardClip, Schedule, cost, finite_positive, is_unscaled,
    learning_rate, positive, require, share, unscaled,
};
use crate::losses::advantages::{GaeInput, gae, normalized};
use crate::losses::clipped_surrogate::clipped_surrogate;
use crate::losses::masked_mean;
use crate::losses::vtrace::VtraceSummary;
use crate::telemetry::update_stats::UpdateStats;

/// Proximal policy optimization (Schulman et al. 2017, <https://arxiv.org/abs/1707.06347>).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PpoConfig {
    /// Trajectories per batch.
    pub batch_size: usize,
    /// Passes over a batch.
    pub epochs: usize,
    /// Optimizer steps of an epoch, each from an equal, random share of the batch's trajectories. A
    /// divisor of `batch_size`.
    pub minibatches: usize,
    /// γ, what a reward counts for one step later.
    pub discount: f64,
    /// λ of generalized advantage estimation.
    pub lambda: f64,
    /// ε, the share by which an action's probability is pushed away at most from what it was.
    pub ratio_clip: f64,
    /// Distance from what it was before a batch beyond which a value's move does not make its error
    /// count less. Absent: values are free.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value_clip: Option<f64>,
    /// The least standard deviation by which the advantages of a minibatch are divided, so that they
    /// have mean 0 and standard deviation 1. Absent: they stay as they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub normalize_advantages: Option<f64>,
    /// Mean divergence (KL) from the policy before the batch, in nats, beyond which no further epoch
    /// begins. Absent: there is no such limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kl_stop: Option<f64>,
    /// The decoupled objective (Hilton et al. 2021, <https://arxiv.org/abs/2110.00641>), for data of
    /// older weights: ratios are taken to the policy before the batch in place of the one that acted,
    /// and a decision counts by its importance weight between these two, at most by so much. Absent:
    /// ratios are taken to the policy that acted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub importance_clip: Option<f64>,
    /// Change of a reward before it is learned from.
    pub reward_clip: RewardClip,
    /// Factor of a reward, after its change, before it is learned from: so that values are near 1.
    #[serde(default = "unscaled", skip_serializing_if = "is_unscaled")]
    pub reward_scale: f64,
    /// The weight of the value loss.
    pub baseline_cost: f64,
    /// The weight of the entropy bonus at the start.
    pub entropy_cost: f64,
    /// Schedule of that weight on the way.
    pub entropy_schedule: Schedule,
    /// The step size at the start.
    pub learning_rate: f64,
    /// Schedule of the step size on the way.
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

/// The algorithm, between two updates.
#[derive(Debug)]
pub struct Ppo {
    config: PpoConfig,
    epochs: Epochs,
}

/// Outputs of the weights before a batch's first step. All tensors are constants, `[T, B]`.
#[derive(Debug)]
pub struct Proximal {
    /// log π of the policy that ratios are taken to.
    pub log_probs: Tensor,
    /// Importance weights of the decisions, unless all are 1.
    pub importance: Option<Tensor>,
    /// V(x_t).
    pub values: Tensor,
    /// Targets of V(x_t).
    pub targets: Tensor,
    /// Advantages of the actions taken.
    pub advantages: Tensor,
}

/// Loss of a minibatch. Scalars: means over its decisions.
#[derive(Debug)]
pub struct PpoLoss {
    /// Scalar that is minimized.
    pub total: Tensor,
    /// Minus the clipped surrogate.
    pub policy: Tensor,
    /// Half the squared error of values, or the larger one of the clipped and the free value.
    pub value: Tensor,
    /// The policy's entropy.
    pub entropy: Tensor,
    /// Divergence (KL) from the proximal policy, estimated as r − 1 − log r.
    pub divergence: Tensor,
    /// Share of the decisions whose ratio is beyond the clip.
    pub clipped: Tensor,
}

impl Ppo {
    /// Columns that an update reports, means over its optimizer steps: what was minimized, minus the
    /// clipped surrogate, the value loss, the policy's entropy in nats, the gradient's length before
    /// it was clipped, the divergence from the policy before the batch, the share of clipped ratios.
    /// Then the learning rate, the optimizer steps, and of the batch before the first one: values,
    /// the importance weight π / μ, and the share of the targets' variance that the values account
    /// for (1 is perfect).
    pub const COLUMNS: &'static [&'static str] = &[
        "loss",
        "policy_loss",
        "value_loss",
        "entropy",
        "grad_norm",
        "kl",
        "clipped_share",
        "learning_rate",
        "optimizer_steps",
        "mean_value",
        "mean_rho",
        "explained_variance",
    ];

    /// An algorithm that has made no update yet.
    pub fn new(config: &PpoConfig, policy: &Policy) -> Self {
        Ppo { config: config.clone(), epochs: Epochs::new(&config.optimizer, policy) }
    }

    /// Outputs of `policy` on `batch` before the first step, and a summary of them.
    pub fn proximal(
        &self,
        policy: &Policy,
        batch: &Batch,
        carry: &Carry,
    ) -> (Proximal, VtraceSummary) {
        let config = &self.config;
        let output = policy.evaluate_streams(&batch.inputs, &batch.core_state, carry);
        let output = output.expect("core states are checked where trajectories enter");
        let unroll_length = batch.unroll_length();
        let log_probs = output.distribution.narrow(0, unroll_length).log_prob(&batch.actions);
        let kind = log_probs.kind();
        let going_on = 1.0 - batch.terminated.to_kind(kind);
        let input = GaeInput {
            rewards: &(config.reward_clip.of(&batch.rewards) * config.reward_scale),
            discounts: &(going_on * config.discount),
            weights: &batch.weights,
            values: output.value(),
        };
        let returns = gae(&input, config.lambda);
        let behavior = batch.behavior_log_probs.to_kind(kind);
        let importance = (&log_probs - &behavior).exp();
        let mean_rho = masked_mean(&importance, &batch.weights, None);
        let summary = VtraceSummary { mean_rho: mean_rho.double_value(&[]), ..returns.summary };
        let (log_probs, importance) = match config.importance_clip {
            None => (behavior, None),
            Some(clip) => (log_probs, Some(importance.clamp_max(clip))),
        };
        let values = output.value().narrow(0, 0, unroll_length);
        let (targets, advantages) = (returns.targets, returns.advantages);
        (Proximal { log_probs, importance, values, targets, advantages }, summary)
    }

    /// The loss of `policy` on `batch` while the run has come so far as `progress` says, and the
    /// context that it reaches back to.
    pub fn loss(
        &self,
        policy: &Policy,
        batch: &Batch,
        carry: Carry,
        proximal: &Proximal,
        progress: f64,
    ) -> (PpoLoss, UnrollContext) {
        loss(&self.config, policy, batch, carry, proximal, progress)
    }

    /// Rows of a batch of `batch` trajectories for each minibatch of an epoch.
    pub fn minibatches(&self, batch: i64, epoch: usize) -> Vec<Vec<i64>> {
        self.epochs.minibatches(batch, epoch, self.config.minibatches)
    }
}

/// See [`Ppo::loss`].
fn loss(
    config: &PpoConfig,
    policy: &Policy,
    batch: &Batch,
    carry: Carry,
    proximal: &Proximal,
    progress: f64,
) -> (PpoLoss, UnrollContext) {
    let unroll_length = batch.unroll_length();
    let unrolled = policy.unroll_streams(&batch.inputs, &batch.core_state, carry);
    let Unrolled { output, context } =
        unrolled.expect("core states are checked where trajectories enter");
    let decisions = output.distribution.narrow(0, unroll_length);
    let log_probs = decisions.log_prob(&batch.actions);
    let mean = |x: &Tensor| masked_mean(x, &batch.weights, None);

    let advantages = match config.normalize_advantages {
        Some(least) => &normalized(&proximal.advantages, &batch.weights, least),
        None => &proximal.advantages,
    };
    let surrogate =
        clipped_surrogate(&log_probs, &proximal.log_probs, advantages, config.ratio_clip);
    let surrogate = match &proximal.importance {
        Some(importance) => surrogate * importance,
        None => surrogate,
    };
    let policy = -mean(&surrogate);
    let values = output.value().narrow(0, 0, unroll_length);
    let value = mean(&value_losses(config.value_clip, &values, proximal));
    let entropy = mean(&decisions.entropy());
    let entropy_cost = config.entropy_cost * config.entropy_schedule.factor(progress);
    let total = &policy + &value * config.baseline_cost - &entropy * entropy_cost;

    let moved = log_probs.detach() - &proximal.log_probs;
    let ratio = moved.exp();
    let divergence = mean(&(&ratio - 1.0 - moved));
    let clipped = mean(&(ratio - 1.0).abs().gt(config.ratio_clip).to_kind(log_probs.kind()));
    (PpoLoss { total, policy, value, entropy, divergence, clipped }, context)
}

/// Half the squared error of each of `values`, `[T, B]`; with a clip no less than that of the value
/// that is no further than `clip` from what it was.
fn value_losses(clip: Option<f64>, values: &Tensor, proximal: &Proximal) -> Tensor {
    let free = (values - &proximal.targets).square();
    let losses = match clip {
        None => free,
        Some(clip) => {
            let near = &proximal.values + (values - &proximal.values).clamp(-clip, clip);
            free.maximum(&(near - &proximal.targets).square())
        }
    };
    losses * 0.5
}

impl Proximal {
    /// Of the trajectories `rows`, i64 `[N]`.
    fn select(&self, rows: &Tensor) -> Proximal {
        let columns = |tensor: &Tensor| tensor.index_select(1, rows);
        Proximal {
            log_probs: columns(&self.log_probs),
            importance: self.importance.as_ref().map(columns),
            values: columns(&self.values),
            targets: columns(&self.targets),
            advantages: columns(&self.advantages),
        }
    }
}

impl Algorithm for Ppo {
    fn columns(&self) -> &'static [&'static str] {
        Self::COLUMNS
    }

    fn state(&self) -> StateDict {
        self.epochs.state()
    }

    fn load_state(&mut self, state: &[(String, Tensor)]) -> Result<(), StateError> {
        self.epochs.load_state(state)
    }
}

impl StreamsAlgorithm for Ppo {
    fn update(
        &mut self,
        policy: &Policy,
        batch: &Batch,
        carry: Carry,
        progress: f64,
    ) -> Result<(UpdateStats, Carry), NonFinite> {
        let started = Instant::now();
        let (proximal, summary) = self.proximal(policy, batch, &carry);
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
            let (loss, context) =
                loss(config, policy, part, carry, &proximal.select(rows), progress);
            let PpoLoss { total, policy, value, entropy, divergence, clipped } = loss;
            PartLoss { total, numbers: [policy, value, entropy, divergence, clipped], context }
        };
        let moved_too_far = |[.., divergence, _]: &[f64; 5]| {
            config.kl_stop.is_some_and(|limit| *divergence > limit)
        };
        let learned = self.epochs.learn(policy, batch, &carry, &plan, loss, moved_too_far)?;
        let EpochMeans { steps, loss, grad_norm, numbers, mut phases, carry } = learned;
        phases.forward += before;
        let [policy_loss, value_loss, entropy, divergence, clipped] = numbers;
        let VtraceSummary { mean_value, mean_rho, explained_variance, decisions: _ } = summary;
        let numbers = [
            loss,
            policy_loss,
            value_loss,
            entropy,
            grad_norm,
            divergence,
            clipped,
            learning_rate,
            steps,
            mean_value,
            mean_rho,
            explained_variance,
        ];
        let numbers = Self::COLUMNS.iter().copied().zip(numbers).collect();
        Ok((UpdateStats { numbers, phases }, carry))
    }
}

impl AlgorithmConfig for PpoConfig {
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
        Outputs::ActorCritic {}
    }

    fn validate(&self) -> Result<(), OutOfRange> {
        EpochPlan::validate(self.batch_size, self.epochs, self.minibatches)?;
        share("discount", self.discount)?;
        finite_positive("reward_scale", self.reward_scale)?;
        share("lambda", self.lambda)?;
        let clip = self.ratio_clip;
        require(0.0 < clip && clip < 1.0, "ratio_clip", clip, "above 0 and below 1")?;
        let optional = [
            ("value_clip", self.value_clip),
            ("normalize_advantages", self.normalize_advantages),
            ("kl_stop", self.kl_stop),
            ("importance_clip", self.importance_clip),
        ];
        for (key, value) in optional {
            value.map_or(Ok(()), |value| positive(key, value))?;
        }
        cost("baseline_cost", self.baseline_cost)?;
        cost("entropy_cost", self.entropy_cost)?;
        positive("max_grad_norm", self.max_grad_norm)?;
        learning_rate("learning_rate", self.learning_rate)?;
        let borne = self.max_non_finite_updates;
        require(borne >= 1, "max_non_finite_updates", borne, "at least 1")?;
        self.optimizer.validate()
    }
}

impl LearnsFromStreams for PpoConfig {
    fn start(&self, policy: &Policy) -> Box<dyn StreamsAlgorithm> {
        Box::new(Ppo::new(self, policy))
    }
}
