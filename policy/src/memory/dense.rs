//! Fully connected layers among memory layers: they remember nothing, and make a stack's widths fit.

use serde::{Deserialize, Serialize};
use tch::Tensor;

use super::{BuiltMemory, LayerConfig, Memory, MemoryConfig};
use crate::error::PolicyError;
use crate::initialization::Initialization;
use crate::mlp::{Activation, Mlp};
use crate::parameters::Parameters;
use crate::range::{MAX_WIDTH, in_range};
use crate::resets::Resets;
use crate::state::{Batched, CoreState};

/// Fully connected layers, each followed by the activation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DenseConfig {
    /// Activation of what comes in.
    pub input_activation: Activation,
    /// Widths of the layers.
    pub hidden: Vec<i64>,
    /// Activation behind each of them.
    pub activation: Activation,
    /// Start of them.
    pub init: Initialization,
}

impl LayerConfig for DenseConfig {
    fn validate(&self) -> Result<(), PolicyError> {
        self.init.validate("memory.init")?;
        in_range("number of memory.hidden", self.hidden.len() as i64, 64)?;
        self.hidden.iter().try_for_each(|&width| in_range("memory.hidden", width, MAX_WIDTH))
    }

    fn build(&self, inputs: i64, name: &str, p: &mut Parameters) -> BuiltMemory {
        let layers = Mlp::new(p, name, inputs, &self.hidden, self.activation, self.init);
        Ok(Box::new(Dense { input_activation: self.input_activation, layers }))
    }

    fn examples(&self, width: i64) -> Vec<MemoryConfig> {
        vec![MemoryConfig::Dense(DenseConfig { hidden: vec![width], ..self.clone() })]
    }
}

/// Layers without a state.
struct Dense {
    input_activation: Activation,
    layers: Mlp,
}

impl Dense {
    fn forward(&self, x: &Tensor) -> Tensor {
        let x = match self.input_activation {
            Activation::Identity => x.shallow_clone(),
            activation => activation.of(x.copy()),
        };
        self.layers.forward(&x)
    }
}

impl Memory for Dense {
    fn outputs(&self) -> i64 {
        self.layers.outputs()
    }

    fn exports_state(&self) -> bool {
        false
    }

    fn initial_state(&self, batch: i64) -> CoreState {
        CoreState::nothing(batch)
    }

    fn step(&self, x: &Tensor, state: &CoreState, _resets: &Resets) -> (Tensor, CoreState) {
        (self.forward(x), state.shallow_clone())
    }

    fn unroll(&self, x: &Tensor, state: &CoreState, _resets: &Resets) -> (Tensor, CoreState) {
        (self.forward(x), state.shallow_clone())
    }
}
