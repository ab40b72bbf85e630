//! Initialization: how the weights and biases of a layer start.

use serde::{Deserialize, Serialize};

use crate::error::PolicyError;
use crate::range::number_in_range;

/// Start of a linear layer, a convolution or a recurrent layer's matrices. Convolutions count the
/// pixels of their kernel among inputs and outputs. A recurrent layer's matrix for all of its gates
/// is one matrix.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "snake_case", deny_unknown_fields)]
pub enum Initialization {
    /// Weights and biases uniform in `±1/√inputs`, as PyTorch starts linear layers and
    /// convolutions. A recurrent layer counts its cells as inputs, as PyTorch's do.
    FanIn {},
    /// Weights uniform in `±1/√outputs`: what rlkit, and Memory-RL with it, calls "fan-in".
    FanOut {
        /// Start of all biases.
        bias: f64,
    },
    /// Weights with orthogonal rows or columns, whichever are fewer, of length `gain`: Saxe et al.
    /// 2014, <https://arxiv.org/abs/1312.6120>.
    Orthogonal {
        /// Length of the rows or columns: √2 keeps the scale through ReLUs.
        gain: f64,
        /// Start of all biases.
        bias: f64,
    },
    /// Weights uniform in `±gain √(6 / (inputs + outputs))`: Glorot & Bengio 2010,
    /// <https://proceedings.mlr.press/v9/glorot10a.html>.
    XavierUniform {
        /// Factor of the bound.
        gain: f64,
        /// Start of all biases.
        bias: f64,
    },
    /// Weights and biases uniform in `±bound`.
    Uniform {
        /// Bound of both.
        bound: f64,
    },
    /// Weights normal around zero.
    Normal {
        /// Their standard deviation.
        std: f64,
        /// Start of all biases.
        bias: f64,
    },
}

impl Initialization {
    /// PyTorch's start of linear layers and convolutions.
    pub const FAN_IN: Initialization = Initialization::FanIn {};

    /// Refuses numbers out of range below `key`.
    pub(crate) fn validate(self, key: &'static str) -> Result<(), PolicyError> {
        let scale = match self {
            Initialization::FanIn {} | Initialization::FanOut { .. } => 0.0,
            Initialization::Orthogonal { gain, .. }
            | Initialization::XavierUniform { gain, .. } => gain,
            Initialization::Uniform { bound } => bound,
            Initialization::Normal { std, .. } => std,
        };
        number_in_range(key, scale, [0.0, 1000.0])?;
        number_in_range(key, self.bias().unwrap_or(0.0), [-1000.0, 1000.0])
    }

    /// Start of all biases; `None` where they are drawn like the weights.
    pub(crate) fn bias(self) -> Option<f64> {
        match self {
            Initialization::FanIn {} | Initialization::Uniform { .. } => None,
            Initialization::FanOut { bias }
            | Initialization::Orthogonal { bias, .. }
            | Initialization::XavierUniform { bias, .. }
            | Initialization::Normal { bias, .. } => Some(bias),
        }
    }
}
