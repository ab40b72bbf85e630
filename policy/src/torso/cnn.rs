//! The small network of Ni et al. 2023, <https://arxiv.org/abs/2307.03864>: convolutions without
//! padding, each followed by a ReLU, then one linear layer. What Yarats et al. 2021,
//! <https://arxiv.org/abs/1910.01741>, put behind it is an option.

use tch::{Kind, Tensor};

use crate::config::{CnnOutput, Convolution};
use crate::error::PolicyError;
use crate::initialization::Initialization;
use crate::mlp::Linear;
use crate::parameters::Parameters;

/// Turns pixels `[N, C, H, W]` into features `[N, D]`.
pub(super) struct Cnn {
    convolutions: Vec<ConvolutionLayer>,
    linear: Linear,
    output: Output,
}

/// Layers behind the linear one.
enum Output {
    Linear,
    Relu,
    /// Weight and bias, `[D]`, of the normalization.
    LayerNormTanh(Tensor, Tensor),
}

/// Added to the variance before its root is taken.
const NORM_EPSILON: f64 = 1e-5;

struct ConvolutionLayer {
    weight: Tensor,
    bias: Tensor,
    stride: i64,
}

impl Cnn {
    pub(super) fn new(
        convolutions: &[Convolution],
        (features, output): (i64, CnnOutput),
        init: Initialization,
        [channels, height, width]: [i64; 3],
        p: &mut Parameters,
    ) -> Result<Self, PolicyError> {
        let (mut channels, mut sides) = (channels, [height, width]);
        let mut layers = Vec::with_capacity(convolutions.len());
        for (i, convolution) in convolutions.iter().enumerate() {
            let Convolution { channels: outputs, kernel, stride } = *convolution;
            if sides.iter().any(|&side| side < kernel) {
                return Err(PolicyError::Config {
                    key: "torso.convolutions.kernel",
                    found: format!("{kernel} in layer {i}"),
                    expected: format!("at most {sides:?}, the image's size there"),
                });
            }
            let fan_in = channels * kernel * kernel;
            let shape = [outputs, channels, kernel, kernel];
            layers.push(ConvolutionLayer {
                weight: p.weight(format!("torso.{i}.weight"), &shape, init, fan_in),
                bias: p.bias(format!("torso.{i}.bias"), outputs, init, fan_in),
                stride,
            });
            channels = outputs;
            sides = sides.map(|side| (side - kernel) / stride + 1);
        }
        let flat = channels * sides[0] * sides[1];
        let linear = Linear::new(p, &format!("torso.{}", layers.len()), flat, features, init);
        let output = match output {
            CnnOutput::Linear => Output::Linear,
            CnnOutput::Relu => Output::Relu,
            CnnOutput::LayerNormTanh => {
                let weight = p.constant("torso.norm.weight".into(), &[features], 1.0);
                let bias = p.constant("torso.norm.bias".into(), &[features], 0.0);
                Output::LayerNormTanh(weight, bias)
            }
        };
        Ok(Cnn { convolutions: layers, linear, output })
    }

    /// `[N, C, H, W]`, of whose type convolutions are, to `[N, D]` of type `kind`.
    pub(super) fn forward(&self, pixels: &Tensor, kind: Kind) -> Tensor {
        let mut x = pixels.shallow_clone();
        for layer in &self.convolutions {
            let stride = [layer.stride; 2];
            let [weight, bias] = [&layer.weight, &layer.bias].map(|part| part.to_kind(x.kind()));
            x = x.conv2d(&weight, Some(&bias), stride, [0, 0], [1, 1], 1).relu_();
        }
        let mut y = self.linear.forward_as(&x.flatten(1, -1)).to_kind(kind);
        match &self.output {
            Output::Linear => y,
            Output::Relu => y.relu_(),
            Output::LayerNormTanh(weight, bias) => {
                y.layer_norm(weight.size(), Some(weight), Some(bias), NORM_EPSILON, false).tanh()
            }
        }
    }
}
