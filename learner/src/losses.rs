//! Losses of action values and policies that learn from replayed experience.
//!
//! Pure functions of tensors, time-major: a sequence is T decisions and the T + 1 frames around
//! them, so a network's output has T + 1 rows, and the last is there for its value alone. In
//! reading order: [`q_learning`], plain and double; the two that learn whole distributions of
//! returns, [`categorical`] and [`quantile`]; [`sac_discrete`], which has a policy too;
//! [`state_action`], of actions that are vectors. What a decision came to, and what it bootstraps from, says [`n_step`], for all
//! of them.
//!
//! Every loss is a mean over decisions. Importance weights of prioritized replay scale the terms
//! and not the count: `Σ mask ⊙ importance ⊙ loss / max(Σ mask, 1)`.

pub mod vtrace;

pub mod advantages;

pub mod clipped_surrogate;

pub mod n_step;

pub mod value_rescaling;

pub mod q_learning;

pub mod categorical;

pub mod quantile;

pub mod sac_discrete;

pub mod state_action;

use tch::Tensor;

use crate::config::ErrorLoss;
use crate::losses::n_step::NStepReturns;

/// Decisions that were taken, and their weights. Everything has shape `[T, B]`.
#[derive(Clone, Copy, Debug)]
pub struct Decisions<'a> {
    /// a_t, as i64. Where the mask is 0 any action that exists.
    pub actions: &'a Tensor,
    /// 1, or 0 where there was no decision: the frame is the Last of its episode, or padding, or
    /// burn-in. What stands there must be finite; it changes nothing.
    pub mask: &'a Tensor,
    /// Factor of each term: the importance weights of prioritized replay.
    pub importance: Option<&'a Tensor>,
}

/// Loss of action values on a batch of sequences.
#[derive(Debug)]
pub struct ValueLoss {
    /// Loss to minimize: a scalar, the mean over decisions.
    pub loss: Tensor,
    /// Cost of each decision, `[T, B]`, without its importance; 0 where the mask is. Constant.
    pub losses: Tensor,
    /// Target minus the action's value, `[T, B]`; 0 where the mask is. Of
    /// distributions the difference of their means. Constant.
    pub td_errors: Tensor,
    /// The mean value of the actions taken: a constant scalar.
    pub mean_value: Tensor,
}

impl ErrorLoss {
    /// The cost of each of `errors`, of their shape.
    pub fn of(self, errors: &Tensor) -> Tensor {
        match self {
            ErrorLoss::Squared {} => errors.square(),
            ErrorLoss::Huber { threshold } => huber(errors, threshold),
        }
    }
}

/// `Σ mask ⊙ importance ⊙ values / max(Σ mask, 1)`, a scalar. Everything has shape `[T, B]`;
/// without `importance` it is 1 everywhere.
pub fn masked_mean(values: &Tensor, mask: &Tensor, importance: Option<&Tensor>) -> Tensor {
    let shape = values.size();
    assert_eq!(mask.size(), shape, "the mask is [T, B], as what it masks");
    let kind = values.kind();
    let mask = mask.to_kind(kind);
    let count = mask.sum(kind).clamp_min(1.0);
    let masked = values * mask;
    let weighted = match importance {
        Some(importance) => {
            assert_eq!(importance.size(), shape, "importance weights are [T, B], as the mask");
            masked * importance.to_kind(kind)
        }
        None => masked,
    };
    weighted.sum(kind) / count
}

/// Huber's loss of each of `errors`; `threshold` is κ > 0.
fn huber(errors: &Tensor, threshold: f64) -> Tensor {
    assert!(threshold > 0.0, "Huber's threshold is positive, not {threshold}");
    // With c = min(|δ|, κ) both branches are c (|δ| − ½ c), gradients included.
    let size = errors.abs();
    let clipped = size.clamp_max(threshold);
    &clipped * (size - &clipped * 0.5)
}

impl Decisions<'_> {
    /// T and B, of which everything is.
    fn checked_shape(&self) -> (i64, i64) {
        let (length, batch) = self.actions.size2().expect("actions are [T, B]");
        assert_eq!(self.mask.size(), [length, batch], "the mask is [T, B], as actions");
        (length, batch)
    }

    /// Outputs of a network for the actions taken: of `[T + 1, B, A, …]` the first T rows at a_t,
    /// `[T, B, …]`.
    fn taken(&self, by_action: &Tensor) -> Tensor {
        let (length, _) = self.checked_shape();
        at_actions(&by_action.narrow(0, 0, length), self.actions)
    }

    /// A loss of `losses`, where values were `td_errors` too small and had `values`: all `[T, B]`.
    fn value_loss(&self, losses: &Tensor, td_errors: &Tensor, values: &Tensor) -> ValueLoss {
        let (length, batch) = self.checked_shape();
        assert_eq!(losses.size(), [length, batch], "each decision has one loss");
        let mask = self.mask.to_kind(losses.kind());
        ValueLoss {
            loss: masked_mean(losses, &mask, self.importance),
            losses: losses.detach() * &mask,
            td_errors: td_errors.detach() * &mask,
            mean_value: masked_mean(&values.detach(), &mask, None),
        }
    }
}

/// Of `[F, B, A, …]` what stands at `actions`, `[F, B]`: `[F, B, …]`.
fn at_actions(by_action: &Tensor, actions: &Tensor) -> Tensor {
    let mut shape = by_action.size();
    shape[2] = 1;
    let mut index = actions.size();
    index.resize(shape.len(), 1);
    by_action.gather(2, &actions.view(index.as_slice()).expand(&shape, false), false).squeeze_dim(2)
}

/// Of the target network's output `[T + 1, B, A, …]` that of the best action of every frame,
/// `[T + 1, B, …]`; `values` of shape `[T + 1, B, A]` say which that is.
fn at_best_actions(by_action: &Tensor, values: &Tensor) -> Tensor {
    at_actions(by_action, &values.argmax(2, false))
}

/// Checks that `online` and `target` are of one shape, that of `returns` with T + 1 rows and
/// actions, and `axes` axes in all.
fn check_networks(online: &Tensor, target: &Tensor, returns: &NStepReturns, axes: usize) {
    let (length, batch) = returns.shape();
    let shape = online.size();
    let fits = shape.len() == axes && shape[..2] == [length + 1, batch];
    assert!(fits, "the network's output is [{}, {batch}, A, …], not {shape:?}", length + 1);
    assert_eq!(target.size(), shape, "the target network's output is of the online one's shape");
}
