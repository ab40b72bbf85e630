//! Linear layers, and stacks of them.
//!
//! Initial values are PyTorch's: weights and biases uniform in `±1/√inputs`.

use serde::{Deserialize, Serialize};
use tch::Tensor;

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
    pub(crate) fn new(p: &mut Parameters, name: &str, inputs: i64, outputs: i64) -> Self {
        Linear::uniform(p, name, inputs, outputs, 1.0 / (inputs as f64).sqrt())
    }

    /// One that starts with weights and biases uniform in `±bound` instead.
    pub(crate) fn uniform(
        p: &mut Parameters,
        name: &str,
        inputs: i64,
        outputs: i64,
        bound: f64,
    ) -> Self {
        Linear {
            weight: p.uniform(format!("{name}.weight"), &[outputs, inputs], bound),
            bias: p.uniform(format!("{name}.bias"), &[outputs], bound),
        }
    }

    /// One that starts with normal weights instead, of standard deviation `std`, and zero biases.
    pub(crate) fn normal(
        p: &mut Parameters,
        name: &str,
        inputs: i64,
        outputs: i64,
        std: f64,
    ) -> Self {
        Linear {
            weight: p.normal(format!("{name}.weight"), &[outputs, inputs], 0.0, std),
            bias: p.constant(format!("{name}.bias"), &[outputs], 0.0),
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
    ) -> Self {
        let mut outputs = inputs;
        let mut layers = Vec::with_capacity(hidden.len());
        for (i, &width) in hidden.iter().enumerate() {
            layers.push(Linear::new(p, &format!("{name}.{i}"), outputs, width));
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
