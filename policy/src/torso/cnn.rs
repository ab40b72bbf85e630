//! The small network of Ni et al. 2023, <https://arxiv.org/abs/2307.03864>: convolutions without
//! padding, each followed by a ReLU, then one linear layer.

use tch::Tensor;

use crate::config::Convolution;
use crate::error::PolicyError;
use crate::mlp::Linear;
use crate::parameters::Parameters;

/// Turns pixels `[N, C, H, W]` into features `[N, D]`.
pub(super) struct Cnn {
    convolutions: Vec<Layer>,
    linear: Linear,
}

struct Layer {
    weight: Tensor,
    bias: Tensor,
    stride: i64,
}

impl Cnn {
    pub(super) fn new(
        convolutions: &[Convolution],
        features: i64,
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
            let bound = 1.0 / ((channels * kernel * kernel) as f64).sqrt();
            let shape = [outputs, channels, kernel, kernel];
            layers.push(Layer {
                weight: p.uniform(format!("torso.{i}.weight"), &shape, bound),
                bias: p.uniform(format!("torso.{i}.bias"), &[outputs], bound),
                stride,
            });
            channels = outputs;
            sides = sides.map(|side| (side - kernel) / stride + 1);
        }
        let flat = channels * sides[0] * sides[1];
        let linear = Linear::new(p, &format!("torso.{}", layers.len()), flat, features);
        Ok(Cnn { convolutions: layers, linear })
    }

    /// `[N, C, H, W]` to `[N, D]`.
    pub(super) fn forward(&self, pixels: &Tensor) -> Tensor {
        let mut x = pixels.shallow_clone();
        for layer in &self.convolutions {
            let stride = [layer.stride; 2];
            let bias = Some(&layer.bias);
            x = x.conv2d(&layer.weight, bias, stride, [0, 0], [1, 1], 1).relu_();
        }
        self.linear.forward(&x.flatten(1, -1))
    }
}
