//! Gated recurrent units (Cho et al. 2014, <https://arxiv.org/abs/1406.1078>), one layer on
//! another, in PyTorch's variant, whose reset gate stands behind the product:
//!
//! ```text
//! r, z = σ( W x_t + b + V h_{t-1} + d )                     rows of W, b, V, d: r, z, n
//! n    = tanh( W_n x_t + b_n + r ⊙ (V_n h_{t-1} + d_n) )
//! h_t  = (1 − z) ⊙ n + z ⊙ h_{t-1}
//! ```
//!
//! All parameters start uniform in `±1/√H`, PyTorch's default; one of the update gate's biases then
//! around `forget_bias`, for the same reason as in the LSTM.
//!
//! Unrolling runs libtorch's own kernels (cuDNN on CUDA) over the sequences of
//! `Resets::spread`. A clear step must leave h = 0, so r, z and n must all be zero: a column of
//! the input whose weights are `SHUT` shuts r and z, and n has nothing left to be made of, since
//! the step's input is zeros and `b` is the weight of another column, which is one at all other
//! steps. Shut is exact in any float, and gradients through it vanish. Hold steps are clear steps
//! too: a state is fetched from its own last step. Forward and backward (T = 32, B = 64, H = 128,
//! a reset in each row, one core) this takes 17 ms, without resets 16, a loop of plain operations
//! with masks 17, and episodes packed as rows of their own 22.
//!
//! Unrolling a GRU gains less than unrolling an LSTM: on a CPU, libtorch hands LSTMs over to
//! oneDNN's fused kernel, and LSTMs alone. Its own kernel for GRUs is a loop of plain operations
//! over time, ten or so for each step, which saves the products with inputs and what it costs to
//! call a policy, but is no faster than such a loop written here.

use serde::{Deserialize, Serialize};
use tch::Tensor;

use super::{LayerConfig, Memory, MemoryConfig};
use crate::error::PolicyError;
use crate::parameters::Parameters;
use crate::range::{MAX_WIDTH, forget_bias_in_range, in_range};
use crate::resets::Resets;
use crate::state::CoreState;

/// A gate's input that no learned weight outweighs, and whose sigmoid is 0 in any float.
const SHUT: f64 = -1e4;

/// Gated recurrent units, one layer on another.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GruConfig {
    /// Cells of each layer.
    pub hidden: i64,
    /// Layers.
    pub layers: i64,
    /// Added to the bias of the update gates at the start; larger remembers longer.
    pub forget_bias: f64,
}

impl LayerConfig for GruConfig {
    fn validate(&self) -> Result<(), PolicyError> {
        in_range("memory.hidden", self.hidden, MAX_WIDTH)?;
        in_range("memory.layers", self.layers, 64)?;
        forget_bias_in_range(self.forget_bias)
    }

    fn build(&self, inputs: i64, name: &str, p: &mut Parameters) -> Box<dyn Memory> {
        Box::new(Gru::new(self, inputs, name, p))
    }

    fn examples(&self, width: i64) -> Vec<MemoryConfig> {
        let layers = |layers| GruConfig { hidden: width, layers, forget_bias: 0.0 };
        [1, 2].map(|count| MemoryConfig::Gru(layers(count))).into()
    }
}

/// Stacked GRU layers.
pub(crate) struct Gru {
    layers: Vec<Layer>,
    hidden: i64,
}

struct Layer {
    /// `[3 H, D]`.
    weight_ih: Tensor,
    /// `[3 H, H]`.
    weight_hh: Tensor,
    /// `[3 H]`.
    bias_ih: Tensor,
    /// `[3 H]`.
    bias_hh: Tensor,
    /// `[3 H, 1]`: what a clear step does to the gates.
    shut: Tensor,
}

impl Gru {
    fn new(config: &GruConfig, inputs: i64, name: &str, p: &mut Parameters) -> Self {
        let &GruConfig { hidden, layers, forget_bias } = config;
        let layer = |l| {
            let inputs = if l == 0 { inputs } else { hidden };
            Layer::new(inputs, hidden, forget_bias, |part| format!("{name}.{part}_l{l}"), p)
        };
        Gru { layers: (0..layers).map(layer).collect(), hidden }
    }
}

impl Memory for Gru {
    fn outputs(&self) -> i64 {
        self.hidden
    }

    fn exports_state(&self) -> bool {
        true
    }

    /// h of every layer, `[B, H]`.
    fn initial_state(&self, batch: i64) -> CoreState {
        let weight = &self.layers[0].weight_hh;
        let zeros = || Tensor::zeros([batch, self.hidden], (weight.kind(), weight.device()));
        CoreState::new(batch, self.layers.iter().map(|_| zeros()).collect())
    }

    fn step(&self, x: &Tensor, state: &CoreState, resets: &Resets) -> (Tensor, CoreState) {
        let state = state.begin(resets, 0);
        let mut y = x.shallow_clone();
        let mut after = Vec::with_capacity(state.tensors().len());
        for (layer, before) in self.layers.iter().zip(state.tensors()) {
            y = layer.cell(&y, before);
            after.push(y.shallow_clone());
        }
        (y, CoreState::new(state.batch(), after))
    }

    fn unroll(&self, x: &Tensor, state: &CoreState, resets: &Resets) -> (Tensor, CoreState) {
        let (_, batch, inputs) = x.size3().expect("the GRU's input has shape [T, B, D]");
        let state = state.begin(resets, 0);
        let layers = self.layers.iter().zip(state.tensors());
        let mut after = Vec::with_capacity(state.tensors().len());
        let Some(spread) = resets.spread(x.kind(), x.device()) else {
            let mut y = x.shallow_clone();
            for (layer, before) in layers {
                let h;
                (y, h) = layer.sequence(&y, before, &layer.weight_ih, &layer.bias_ih);
                after.push(h);
            }
            return (y, CoreState::new(batch, after));
        };
        // Zeros at clear and hold steps: below, their outputs are zeros again.
        let rows = Tensor::zeros([spread.time * batch, inputs], (x.kind(), x.device()));
        let rows = rows.index_copy(0, &spread.place, &x.reshape([-1, inputs]));
        let mut y = rows.view([spread.time, batch, inputs]);
        let closed = spread.control.sum_dim_intlist(2, true, None);
        let open = 1.0 - &closed;
        for (layer, before) in layers {
            let y_and_control = Tensor::cat(&[&y, &open, &closed], 2);
            let (weight_ih, no_bias) = layer.weight_with_control();
            (y, _) = layer.sequence(&y_and_control, before, &weight_ih, &no_bias);
            after.push(y.reshape([-1, self.hidden]).index_select(0, &spread.last));
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
        let weight_ih = parameter("weight_ih", &[3 * hidden, inputs]);
        let shut = Tensor::zeros([3 * hidden, 1], (weight_ih.kind(), weight_ih.device()));
        let _ = shut.narrow(0, 0, 2 * hidden).fill_(SHUT);
        let weight_hh = parameter("weight_hh", &[3 * hidden, hidden]);
        let bias_ih = parameter("bias_ih", &[3 * hidden]);
        tch::no_grad(|| {
            let _ = bias_ih.narrow(0, hidden, hidden).g_add_scalar_(forget_bias);
        });
        Layer { weight_ih, weight_hh, bias_ih, bias_hh: parameter("bias_hh", &[3 * hidden]), shut }
    }

    /// Input weights `[3 H, D + 2]` for inputs that have the columns open and closed behind them,
    /// and the bias that is left, zeros `[3 H]`.
    fn weight_with_control(&self) -> (Tensor, Tensor) {
        let weight = Tensor::cat(&[&self.weight_ih, &self.bias_ih.unsqueeze(1), &self.shut], 1);
        (weight, self.bias_ih.detach().zeros_like())
    }

    /// One step: `[B, D]` and h `[B, H]` to the next h.
    fn cell(&self, x: &Tensor, before: &Tensor) -> Tensor {
        let (bias_ih, bias_hh) = (Some(&self.bias_ih), Some(&self.bias_hh));
        x.gru_cell(before, &self.weight_ih, &self.weight_hh, bias_ih, bias_hh)
    }

    /// `[T, B, D]` and h `[B, H]` to outputs `[T, B, H]` and the last h.
    fn sequence(
        &self,
        x: &Tensor,
        before: &Tensor,
        weight_ih: &Tensor,
        bias_ih: &Tensor,
    ) -> (Tensor, Tensor) {
        let weights = [weight_ih, &self.weight_hh, bias_ih, &self.bias_hh];
        let (biases, layers, dropout, train) = (true, 1, 0.0, true);
        let (bidirectional, batch_first) = (false, false);
        let before = before.unsqueeze(0);
        let (y, h) =
            x.gru(&before, &weights, biases, layers, dropout, train, bidirectional, batch_first);
        (y, h.squeeze_dim(0))
    }
}
