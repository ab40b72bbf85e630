//! Losses of critics that value vectors of actions, and of the actors that follow them: DDPG (Lillicrap
//! et al. 2016, <https://arxiv.org/abs/1509.02971>), TD3 (Fujimoto et al. 2018,
//! <https://arxiv.org/abs/1802.09477>), SAC (Haarnoja et al. 2018,
//! <https://arxiv.org/abs/1812.05905>), REDQ (Chen et al. 2021, <https://arxiv.org/abs/2101.05982>).
//!
//! ```text
//! V'(h)   = min over critics of Q'(h, a'),  − α log π(a'|h) where the policy is soft
//! y_t     = r_t + γ (1 − terminated_t) V'(h_{t+1})
//! critics = Σ over critics of mean_t error(y_t − Q(h_t, a_t))
//! actor   = mean_t (α log π(ã|h_t) − Q(h_t, ã)),  ã from the policy, differentiated through it
//! ```

use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor, no_grad};

use super::masked_mean;
use crate::config::ErrorLoss;

/// Value by which critics judge an actor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Judgement {
    /// The least of all critics: SAC.
    Least,
    /// Their mean: REDQ.
    Mean,
    /// The first one's: TD3.
    First,
}

impl Judgement {
    /// Of the values `[E, ..]` of E critics: `[..]`.
    pub fn of(self, values: &Tensor) -> Tensor {
        match self {
            Judgement::Least => values.amin([0], false),
            Judgement::Mean => values.mean_dim(0, false, None::<Kind>),
            Judgement::First => values.get(0),
        }
    }
}

/// Loss of the critics.
#[derive(Debug)]
pub struct CriticsLoss {
    /// Loss to minimize, a scalar: the sum over critics of means over decisions.
    pub loss: Tensor,
    /// The mean over critics of |y − Q| of each decision, `[T, B]`; 0 where the mask is. Constant.
    pub td_errors: Tensor,
    /// The mean value of the actions taken: a constant scalar.
    pub mean_value: Tensor,
}

/// The loss of critics whose values of the actions taken are `values`, `[E, T, B]`, against
/// `targets`, `[T, B]`; `mask` and `importance` are `[T, B]`.
pub fn critics_loss(
    values: &Tensor,
    targets: &Tensor,
    mask: &Tensor,
    importance: Option<&Tensor>,
    error: ErrorLoss,
) -> CriticsLoss {
    let (critics, length, batch) = values.size3().expect("values are [E, T, B]");
    assert_eq!(targets.size(), [length, batch], "targets are [T, B]");
    let td_errors = targets.detach() - values;
    let each = error.of(&td_errors).sum_dim_intlist(0, false, None::<Kind>);
    let of_all = |x: &Tensor| x.detach().mean_dim(0, false, None::<Kind>);
    CriticsLoss {
        loss: masked_mean(&each, mask, importance),
        td_errors: of_all(&td_errors.abs()) * mask.to_kind(values.kind()),
        mean_value: masked_mean(&of_all(&values.view([critics, length, batch])), mask, None),
    }
}

/// Loss of an actor.
#[derive(Debug)]
pub struct VectorActorLoss {
    /// Loss to minimize: a scalar, the mean over decisions.
    pub loss: Tensor,
    /// The mean of −log π of the actions, in nats: a constant scalar.
    pub entropy: Tensor,
}

/// The loss of an actor whose `actions`, `[T, B, A]`, with `log_probs`, `[T, B]`, critics find worth
/// `value`, `[T, B]`, which has the slope `slope` along them, `[T, B, A]`. `temperature` is α, of one
/// number, a constant here. Value and slope are constants: what the loss reaches through them is the
/// actions alone, so no critic is changed by it, nor what critics see.
pub fn actor_loss(
    (actions, log_probs): (&Tensor, &Tensor),
    (value, slope): (&Tensor, &Tensor),
    temperature: &Tensor,
    mask: &Tensor,
    importance: Option<&Tensor>,
) -> VectorActorLoss {
    assert_eq!(slope.size(), actions.size(), "a slope along each number of an action");
    let along =
        (slope.detach() * (actions - actions.detach())).sum_dim_intlist(-1, false, None::<Kind>);
    let cost = log_probs * temperature.detach() - value.detach() - along;
    VectorActorLoss {
        loss: masked_mean(&cost, mask, importance),
        entropy: masked_mean(&-log_probs.detach(), mask, None),
    }
}

/// The temperature's loss, a scalar: `log α (H − H̄)`, which has the sign of the paper's eq. 18 and is
/// what its authors' code minimizes. α falls while the policy's `entropy` H is above `target` H̄.
pub fn temperature_loss(log_alpha: &Tensor, entropy: &Tensor, target: f64) -> Tensor {
    log_alpha * (entropy.detach() - target)
}

/// Least and greatest target that critics have seen, `[2]`: values that bootstrap are kept between
/// them, so that no error feeds on itself (RESeL's guard of values, Luo et al. 2024,
/// <https://arxiv.org/abs/2405.15384>).
#[derive(Debug)]
pub struct ValueGuard {
    /// Empty until it has seen targets.
    range: Option<Tensor>,
    /// Share by which the range comes nearer to that of the newest targets at each update.
    rate: f64,
}

impl ValueGuard {
    /// A guard that has seen nothing.
    pub fn new(rate: f64) -> Self {
        ValueGuard { range: None, rate }
    }

    /// `values` kept between what was seen before.
    pub fn clamp(&self, values: &Tensor) -> Tensor {
        match &self.range {
            None => values.shallow_clone(),
            Some(range) => values.clamp_tensor(Some(&range.get(0)), Some(&range.get(1))),
        }
    }

    /// Sees `targets`, `[T, B]`, where `mask` is 1.
    pub fn see(&mut self, targets: &Tensor, mask: &Tensor) {
        no_grad(|| {
            let there = mask.gt(0.0);
            let without = |far: f64| targets.where_scalarother(&there, far);
            let newest =
                Tensor::stack(&[without(f64::INFINITY).min(), without(f64::NEG_INFINITY).max()], 0);
            let Some(range) = &self.range else {
                self.range = Some(newest);
                return;
            };
            let widest = Tensor::stack(
                &[range.get(0).minimum(&newest.get(0)), range.get(1).maximum(&newest.get(1))],
                0,
            );
            self.range = Some(widest.lerp(&newest, self.rate));
        });
    }

    /// The range, `[2]`, if targets were seen.
    pub fn range(&self) -> Option<&Tensor> {
        self.range.as_ref()
    }

    /// Goes on from a range that was saved.
    pub fn set_range(&mut self, range: Tensor) {
        self.range = Some(range);
    }
}
