//! Advantages: how much better a decision was than expected, by GAE, and brought to one size.

use tch::Tensor;

use super::vtrace::{VtraceInput, VtraceOptions, VtraceReturns, vtrace};

/// An unroll as GAE sees it. Everything has shape `[T, B]` but the values.
#[derive(Clone, Copy, Debug)]
pub struct GaeInput<'a> {
    /// The reward that followed the decision.
    pub rewards: &'a Tensor,
    /// Weight of the value of the next frame: γ, or 0 where that frame terminated the episode.
    pub discounts: &'a Tensor,
    /// 1, or 0 where the frame is the Last of its episode and the decision meant nothing.
    pub weights: &'a Tensor,
    /// V(x_t), of shape `[T + 1, B]`.
    pub values: &'a Tensor,
}

/// Generalized advantage estimation (Schulman et al. 2015, eq. 16,
/// <https://arxiv.org/abs/1506.02438>): advantages Σ_k (γλ)^k δ_{t+k}, and the values plus these as
/// targets. At a Last frame the advantage is 0 and the target the frame's own value.
///
/// It is what V-trace comes to where the policy that acted is the one that learns: all importance
/// weights are 1.
pub fn gae(input: &GaeInput<'_>, lambda: f64) -> VtraceReturns {
    let &GaeInput { rewards, discounts, weights, values } = input;
    let same = rewards.zeros_like();
    let input = VtraceInput {
        target_log_probs: &same,
        behavior_log_probs: &same,
        rewards,
        discounts,
        weights,
        values,
    };
    let options = VtraceOptions { rho_clip: 1.0, c_clip: 1.0, pg_rho_clip: None, lambda };
    let VtraceReturns { targets, summary, .. } = vtrace(&input, options);
    let advantages = &targets - values.narrow(0, 0, rewards.size()[0]);
    VtraceReturns { targets, advantages, summary }
}

/// `advantages` with mean 0 and standard deviation 1 where `weights` are 1, and 0 where they are 0;
/// all `[T, B]`. They are divided by no less than `least`.
pub fn normalized(advantages: &Tensor, weights: &Tensor, least: f64) -> Tensor {
    let kind = advantages.kind();
    let weights = weights.to_kind(kind);
    let count = weights.sum(kind).clamp_min(1.0);
    let centered = (advantages - (advantages * &weights).sum(kind) / &count) * &weights;
    let deviation = (centered.square().sum(kind) / count).sqrt();
    centered / deviation.clamp_min(least)
}
