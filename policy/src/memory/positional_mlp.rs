//! The positional MLP, a baseline of POPGym (Morad et al. 2023,
//! <https://arxiv.org/abs/2303.01859>): fully connected layers that know the time, and nothing of
//! earlier observations.
//!
//! ```text
//! y_t = MLP( x_t + position(n) )        n: the frame's number in its episode
//! ```
//!
//! Positions are sines (`positions`), as wide as the features. The state is n, a number of the
//! policy's kind: in single precision it is exact for 2²⁴ frames. What memory of observations is worth
//! on a task, this layer tells beside `none`: a task that it solves asks for a clock only.
//!
//! POPGym's has two layers behind LeakyReLUs, and learns a factor of the positions, which starts at
//! ½; here the factor is 1.

use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor};

use super::attention::numbers;
use super::positions::SinePositions;
use super::{BuiltMemory, LayerConfig, Memory, MemoryConfig};
use crate::error::PolicyError;
use crate::initialization::Initialization;
use crate::mlp::{Activation, Mlp};
use crate::parameters::Parameters;
use crate::range::{MAX_WIDTH, in_range};
use crate::resets::Resets;
use crate::state::{Batched, CoreState};

/// Fully connected layers that see the time within the episode.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PositionalMlpConfig {
    /// Widths of the layers.
    pub hidden: Vec<i64>,
    /// Activation behind each of them.
    pub activation: Activation,
    /// Start of them.
    pub init: Initialization,
}

impl LayerConfig for PositionalMlpConfig {
    fn validate(&self) -> Result<(), PolicyError> {
        self.init.validate("memory.init")?;
        in_range("number of memory.hidden", self.hidden.len() as i64, 64)?;
        self.hidden.iter().try_for_each(|&width| in_range("memory.hidden", width, MAX_WIDTH))
    }

    fn build(&self, inputs: i64, name: &str, p: &mut Parameters) -> BuiltMemory {
        let positions = SinePositions::new(inputs, p.options());
        let layers = Mlp::new(p, name, inputs, &self.hidden, self.activation, self.init);
        Ok(Box::new(PositionalMlp { positions, layers, options: p.options() }))
    }

    fn examples(&self, width: i64) -> Vec<MemoryConfig> {
        let hidden = vec![width + 1, width];
        vec![MemoryConfig::PositionalMlp(PositionalMlpConfig { hidden, ..self.clone() })]
    }
}

/// Fully connected layers and a clock.
struct PositionalMlp {
    positions: SinePositions,
    layers: Mlp,
    options: (Kind, Device),
}

impl Memory for PositionalMlp {
    fn outputs(&self) -> i64 {
        self.layers.outputs()
    }

    fn exports_state(&self) -> bool {
        true
    }

    /// Frames of the episode so far, `[B]`.
    fn initial_state(&self, batch: i64) -> CoreState {
        CoreState::new(batch, vec![Tensor::zeros([batch], self.options)])
    }

    fn step(&self, x: &Tensor, state: &CoreState, resets: &Resets) -> (Tensor, CoreState) {
        let (y, after) = self.unroll(&x.unsqueeze(0), state, resets);
        (y.squeeze_dim(0), after)
    }

    fn unroll(&self, x: &Tensor, state: &CoreState, resets: &Resets) -> (Tensor, CoreState) {
        // A count has no gradient.
        let numbers = numbers(&state.map(state.batch(), Tensor::detach), resets);
        let y = self.layers.forward(&(x + self.positions.at(&numbers)));
        let after = (numbers.get(-1) + 1).to_kind(self.options.0);
        (y, CoreState::new(state.batch(), vec![after]))
    }
}

#[cfg(test)]
mod tests {
    use engram_mdp::Seed;

    use super::*;
    use crate::random;

    #[test]
    fn a_frame_sees_its_number_and_its_own_features() {
        let options = (Kind::Double, Device::Cpu);
        let mut p = Parameters::new(Seed::new(1), options.0, options.1);
        let (activation, init) = (Activation::Tanh, Initialization::FAN_IN);
        let config = PositionalMlpConfig { hidden: vec![4, 3], activation, init };
        let layer = config.build(5, "memory", &mut p).unwrap();
        let named = p.into_named();
        let weight = |name: &str| {
            let (_, weight) = named.iter().find(|(found, _)| found == name).unwrap();
            weight.detach()
        };
        // Row 0 begins anew at frame 2, row 1 goes on from frame 40.
        let resets = Resets::new(vec![false, false, false, false, true, false], 2);
        let state = CoreState::new(2, vec![Tensor::from_slice(&[7.0, 40.0])]);
        let x = random::normal(&mut Seed::new(2).generator(), &[3, 2, 5]).to_kind(options.0);
        let (y, after) = tch::no_grad(|| layer.unroll(&x, &state, &resets));
        for (t, row) in [[7, 40], [8, 41], [0, 42]].into_iter().enumerate() {
            for (b, number) in row.into_iter().enumerate() {
                let position = |i: i32| {
                    let angle = f64::from(number) / 1e4f64.powf(f64::from(i - i % 2) / 5.0);
                    if i % 2 == 0 { angle.sin() } else { angle.cos() }
                };
                let position = Tensor::from_slice(&(0..5).map(position).collect::<Vec<_>>());
                let seen = x.get(t as i64).get(b as i64) + position;
                let one = (weight("memory.0.weight").mv(&seen) + weight("memory.0.bias")).tanh();
                let two = (weight("memory.1.weight").mv(&one) + weight("memory.1.bias")).tanh();
                let off = (y.get(t as i64).get(b as i64) - two).abs().max().double_value(&[]);
                assert!(off < 1e-12, "frame {t} of row {b}: off by {off}");
            }
        }
        assert_eq!(after.tensors()[0], Tensor::from_slice(&[1.0, 43.0]));
    }
}
