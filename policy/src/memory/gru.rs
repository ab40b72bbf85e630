//! Gated recurrent units (Cho et al. 2014, <https://arxiv.org/abs/1406.1078>), one layer on
//! another, in PyTorch's variant, whose reset gate stands behind the product:
//!
//! ```text
//! r, z = σ( W x_t + b + V h_{t-1} + d )                     rows of W, b, V, d: r, z, n
//! n    = tanh( W_n x_t + b_n + r ⊙ (V_n h_{t-1} + d_n) )
//! h_t  = (1 − z) ⊙ n + z ⊙ h_{t-1}
//! ```
//!
//! Parameters and what they start as are in `gated`. A clear step must leave h = 0, so r, z and n
//! must all be zero: r and z are shut, and n has nothing left to be made of, since the step's input
//! is zeros and so is its bias. Hold steps are clear steps too. Forward and backward (T = 32,
//! B = 64, H = 128, a reset in each row, one core) unrolling takes 17 ms, without resets 16, a loop
//! of plain operations with masks 17, and episodes packed as rows of their own 22.
//!
//! Unrolling a GRU gains less than unrolling an LSTM: on a CPU, libtorch hands LSTMs over to
//! oneDNN's fused kernel, and LSTMs alone. Its own kernel for GRUs is a loop of plain operations
//! over time, ten or so for each step, which saves the products with inputs and what it costs to
//! call a policy, but is no faster than such a loop written here.

use serde::{Deserialize, Serialize};
use tch::Tensor;

use super::gated::{Gated, GatedCell, GatedWeights, SHUT, for_sequences};
use super::{BuiltMemory, LayerConfig, MemoryConfig};
use crate::error::PolicyError;
use crate::initialization::Initialization;
use crate::parameters::Parameters;
use crate::range::{MAX_WIDTH, forget_bias_in_range, in_range};

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
    /// Start of its weights and biases, to which `forget_bias` is added.
    pub init: Initialization,
}

impl LayerConfig for GruConfig {
    fn validate(&self) -> Result<(), PolicyError> {
        in_range("memory.hidden", self.hidden, MAX_WIDTH)?;
        in_range("memory.layers", self.layers, 64)?;
        forget_bias_in_range(self.forget_bias)?;
        self.init.validate("memory.init")
    }

    fn build(&self, inputs: i64, name: &str, p: &mut Parameters) -> BuiltMemory {
        let &GruConfig { hidden, layers, forget_bias, init } = self;
        Ok(Box::new(Gated::<Gru>::new([inputs, hidden, layers], forget_bias, init, name, p)))
    }

    fn examples(&self, width: i64) -> Vec<MemoryConfig> {
        let layers = |layers| GruConfig {
            hidden: width,
            layers,
            forget_bias: 0.0,
            init: Initialization::FAN_IN,
        };
        [1, 2].map(|count| MemoryConfig::Gru(layers(count))).into()
    }
}

/// A cell whose state is h.
struct Gru;

impl GatedCell for Gru {
    /// Per gate r, z, n.
    const CONTROL: &'static [[f64; 2]] = &[[-SHUT, -SHUT], [-SHUT, -SHUT], [0.0, 0.0]];
    const BIAS_IS_HIDDEN: bool = true;
    const STATES: usize = 1;

    fn step(weights: &GatedWeights, x: &Tensor, before: &[Tensor]) -> Vec<Tensor> {
        let GatedWeights { weight_ih, weight_hh, bias_ih, bias_hh } = weights;
        vec![x.gru_cell(&before[0], weight_ih, weight_hh, Some(bias_ih), Some(bias_hh))]
    }

    fn sequence(weights: &GatedWeights, x: &Tensor, before: &[Tensor]) -> (Tensor, Vec<Tensor>) {
        let weights = weights.for_sequences();
        let (biases, layers, dropout, train) = (true, 1, 0.0, true);
        let (bidirectional, batch_first) = (false, false);
        let before = for_sequences(&before[0]);
        let (y, h) =
            x.gru(&before, &weights, biases, layers, dropout, train, bidirectional, batch_first);
        (y, vec![h.squeeze_dim(0)])
    }
}
