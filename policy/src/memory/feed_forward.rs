//! The residual feed-forward layer that follows several memory layers in RESeL (Luo et al. 2024,
//! <https://arxiv.org/abs/2405.15384>):
//!
//! ```text
//! y = LayerNorm( W₂ GELU(W₁ x + b₁) + b₂ + x )
//! ```
//!
//! Both weights are square, and start as a linear layer does; the norm starts as the identity.

use tch::Tensor;

use crate::initialization::Initialization;
use crate::mlp::Linear;
use crate::normalize::{Norm, Normalize};
use crate::parameters::Parameters;

/// Residual feed-forward layer, as wide as its inputs.
pub(super) struct FeedForward {
    first: Linear,
    second: Linear,
    norm: Normalize,
}

impl FeedForward {
    pub(super) fn new(width: i64, epsilon: f64, name: &str, p: &mut Parameters) -> Self {
        FeedForward {
            first: Linear::new(p, &format!("{name}.0"), width, width, Initialization::FAN_IN),
            second: Linear::new(p, &format!("{name}.1"), width, width, Initialization::FAN_IN),
            norm: Normalize::new(Norm::Layer, width, epsilon, &format!("{name}.norm"), p),
        }
    }

    /// `[.., N]` to `[.., N]`.
    pub(super) fn forward(&self, x: &Tensor) -> Tensor {
        let y = self.second.forward(&self.first.forward(x).gelu("none")) + x;
        self.norm.forward(&y)
    }
}
