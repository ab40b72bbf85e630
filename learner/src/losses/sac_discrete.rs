//! Soft actor-critic for a finite number of actions.
//!
//! Christodoulou 2019, <https://arxiv.org/abs/1910.07207>; the critics are two, as in Haarnoja et
//! al. 2018, <https://arxiv.org/abs/1812.05905>. Expectations over actions are sums, not samples:
//!
//! ```text
//! V'(h)   = Σ_a π(a|h) (min(Q1'(h,a), Q2'(h,a)) − α log π(a|h))
//! y_t     = r_t + γ (1 − terminated_t) V'(h_{t+1})
//! actor   = mean_t Σ_a π(a|h_t) (α log π(a|h_t) − min(Q1(h_t,a), Q2(h_t,a)))
//! ```
//!
//! Returns of several steps pay no entropy bonus between: it is that of the frame from which they
//! bootstrap. Which tensors are differentiated decides who learns what: `detach` action values, or
//! what the heads see, to keep the actor from changing them.

use tch::{Tensor, no_grad};

use super::{Decisions, masked_mean};
use crate::config::ErrorLoss;
use crate::losses::n_step::NStepReturns;

/// The least probability whose logarithm is taken.
pub const LEAST_PROBABILITY: f64 = 1e-8;

/// π(·|h) at many frames. Both have shape `[…, A]`.
#[derive(Debug)]
pub struct ActionProbabilities {
    /// π(a|h).
    pub probs: Tensor,
    /// log max(π(a|h), 1e−8): finite, and without a gradient where it is clamped.
    pub log_probs: Tensor,
}

/// Loss of the critics.
#[derive(Debug)]
pub struct CriticLoss {
    /// Loss to minimize, a scalar: `factor · (L1 + L2)`, each a mean over decisions.
    pub loss: Tensor,
    /// ½ (|y − Q1| + |y − Q2|) of each decision, `[T, B]`; 0 where the mask is. Constant.
    pub td_errors: Tensor,
    /// The mean of both critics' values of the actions taken: a constant scalar.
    pub mean_value: Tensor,
}

/// Loss of the actor.
#[derive(Debug)]
pub struct ActorLoss {
    /// Loss to minimize: a scalar, the mean over decisions.
    pub loss: Tensor,
    /// The mean entropy −Σ_a π log π of the decisions, in nats: a constant scalar.
    pub entropy: Tensor,
}

impl ActionProbabilities {
    /// The softmax of `logits`, of shape `[…, A]`.
    pub fn from_logits(logits: &Tensor) -> Self {
        let probs = logits.softmax(-1, logits.kind());
        let log_probs = probs.clamp_min(LEAST_PROBABILITY).log();
        ActionProbabilities { probs, log_probs }
    }

    /// −Σ_a π log π of every frame, in nats: `[…]`.
    pub fn entropy(&self) -> Tensor {
        -(&self.probs * &self.log_probs).sum_dim_intlist(-1, false, self.probs.kind())
    }

    /// Frames `0..length` of `[T + 1, B, A]`.
    fn decisions(&self, length: i64) -> Self {
        ActionProbabilities {
            probs: self.probs.narrow(0, 0, length),
            log_probs: self.log_probs.narrow(0, 0, length),
        }
    }
}

/// y_t, `[T, B]`: what Q1(h_t, a_t) and Q2(h_t, a_t) should have been. A constant.
///
/// `policy` is that of the network that learns, `critics` are the two target critics, all
/// `[T + 1, B, A]`; `temperature` is α, of one number.
pub fn soft_targets(
    policy: &ActionProbabilities,
    critics: [&Tensor; 2],
    temperature: &Tensor,
    returns: &NStepReturns,
) -> Tensor {
    check_critics(policy, critics);
    no_grad(|| returns.backup(&-soft_cost(policy, critics, temperature)))
}

/// The loss of `critics`, both `[T + 1, B, A]`, against `targets` of shape `[T, B]`.
///
/// `factor` multiplies the sum of both: 1 where critics learn alone, ½ where the loss of an actor
/// is added and weighs as much as their mean.
pub fn critic_loss(
    critics: [&Tensor; 2],
    targets: &Tensor,
    decisions: &Decisions<'_>,
    error: ErrorLoss,
    factor: f64,
) -> CriticLoss {
    let (length, batch) = decisions.checked_shape();
    assert_eq!(targets.size(), [length, batch], "targets are [T, B], as actions");
    let targets = targets.detach();
    let losses = critics.map(|critic| {
        let (frames, width, _) = critic.size3().expect("critics are [T + 1, B, A]");
        assert_eq!((frames, width), (length + 1, batch), "critics are [T + 1, B, A]");
        let values = decisions.taken(critic);
        let td_errors = &targets - &values;
        decisions.value_loss(&error.of(&td_errors), &td_errors, &values)
    });
    let [first, second] = losses;
    CriticLoss {
        loss: (first.loss + second.loss) * factor,
        td_errors: (first.td_errors.abs() + second.td_errors.abs()) * 0.5,
        mean_value: (first.mean_value + second.mean_value) * 0.5,
    }
}

/// The loss of `policy`, whose actions `critics` judge; all `[T + 1, B, A]`, and only the first T
/// frames matter. `temperature` is α, of one number, a constant here; `mask` and `importance` are
/// `[T, B]`, as in [`Decisions`]. The critics are differentiated unless they are detached.
pub fn actor_loss(
    policy: &ActionProbabilities,
    critics: [&Tensor; 2],
    temperature: &Tensor,
    mask: &Tensor,
    importance: Option<&Tensor>,
) -> ActorLoss {
    check_critics(policy, critics);
    let (length, _) = mask.size2().expect("the mask is [T, B]");
    let policy = policy.decisions(length);
    let critics = critics.map(|critic| critic.narrow(0, 0, length));
    let cost = soft_cost(&policy, [&critics[0], &critics[1]], temperature);
    ActorLoss {
        loss: masked_mean(&cost, mask, importance),
        entropy: masked_mean(&policy.entropy().detach(), mask, None),
    }
}

/// The entropy, in nats, that a temperature aims at: `ratio` of a uniform choice of `actions`.
pub fn target_entropy(ratio: f64, actions: usize) -> f64 {
    assert!(actions >= 1, "a policy has one action at least");
    ratio * (actions as f64).ln()
}

/// The temperature's loss, a scalar: `α (H − H̄)` with `α = exp(log_alpha)`, the paper's eq. 11. It
/// is differentiated by `log_alpha` alone: α falls while the policy's `entropy` H, of one number,
/// is above `target` H̄.
pub fn temperature_loss(log_alpha: &Tensor, entropy: &Tensor, target: f64) -> Tensor {
    log_alpha.exp() * (entropy.detach() - target)
}

/// Σ_a π (α log π − min(Q1, Q2)) of every frame: `[F, B]` of `[F, B, A]`. It is −V.
fn soft_cost(policy: &ActionProbabilities, critics: [&Tensor; 2], temperature: &Tensor) -> Tensor {
    let kind = policy.probs.kind();
    let [first, second] = critics;
    let bonus = &policy.log_probs * temperature.detach().to_kind(kind);
    let costs = bonus - first.minimum(second);
    (&policy.probs * costs).sum_dim_intlist(-1, false, kind)
}

fn check_critics(policy: &ActionProbabilities, critics: [&Tensor; 2]) {
    let shape = policy.probs.size();
    assert_eq!(shape.len(), 3, "the policy's probabilities are [T + 1, B, A]");
    for critic in critics {
        assert_eq!(
            critic.size(),
            shape,
            "critics are [T + 1, B, A], as the policy's probabilities"
        );
    }
}
