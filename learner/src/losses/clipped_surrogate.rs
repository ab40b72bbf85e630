//! Clipped surrogate: a policy gradient that ends where the policy has moved far enough from the one
//! that acted.
//!
//! Schulman et al. 2017, equation 7, <https://arxiv.org/abs/1707.06347>.

use tch::Tensor;

/// `min(r A, clip(r, 1 − ε, 1 + ε) A)` of each decision, `[T, B]`, to be made large; r = π / μ is the
/// policy's probability of the action over that of the policy that acted. Where the ratio is beyond
/// the clip in the direction in which the advantage pulls, the gradient is zero. `log_probs`,
/// `behavior_log_probs` and `advantages` are `[T, B]`; only the first is differentiated.
pub fn clipped_surrogate(
    log_probs: &Tensor,
    behavior_log_probs: &Tensor,
    advantages: &Tensor,
    clip: f64,
) -> Tensor {
    let ratio = (log_probs - behavior_log_probs).exp();
    let clipped = ratio.clamp(1.0 - clip, 1.0 + clip) * advantages;
    (ratio * advantages).minimum(&clipped)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Value and gradient by log π of one decision with ratio `ratio` and advantage `advantage`.
    fn one(ratio: f64, advantage: f64) -> (f64, f64) {
        let behavior = Tensor::from_slice(&[-1.5_f64]);
        let log_prob = (&behavior + ratio.ln()).set_requires_grad(true);
        let value = clipped_surrogate(&log_prob, &behavior, &Tensor::from_slice(&[advantage]), 0.2);
        value.sum(tch::Kind::Double).backward();
        (value.double_value(&[0]), log_prob.grad().double_value(&[0]))
    }

    #[test]
    fn the_gradient_ends_where_the_ratio_is_beyond_the_clip_and_the_advantage_pulls_further() {
        let close = |found: (f64, f64), expected: (f64, f64)| {
            let far = (found.0 - expected.0).abs().max((found.1 - expected.1).abs());
            assert!(far < 1e-12, "{found:?} {expected:?}");
        };
        close(one(1.1, 2.0), (2.2, 2.2));
        close(one(0.9, -2.0), (-1.8, -1.8));
        close(one(1.5, 2.0), (2.4, 0.0));
        close(one(0.5, -2.0), (-1.6, 0.0));
        // Back towards the policy that acted, the gradient stays.
        close(one(1.5, -2.0), (-3.0, -3.0));
        close(one(0.5, 2.0), (1.0, 1.0));
    }
}
