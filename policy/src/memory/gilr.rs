//! The gated impulse linear recurrence (GILR; Martin & Cundy 2018, section 3.2,
//! <https://arxiv.org/abs/1709.04057>):
//!
//! ```text
//! v_t = tanh( V x_t + b_v )
//! f_t = σ( F x_t + b_f )
//! h_t = f_t ⊙ h_{t-1} + (1 − f_t) ⊙ v_t
//! y_t = O h_t + b_o
//! ```
//!
//! then, if asked for, the residual feed-forward layer. The recurrence is in `input_gated`. V, F and
//! O start as Glorot & Bengio 2010 have it, and the biases at zero, the forget gate's at
//! `forget_bias`.
//!
//! A reset makes h_{t−1} zero and leaves f_t alone, so that it is what an episode begins with
//! anyway. (RESeL, <https://arxiv.org/abs/2405.15384>, makes f_t zero instead: there
//! `h_t = v_t` at a reset.)

use serde::{Deserialize, Serialize};

use super::candidate::Candidate;
use super::input_gated::{Gates, InputGated, OutputLayer, Recurrence};
use super::rtrl::Gradient;
use super::{BuiltMemory, LayerConfig, MemoryConfig};
use crate::error::PolicyError;
use crate::mlp::Linear;
use crate::parameters::Parameters;
use crate::range::{MAX_WIDTH, forget_bias_in_range, in_range};

/// The gated impulse linear recurrence of Martin & Cundy 2018.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GilrConfig {
    /// Cells.
    pub hidden: i64,
    /// Added to the bias of the forget gate at the start; larger remembers longer.
    pub forget_bias: f64,
    /// True if a residual feed-forward layer follows.
    pub feed_forward: bool,
    /// Method by which its gradient is found.
    pub gradient: Gradient,
}

impl LayerConfig for GilrConfig {
    fn validate(&self) -> Result<(), PolicyError> {
        in_range("memory.hidden", self.hidden, MAX_WIDTH)?;
        forget_bias_in_range(self.forget_bias)
    }

    fn build(&self, inputs: i64, name: &str, p: &mut Parameters) -> BuiltMemory {
        let &GilrConfig { hidden, forget_bias, feed_forward, gradient } = self;
        let recurrence = recurrence(inputs, hidden, forget_bias, &format!("{name}.recurrence"), p);
        let output = output(hidden, feed_forward, name, p);
        Ok(Box::new(InputGated { recurrence, output, gradient }))
    }

    fn gradient(&self) -> Gradient {
        self.gradient
    }

    fn with_gradient(&self, gradient: Gradient) -> Option<MemoryConfig> {
        Some(MemoryConfig::Gilr(GilrConfig { gradient, ..self.clone() }))
    }

    fn examples(&self, width: i64) -> Vec<MemoryConfig> {
        let gilr = |feed_forward, gradient| {
            let forget_bias = 0.5;
            MemoryConfig::Gilr(GilrConfig { hidden: width, forget_bias, feed_forward, gradient })
        };
        vec![gilr(false, Gradient::Tbptt), gilr(true, Gradient::Rtrl)]
    }
}

/// From x to h.
pub(super) fn recurrence(
    inputs: i64,
    hidden: i64,
    forget_bias: f64,
    name: &str,
    p: &mut Parameters,
) -> Recurrence {
    let rows = Gates::One.maps() * hidden;
    let weight = p.glorot(format!("{name}.weight"), &[rows, inputs], inputs + hidden);
    let bias = p.constant(format!("{name}.bias"), &[rows], 0.0);
    Recurrence::new(Linear { weight, bias }, Candidate::Tanh, Gates::One, forget_bias)
}

/// O and b_o, and perhaps the feed-forward layer.
pub(super) fn output(
    hidden: i64,
    feed_forward: bool,
    name: &str,
    p: &mut Parameters,
) -> OutputLayer {
    let weight = p.glorot(format!("{name}.output.weight"), &[hidden, hidden], 2 * hidden);
    let bias = p.constant(format!("{name}.output.bias"), &[hidden], 0.0);
    OutputLayer::new(Some(Linear { weight, bias }), hidden, feed_forward, name, p)
}
