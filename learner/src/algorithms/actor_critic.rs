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

use engram_policy::{Batch, CoreState, Past, Policy, Unrolled};
use tch::Tensor;

use super::{NonFinite, Phases, UpdateStats, to_host};
use crate::algorithms::optimizer::{Optimizer, StateError, clip_factor, global_norm};
use crate::config::{Reduction, RewardClip, VtraceConfig};
use crate::losses::vtrace::{VtraceInput, VtraceSummary, vtrace};

/// The algorithm, between two updates.
#[derive(Debug)]
pub struct ActorCritic {
    config: VtraceConfig,
    optimizer: Optimizer,
}

/// What an unroll costs. Scalars; the parts are sums over decisions, without their weights.
#[derive(Debug)]
pub struct Loss {
    /// What is minimized.
    pub total: Tensor,
    /// Σ −log π · A.
    pub policy: Tensor,
    /// ½ Σ (v − V)².
    pub value: Tensor,
    /// The policy's entropy, summed.
    pub entropy: Tensor,
    /// What V-trace saw on the way.
    pub summary: VtraceSummary,
    /// What [`total`](Self::total) reaches back to before the unroll.
    pub past: Past,
}

impl ActorCritic {
    /// What an update reports, means over decisions where there are several: what was minimized (a
    /// sum or a mean, as configured), −log π · advantage, half the squared error of the values, the
    /// policy's entropy in nats, the gradient's length before it was clipped, the learning rate,
    /// values, the importance weight π / μ before it was clipped, and the share of the value
    /// targets' variance that the values account for (1 is perfect).
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
        ActorCritic {
            config: config.clone(),
            optimizer: Optimizer::new(&config.optimizer, &policy.trainable()),
        }
    }

    /// One step of gradient descent, or none at all if a number is not finite. Returns what the
    /// batch's streams carry on, too.
    pub fn update(
        &mut self,
        policy: &Policy,
        batch: &Batch,
        carry: CoreState,
        progress: f64,
    ) -> Result<(UpdateStats, CoreState), NonFinite> {
        let started = Instant::now();
        let Loss { total, policy: of_policy, value, entropy, summary, past } =
            self.loss(policy, batch, carry);
        let forward_ended = Instant::now();

        let weights = policy.trainable();
        let (gradients, carry) = policy.gradient(&total, past);
        let mut gradient = self.optimizer.flatten(&gradients);
        let scalars = [&total, &of_policy, &value, &entropy, &global_norm(&gradient)];
        let mut stats = read_back(scalars, &summary);
        let grad_norm = stats.get("grad_norm");
        NonFinite::check("loss", stats.get("loss"))?;
        NonFinite::check("gradient's length", grad_norm)?;
        let backward_ended = Instant::now();

        let factor = clip_factor(grad_norm, self.config.max_grad_norm);
        if factor < 1.0 {
            gradient = gradient.g_mul_scalar_(factor);
        }
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

    /// The loss of `policy` on `batch`, whose streams carry `carry`.
    pub fn loss(&self, policy: &Policy, batch: &Batch, carry: CoreState) -> Loss {
        let config = &self.config;
        let unroll_length = batch.unroll_length();
        let unrolled = policy.unroll_streams(&batch.inputs, &batch.core_state, carry);
        let Unrolled { output, past } =
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
                rewards: &self.clipped(&batch.rewards),
                discounts: &(going_on * config.discount),
                weights: &batch.weights,
                values: output.value(),
            },
            config.vtrace_options(),
        );

        // Where a frame is Last its advantage is 0 and its target its own value, so only the
        // entropy must be told to leave it out.
        let errors = returns.targets - output.value().narrow(0, 0, unroll_length);
        let policy = -(log_probs * returns.advantages).sum(kind);
        let value = errors.square().sum(kind) * 0.5;
        let entropy = (decisions.entropy() * &batch.weights).sum(kind);
        let sum = &policy + &value * config.baseline_cost - &entropy * config.entropy_cost;
        let total = match config.reduction {
            Reduction::Sum => sum,
            Reduction::Mean => sum / returns.summary.decisions.max(1.0),
        };
        Loss { total, policy, value, entropy, summary: returns.summary, past }
    }

    /// Everything it remembers between updates.
    pub fn state(&self) -> Vec<(String, Tensor)> {
        self.optimizer.state()
    }

    /// Goes on from what [`state`](Self::state) said; untouched if that does not fit.
    pub fn load_state(&mut self, state: &[(String, Tensor)]) -> Result<(), StateError> {
        self.optimizer.load_state(state)
    }

    fn clipped(&self, rewards: &Tensor) -> Tensor {
        match self.config.reward_clip {
            RewardClip::None => rewards.shallow_clone(),
            RewardClip::AbsOne => rewards.clamp(-1.0, 1.0),
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
    let numbers = ActorCritic::COLUMNS.iter().copied().zip(numbers).collect();
    UpdateStats { numbers, phases: Phases::default() }
}
