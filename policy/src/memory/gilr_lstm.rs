//! The LSTM whose gates see a gated impulse linear recurrence in the place of its own output
//! (GILR-LSTM; Martin & Cundy 2018, section 3.3, <https://arxiv.org/abs/1709.04057>), as RESeL
//! has it (Luo et al. 2024, <https://arxiv.org/abs/2405.15384>): from h_t of `gilr`,
//!
//! ```text
//! f_t = σ( F h_t + b_f )     i_t = σ( I h_t + b_i )     o_t = σ( G h_t + b_g )
//! z_t = tanh( Z h_t + b_z )
//! c_t = f_t ⊙ c_{t-1} + (1 − f_t) ⊙ i_t ⊙ z_t
//! y_t = O ( c_t ⊙ o_t ) + b_o
//! ```
//!
//! then, if asked for, the residual feed-forward layer. Both recurrences are linear, and `scan`
//! computes them one after the other. Matrices start as Glorot & Bengio 2010 have it, and biases
//! at zero, those of the two forget gates at `forget_bias`. A reset makes h_{t−1} and c_{t−1} zero.
//!
//! There is no RTRL here: a weight below moves every cell above it.

use serde::{Deserialize, Serialize};
use tch::{Tensor, no_grad};

use super::gilr;
use super::input_gated::{OutputLayer, Recurrence};
use super::scan::scan;
use super::{BuiltMemory, LayerConfig, Memory, MemoryConfig};
use crate::error::PolicyError;
use crate::parameters::Parameters;
use crate::range::{MAX_WIDTH, forget_bias_in_range, in_range};
use crate::resets::Resets;
use crate::state::CoreState;

/// An LSTM whose gates see a gated impulse linear recurrence in the place of its own output.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GilrLstmConfig {
    /// Cells.
    pub hidden: i64,
    /// Added to the bias of both forget gates at the start; larger remembers longer.
    pub forget_bias: f64,
    /// True if a residual feed-forward layer follows.
    pub feed_forward: bool,
}

impl LayerConfig for GilrLstmConfig {
    fn validate(&self) -> Result<(), PolicyError> {
        in_range("memory.hidden", self.hidden, MAX_WIDTH)?;
        forget_bias_in_range(self.forget_bias)
    }

    fn build(&self, inputs: i64, name: &str, p: &mut Parameters) -> BuiltMemory {
        Ok(Box::new(GilrLstm::new(self, inputs, name, p)))
    }

    fn examples(&self, width: i64) -> Vec<MemoryConfig> {
        let layer = |feed_forward| {
            let (hidden, forget_bias) = (width, 0.5);
            MemoryConfig::GilrLstm(GilrLstmConfig { hidden, forget_bias, feed_forward })
        };
        [false, true].map(layer).into()
    }
}

/// One GILR-LSTM layer.
pub(crate) struct GilrLstm {
    hidden: i64,
    recurrence: Recurrence,
    /// F, I, G and Z, one above the other: `[4 N, N]`.
    weight: Tensor,
    /// b_f, b_i, b_g, b_z: `[4 N]`.
    bias: Tensor,
    output: OutputLayer,
}

/// All `[.., N]`.
struct GilrLstmGates {
    forget: Tensor,
    /// `(1 − f) ⊙ i ⊙ z`.
    added: Tensor,
    shown: Tensor,
}

impl GilrLstm {
    fn new(config: &GilrLstmConfig, inputs: i64, name: &str, p: &mut Parameters) -> Self {
        let &GilrLstmConfig { hidden, forget_bias, feed_forward } = config;
        let recurrence =
            gilr::recurrence(inputs, hidden, forget_bias, &format!("{name}.recurrence"), p);
        let weight = p.glorot(format!("{name}.gates.weight"), &[4 * hidden, hidden], 2 * hidden);
        let bias = p.constant(format!("{name}.gates.bias"), &[4 * hidden], 0.0);
        no_grad(|| {
            let _ = bias.narrow(0, 0, hidden).g_add_scalar_(forget_bias);
        });
        let output = gilr::output(hidden, feed_forward, name, p);
        GilrLstm { hidden, recurrence, weight, bias, output }
    }

    /// h `[.., N]`.
    fn gates(&self, h: &Tensor) -> GilrLstmGates {
        let arguments = h.linear(&self.weight, Some(&self.bias));
        let open = arguments.narrow(-1, 0, 3 * self.hidden).sigmoid();
        let [forget, input, shown] =
            open.split(self.hidden, -1).try_into().expect("three gates of N cells");
        let z = arguments.narrow(-1, 3 * self.hidden, self.hidden).tanh();
        let added = (1.0 - &forget) * input * z;
        GilrLstmGates { forget, added, shown }
    }

    fn pair(state: &CoreState) -> [&Tensor; 2] {
        let [h, c] = state.tensors() else { panic!("a GILR-LSTM's state is two tensors") };
        [h, c]
    }
}

impl Memory for GilrLstm {
    fn outputs(&self) -> i64 {
        self.hidden
    }

    fn exports_state(&self) -> bool {
        true
    }

    /// h and c, each `[B, N]`.
    fn initial_state(&self, batch: i64) -> CoreState {
        let zeros = || Tensor::zeros([batch, self.hidden], (self.bias.kind(), self.bias.device()));
        CoreState::new(batch, vec![zeros(), zeros()])
    }

    fn step(&self, x: &Tensor, state: &CoreState, resets: &Resets) -> (Tensor, CoreState) {
        let state = state.begin(resets, 0);
        let [h, c] = Self::pair(&state);
        let h = self.recurrence.step(x, h);
        let GilrLstmGates { forget, added, shown } = self.gates(&h);
        let c = added.addcmul(&forget, c);
        (self.output.forward(&(&c * shown)), CoreState::new(state.batch(), vec![h, c]))
    }

    fn unroll(&self, x: &Tensor, state: &CoreState, resets: &Resets) -> (Tensor, CoreState) {
        let [h, c] = Self::pair(state);
        let h = self.recurrence.unroll(x, h, resets);
        let GilrLstmGates { forget, added, shown } = self.gates(&h);
        let c = scan(&(forget * resets.kept(c.kind(), c.device())), &added, c);
        let last = vec![h.get(-1), c.get(-1)];
        (self.output.forward(&(c * shown)), CoreState::new(state.batch(), last))
    }
}
