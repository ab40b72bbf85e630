//! The actor-critic of IMPALA: policy gradients and values, both corrected by V-trace for the
//! policy that acted being some versions old.
//!
//! Espeholt et al. 2018, section 4.2, <https://arxiv.org/abs/1802.01561>.
//!
//! ```text
//! batch ─▶ unroll the policy over T + 1 frames ─▶ log π, V, entropy; what streams carry on
//!       ─▶ V-trace ─▶ targets v, advantages A (both constants)
//!       ─▶ loss ─▶ gradient ─▶ clip ─▶ optimizer
//! ```

use std::time::Instant;

use engram_policy::{Batch, Carry, Outputs, Policy, UnrollContext, Unrolled};
use serde::{Deserialize, Serialize};
use tch::Tensor;

use super::algorithm::{
    Algorithm, AlgorithmConfig, LearnsFromStreams, NonFinite, StreamsAlgorithm, to_host,
};
use super::optimizer::{Optimizer, clipped, global_norm};
use super::state_dict::{StateDict, StateError};
use crate::config::{
    OptimizerConfig, OutOfRange, RewardClip, Schedule, cost, finite_positive, is_unscaled,
    learning_rate, positive, require, share, unscaled,
};
use crate::losses::advantages::normalized;
use crate::losses::clipped_surrogate::clipped_surrogate;
use crate::losses::vtrace::{VtraceInput, VtraceOptions, VtraceSummary, vtrace};
use crate::telemetry::update_stats::{Phases, UpdateStats};

/// A V-trace actor-critic (Espeholt et al. 2018, <https://arxiv.org/abs/1802.01561>).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VtraceConfig {
    /// Trajectories per batch.
    pub batch_size: usize,
    /// Updates for each batch, each from an equal share of its trajectories; weights are published
    /// after the last one. A divisor of `batch_size`.
    pub minibatches: usize,
    /// γ, what a reward counts for one step later.
    pub discount: f64,
    /// λ, by which every trace is multiplied: 1 trusts the rewards, less trusts the values more.
    pub lambda: f64,
    /// ρ̄, the largest importance weight of a temporal difference.
    pub rho_clip: f64,
    /// c̄, the largest importance weight of a trace; at most `rho_clip`.
    pub c_clip: f64,
    /// The largest importance weight of an advantage, without `ratio_clip`.
    pub pg_rho_clip: f64,
    /// ε of the clipped surrogate (Schulman et al. 2017, <https://arxiv.org/abs/1707.06347>): an action's
    /// probability is pushed no further than by this share from that of the policy that acted. Absent:
    /// the policy gradient of V-trace, with no such bound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ratio_clip: Option<f64>,
    /// The least standard deviation by which advantages are divided, so that over the decisions of
    /// an update they have mean 0 and standard deviation 1, or less where all is known: what is left
    /// of them is noise then, and must not be made large. Absent: they stay as they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub normalize_advantages: Option<f64>,
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
    /// Reduction that puts the losses of single decisions together.
    pub reduction: Reduction,
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

/// Reduction that puts the losses of single decisions together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reduction {
    /// Their sum, as in IMPALA: gradients grow with the batch and the unroll.
    Sum,
    /// Their mean.
    Mean,
}

/// The algorithm, between two updates.
#[derive(Debug)]
pub struct Vtrace {
    config: VtraceConfig,
    optimizer: Optimizer,
    /// The weight of the entropy bonus by now.
    entropy_cost: f64,
}

/// Loss of an unroll. Scalars; the parts are sums over decisions, without their weights.
#[derive(Debug)]
pub struct Loss {
    /// Sum that is minimized.
    pub total: Tensor,
    /// Σ −log π · A, or minus the clipped surrogate.
    pub policy: Tensor,
    /// ½ Σ (v − V)².
    pub value: Tensor,
    /// The policy's entropy, summed.
    pub entropy: Tensor,
    /// Summary of what V-trace saw on the way.
    pub summary: VtraceSummary,
    /// Context before the unroll, to which [`total`](Self::total) reaches back.
    pub context: UnrollContext,
}

impl Vtrace {
    /// Columns that an update reports, means over decisions where there are several: what was
    /// minimized (a sum or a mean, as configured), −log π · advantage, half the squared error of
    /// the values, the policy's entropy in nats, the gradient's length before it was clipped, the
    /// learning rate, values, the importance weight π / μ before it was clipped, and the share of
    /// the value targets' variance that the values account for (1 is perfect).
    pub const COLUMNS: &'static [&'static str] = &[
        "loss",
        "policy_loss",
        "value_loss",
        "entropy",
        "grad_norm",
        "learning_rate",
        "mean_value",
        "mean_rho",
        "explained_variance",
    ];

    /// An actor-critic that has made no update yet.
    pub fn new(config: &VtraceConfig, policy: &Policy) -> Self {
        Vtrace {
            config: config.clone(),
            optimizer: Optimizer::new(&config.optimizer, &policy.trainable()),
            entropy_cost: config.entropy_cost,
        }
    }

    /// The loss of `policy` on `batch`, whose streams carry `carry`.
    pub fn loss(&self, policy: &Policy, batch: &Batch, carry: Carry) -> Loss {
        let config = &self.config;
        let unroll_length = batch.unroll_length();
        let unrolled = policy.unroll_streams(&batch.inputs, &batch.core_state, carry);
        let Unrolled { output, context } =
            unrolled.expect("core states are checked where trajectories enter");
        // The last frame is there for its value alone.
        let decisions = output.distribution.narrow(0, unroll_length);
        let log_probs = decisions.log_prob(&batch.actions);
        let kind = log_probs.kind();
        let going_on = 1.0 - batch.terminated.to_kind(kind);
        let returns = vtrace(
            &VtraceInput {
                target_log_probs: &log_probs,
                behavior_log_probs: &batch.behavior_log_probs,
                rewards: &(config.reward_clip.of(&batch.rewards) * config.reward_scale),
                discounts: &(going_on * config.discount),
                weights: &batch.weights,
                values: output.value(),
            },
            config.vtrace_options(),
        );

        // Where a frame is Last its advantage is 0 and its target its own value, so only the
        // entropy must be told to leave it out.
        let errors = returns.targets - output.value().narrow(0, 0, unroll_length);
        let advantages = match &config.normalize_advantages {
            Some(least) => &normalized(&returns.advantages, &batch.weights, *least),
            None => &returns.advantages,
        };
        let policy = match config.ratio_clip {
            None => log_probs * advantages,
            Some(clip) => {
                clipped_surrogate(&log_probs, &batch.behavior_log_probs, advantages, clip)
            }
        };
        let policy = -policy.sum(kind);
        let value = errors.square().sum(kind) * 0.5;
        let entropy = (decisions.entropy() * &batch.weights).sum(kind);
        let sum = &policy + &value * config.baseline_cost - &entropy * self.entropy_cost;
        let total = match config.reduction {
            Reduction::Sum => sum,
            Reduction::Mean => sum / returns.summary.decisions.max(1.0),
        };
        Loss { total, policy, value, entropy, summary: returns.summary, context }
    }
}

impl Algorithm for Vtrace {
    fn columns(&self) -> &'static [&'static str] {
        Self::COLUMNS
    }

    fn state(&self) -> StateDict {
        self.optimizer.state()
    }

    fn load_state(&mut self, state: &[(String, Tensor)]) -> Result<(), StateError> {
        self.optimizer.load_state(state)
    }
}

impl StreamsAlgorithm for Vtrace {
    fn update(
        &mut self,
        policy: &Policy,
        batch: &Batch,
        carry: Carry,
        progress: f64,
    ) -> Result<(UpdateStats, Carry), NonFinite> {
        let started = Instant::now();
        self.entropy_cost =
            self.config.entropy_cost * self.config.entropy_schedule.factor(progress);
        let Loss { total, policy: of_policy, value, entropy, summary, context } =
            self.loss(policy, batch, carry);
        let forward_ended = Instant::now();

        let weights = policy.trainable();
        let (gradients, carry) = policy.gradient(&total, context);
        let gradient = self.optimizer.flatten(&gradients);
        let scalars = [&total, &of_policy, &value, &entropy, &global_norm(&gradient)];
        let mut stats = read_back(scalars, &summary);
        let grad_norm = stats.get("grad_norm");
        NonFinite::check("loss", stats.get("loss"))?;
        NonFinite::check("gradient's length", grad_norm)?;
        let backward_ended = Instant::now();

        let gradient = clipped(gradient, grad_norm, self.config.max_grad_norm);
        let learning_rate = self.config.learning_rate * self.config.schedule.factor(progress);
        self.optimizer.step(&weights, &gradient, learning_rate);
        stats.set("learning_rate", learning_rate);
        stats.phases = Phases {
            forward: forward_ended - started,
            backward: backward_ended - forward_ended,
            optimizer: backward_ended.elapsed(),
        };
        Ok((stats, carry))
    }
}

impl AlgorithmConfig for VtraceConfig {
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
        require(
            (1..=65_536).contains(&self.batch_size),
            "batch_size",
            self.batch_size,
            "between 1 and 65536 trajectories",
        )?;
        require(
            self.minibatches >= 1 && self.batch_size.is_multiple_of(self.minibatches),
            "minibatches",
            self.minibatches,
            "a divisor of rl.batch_size, at least 1",
        )?;
        share("discount", self.discount)?;
        finite_positive("reward_scale", self.reward_scale)?;
        share("lambda", self.lambda)?;
        positive("rho_clip", self.rho_clip)?;
        positive("c_clip", self.c_clip)?;
        let c_within_rho = self.c_clip <= self.rho_clip;
        require(c_within_rho, "c_clip", self.c_clip, "at most rl.rho_clip")?;
        positive("pg_rho_clip", self.pg_rho_clip)?;
        if let Some(clip) = self.ratio_clip {
            require(0.0 < clip && clip < 1.0, "ratio_clip", clip, "above 0 and below 1")?;
        }
        cost("baseline_cost", self.baseline_cost)?;
        cost("entropy_cost", self.entropy_cost)?;
        if let Some(least) = self.normalize_advantages {
            positive("normalize_advantages", least)?;
        }
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

impl LearnsFromStreams for VtraceConfig {
    fn minibatches(&self) -> usize {
        self.minibatches
    }

    fn start(&self, policy: &Policy) -> Box<dyn StreamsAlgorithm> {
        Box::new(Vtrace::new(self, policy))
    }
}

impl VtraceConfig {
    /// The settings of V-trace proper.
    pub fn vtrace_options(&self) -> VtraceOptions {
        VtraceOptions {
            rho_clip: self.rho_clip,
            c_clip: self.c_clip,
            pg_rho_clip: self.ratio_clip.is_none().then_some(self.pg_rho_clip),
            lambda: self.lambda,
        }
    }
}

/// Brings everything that is reported to the host, in one copy: the losses in total, of the policy
/// and of the values, the entropy, and the gradient's length. The learning rate is that of no step:
/// it is known later.
fn read_back(scalars: [&Tensor; 5], summary: &VtraceSummary) -> UpdateStats {
    let [total, policy, value, entropy, grad_norm] = to_host(scalars);
    let &VtraceSummary { decisions, mean_value, mean_rho, explained_variance } = summary;
    let decisions = decisions.max(1.0);
    let (policy, value, entropy) = (policy / decisions, value / decisions, entropy / decisions);
    let numbers =
        [total, policy, value, entropy, grad_norm, 0.0, mean_value, mean_rho, explained_variance];
    let numbers = Vtrace::COLUMNS.iter().copied().zip(numbers).collect();
    UpdateStats { numbers, phases: Phases::default() }
}
