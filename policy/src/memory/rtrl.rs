//! Real-time recurrent learning (Williams & Zipser 1989), exact and affordable, for layers whose
//! recurrence is elementwise.
//!
//! Backpropagation through an unroll stops at its start: it treats the state `c_0` there as a
//! constant, though the weights made it. What it leaves out, by the chain rule, is
//!
//! ```text
//! Σ_batch λ ⊙ S_0        λ = ∂L/∂c_0,   S_0[θ] = ∂c_0/∂θ
//! ```
//!
//! Both factors are cheap. λ is what backpropagation has in hand when it stops. And where each
//! cell sees no cell but itself, a weight moves only the cell that it belongs to: the
//! sensitivities S are as many numbers as there are weights, for each environment.
//!
//! [`UnrollContext`](crate::UnrollContext) joins the sum to the gradient of any loss, so that whoever computes
//! one need not know.
//!
//! At the unroll's end the sensitivities must be those of the last state. Their recursion,
//! `S_t = a_t ⊙ S_{t−1} + (∂c_t/∂θ at constant c_{t−1})` with `a_t = ∂c_t/∂c_{t−1}`, is usually
//! walked step by step, over all weights each time. But the weights are constant within an
//! unroll, and what a weight of a linear map does is an outer product, so that with the suffix
//! products `W_t = a_{t+1} ⊙ … ⊙ a_T` the whole walk is one batched matrix product
//! (`SensitivityUpdate`):
//!
//! ```text
//! S_T = W_0 ⊙ S_0 + Σ_t (W_t ⊙ e_t) ⊗ x_t        e_t = ∂c_t/∂(W x_t + b)
//! ```
//!
//! A reset makes a_t zero, and with it everything from before.
//!
//! # What it costs
//!
//! S is large, and each of its numbers is good for few operations, so that an unroll should touch
//! it as rarely as it can. Four choices make that cheap. S lies in memory as `[B, P, R]`, P weights
//! of R states, because R is mostly a round number and P mostly is not: with 100 moments of 32
//! environments, 1024 states and 258 weights each, the product takes 19 ms of a core, and its
//! transpose 35. S_T waits until λ is known and takes the place of S_0. Then λ ⊙ S_0 and W_0 ⊙ S_0
//! go through one environment after another together, so that it stays in the cache between them
//! (6.2 ms of a core; one after the other, the second into new memory, 10.3). And gates are walked
//! back through in one pass (`gated_backward`).

pub(super) mod gated_backward;

use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor};

/// From so many sensitivities on, environments are gone through one after another.
const MANY: i64 = 1 << 18;

/// Method by which the gradient of a recurrence is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Gradient {
    /// Backpropagation through time, truncated at the unroll's start.
    Tbptt,
    /// Real-time recurrent learning: the layer's own weights get their exact gradient, back to
    /// the beginning of the episode, however short the unrolls are.
    Rtrl,
}

/// Sensitivities of B core states to the weights of their memory layer: tensors `[B, ..]`, none
/// where gradients are truncated at the unroll's start.
#[derive(Debug)]
pub(crate) struct Sensitivities(Vec<Tensor>);

impl Sensitivities {
    pub(crate) fn new(tensors: Vec<Tensor>) -> Self {
        Sensitivities(tensors)
    }

    /// Sensitivities of a layer whose gradients are truncated.
    pub(crate) fn none() -> Self {
        Sensitivities(vec![])
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn tensors(&self) -> &[Tensor] {
        &self.0
    }

    pub(crate) fn into_tensors(self) -> Vec<Tensor> {
        self.0
    }
}

/// A loss's derivatives by the core states before an unroll: one tensor `[B, ..]` for each of
/// theirs.
#[derive(Debug)]
pub(crate) struct StateGradient(Vec<Tensor>);

impl StateGradient {
    pub(crate) fn new(tensors: Vec<Tensor>) -> Self {
        StateGradient(tensors)
    }

    pub(crate) fn tensors(&self) -> &[Tensor] {
        &self.0
    }
}

/// Update of the sensitivities of R states to P weights each, by an unroll.
#[derive(Debug)]
pub(crate) struct SensitivityUpdate {
    /// W_0, `[B, R]`. Where it is complex, so are sensitivities: two numbers of S make one.
    kept: Tensor,
    gained: Gained,
}

#[derive(Debug)]
enum Gained {
    /// For the weights of a linear map: each moment's effect on the last states,
    /// W_t ⊙ e_t above, `[T, B, R]`, and what the weights were multiplied with, `[T, B, P]`.
    Products { effects: Tensor, features: Tensor },
    /// `[B, P, R]`.
    Sum(Tensor),
}

impl SensitivityUpdate {
    /// The update for the weights of a linear map: what is `kept` of sensitivities, `[B, R]`, each moment's
    /// `effects`, `[T, B, R]`, and `features`, `[T, B, P]`, real numbers.
    pub(super) fn of_products(kept: Tensor, effects: Tensor, features: Tensor) -> Self {
        let [time, batch, _] = effects.size()[..] else { panic!("effects have shape [T, B, R]") };
        assert_eq!(features.size()[..2], [time, batch], "features have shape [T, B, P]");
        SensitivityUpdate { kept, gained: Gained::Products { effects, features } }
    }

    /// The update for other weights: what is `kept` of sensitivities, `[B, R]`, and their `sum` over the
    /// unroll, `[B, P, R]`.
    pub(super) fn of_sum(kept: Tensor, sum: Tensor) -> Self {
        SensitivityUpdate { kept, gained: Gained::Sum(sum) }
    }

    /// Makes S_0, `[B, P, R]`, S_T, in its place. Where λ is given, the derivatives of a loss by the
    /// R states before the unroll, `[B, R]`: Σ_batch λ ⊙ S_0, `[P, R]`. Of complex numbers, S is
    /// conjugate there, as it is in gradients. Without gradients.
    pub(super) fn apply(self, s: &Tensor, errors: Option<&Tensor>) -> Option<Tensor> {
        let SensitivityUpdate { kept, gained } = self;
        let owed = match kept.is_complex() {
            true => owe_and_keep(&s.unflatten(-1, [-1, 2]).view_as_complex(), errors, &kept),
            false => owe_and_keep(s, errors, &kept),
        };
        let mut s = s.shallow_clone();
        let _ = match gained {
            Gained::Products { effects, features } => {
                s.baddbmm_(&features.permute([1, 2, 0]), &effects.transpose(0, 1))
            }
            Gained::Sum(sum) => s.g_add_(&sum),
        };
        owed
    }
}

/// Σ_batch λ ⊙ S, if λ is given, and then W ⊙ S in S's place.
fn owe_and_keep(s: &Tensor, errors: Option<&Tensor>, kept: &Tensor) -> Option<Tensor> {
    let (batch, weights, rows) = s.size3().expect("sensitivities have shape [B, P, R]");
    assert_eq!(kept.size(), [batch, rows], "what is kept has shape [B, R]");
    let (mut s, kept) = (s.shallow_clone(), kept.unsqueeze(1));
    let Some(errors) = errors else {
        let _ = s.g_mul_(&kept);
        return None;
    };
    assert_eq!(errors.size(), [batch, rows], "errors have shape [B, R]");
    let errors = errors.conj().resolve_conj().unsqueeze(1);
    let sum = if batch * weights * rows < MANY {
        let sum = (&s * errors).sum_dim_intlist(0, false, None);
        let _ = s.g_mul_(&kept);
        sum
    } else {
        let mut sum = Tensor::zeros([weights, rows], (s.kind(), s.device()));
        let parts = s.unbind(0).into_iter().zip(errors.unbind(0)).zip(kept.unbind(0));
        for ((mut s, errors), kept) in parts {
            let _ = sum.addcmul_(&s, &errors);
            let _ = s.g_mul_(&kept);
        }
        sum
    };
    Some(sum.conj().resolve_conj())
}

/// A scalar whose gradient by `parameters` is `gradient`, a constant of the same shape. Real
/// numbers.
pub(super) fn with_gradient(parameters: &Tensor, gradient: &Tensor) -> Tensor {
    assert_eq!(parameters.size(), gradient.size(), "a number for each parameter");
    (parameters * gradient).sum(None::<Kind>)
}

/// The products of all factors `[T, ..]` after each moment, `[T, ..]`, and of all of them, `[..]`.
pub(super) fn suffix_products(factors: &Tensor) -> (Tensor, Tensor) {
    let time = factors.size()[0];
    if factors.device() == Device::Cpu {
        // 0.5 ms where libtorch's cumulative product takes 19 (T = 100, B = 32, N = 512).
        let after = factors.ones_like();
        let (factors, products) = (factors.unbind(0), after.unbind(0));
        for t in (1..factors.len()).rev() {
            let _ = products[t].mul_out(&products[t - 1], &factors[t]);
        }
        let all = &products[0] * &factors[0];
        return (after, all);
    }
    let products = factors.flip([0]).cumprod(0, factors.kind());
    let all = products.get(time - 1);
    let later = products.narrow(0, 0, time - 1);
    let after = Tensor::cat(&[&factors.get(0).ones_like().unsqueeze(0), &later], 0).flip([0]);
    (after, all)
}

/// `[R, D]` and `[R]` to `[D + 1, R]`: the weights of R states, the biases below them.
pub(super) fn columns(weight: &Tensor, bias: &Tensor) -> Tensor {
    Tensor::cat(&[&weight.tr(), &bias.unsqueeze(0)], 0)
}

/// `[.., D]` to `[.., D + 1]`: a one behind the features, for the bias.
pub(super) fn with_one(features: &Tensor) -> Tensor {
    let mut shape = features.size();
    *shape.last_mut().expect("features have a last dimension") = 1;
    Tensor::cat(&[features, &features.new_ones(shape, (features.kind(), features.device()))], -1)
}

#[cfg(test)]
mod tests {
    use engram_mdp::Seed;

    use super::*;
    use crate::random;

    #[test]
    fn what_is_owed_is_the_gradient_of_states_that_are_linear_in_the_weights() {
        let mut generator = Seed::new(1).generator();
        for complex in [false, true] {
            for [batch, weights, rows] in [[3, 4, 5], [2, 300, 512]] {
                let mut draw = |shape: &[i64]| {
                    let mut part = || random::normal(&mut generator, shape).to_kind(Kind::Double);
                    if complex { Tensor::complex(&part(), &part()) } else { part() }
                };
                let (sensitivities, errors) = (draw(&[batch, weights, rows]), draw(&[batch, rows]));
                let parameters = draw(&[weights, rows]).set_requires_grad(true);
                let states = (&sensitivities * &parameters).sum_dim_intlist(1, false, None);
                // Of a real loss whose derivative by the states is the errors.
                let product = states * errors.conj();
                let loss = if complex { product.real() } else { product }.sum(Kind::Double);
                let expected = Tensor::run_backward(&[loss], &[&parameters], false, false);
                let kept = draw(&[batch, rows]);
                let scaled = &sensitivities * kept.unsqueeze(1);
                let owed = owe_and_keep(&sensitivities, Some(&errors), &kept).unwrap();
                for (found, expected) in [(&owed, &expected[0]), (&sensitivities, &scaled)] {
                    let off = (found - expected).abs().max().double_value(&[]);
                    assert!(off < 1e-12, "{batch} {weights} {rows}: off by {off}");
                }
            }
        }
    }
}
