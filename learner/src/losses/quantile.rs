//! QR-DQN: Q-learning of the distribution of returns, as quantiles.
//!
//! Dabney et al. 2018, <https://arxiv.org/abs/1710.10044>. A network says N quantiles θ_i of the
//! return of each action, at the middles `τ̂_i = (2i + 1) / 2N` of N equal shares; the action's value
//! is their mean. The loss of a decision is, with the next frame's best action's quantiles moved to
//! `y_j = r_t + γ θ'_j` (their eq. 10 and algorithm 1),
//!
//! ```text
//! Σ_i mean_j |τ̂_i − 1{y_j < θ_i}| L_κ(y_j − θ_i)
//! ```

use tch::{Tensor, no_grad};

use super::{Decisions, ValueLoss, at_best_actions, check_networks, huber};
use crate::config::SelectionNetwork;
use crate::losses::n_step::NStepReturns;

/// Sequences as QR-DQN sees them.
#[derive(Clone, Copy, Debug)]
pub struct QuantileInput<'a> {
    /// θ of every action, `[T + 1, B, A, N]`, of the network that learns. Differentiated at the
    /// actions taken.
    pub online: &'a Tensor,
    /// Those of the target network, `[T + 1, B, A, N]`. A constant.
    pub target: &'a Tensor,
    /// Decisions that were taken.
    pub decisions: Decisions<'a>,
    /// Returns of those decisions.
    pub returns: &'a NStepReturns,
}

/// Settings of QR-DQN.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct QuantileOptions {
    /// Network that chooses the next action, by the means.
    pub selection: SelectionNetwork,
    /// κ, where L_κ turns from ½ u² to κ (|u| − ½ κ), as in Huber's loss; the paper's is 1. With 0
    /// it is |u|: quantile regression proper.
    pub threshold: f64,
}

/// The quantile Huber loss of `online` against the targets of [`quantile_targets`].
pub fn quantile_q_learning(input: &QuantileInput<'_>, options: QuantileOptions) -> ValueLoss {
    let targets = quantile_targets(input, options.selection);
    let quantiles = input.decisions.taken(input.online);
    let losses = quantile_huber_loss(&quantiles, &targets, options.threshold);
    let values = mean(&quantiles.detach());
    let td_errors = mean(&targets) - &values;
    input.decisions.value_loss(&losses, &td_errors, &values)
}

/// The returns, `[T, B, N]`, of which those of the actions taken should have been the quantiles.
/// Constants.
pub fn quantile_targets(input: &QuantileInput<'_>, selection: SelectionNetwork) -> Tensor {
    check_networks(input.online, input.target, input.returns, 4);
    no_grad(|| {
        let choosing = match selection {
            SelectionNetwork::Online => input.online,
            SelectionNetwork::Target => input.target,
        };
        let best = at_best_actions(input.target, &mean(choosing));
        let next = input.returns.bootstrapped(&best);
        let [rewards, discounts] = [&input.returns.rewards, &input.returns.discounts]
            .map(|x| x.to_kind(next.kind()).unsqueeze(-1));
        rewards + discounts * next
    })
}

/// Cost of `quantiles`, `[…, N]`, where the returns `targets`, `[…, M]`, are equally likely:
/// `[…]`. The sum over quantiles of the mean over returns; `threshold` κ ≥ 0 as in
/// [`QuantileOptions`].
pub fn quantile_huber_loss(quantiles: &Tensor, targets: &Tensor, threshold: f64) -> Tensor {
    let kind = quantiles.kind();
    let errors = targets.unsqueeze(-2) - quantiles.unsqueeze(-1); // […, N, M]
    let too_high = errors.lt(0.0).to_kind(kind);
    let costs = if threshold == 0.0 { errors.abs() } else { huber(&errors, threshold) };
    let slopes = (fractions(quantiles).unsqueeze(-1) - too_high).abs();
    let by_quantile = (slopes * costs).mean_dim(-1, false, kind);
    by_quantile.sum_dim_intlist(-1, false, kind)
}

/// τ̂, `[N]`: the shares of returns that lie below `quantiles`, `[…, N]`.
fn fractions(quantiles: &Tensor) -> Tensor {
    let count = *quantiles.size().last().expect("quantiles have an axis");
    let numbers = Tensor::arange(count, (quantiles.kind(), quantiles.device()));
    (numbers * 2.0 + 1.0) / (2 * count) as f64
}

/// The mean of `[…, N]` over N.
fn mean(quantiles: &Tensor) -> Tensor {
    quantiles.mean_dim(-1, false, quantiles.kind())
}
