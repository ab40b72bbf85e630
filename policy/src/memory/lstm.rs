//! Long short-term memory (Hochreiter & Schmidhuber 1997, with the forget gate of Gers et al.
//! 2000), one layer on another, as PyTorch has it:
//!
//! ```text
//! i, f, g, o = W x_t + b + V h_{t-1} + d        rows of W, V, b, d in this order
//! c_t = σ(f) ⊙ c_{t-1} + σ(i) ⊙ tanh(g)
//! h_t = σ(o) ⊙ tanh(c_t)
//! ```
//!
//! All parameters start uniform in `±1/√H`, PyTorch's default, which is also TorchBeast's; one of
//! the forget gate's biases then around `forget_bias`, since gates that start half shut forget
//! within a few steps, and gradients with them (Jozefowicz et al. 2015,
//! <https://proceedings.mlr.press/v37/jozefowicz15.html>).
//!
//! Unrolling runs libtorch's fused kernels (oneDNN on a CPU, cuDNN on CUDA) over the sequences of
//! `Resets::spread`. Clear and hold steps act through two more input columns whose weights are
//! ±`CLOSED`: at a clear step the gates i, f and o are shut, so that c and h become zero; at a
//! hold step f is open and the others are shut, so that c stays. Shut and open are exact to the
//! last bit of a float, and gradients through them vanish. Against a loop over single steps this
//! takes 0.4 times the time, and it does not matter how many of the B rows begin an episode.

use serde::{Deserialize, Serialize};
use tch::{Device, Tensor};

use super::{LayerConfig, Memory, MemoryConfig};
use crate::error::PolicyError;
use crate::parameters::Parameters;
use crate::range::{MAX_WIDTH, forget_bias_in_range, in_range};
use crate::resets::Resets;
use crate::state::CoreState;

/// A gate's input that no learned weight outweighs, and whose sigmoid is 0 (or 1) in any float.
const CLOSED: f64 = 1e4;

/// On a CPU, the batch from which one step of the fused kernel is faster than the plain cell.
const FUSED_STEP_BATCH: i64 = 24;

/// Long short-term memory, one layer on another.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LstmConfig {
    /// Cells of each layer.
    pub hidden: i64,
    /// Layers.
    pub layers: i64,
    /// Added to the bias of the forget gates at the start; larger remembers longer.
    pub forget_bias: f64,
}

impl LayerConfig for LstmConfig {
    fn validate(&self) -> Result<(), PolicyError> {
        in_range("memory.hidden", self.hidden, MAX_WIDTH)?;
        in_range("memory.layers", self.layers, 64)?;
        forget_bias_in_range(self.forget_bias)
    }

    fn build(&self, inputs: i64, name: &str, p: &mut Parameters) -> Box<dyn Memory> {
        Box::new(Lstm::new(self, inputs, name, p))
    }

    fn examples(&self, width: i64) -> Vec<MemoryConfig> {
        let layers = |layers| LstmConfig { hidden: width, layers, forget_bias: 0.0 };
        [1, 2].map(|count| MemoryConfig::Lstm(layers(count))).into()
    }
}

/// Stacked LSTM layers.
pub(crate) struct Lstm {
    layers: Vec<Layer>,
    hidden: i64,
}

struct Layer {
    /// `[4 H, D]`.
    weight_ih: Tensor,
    /// `[4 H, H]`.
    weight_hh: Tensor,
    /// `[4 H]`.
    bias_ih: Tensor,
    /// `[4 H]`.
    bias_hh: Tensor,
    /// `[4 H, 2]`: what clear and hold steps do to the gates.
    control: Tensor,
}

impl Lstm {
    fn new(config: &LstmConfig, inputs: i64, name: &str, p: &mut Parameters) -> Self {
        let &LstmConfig { hidden, layers, forget_bias } = config;
        let layer = |l| {
            let inputs = if l == 0 { inputs } else { hidden };
            Layer::new(inputs, hidden, forget_bias, |part| format!("{name}.{part}_l{l}"), p)
        };
        Lstm { layers: (0..layers).map(layer).collect(), hidden }
    }
}

impl Memory for Lstm {
    fn outputs(&self) -> i64 {
        self.hidden
    }

    fn exports_state(&self) -> bool {
        true
    }

    /// h and c of every layer, each `[B, H]`.
    fn initial_state(&self, batch: i64) -> CoreState {
        let weight = &self.layers[0].weight_hh;
        let zeros = || Tensor::zeros([batch, self.hidden], (weight.kind(), weight.device()));
        CoreState::new(batch, (0..2 * self.layers.len()).map(|_| zeros()).collect())
    }

    fn step(&self, x: &Tensor, state: &CoreState, resets: &Resets) -> (Tensor, CoreState) {
        let state = state.begin(resets, 0);
        let fused = x.device() != Device::Cpu || state.batch() >= FUSED_STEP_BATCH;
        let mut y = x.shallow_clone();
        let mut after = Vec::with_capacity(state.tensors().len());
        for (layer, before) in self.layers.iter().zip(state.tensors().chunks_exact(2)) {
            let (h, c) = if fused {
                let (_, h, c) = layer.sequence(&y.unsqueeze(0), before, &layer.weight_ih);
                (h, c)
            } else {
                layer.cell(&y, before)
            };
            y = h.shallow_clone();
            after.extend([h, c]);
        }
        (y, CoreState::new(state.batch(), after))
    }

    fn unroll(&self, x: &Tensor, state: &CoreState, resets: &Resets) -> (Tensor, CoreState) {
        let (_, batch, inputs) = x.size3().expect("the LSTM's input has shape [T, B, D]");
        let state = state.begin(resets, 0);
        let layers = self.layers.iter().zip(state.tensors().chunks_exact(2));
        let mut after = Vec::with_capacity(state.tensors().len());
        let Some(spread) = resets.spread(x.kind(), x.device()) else {
            let mut y = x.shallow_clone();
            for (layer, before) in layers {
                let (output, h, c) = layer.sequence(&y, before, &layer.weight_ih);
                after.extend([h, c]);
                y = output;
            }
            return (y, CoreState::new(batch, after));
        };
        let rows = x.reshape([-1, inputs]).index_select(0, &spread.source);
        let mut y = rows.view([spread.time, batch, inputs]);
        for (layer, before) in layers {
            let weight_ih = Tensor::cat(&[&layer.weight_ih, &layer.control], 1);
            let (output, _, c) =
                layer.sequence(&Tensor::cat(&[&y, &spread.control], 2), before, &weight_ih);
            // Hold steps keep c, but h must be fetched from each environment's own last step.
            after.extend([output.reshape([-1, self.hidden]).index_select(0, &spread.last), c]);
            y = output;
        }
        let y = y.reshape([-1, self.hidden]).index_select(0, &spread.place);
        (y.view([-1, batch, self.hidden]), CoreState::new(batch, after))
    }
}

impl Layer {
    fn new(
        inputs: i64,
        hidden: i64,
        forget_bias: f64,
        suffixed: impl Fn(&str) -> String,
        p: &mut Parameters,
    ) -> Self {
        let bound = 1.0 / (hidden as f64).sqrt();
        let mut parameter = |part: &str, shape: &[i64]| p.uniform(suffixed(part), shape, bound);
        let weight_ih = parameter("weight_ih", &[4 * hidden, inputs]);
        // Per gate i, f, g, o: a clear step's input, a hold step's input.
        let gates = [[-CLOSED, -CLOSED], [-CLOSED, CLOSED], [0.0, 0.0], [-CLOSED, -CLOSED]];
        let control = Tensor::from_slice(&gates.concat())
            .view([4, 1, 2])
            .expand([4, hidden, 2], false)
            .reshape([4 * hidden, 2])
            .to_kind(weight_ih.kind())
            .to_device(weight_ih.device());
        let weight_hh = parameter("weight_hh", &[4 * hidden, hidden]);
        let bias_ih = parameter("bias_ih", &[4 * hidden]);
        tch::no_grad(|| {
            let _ = bias_ih.narrow(0, hidden, hidden).g_add_scalar_(forget_bias);
        });
        Layer {
            weight_hh,
            bias_ih,
            bias_hh: parameter("bias_hh", &[4 * hidden]),
            weight_ih,
            control,
        }
    }

    /// One step without the fused kernel: `[B, D]` and h, c `[B, H]` to the next h and c.
    fn cell(&self, x: &Tensor, before: &[Tensor]) -> (Tensor, Tensor) {
        let (bias_ih, bias_hh) = (Some(&self.bias_ih), Some(&self.bias_hh));
        let before = [&before[0], &before[1]];
        x.lstm_cell(&before, &self.weight_ih, &self.weight_hh, bias_ih, bias_hh)
    }

    /// `[T, B, D]` and h, c `[B, H]` to outputs `[T, B, H]` and the last h and c.
    fn sequence(
        &self,
        x: &Tensor,
        before: &[Tensor],
        weight_ih: &Tensor,
    ) -> (Tensor, Tensor, Tensor) {
        let before = [before[0].unsqueeze(0), before[1].unsqueeze(0)];
        let weights = [weight_ih, &self.weight_hh, &self.bias_ih, &self.bias_hh];
        let (biases, layers, dropout, train) = (true, 1, 0.0, true);
        let (bidirectional, batch_first) = (false, false);
        let before = [&before[0], &before[1]];
        let (y, h, c) =
            x.lstm(&before, &weights, biases, layers, dropout, train, bidirectional, batch_first);
        (y, h.squeeze_dim(0), c.squeeze_dim(0))
    }
}
