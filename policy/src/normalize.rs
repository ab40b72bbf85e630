//! Normalization of the inputs of blocks: layer norm (Ba et al. 2016,
//! <https://arxiv.org/abs/1607.06450>), or the root mean square without a bias (Zhang & Sennrich
//! 2019, <https://arxiv.org/abs/1910.07467>). Both start as the identity behind the division.

use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor};

use crate::parameters::Parameters;

/// Normalization of a block's input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Norm {
    /// Mean and variance (Ba et al. 2016).
    Layer,
    /// Root mean square (Zhang & Sennrich 2019).
    Rms,
}

/// One norm over the last dimension.
pub(crate) struct Normalize {
    /// `[W]`.
    weight: Tensor,
    /// `[W]`.
    bias: Option<Tensor>,
    /// Added to the variance or the mean square before its root is taken.
    epsilon: f64,
}

impl Normalize {
    pub(crate) fn new(
        norm: Norm,
        width: i64,
        epsilon: f64,
        name: &str,
        p: &mut Parameters,
    ) -> Self {
        let weight = p.constant(format!("{name}.weight"), &[width], 1.0);
        let bias = match norm {
            Norm::Layer => Some(p.constant(format!("{name}.bias"), &[width], 0.0)),
            Norm::Rms => None,
        };
        Normalize { weight, bias, epsilon }
    }

    /// Kind and device of its numbers.
    pub(super) fn options(&self) -> (Kind, Device) {
        (self.weight.kind(), self.weight.device())
    }

    /// `[.., W]` to `[.., W]`.
    pub(crate) fn forward(&self, x: &Tensor) -> Tensor {
        let (shape, weight) = (self.weight.size(), Some(&self.weight));
        match &self.bias {
            Some(bias) => x.layer_norm(shape, weight, Some(bias), self.epsilon, false),
            None => x.rms_norm(shape, weight, self.epsilon),
        }
    }
}
