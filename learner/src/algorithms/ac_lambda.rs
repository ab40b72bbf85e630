//! AC(λ): an actor-critic with eligibility traces (Sutton & Barto 2018, section 13.5; with RTRL as in
//! Elelimy et al. 2024, <https://arxiv.org/abs/2409.01449>).
//!
//! ```text
//! e ← γλ e + ∇[log π(a|s) + c V(s)]      δ = r + γ V(s') − V(s)      θ ← θ + α (δ e + η ∇H(s))
//! ```
//!
//! A trace remembers every decision of the episode so far. So what is learned now reaches all of
//! them, however short unrolls are, as with RTRL each of their gradients reaches back to all that was
//! seen. With both, unrolls of a single decision add up to what generalized advantages over whole
//! episodes and backpropagation through them come to (`learner/tests/carried.rs`).
//!
//! Many streams learn together. Each has a trace e of its own, which is carried from one unroll to
//! the next. The weights stay as they are within an unroll of T decisions, so with g_t for the
//! gradient of decision t
//!
//! ```text
//! Σ_t δ_t e_t = Σ_t A_t g_t + (Σ_t (γλ)^{t+1} δ_t) e      A_t = Σ_{k ≥ t} (γλ)^{k−t} δ_k
//! e' = (γλ)^T e + Σ_t (γλ)^{T−1−t} g_t
//! ```
//!
//! The first line is one backward pass for all streams, the second one for each of them. Nothing
//! corrects for the policy that acted being older: `run.policy_lag` should be 0 or 1.

use std::time::Instant;

use engram_policy::{Batch, Batched, Carry, Outputs, Policy, Unrolled};
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
use crate::losses::advantages::{GaeInput, gae};
use crate::losses::vtrace::VtraceSummary;
use crate::telemetry::update_stats::{Phases, UpdateStats};

/// AC(λ) (Sutton & Barto 2018, section 13.5).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AcLambdaConfig {
    /// Trajectories per update, each of another stream.
    pub batch_size: usize,
    /// γ, what a reward counts for one step later.
    pub discount: f64,
    /// λ, by which traces decay beside γ: 1 trusts the rewards, less trusts the values more.
    pub lambda: f64,
    /// Change of a reward before it is learned from.
    pub reward_clip: RewardClip,
    /// Factor of a reward, after its change, before it is learned from: so that values are near 1.
    #[serde(default = "unscaled", skip_serializing_if = "is_unscaled")]
    pub reward_scale: f64,
    /// c, the weight of the critic beside the actor.
    pub baseline_cost: f64,
    /// η, the weight of the entropy bonus at the start.
    pub entropy_cost: f64,
    /// Schedule of that weight on the way.
    pub entropy_schedule: Schedule,
    /// α, the step size at the start.
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
pub struct AcLambda {
    config: AcLambdaConfig,
    optimizer: Optimizer,
    /// The weight of the entropy bonus by now.
    entropy_cost: f64,
}

/// Sum over the decisions of a batch of what the weights are to go down by, and what was seen.
#[derive(Debug)]
pub struct AcLambdaGradient {
    /// −Σ (δ e + η ∇H), flat, of all weights that learn: `[P]`.
    pub gradient: Tensor,
    /// The carry of the streams from here on, their traces with it.
    pub carry: Carry,
    /// The policy's entropy, summed.
    pub entropy: Tensor,
    /// ½ Σ δ².
    pub value: Tensor,
    /// Mean length of the traces.
    pub trace_norm: Tensor,
    /// Summary of the unroll.
    pub summary: VtraceSummary,
    /// Time that the passes took.
    pub phases: Phases,
}

/// Decay of the traces of B streams in an unroll; `[T, B]`.
struct Decay {
    /// Share that is left at decision t of a trace from before the unroll.
    since_start: Tensor,
    /// Share that is left of decision t's gradient at the unroll's end.
    until_end: Tensor,
}

impl AcLambda {
    /// Columns that an update reports, means over decisions where there are several: half the
    /// squared TD error, the policy's entropy in nats, the gradient's length before it was clipped,
    /// the learning rate, values, the mean length of the traces, and the share of the value
    /// targets' variance that the values account for (1 is perfect).
    pub const COLUMNS: &'static [&'static str] = &[
        "value_loss",
        "entropy",
        "grad_norm",
        "learning_rate",
        "mean_value",
        "trace_norm",
        "explained_variance",
    ];

    /// An actor-critic that has made no update yet.
    pub fn new(config: &AcLambdaConfig, policy: &Policy) -> Self {
        AcLambda {
            config: config.clone(),
            optimizer: Optimizer::new(&config.optimizer, &policy.trainable()),
            entropy_cost: config.entropy_cost,
        }
    }

    /// Gradient by which an update of `policy` goes down, from `batch`, whose streams carry `carry`.
    pub fn gradient(&self, policy: &Policy, batch: &Batch, mut carry: Carry) -> AcLambdaGradient {
        let started = Instant::now();
        let config = &self.config;
        let trace = carry.take_trace().expect("streams of this algorithm carry traces");
        let decay = self.decay(batch, trace.kind());
        // Before the carry's memory is used for what comes next.
        let fresh = self.fresh_traces(policy, batch, &carry, &decay.until_end);
        let traced = Instant::now();

        let length = batch.unroll_length();
        let Unrolled { output, context } = unroll(policy, batch, carry);
        let decisions = output.distribution.narrow(0, length);
        let (log_probs, values) = (decisions.log_prob(&batch.actions), output.value());
        let kind = log_probs.kind();
        let rewards = config.reward_clip.of(&batch.rewards) * config.reward_scale;
        let discounts = (1.0 - batch.terminated.to_kind(kind)) * config.discount;
        let weights = batch.weights.to_kind(kind);
        let input =
            GaeInput { rewards: &rewards, discounts: &discounts, weights: &weights, values };
        let returns = gae(&input, config.lambda);
        let next = values.narrow(0, 1, length).detach();
        let errors = (rewards + discounts * next - values.narrow(0, 0, length).detach()) * &weights;
        let learned = log_probs + values.narrow(0, 0, length) * config.baseline_cost;
        let entropy = (decisions.entropy() * &weights).sum(kind);
        let loss = -(learned * returns.advantages).sum(kind) - &entropy * self.entropy_cost;
        let forward = Instant::now();

        let (gradients, carry) = policy.gradient(&loss, context);
        // What is learned now, of what was decided before the unroll.
        let (earlier, trace) = tch::no_grad(|| {
            let earlier = (&decay.since_start * &errors).sum_dim_intlist(0, false, kind);
            let left = decay.since_start.select(0, length - 1).unsqueeze(1);
            (earlier.matmul(&trace), fresh + left * &trace)
        });
        let trace_norm = trace.norm_scalaropt_dim(2.0, 1, false).mean(kind);
        AcLambdaGradient {
            gradient: self.optimizer.flatten(&gradients) - earlier,
            carry: carry.with_trace(trace),
            entropy,
            value: errors.square().sum(kind) * 0.5,
            trace_norm,
            summary: returns.summary,
            phases: Phases {
                forward: forward - traced,
                backward: (traced - started) + forward.elapsed(),
                ..Phases::default()
            },
        }
    }

    /// Share of the traces at the unroll's end that is of its own decisions: `[B, P]`.
    fn fresh_traces(
        &self,
        policy: &Policy,
        batch: &Batch,
        carry: &Carry,
        until_end: &Tensor,
    ) -> Tensor {
        let (length, device) = (batch.unroll_length(), policy.device());
        let shares = until_end * &batch.weights;
        let of_stream = |row: i64| {
            let index = Tensor::from_slice(&[row]).to_device(device);
            let part = batch.select(&[row]);
            let Unrolled { output, context } = unroll(policy, &part, carry.index_select(&index));
            let log_probs = output.distribution.narrow(0, length).log_prob(&part.actions);
            let values = output.value().narrow(0, 0, length);
            let shares = shares.index_select(1, &index);
            let learned = (log_probs + values * self.config.baseline_cost) * shares;
            let (gradients, _) = policy.gradient(&learned.sum(learned.kind()), context);
            self.optimizer.flatten(&gradients)
        };
        let all: Vec<Tensor> = (0..batch.batch()).map(of_stream).collect();
        Tensor::stack(&all, 0)
    }

    fn decay(&self, batch: &Batch, kind: tch::Kind) -> Decay {
        let length = batch.unroll_length();
        let within = batch.inputs.is_first.narrow(0, 0, length).logical_not().to_kind(kind);
        let kept = within * (self.config.discount * self.config.lambda);
        let later =
            Tensor::cat(&[kept.narrow(0, 1, length - 1), kept.ones_like().narrow(0, 0, 1)], 0);
        let since_start = kept.cumprod(0, kind);
        let until_end = later.flip([0]).cumprod(0, kind).flip([0]);
        Decay { since_start, until_end }
    }
}

fn unroll(policy: &Policy, batch: &Batch, carry: Carry) -> Unrolled {
    policy
        .unroll_streams(&batch.inputs, &batch.core_state, carry)
        .expect("core states are checked where trajectories enter")
}

impl Algorithm for AcLambda {
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

impl StreamsAlgorithm for AcLambda {
    fn initial_carry(&self, policy: &Policy, batch: i64) -> Carry {
        let width = policy.trainable().iter().map(|(_, weight)| weight.numel() as i64).sum();
        let trace = Tensor::zeros([batch, width], (policy.kind(), policy.device()));
        policy.initial_carry(batch).with_trace(trace)
    }

    fn update(
        &mut self,
        policy: &Policy,
        batch: &Batch,
        carry: Carry,
        progress: f64,
    ) -> Result<(UpdateStats, Carry), NonFinite> {
        self.entropy_cost =
            self.config.entropy_cost * self.config.entropy_schedule.factor(progress);
        let AcLambdaGradient { gradient, carry, entropy, value, trace_norm, summary, mut phases } =
            self.gradient(policy, batch, carry);
        let started = Instant::now();
        let decisions = summary.decisions.max(1.0);
        let gradient = gradient / decisions;
        let [entropy, value, trace_norm, grad_norm] =
            to_host([&entropy, &value, &trace_norm, &global_norm(&gradient)]);
        NonFinite::check("loss", value)?;
        NonFinite::check("gradient's length", grad_norm)?;
        phases.backward += started.elapsed();

        let started = Instant::now();
        let gradient = clipped(gradient, grad_norm, self.config.max_grad_norm);
        let learning_rate = self.config.learning_rate * self.config.schedule.factor(progress);
        self.optimizer.step(&policy.trainable(), &gradient, learning_rate);
        phases.optimizer = started.elapsed();
        let VtraceSummary { mean_value, explained_variance, .. } = summary;
        let (value, entropy) = (value / decisions, entropy / decisions);
        let numbers =
            [value, entropy, grad_norm, learning_rate, mean_value, trace_norm, explained_variance];
        let numbers = Self::COLUMNS.iter().copied().zip(numbers).collect();
        Ok((UpdateStats { numbers, phases }, carry))
    }
}

impl AlgorithmConfig for AcLambdaConfig {
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
        let (batch, skipped) = (self.batch_size, self.max_non_finite_updates);
        let sized = (1..=65_536).contains(&batch);
        require(sized, "batch_size", batch, "between 1 and 65536 trajectories")?;
        share("discount", self.discount)?;
        share("lambda", self.lambda)?;
        finite_positive("reward_scale", self.reward_scale)?;
        cost("baseline_cost", self.baseline_cost)?;
        cost("entropy_cost", self.entropy_cost)?;
        positive("max_grad_norm", self.max_grad_norm)?;
        learning_rate("learning_rate", self.learning_rate)?;
        require(skipped >= 1, "max_non_finite_updates", skipped, "at least 1")?;
        self.optimizer.validate()
    }
}

impl LearnsFromStreams for AcLambdaConfig {
    fn start(&self, policy: &Policy) -> Box<dyn StreamsAlgorithm> {
        Box::new(AcLambda::new(self, policy))
    }
}
