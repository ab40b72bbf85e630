//! The minimal long short-term memory (minLSTM; Feng et al. 2024, section 3.2,
//! <https://arxiv.org/abs/2410.01201>): an LSTM whose gates and candidate see the inputs only, and
//! whose gates are shares of their sum.
//!
//! ```text
//! f_t = σ( F x_t + b_f )     i_t = σ( I x_t + b_i )
//! v_t = g( V x_t + b_v )
//! h_t = ( f_t ⊙ h_{t-1} + i_t ⊙ v_t ) / ( f_t + i_t )
//! ```
//!
//! The recurrence is in `input_gated`, where f and i are f' and i'. In the paper's section g is the
//! identity; in the log-space form of its appendix it is `positive`. All start as PyTorch's linear
//! layers do, as in the authors' listings. `forget_bias` is added to b_f, and here also taken from
//! b_i: with b_f alone a cell keeps no more than ⅔ of itself at the start. The residual feed-forward
//! layer follows, if asked for.

use serde::{Deserialize, Serialize};

use super::candidate::Candidate;
use super::input_gated::{Gates, InputGated, OutputLayer, Recurrence};
use super::rtrl::Gradient;
use super::{BuiltMemory, LayerConfig, MemoryConfig};
use crate::error::PolicyError;
use crate::parameters::Parameters;
use crate::range::{MAX_WIDTH, forget_bias_in_range, in_range};

/// The minimal long short-term memory of Feng et al. 2024.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MinlstmConfig {
    /// Cells.
    pub hidden: i64,
    /// Function that makes the candidate state.
    pub candidate: Candidate,
    /// Added to the bias of the forget gate at the start, and taken from that of the input gate; larger
    /// remembers longer.
    pub forget_bias: f64,
    /// True if a residual feed-forward layer follows.
    pub feed_forward: bool,
    /// Method by which its gradient is found.
    pub gradient: Gradient,
}

impl LayerConfig for MinlstmConfig {
    fn validate(&self) -> Result<(), PolicyError> {
        in_range("memory.hidden", self.hidden, MAX_WIDTH)?;
        forget_bias_in_range(self.forget_bias)
    }

    fn build(&self, inputs: i64, name: &str, p: &mut Parameters) -> BuiltMemory {
        let &MinlstmConfig { hidden, candidate, forget_bias, feed_forward, gradient } = self;
        let map = Gates::Two.map([inputs, hidden], name, p);
        let recurrence = Recurrence::new(map, candidate, Gates::Two, forget_bias);
        let output = OutputLayer::new(None, hidden, feed_forward, name, p);
        Ok(Box::new(InputGated { recurrence, output, gradient }))
    }

    fn gradient(&self) -> Gradient {
        self.gradient
    }

    fn with_gradient(&self, gradient: Gradient) -> Option<MemoryConfig> {
        Some(MemoryConfig::Minlstm(MinlstmConfig { gradient, ..self.clone() }))
    }

    fn examples(&self, width: i64) -> Vec<MemoryConfig> {
        let layer = |candidate, feed_forward, gradient| {
            let (hidden, forget_bias) = (width, 0.5);
            MemoryConfig::Minlstm(MinlstmConfig {
                hidden,
                candidate,
                forget_bias,
                feed_forward,
                gradient,
            })
        };
        vec![
            layer(Candidate::Linear, false, Gradient::Tbptt),
            layer(Candidate::Positive, true, Gradient::Rtrl),
            layer(Candidate::Tanh, false, Gradient::Rtrl),
        ]
    }
}
