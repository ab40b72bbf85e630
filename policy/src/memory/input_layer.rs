//! Input layer of attention and of Mamba: what makes features as wide as the residual stream.

use serde::{Deserialize, Serialize};
use tch::Tensor;

use crate::error::PolicyError;
use crate::initialization::Initialization;
use crate::mlp::Linear;
use crate::parameters::Parameters;

/// Layer between the features and a layer's residual stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InputLayer {
    /// A linear layer from whatever width to the stream's.
    #[default]
    Linear,
    /// None: the features are the stream, and as wide.
    None,
}

impl InputLayer {
    pub(super) fn is_linear(&self) -> bool {
        *self == InputLayer::Linear
    }

    /// E from `inputs` features to `width`, or nothing.
    pub(super) fn build(
        self,
        inputs: i64,
        width: i64,
        name: &str,
        p: &mut Parameters,
    ) -> Result<Option<Linear>, PolicyError> {
        match self {
            InputLayer::Linear => {
                let name = format!("{name}.input");
                Ok(Some(Linear::new(p, &name, inputs, width, Initialization::FAN_IN)))
            }
            InputLayer::None if inputs == width => Ok(None),
            InputLayer::None => Err(PolicyError::Config {
                key: "memory.input",
                found: format!("\"none\" with {inputs} features"),
                expected: format!(
                    "\"linear\", or what stands before the layer as wide as memory.width, {width}"
                ),
            }),
        }
    }
}

/// `x`, `[.., D]`, behind the input layer: `[.., W]`.
pub(super) fn through(input: Option<&Linear>, x: &Tensor) -> Tensor {
    input.map_or_else(|| x.shallow_clone(), |input| input.forward(x))
}
