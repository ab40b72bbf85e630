//! Long short-term memory (Hochreiter & Schmidhuber 1997, with the forget gate of Gers et al.
//! 2000), one layer on another, as PyTorch has it:
//!
//! ```text
//! i, f, g, o = W x_t + b + V h_{t-1} + d        rows of W, V, b, d in this order
//! c_t = σ(f) ⊙ c_{t-1} + σ(i) ⊙ tanh(g)
//! h_t = σ(o) ⊙ tanh(c_t)
//! ```
//!
//! Parameters and what they start as are in `gated`. A clear step shuts the gates i, f and o, so
//! that c and h become zero; a hold step opens f and shuts the others, so that c stays. The kernels
//! are fused (oneDNN on a CPU, cuDNN on CUDA). Against a loop over single steps, unrolling takes
//! 0.4 times the time, and it does not matter how many of the B rows begin an episode.
//!
//! With `bf16`, unrolling computes in bfloat16, in a quarter to half of the time on a processor with
//! AMX. Over 64 steps the gradient is then off by 3 %, and by more where it grows with every step.
//! Acting stays as it is: a state that is rounded at each step would stand still where it should
//! fade.

use serde::{Deserialize, Serialize};
use tch::{Device, Tensor};

use super::gated::{Gated, GatedCell, GatedWeights, SHUT, for_sequences};
use super::{BuiltMemory, LayerConfig, MemoryConfig};
use crate::error::PolicyError;
use crate::initialization::Initialization;
use crate::parameters::Parameters;
use crate::range::{MAX_WIDTH, forget_bias_in_range, in_range};

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
    /// Start of its weights and biases, to which `forget_bias` is added.
    pub init: Initialization,
    /// True to unroll in bfloat16, where the device has it; false if not given.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub bf16: bool,
}

impl LayerConfig for LstmConfig {
    fn validate(&self) -> Result<(), PolicyError> {
        in_range("memory.hidden", self.hidden, MAX_WIDTH)?;
        in_range("memory.layers", self.layers, 64)?;
        forget_bias_in_range(self.forget_bias)?;
        self.init.validate("memory.init")
    }

    fn build(&self, inputs: i64, name: &str, p: &mut Parameters) -> BuiltMemory {
        let &LstmConfig { hidden, layers, forget_bias, init, bf16 } = self;
        let mut lstm = Gated::<Lstm>::new([inputs, hidden, layers], forget_bias, init, name, p);
        if bf16 {
            lstm.unroll_in_bf16();
        }
        Ok(Box::new(lstm))
    }

    fn examples(&self, width: i64) -> Vec<MemoryConfig> {
        let layers = |layers| LstmConfig {
            hidden: width,
            layers,
            forget_bias: 0.0,
            init: Initialization::FAN_IN,
            bf16: false,
        };
        [1, 2].map(|count| MemoryConfig::Lstm(layers(count))).into()
    }
}

/// On a CPU, the batch from which one step of the fused kernel is taken instead of the plain cell. On
/// one machine it was the faster one from 24 rows on, on another (an Intel Xeon with AMX) from 128:
/// below that its preparation costs more than it gains, and with 32 rows it takes 1.7 times as long.
const FUSED_STEP_BATCH: i64 = 96;

/// A cell whose state is h and c.
struct Lstm;

impl GatedCell for Lstm {
    /// Per gate i, f, g, o.
    const CONTROL: &'static [[f64; 2]] =
        &[[-SHUT, -SHUT], [-SHUT, SHUT], [0.0, 0.0], [-SHUT, -SHUT]];
    const BIAS_IS_HIDDEN: bool = false;
    const STATES: usize = 2;

    fn step(weights: &GatedWeights, x: &Tensor, before: &[Tensor]) -> Vec<Tensor> {
        if x.device() == Device::Cpu && x.size()[0] >= FUSED_STEP_BATCH {
            return Self::sequence(weights, &x.unsqueeze(0), before).1;
        }
        let GatedWeights { weight_ih, weight_hh, bias_ih, bias_hh } = weights;
        let before = [&before[0], &before[1]];
        let (h, c) = x.lstm_cell(&before, weight_ih, weight_hh, Some(bias_ih), Some(bias_hh));
        vec![h, c]
    }

    fn sequence(weights: &GatedWeights, x: &Tensor, before: &[Tensor]) -> (Tensor, Vec<Tensor>) {
        let weights = weights.for_sequences();
        let (biases, layers, dropout, train) = (true, 1, 0.0, true);
        let (bidirectional, batch_first) = (false, false);
        let before = before.iter().map(for_sequences).collect::<Vec<_>>();
        let (y, h, c) =
            x.lstm(&before, &weights, biases, layers, dropout, train, bidirectional, batch_first);
        (y, vec![h.squeeze_dim(0), c.squeeze_dim(0)])
    }
}
