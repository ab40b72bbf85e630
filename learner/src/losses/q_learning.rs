//! Q-learning with a target network, plain or double.
//!
//! Mnih et al. 2015, <https://doi.org/10.1038/nature14236>; van Hasselt et al. 2016,
//! <https://arxiv.org/abs/1509.06461>. With `h` for all that is known at a frame:
//!
//! ```text
//! y_t = r_t + γ (1 − terminated_t) Q'(h_{t+1}, argmax_a Q(h_{t+1}, a))
//! ```
//!
//! and with [value rescaling](crate::losses::value_rescaling) `y_t = h(r_t + γ h⁻¹(Q'(…)))`, as in
//! Pohlen et al. 2018, <https://arxiv.org/abs/1805.11593>.

use tch::{Tensor, no_grad};

use super::{Decisions, ValueLoss, at_best_actions, check_networks};
use crate::config::{ErrorLoss, SelectionNetwork};
use crate::losses::n_step::NStepReturns;
use crate::losses::value_rescaling::ValueRescaling;

/// Sequences as Q-learning sees them.
#[derive(Clone, Copy, Debug)]
pub struct QLearningInput<'a> {
    /// Q(h_t, a) of the network that learns, `[T + 1, B, A]`. Differentiated at the actions taken.
    pub online: &'a Tensor,
    /// Q'(h_t, a) of the target network, `[T + 1, B, A]`. A constant.
    pub target: &'a Tensor,
    /// Decisions that were taken.
    pub decisions: Decisions<'a>,
    /// Returns of those decisions.
    pub returns: &'a NStepReturns,
}

/// Settings of Q-learning.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct QLearningOptions {
    /// Network that chooses the next action.
    pub selection: SelectionNetwork,
    /// Cost of a temporal difference.
    pub error: ErrorLoss,
    /// The scale on which both networks speak, if not that of returns.
    pub rescaling: Option<ValueRescaling>,
}

/// The loss of `online` against the targets of [`q_targets`].
pub fn q_learning(input: &QLearningInput<'_>, options: QLearningOptions) -> ValueLoss {
    let targets = q_targets(input, options);
    let values = input.decisions.taken(input.online);
    let td_errors = targets - &values;
    input.decisions.value_loss(&options.error.of(&td_errors), &td_errors, &values)
}

/// y_t, `[T, B]`: what Q(h_t, a_t) should have been. A constant, on the networks' scale.
pub fn q_targets(input: &QLearningInput<'_>, options: QLearningOptions) -> Tensor {
    check_networks(input.online, input.target, input.returns, 3);
    no_grad(|| {
        let choosing = match options.selection {
            SelectionNetwork::Online => input.online,
            SelectionNetwork::Target => input.target,
        };
        let values = at_best_actions(input.target, choosing);
        match options.rescaling {
            Some(rescaling) => rescaling.apply(&input.returns.backup(&rescaling.invert(&values))),
            None => input.returns.backup(&values),
        }
    })
}
