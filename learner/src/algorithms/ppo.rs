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

use engram_mdp::Seed;
use engram_policy::{Batch, Batched, Carry, Outputs, Policy, UnrollContext, Unrolled};
use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize};
use tch::Tensor;

use super::algorithm::{
    Algorithm, AlgorithmConfig, LearnsFromStreams, NonFinite, StreamsAlgorithm, to_host,
};
use super::optimizer::{Optimizer, clip_factor, global_norm};
use super::state_dict::{StateDict, StateError, copies, find, restore, under};
use crate::config::{
    OptimizerConfig, OutOfRange, RewardClip, Schedule, cost, learning_rate, positive, require,
    share,
};
use crate::losses::advantages::{GaeInput, gae, normalized};
use crate::losses::clipped_surrogate::clipped_surrogate;
use crate::losses::masked_mean;
use crate::losses::vtrace::VtraceSummary;
use crate::telemetry::update_stats::{Phases, UpdateStats};

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
    /// How far a value may move from what it was before a batch before its error counts no less
    /// for it. Absent: values are free.
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
    optimizer: Optimizer,
    /// Batches so far, from which shares of the next one are drawn.
    batches: i64,
}

/// What the weights before a batch's first step say of it. All tensors are constants, `[T, B]`.
#[derive(Debug)]
pub struct Proximal {
    /// log π of the policy that ratios are taken to.
    pub log_probs: Tensor,
    /// Importance weights of the decisions, unless all are 1.
    pub importance: Option<Tensor>,
    /// V(x_t).
    pub values: Tensor,
    /// What V(x_t) should have been.
    pub targets: Tensor,
    /// How much better the action was.
    pub advantages: Tensor,
}

/// Loss of a minibatch. Scalars: means over its decisions.
#[derive(Debug)]
pub struct PpoLoss {
    /// What is minimized.
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

/// Sums over the optimizer steps of an update.
#[derive(Default)]
struct Sums {
    steps: f64,
    losses: [f64; 7],
    phases: Phases,
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
        let optimizer = Optimizer::new(&config.optimizer, &policy.trainable());
        Ppo { config: config.clone(), optimizer, batches: 0 }
    }

    /// What `policy` says of `batch` before the first step, and a summary of it.
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
            rewards: &config.reward_clip.of(&batch.rewards),
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
        let (config, unroll_length) = (&self.config, batch.unroll_length());
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
        let value = mean(&self.value_losses(&output.value().narrow(0, 0, unroll_length), proximal));
        let entropy = mean(&decisions.entropy());
        let entropy_cost = config.entropy_cost * config.entropy_schedule.factor(progress);
        let total = &policy + &value * config.baseline_cost - &entropy * entropy_cost;

        let moved = log_probs.detach() - &proximal.log_probs;
        let ratio = moved.exp();
        let divergence = mean(&(&ratio - 1.0 - moved));
        let clipped = mean(&(ratio - 1.0).abs().gt(config.ratio_clip).to_kind(log_probs.kind()));
        (PpoLoss { total, policy, value, entropy, divergence, clipped }, context)
    }

    /// Half the squared error of each of `values`, `[T, B]`.
    fn value_losses(&self, values: &Tensor, proximal: &Proximal) -> Tensor {
        let free = (values - &proximal.targets).square();
        let losses = match self.config.value_clip {
            None => free,
            Some(clip) => {
                let near = &proximal.values + (values - &proximal.values).clamp(-clip, clip);
                free.maximum(&(near - &proximal.targets).square())
            }
        };
        losses * 0.5
    }

    /// Rows of a batch of `batch` trajectories for each minibatch of an epoch.
    pub fn minibatches(&self, batch: i64, epoch: usize) -> Vec<Vec<i64>> {
        let mut rows: Vec<i64> = (0..batch).collect();
        if self.config.minibatches > 1 {
            let seed = Seed::new(self.batches as u64).derive("epoch", epoch as u64);
            rows.shuffle(&mut seed.generator());
        }
        let size = rows.len().div_ceil(self.config.minibatches).max(1);
        rows.chunks(size).map(<[i64]>::to_vec).collect()
    }

    /// All epochs. Returns what the streams carry on.
    fn learn(
        &mut self,
        policy: &Policy,
        batch: &Batch,
        carry: &Carry,
        proximal: &Proximal,
        progress: f64,
        sums: &mut Sums,
    ) -> Result<Carry, NonFinite> {
        let mut epoch = 0;
        loop {
            let (before, mut carries) = (sums.losses[5], Vec::new());
            let minibatches = self.minibatches(batch.batch(), epoch);
            for rows in &minibatches {
                carries.push(self.step(policy, batch, carry, proximal, rows, progress, sums)?);
            }
            epoch += 1;
            let divergence = (sums.losses[5] - before) / minibatches.len() as f64;
            let too_far = self.config.kl_stop.is_some_and(|limit| divergence > limit);
            if epoch == self.config.epochs || too_far {
                // Row `rows[i]` of the batch stands at place i of what was carried on.
                let rows = Tensor::from_slice(&minibatches.concat()).argsort(0, false);
                return Ok(Carry::cat(&carries).index_select(&rows.to_device(policy.device())));
            }
        }
    }

    /// One optimizer step, from the trajectories `rows`.
    #[expect(clippy::too_many_arguments, reason = "one step of the loop above")]
    fn step(
        &mut self,
        policy: &Policy,
        batch: &Batch,
        carry: &Carry,
        proximal: &Proximal,
        rows: &[i64],
        progress: f64,
        sums: &mut Sums,
    ) -> Result<Carry, NonFinite> {
        let started = Instant::now();
        let index = Tensor::from_slice(rows).to_device(policy.device());
        let (batch, carry) = (batch.select(rows), carry.index_select(&index));
        let (loss, context) = self.loss(policy, &batch, carry, &proximal.select(&index), progress);
        let forward_ended = Instant::now();

        let weights = policy.trainable();
        let (gradients, carry) = policy.gradient(&loss.total, context);
        let mut gradient = self.optimizer.flatten(&gradients);
        let PpoLoss { total, policy: of_policy, value, entropy, divergence, clipped } = &loss;
        let norm = global_norm(&gradient);
        let numbers = to_host([total, of_policy, value, entropy, &norm, divergence, clipped]);
        let [total, .., norm, _, _] = numbers;
        NonFinite::check("loss", total)?;
        NonFinite::check("gradient's length", norm)?;
        let backward_ended = Instant::now();

        let factor = clip_factor(norm, self.config.max_grad_norm);
        if factor < 1.0 {
            gradient = gradient.g_mul_scalar_(factor);
        }
        self.optimizer.step(&weights, &gradient, self.learning_rate(progress));
        sums.steps += 1.0;
        sums.losses.iter_mut().zip(numbers).for_each(|(sum, number)| *sum += number);
        sums.phases.forward += forward_ended - started;
        sums.phases.backward += backward_ended - forward_ended;
        sums.phases.optimizer += backward_ended.elapsed();
        Ok(carry)
    }

    fn learning_rate(&self, progress: f64) -> f64 {
        self.config.learning_rate * self.config.schedule.factor(progress)
    }
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
        let mut state = self.optimizer.state();
        state.push(("batches".into(), Tensor::from_slice(&[self.batches])));
        state
    }

    fn load_state(&mut self, state: &[(String, Tensor)]) -> Result<(), StateError> {
        let batches = find(state, "batches", &[1])?.int64_value(&[0]);
        self.optimizer.load_state(state)?;
        self.batches = batches;
        Ok(())
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
        let mut sums = Sums::default();
        sums.phases.forward = started.elapsed();
        let weights = policy.trainable();
        let before = (under("weights", copies(&weights)), self.optimizer.state());
        let carry = match self.learn(policy, batch, &carry, &proximal, progress, &mut sums) {
            Ok(carry) => carry,
            Err(error) => {
                let back = "what was copied fits";
                restore(&weights, "weights", &before.0).expect(back);
                self.optimizer.load_state(&before.1).expect(back);
                return Err(error);
            }
        };
        self.batches += 1;
        let means = sums.losses.map(|sum| sum / sums.steps);
        let VtraceSummary { mean_value, mean_rho, explained_variance, decisions: _ } = summary;
        let of_batch = [mean_value, mean_rho, explained_variance];
        let numbers = means.into_iter().chain([self.learning_rate(progress), sums.steps]);
        let numbers = Self::COLUMNS.iter().copied().zip(numbers.chain(of_batch)).collect();
        Ok((UpdateStats { numbers, phases: sums.phases }, carry))
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
        let batch_size = self.batch_size;
        let sized = (1..=65_536).contains(&batch_size);
        require(sized, "batch_size", batch_size, "between 1 and 65536 trajectories")?;
        let counted = (1..=1000).contains(&self.epochs);
        require(counted, "epochs", self.epochs, "between 1 and 1000")?;
        let divides = self.minibatches >= 1 && batch_size.is_multiple_of(self.minibatches);
        let range = "a divisor of rl.batch_size, at least 1";
        require(divides, "minibatches", self.minibatches, range)?;
        share("discount", self.discount)?;
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
