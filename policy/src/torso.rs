//! From raw observations to features: one file per network that looks at images.

mod cnn;
mod resnet;

use engram_mdp::{Dtype, ObservationSpec};
use tch::{Kind, Tensor};

use self::cnn::Cnn;
use self::resnet::Resnet;
use crate::bf16::computes_in_bf16;
use crate::config::TorsoConfig;
use crate::error::PolicyError;
use crate::mlp::Mlp;
use crate::parameters::Parameters;

/// Turns observations `[N, O..]` into features `[N, D]`.
pub(crate) struct Torso {
    dtype: Dtype,
    network: TorsoNetwork,
    outputs: i64,
    /// True where single precision computes in bfloat16.
    bf16: bool,
}

enum TorsoNetwork {
    Identity,
    Mlp(Mlp),
    Cnn(Cnn),
    Resnet(Resnet),
}

impl Torso {
    pub(crate) fn new(
        config: &TorsoConfig,
        observation: &ObservationSpec,
        p: &mut Parameters,
    ) -> Result<Self, PolicyError> {
        let inputs = observation.len() as i64;
        let mut bf16 = false;
        let (network, outputs) = match config {
            TorsoConfig::Identity {} => (TorsoNetwork::Identity, inputs),
            TorsoConfig::Mlp { hidden, activation, init, norm } => {
                let mlp = Mlp::normalized(p, "torso", inputs, hidden, *activation, *init, *norm);
                let outputs = mlp.outputs();
                (TorsoNetwork::Mlp(mlp), outputs)
            }
            TorsoConfig::Cnn { convolutions, features, init, output, bf16: asked } => {
                let image = image("cnn", observation)?;
                bf16 = *asked && computes_in_bf16(p.options().1);
                let cnn = Cnn::new(convolutions, (*features, *output), *init, image, p)?;
                (TorsoNetwork::Cnn(cnn), *features)
            }
            TorsoConfig::ImpalaResnet { channels, features, init, bf16: asked } => {
                let image = image("impala_resnet", observation)?;
                bf16 = *asked && computes_in_bf16(p.options().1);
                (
                    TorsoNetwork::Resnet(Resnet::new(channels, *features, *init, image, p)?),
                    *features,
                )
            }
        };
        Ok(Torso { dtype: observation.dtype, network, outputs, bf16 })
    }

    /// D: features of one observation.
    pub(crate) fn outputs(&self) -> i64 {
        self.outputs
    }

    /// Raw observations `[N, O..]` to features `[N, D]` of type `kind`.
    pub(crate) fn forward(&self, observation: &Tensor, kind: Kind) -> Tensor {
        // Weights, their gradients' sums and what follows stay as they are.
        let computed = if self.bf16 && kind == Kind::Float { Kind::BFloat16 } else { kind };
        match &self.network {
            TorsoNetwork::Identity => self.scaled(&observation.flatten(1, -1), kind),
            TorsoNetwork::Mlp(mlp) => mlp.forward(&self.scaled(&observation.flatten(1, -1), kind)),
            TorsoNetwork::Cnn(cnn) => cnn.forward(&self.pixels(observation, computed), kind),
            TorsoNetwork::Resnet(resnet) => {
                let pixels = |images: &Tensor| self.pixels(images, computed);
                resnet.forward(observation, pixels).to_kind(kind)
            }
        }
    }

    fn scaled(&self, raw: &Tensor, kind: Kind) -> Tensor {
        match self.dtype {
            Dtype::F32 => raw.to_kind(kind),
            Dtype::U8 => raw.to_kind(kind).g_div_scalar_(255.0),
        }
    }

    /// Images `[N, C, H, W]`, scaled. Their channels stand last in memory, the shape stays as it
    /// is: convolutions on a CPU are several times faster so, and give such images on.
    fn pixels(&self, raw: &Tensor, kind: Kind) -> Tensor {
        self.scaled(&raw.permute([0, 2, 3, 1]).contiguous(), kind).permute([0, 3, 1, 2])
    }
}

/// `[C, H, W]` of an environment that shows images.
fn image(torso: &str, observation: &ObservationSpec) -> Result<[i64; 3], PolicyError> {
    match observation.shape.as_slice() {
        &[channels, height, width] => Ok([channels as i64, height as i64, width as i64]),
        _ => Err(PolicyError::Config {
            key: "torso.name",
            found: format!("{torso:?}"),
            expected: format!(
                "another torso, \"mlp\" for one, because the environment shows {observation} \
                 and not images [channels, height, width]"
            ),
        }),
    }
}

#[cfg(test)]
mod tests {
    use engram_mdp::Seed;
    use tch::{Device, IndexOp};

    use super::*;
    use crate::config::{CnnOutput, Convolution};
    use crate::initialization::Initialization;

    fn images(shape: &[usize]) -> ObservationSpec {
        ObservationSpec { dtype: Dtype::U8, shape: shape.to_vec() }
    }

    fn small_cnn() -> TorsoConfig {
        let convolution = |channels| Convolution { channels, kernel: 2, stride: 1 };
        TorsoConfig::Cnn {
            convolutions: vec![convolution(8), convolution(16)],
            features: 100,
            init: Initialization::FAN_IN,
            output: CnnOutput::Linear,
            bf16: false,
        }
    }

    fn small_resnet(sections: usize) -> TorsoConfig {
        TorsoConfig::ImpalaResnet {
            channels: vec![4; sections],
            features: 7,
            init: Initialization::FAN_IN,
            bf16: false,
        }
    }

    fn parameters() -> Parameters {
        Parameters::new(Seed::new(1), Kind::Double, Device::Cpu)
    }

    #[test]
    fn bytes_are_divided_by_255_and_images_flattened() {
        let torso =
            Torso::new(&TorsoConfig::Identity {}, &images(&[1, 2, 2]), &mut parameters()).unwrap();
        let x = torso
            .forward(&Tensor::from_slice(&[0u8, 51, 102, 255]).view([1, 1, 2, 2]), Kind::Double);
        assert_eq!(Vec::<f64>::try_from(x.i(0)).unwrap(), [0.0, 0.2, 0.4, 1.0]);
    }

    #[test]
    fn the_convolutional_torso_equals_a_loop_over_pixels() {
        let mut p = parameters();
        let torso = Torso::new(&small_cnn(), &images(&[3, 5, 5]), &mut p).unwrap();
        assert_eq!(torso.outputs(), 100);
        let named = p.into_named();
        let weights = |name: &str| {
            let (_, tensor) = named.iter().find(|(n, _)| n == name).unwrap();
            Vec::<f64>::try_from(tensor.flatten(0, -1)).unwrap()
        };
        let pixels: Vec<u8> = (0..75).map(|i| (i * 7 % 256) as u8).collect();
        let mut x: Vec<f64> = pixels.iter().map(|&v| f64::from(v) / 255.0).collect();
        let (mut channels, mut side) = (3, 5);
        for (layer, outputs) in [(0, 8), (1, 16)] {
            let (w, b) = (
                weights(&format!("torso.{layer}.weight")),
                weights(&format!("torso.{layer}.bias")),
            );
            let mut y = vec![];
            for o in 0..outputs {
                for row in 0..side - 1 {
                    for column in 0..side - 1 {
                        let mut sum = b[o];
                        for c in 0..channels {
                            for (i, j) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
                                sum += w[((o * channels + c) * 2 + i) * 2 + j]
                                    * x[(c * side + row + i) * side + column + j];
                            }
                        }
                        y.push(sum.max(0.0));
                    }
                }
            }
            (x, channels, side) = (y, outputs, side - 1);
        }
        let (w, b) = (weights("torso.2.weight"), weights("torso.2.bias"));
        let image = Tensor::from_slice(&pixels).view([1, 3, 5, 5]);
        let found = Vec::<f64>::try_from(torso.forward(&image, Kind::Double).i(0)).unwrap();
        assert_eq!((x.len(), found.len()), (144, 100));
        for (o, found) in found.iter().enumerate() {
            let expected: f64 = b[o] + (0..144).map(|i| w[o * 144 + i] * x[i]).sum::<f64>();
            assert!((found - expected).abs() < 1e-12, "{found} {expected}");
        }
    }

    #[test]
    fn features_may_be_normalized_and_squashed() {
        let features = |output| {
            let TorsoConfig::Cnn { convolutions, features, init, .. } = small_cnn() else {
                unreachable!("it is one")
            };
            let config = TorsoConfig::Cnn { convolutions, features, init, output, bf16: false };
            let torso = Torso::new(&config, &images(&[3, 5, 5]), &mut parameters()).unwrap();
            let pixels: Vec<u8> = (0..75).map(|i| (i * 7 % 256) as u8).collect();
            torso.forward(&Tensor::from_slice(&pixels).view([1, 3, 5, 5]), Kind::Double)
        };
        let plain = features(CnnOutput::Linear);
        let deviation = plain.var_dim([-1].as_slice(), false, true) + 1e-5;
        let mean = plain.mean_dim([-1].as_slice(), true, Kind::Double);
        let expected = ((&plain - mean) / deviation.sqrt()).tanh();
        let rectified = features(CnnOutput::Relu);
        assert!(rectified.equal(&plain.relu()) && !rectified.equal(&plain));
        let found = features(CnnOutput::LayerNormTanh);
        assert!((found - expected).abs().max().double_value(&[]) < 1e-12);
    }

    #[test]
    fn the_smallest_image_goes_through() {
        let convolution = |kernel, stride| Convolution { channels: 2, kernel, stride };
        let config = TorsoConfig::Cnn {
            convolutions: vec![convolution(3, 2), convolution(3, 1), convolution(2, 3)],
            features: 4,
            init: Initialization::FAN_IN,
            output: CnnOutput::Linear,
            bf16: false,
        };
        let side = config.least_side();
        let with = |side| Torso::new(&config, &images(&[3, side, side]), &mut parameters());
        assert_eq!(side, 9);
        assert!(with(side).is_ok() && with(side - 1).is_err());
    }

    #[test]
    fn an_environment_without_images_is_refused_by_convolutions() {
        let refuse = |config: &TorsoConfig, shape: &[usize]| {
            Torso::new(config, &images(shape), &mut parameters()).err().unwrap().to_string()
        };
        assert!(refuse(&small_cnn(), &[25]).contains("\"mlp\" for one"));
        assert!(refuse(&small_cnn(), &[3, 2, 2]).contains("at most [1, 1]"));
        assert!(refuse(&small_resnet(1), &[25]).contains("\"impala_resnet\""));
    }
}
