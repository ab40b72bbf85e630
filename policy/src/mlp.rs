//! Linear layers, and stacks of them.

use serde::{Deserialize, Serialize};
use tch::Tensor;

use crate::initialization::Initialization;
use crate::normalize::{Norm, Normalize};
use crate::parameters::Parameters;

/// Activation behind a linear layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// max(x, 0).
    Relu,
    /// Hyperbolic tangent.
    Tanh,
    /// x where it is positive, else exp(x) − 1: Clevert et al. 2015,
    /// <https://arxiv.org/abs/1511.07289>.
    Elu,
    /// x itself.
    Identity,
}

impl Activation {
    /// Of `x`, which nothing else looks at, in its place.
    pub(crate) fn of(self, mut x: Tensor) -> Tensor {
        match self {
            Activation::Relu => x.relu_(),
            Activation::Tanh => x.tanh_(),
            Activation::Elu => x.elu_(),
            Activation::Identity => x,
        }
    }

    /// Its derivative, by what it gave: `y`.
    pub(crate) fn slope(self, y: &Tensor) -> Tensor {
        match self {
            Activation::Relu => y.gt(0.0).to_kind(y.kind()),
            Activation::Tanh => 1.0 - y.square(),
            Activation::Elu => y.clamp_max(0.0) + 1.0,
            Activation::Identity => y.ones_like(),
        }
    }
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

    /// The same, in the type of `x`, whatever that of the weights is.
    pub(crate) fn forward_as(&self, x: &Tensor) -> Tensor {
        let [weight, bias] = [&self.weight, &self.bias].map(|part| part.to_kind(x.kind()));
        x.linear(&weight, Some(&bias))
    }
}

/// Number added to a variance before its root is taken: that of PyTorch's `LayerNorm`.
const EPSILON: f64 = 1e-5;

/// Linear layers, each followed by the activation, with a norm between them or without.
pub(crate) struct Mlp {
    layers: Vec<(Linear, Option<Normalize>)>,
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
        Mlp::normalized(p, name, inputs, hidden, activation, init, None)
    }

    /// The same with norms.
    pub(crate) fn normalized(
        p: &mut Parameters,
        name: &str,
        inputs: i64,
        hidden: &[i64],
        activation: Activation,
        init: Initialization,
        norm: Option<Norm>,
    ) -> Self {
        let mut outputs = inputs;
        let mut layers = Vec::with_capacity(hidden.len());
        for (i, &width) in hidden.iter().enumerate() {
            let layer = Linear::new(p, &format!("{name}.{i}"), outputs, width, init);
            let norm_name = format!("{name}.{i}.norm");
            let norm = norm.map(|norm| Normalize::new(norm, width, EPSILON, &norm_name, p));
            layers.push((layer, norm));
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
        for (layer, norm) in &self.layers {
            x = layer.forward(&x);
            if let Some(norm) = norm {
                x = norm.forward(&x);
            }
            x = self.activation.of(x);
        }
        x
    }
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind};

    use super::*;

    #[test]
    fn slopes_are_those_of_backpropagation() {
        let x = Tensor::linspace(-2.1, 2.2, 40, (Kind::Double, Device::Cpu));
        for activation in
            [Activation::Relu, Activation::Tanh, Activation::Elu, Activation::Identity]
        {
            let x = x.copy().set_requires_grad(true);
            let y = activation.of(&x * 1.0);
            let expected = &Tensor::run_backward(&[y.sum(Kind::Double)], &[&x], false, false)[0];
            let off = (activation.slope(&y.detach()) - expected).abs().max().double_value(&[]);
            assert!(off < 1e-12, "{activation:?}: off by {off}");
        }
    }
}
