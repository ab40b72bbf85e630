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

use tch::{Device, Tensor};

/// Zeros `[B, R]` whose gradient reaches `parameters`, `[R, P]`, through the `sensitivities` of R
/// states to P weights each, `[B, R, P]`.
pub(super) fn correction(sensitivities: &Tensor, parameters: &Tensor) -> Tensor {
    let (_, rows, weights) = sensitivities.size3().expect("sensitivities have shape [B, R, P]");
    assert_eq!(parameters.size(), [rows, weights], "parameters have shape [R, P]");
    let change = parameters - parameters.detach();
    let moved = sensitivities.transpose(0, 1).bmm(&change.unsqueeze(2)); // [R, B, 1]
    moved.squeeze_dim(2).transpose(0, 1)
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

/// Sensitivities at an unroll's end, `[B, R, P]`, from those at its start, the product of all
/// factors `[B, R]`, each moment's effect on the last states `[T, B, R]`, `W_t ⊙ e_t` above, and
/// what the weights were multiplied with, `[T, B, P]`.
pub(super) fn advance(
    before: &Tensor,
    all_factors: &Tensor,
    effects: &Tensor,
    features: &Tensor,
) -> Tensor {
    let (time, batch, rows) = effects.size3().expect("effects have shape [T, B, R]");
    let weights = features.size()[2];
    assert_eq!(features.size(), [time, batch, weights], "features have shape [T, B, P]");
    assert_eq!(before.size(), [batch, rows, weights], "sensitivities have shape [B, R, P]");
    let mut kept = before * all_factors.unsqueeze(-1);
    kept.baddbmm_(&effects.permute([1, 2, 0]), &features.transpose(0, 1))
}

/// `[.., D]` to `[.., D + 1]`: a one behind the features, for the bias.
pub(super) fn with_one(features: &Tensor) -> Tensor {
    let mut shape = features.size();
    *shape.last_mut().expect("features have a last dimension") = 1;
    Tensor::cat(&[features, &features.new_ones(shape, (features.kind(), features.device()))], -1)
}
