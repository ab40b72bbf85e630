//! One block of a transformer: what stands around attention.

use tch::Tensor;

use super::style::{Pass, TransformerStyle};
use super::window::Window;
use crate::mlp::Linear;
use crate::normalize::Normalize;
use crate::parameters::Parameters;

/// Of all norms.
pub(super) const EPSILON: f64 = 1e-5;

/// Attention, then a feed-forward layer, both added to the residual stream.
pub(super) struct TransformerBlock {
    heads: i64,
    gelu: &'static str,
    attention_norm: Normalize,
    /// Q above K above V: `[3 W, W]`.
    qkv: Linear,
    /// O: `[W, W]`.
    output: Linear,
    feed_forward_norm: Normalize,
    /// W₁: `[4 W, W]`.
    up: Linear,
    /// W₂: `[W, 4 W]`.
    down: Linear,
}

impl TransformerBlock {
    pub(super) fn new(
        width: i64,
        heads: i64,
        style: &TransformerStyle,
        name: &str,
        p: &mut Parameters,
    ) -> Self {
        let part = |part: &str| format!("{name}.{part}");
        let (norm, init) = (style.norm, style.init);
        TransformerBlock {
            heads,
            gelu: style.gelu,
            attention_norm: Normalize::new(norm, width, EPSILON, &part("attention_norm"), p),
            qkv: Linear::new(p, &part("qkv"), width, 3 * width, init),
            output: Linear::new(p, &part("output"), width, width, init),
            feed_forward_norm: Normalize::new(norm, width, EPSILON, &part("feed_forward_norm"), p),
            up: Linear::new(p, &part("up"), width, 4 * width, init),
            down: Linear::new(p, &part("down"), 4 * width, width, init),
        }
    }

    /// x `[T, B, W]` and keys and values of the frames before it, `[B, M - 1, W]`. Returns
    /// `[T, B, W]`, and the keys and values before the frame after it.
    pub(super) fn forward(
        &self,
        x: &Tensor,
        [keys, values]: [&Tensor; 2],
        window: &Window,
        pass: &mut Pass,
    ) -> (Tensor, Tensor, Tensor) {
        let qkv = self.qkv.forward(&self.attention_norm.forward(x)).chunk(3, -1);
        let keys = window.extend(keys, &qkv[1]);
        let values = window.extend(values, &qkv[2]);
        let seen = window.attend(&qkv[0], &keys, &values, self.heads, pass.dropout.as_mut());
        let x = x + pass.drop_from(self.output.forward(&seen));
        let up = self.up.forward(&self.feed_forward_norm.forward(&x));
        let y = pass.drop_from(self.down.forward(&up.gelu(self.gelu)));
        (x + y, window.last(&keys), window.last(&values))
    }
}
