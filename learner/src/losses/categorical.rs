//! C51: Q-learning of the distribution of returns, as probabilities of fixed atoms.
//!
//! Bellemare et al. 2017, <https://arxiv.org/abs/1707.06887>. The return of an action is one of N
//! atoms `z_i`, evenly spaced, with the probabilities of a softmax. A target distribution is what
//! the next frame's best action has, its atoms moved to `r_t + γ z_j` and shared out among the
//! atoms beside (their algorithm 1); the loss is the cross-entropy to it. Atoms that would lie
//! beyond the support are moved to its end.

use tch::{Kind, Tensor, no_grad};

use super::{Decisions, ValueLoss, at_best_actions, check_networks};
use crate::config::SelectionNetwork;
use crate::losses::n_step::NStepReturns;

/// The atoms: returns that are told apart, evenly spaced from `least` to `greatest`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Support {
    /// z_0, in units of the return.
    pub least: f64,
    /// z_{N−1}, greater than z_0.
    pub greatest: f64,
    /// N, 2 at least; the paper's is 51.
    pub atoms: i64,
}

/// Sequences as C51 sees them.
#[derive(Clone, Copy, Debug)]
pub struct CategoricalInput<'a> {
    /// Logits of the atoms of every action, `[T + 1, B, A, N]`, of the network that learns.
    /// Differentiated at the actions taken.
    pub online: &'a Tensor,
    /// Those of the target network, `[T + 1, B, A, N]`. A constant.
    pub target: &'a Tensor,
    /// Decisions that were taken.
    pub decisions: Decisions<'a>,
    /// Returns of those decisions.
    pub returns: &'a NStepReturns,
}

/// The cross-entropy of `online` to the targets of [`categorical_targets`].
pub fn categorical_q_learning(
    input: &CategoricalInput<'_>,
    support: Support,
    selection: SelectionNetwork,
) -> ValueLoss {
    let targets = categorical_targets(input, support, selection);
    let logits = input.decisions.taken(input.online);
    let log_probs = logits.log_softmax(-1, logits.kind());
    let losses = -(&targets * log_probs).sum_dim_intlist(-1, false, logits.kind());
    let values = no_grad(|| support.mean_of_logits(&logits));
    let td_errors = support.mean(&targets) - &values;
    input.decisions.value_loss(&losses, &td_errors, &values)
}

/// The distributions, `[T, B, N]`, that those of the actions taken should have been. Constants.
pub fn categorical_targets(
    input: &CategoricalInput<'_>,
    support: Support,
    selection: SelectionNetwork,
) -> Tensor {
    check_networks(input.online, input.target, input.returns, 4);
    no_grad(|| {
        let choosing = match selection {
            SelectionNetwork::Online => input.online,
            SelectionNetwork::Target => input.target,
        };
        let logits = at_best_actions(input.target, &support.mean_of_logits(choosing));
        let probs = input.returns.bootstrapped(&logits).softmax(-1, logits.kind());
        support.project(&probs, &input.returns.rewards, &input.returns.discounts)
    })
}

impl Support {
    /// Σ_i p_i z_i, of shape `[…]`, for `probs` of shape `[…, N]`.
    pub fn mean(&self, probs: &Tensor) -> Tensor {
        (probs * self.atoms_like(probs)).sum_dim_intlist(-1, false, probs.kind())
    }

    /// The values of actions whose atoms have these `logits`: `[…]` of `[…, N]`.
    pub fn mean_of_logits(&self, logits: &Tensor) -> Tensor {
        self.mean(&logits.softmax(-1, logits.kind()))
    }

    /// The distributions of `r + γ z` on these atoms, where those of `z` are `probs`, of shape
    /// `[…, N]`; `rewards` r and `discounts` γ are `[…]`. The projection Φ of the paper, eq. 7.
    pub fn project(&self, probs: &Tensor, rewards: &Tensor, discounts: &Tensor) -> Tensor {
        let kind = probs.kind();
        let atoms = self.atoms_like(probs);
        let [rewards, discounts] = [rewards, discounts].map(|x| x.to_kind(kind).unsqueeze(-1));
        let moved = rewards + discounts * atoms;
        // Where each atom comes to lie, counted in atoms: 0 is the first, N − 1 the last.
        let place = ((moved - self.least) / self.spacing()).clamp(0.0, (self.atoms - 1) as f64);
        // One that is hit exactly gets everything; the last has no other above it.
        let below = place.floor().clamp_max((self.atoms - 2) as f64);
        let above_share = place - &below;
        let below = below.to_kind(Kind::Int64);
        probs.zeros_like().scatter_add(-1, &below, &(probs * (1.0 - &above_share))).scatter_add(
            -1,
            &(below + 1),
            &(probs * above_share),
        )
    }

    /// z, `[N]`, in the kind and on the device of a distribution or its logits, `[…, N]`.
    fn atoms_like(&self, distribution: &Tensor) -> Tensor {
        let Support { least, greatest, atoms } = *self;
        assert!(least < greatest && atoms >= 2, "two atoms at least, in order: not {self:?}");
        let found = distribution.size().last().copied();
        assert_eq!(found, Some(atoms), "the last axis of a distribution is that of the atoms");
        Tensor::linspace(least, greatest, atoms, (distribution.kind(), distribution.device()))
    }

    /// z_{i+1} − z_i.
    fn spacing(&self) -> f64 {
        (self.greatest - self.least) / (self.atoms - 1) as f64
    }
}
