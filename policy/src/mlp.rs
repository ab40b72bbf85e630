//! Linear layers, and stacks of them.

use serde::{Deserialize, Serialize};
use tch::Tensor;

use crate::initialization::Initialization;
use crate::parameters::Parameters;

/// Activation behind a linear layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// max(x, 0).
    Relu,
    /// Hyperbolic tangent.
    Tanh,
}

/// `y = x Wᵀ + b`.
pub(crate) struct Linear {
    /// W: `[outputs, inputs]`.
    pub(crate) weight: Tensor,
    /// b: `[outputs]`.
    pub(crate) bias: Tensor,
}

impl Linear {
    pub(crate) fn new(
        p: &mut Parameters,
        name: &str,
        inputs: i64,
        outputs: i64,
        init: Initialization,
    ) -> Self {
        Linear {
            weight: p.weight(format!("{name}.weight"), &[outputs, inputs], init, inputs),
            bias: p.bias(format!("{name}.bias"), outputs, init, inputs),
        }
    }

    /// `[.., inputs]` to `[.., outputs]`.
    pub(crate) fn forward(&self, x: &Tensor) -> Tensor {
        x.linear(&self.weight, Some(&self.bias))
    }
}

/// Linear layers, each followed by the activation.
pub(crate) struct Mlp {
    layers: Vec<Linear>,
    activation: Activation,
    outputs: i64,
}

impl Mlp {
    pub(crate) fn new(
        p: &mut Parameters,
        name: &str,
        inputs: i64,
        hidden: &[i64],
        activation: Activation,
        init: Initialization,
    ) -> Self {
        let mut outputs = inputs;
        let mut layers = Vec::with_capacity(hidden.len());
        for (i, &width) in hidden.iter().enumerate() {
            layers.push(Linear::new(p, &format!("{name}.{i}"), outputs, width, init));
            outputs = width;
        }
        Mlp { layers, activation, outputs }
    }

    /// The width of what comes out.
    pub(crate) fn outputs(&self) -> i64 {
        self.outputs
    }

    /// `[.., inputs]` to `[.., outputs]`.
    pub(crate) fn forward(&self, x: &Tensor) -> Tensor {
        let mut x = x.shallow_clone();
        for layer in &self.layers {
            // In place: nothing else looks at the linear layer's output.
            let mut y = layer.forward(&x);
            x = match self.activation {
                Activation::Relu => y.relu_(),
                Activation::Tanh => y.tanh_(),
            };
        }
        x
    }
}
