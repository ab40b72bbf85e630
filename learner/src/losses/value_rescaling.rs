//! Invertible value rescaling: networks that learn returns of any size on one scale.
//!
//! Pohlen et al. 2018, section 3.2, <https://arxiv.org/abs/1805.11593>:
//! `h(x) = sign(x) (√(|x| + 1) − 1) + ε x`, and its inverse in closed form (their proposition A.2),
//! both written so that nothing cancels: small numbers keep their digits in single precision.

use tch::Tensor;

/// h, for one ε.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ValueRescaling {
    /// ε ≥ 0, the slope that is left for large returns; the paper's is 0.01, that of R2D2 0.001.
    pub epsilon: f64,
}

impl ValueRescaling {
    /// h(x), from returns to the network's scale.
    pub fn apply(self, returns: &Tensor) -> Tensor {
        let size = returns.abs();
        // √(s + 1) − 1 = s / (√(s + 1) + 1)
        returns / ((size + 1.0).sqrt() + 1.0) + returns * self.epsilon
    }

    /// h⁻¹(y), from the network's scale to returns.
    pub fn invert(self, values: &Tensor) -> Tensor {
        // With v = √(|x| + 1) − 1, |y| = h(|x|) is ε v² + (1 + 2ε) v, and |x| = v (v + 2).
        let linear = 1.0 + 2.0 * self.epsilon;
        let root = (values.abs() * (4.0 * self.epsilon) + linear * linear).sqrt() + linear;
        let v = values * 2.0 / root;
        &v * (v.abs() + 2.0)
    }
}
