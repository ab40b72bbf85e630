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
//! [`correction`] brings the sum in without a backward pass of its own. It adds
//! `S_0 · (θ − constant(θ))` to `c_0`: a zero, but one whose derivative by θ is S_0. So the
//! gradient of any loss is exact, and whoever computes it need not know.
//!
//! At the unroll's end the sensitivities must be those of the last state. Their recursion,
//! `S_t = a_t ⊙ S_{t−1} + (∂c_t/∂θ at constant c_{t−1})` with `a_t = ∂c_t/∂c_{t−1}`, is usually
//! walked step by step, over all weights each time. But the weights are constant within an
//! unroll, and what a weight of a linear map does is an outer product, so that with the suffix
//! products `W_t = a_{t+1} ⊙ … ⊙ a_T` the whole walk is one batched matrix product
//! ([`advance`]):
//!
//! ```text
//! S_T = W_0 ⊙ S_0 + Σ_t (W_t ⊙ e_t) ⊗ x_t        e_t = ∂c_t/∂(W x_t + b)
//! ```
//!
//! A reset makes a_t zero, and with it everything from before.
//!
//! # What it costs
//!
//! S is large, and each of its numbers is good for few operations, so that an unroll should read
//! it as rarely as it can: for the zero, for λ ⊙ S_0, and for S_T. Two choices make that cheap.
//! S lies in memory as `[B, P, R]`, P weights of R states, because R is mostly a round number and
//! P mostly is not: with 100 moments of 32 environments, 1024 states and 258 weights each, the
//! product takes 19 ms of a core, and its transpose 35. And the correction is made of plain sums,
//! on a CPU for one environment after another, which fits the cache: forward and backward 7 ms,
//! where a matrix product for each state took 60.

use tch::{Device, Tensor};

/// Bytes of sensitivities that a CPU has room for near at hand.
const CPU_CACHE: i64 = 1 << 20;

/// Zeros `[B, R]` whose gradient reaches `parameters`, `[P, R]`, through the `sensitivities` of R
/// states to P weights each, `[B, P, R]`. Real and complex numbers alike.
pub(super) fn correction(sensitivities: &Tensor, parameters: &Tensor) -> Tensor {
    let (batch, weights, rows) = sensitivities.size3().expect("sensitivities: [B, P, R]");
    assert_eq!(parameters.size(), [weights, rows], "parameters have shape [P, R]");
    let change = parameters - parameters.detach();
    let bytes = batch * weights * rows * sensitivities.kind().elt_size_in_bytes() as i64;
    let moved = |s: &Tensor| (s * &change).sum_dim_intlist(-2, false, None);
    if sensitivities.device() == Device::Cpu && bytes > CPU_CACHE {
        Tensor::stack(&sensitivities.unbind(0).iter().map(moved).collect::<Vec<_>>(), 0)
    } else {
        moved(sensitivities)
    }
}

/// Zeros `[B, ..]` whose gradient reaches `parameters`, `[..]`, through the `sensitivities` of
/// states to one weight each, `[B, ..]`.
pub(super) fn correction_of_vector(sensitivities: &Tensor, parameters: &Tensor) -> Tensor {
    assert_eq!(sensitivities.size()[1..], parameters.size(), "one weight per state");
    sensitivities * (parameters - parameters.detach())
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

/// Sensitivities at an unroll's end, `[B, P, R]`, from those at its start, the product of all
/// factors `[B, R]`, each moment's effect on the last states `[T, B, R]`, `W_t ⊙ e_t` above, and
/// what the weights were multiplied with, `[T, B, P]`.
pub(super) fn advance(
    before: &Tensor,
    all_factors: &Tensor,
    effects: &Tensor,
    features: &Tensor,
) -> Tensor {
    add_products(before * all_factors.unsqueeze(1), effects, features)
}

/// The second half of [`advance`], in place: what is `kept` of the sensitivities, `[B, P, R]`.
pub(super) fn add_products(mut kept: Tensor, effects: &Tensor, features: &Tensor) -> Tensor {
    let (time, batch, rows) = effects.size3().expect("effects have shape [T, B, R]");
    let weights = features.size()[2];
    assert_eq!(features.size(), [time, batch, weights], "features have shape [T, B, P]");
    assert_eq!(kept.size(), [batch, weights, rows], "sensitivities have shape [B, P, R]");
    kept.baddbmm_(&features.permute([1, 2, 0]), &effects.transpose(0, 1))
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
    use tch::Kind;

    use super::*;
    use crate::random;

    /// Small enough for the cache, and too large.
    const SHAPES: [[i64; 3]; 2] = [[3, 4, 5], [2, 300, 512]];

    #[test]
    fn a_correction_is_zero_and_its_gradient_the_sum_of_sensitivities() {
        let mut generator = Seed::new(1).generator();
        for complex in [false, true] {
            for [batch, weights, rows] in SHAPES {
                let mut draw = |shape: &[i64]| {
                    let mut part = || random::normal(&mut generator, shape).to_kind(Kind::Double);
                    if complex { Tensor::complex(&part(), &part()) } else { part() }
                };
                let sensitivities = draw(&[batch, weights, rows]);
                let parameters = draw(&[weights, rows]).set_requires_grad(true);
                let errors = draw(&[batch, rows]);
                let zero = correction(&sensitivities, &parameters);
                assert_eq!(zero.size(), [batch, rows]);
                assert_eq!(zero.abs().max().double_value(&[]), 0.0);
                // Of a real loss whose derivative by the states is the errors.
                let product = zero * errors.conj();
                let loss = if complex { product.real() } else { product }.sum(Kind::Double);
                let found = Tensor::run_backward(&[loss], &[&parameters], false, false);
                let expected =
                    (sensitivities.conj() * errors.unsqueeze(1)).sum_dim_intlist(0, false, None);
                let off = (&found[0] - expected).abs().max().double_value(&[]);
                assert!(off < 1e-12, "{batch} {weights} {rows}: off by {off}");
            }
        }
    }
}
