//! RESeL's `cgpt` (Luo et al. 2024, <https://arxiv.org/abs/2405.15384>): a causal transformer that
//! is told no positions. Distance counts against a frame instead (ALiBi; Press et al. 2021,
//! <https://arxiv.org/abs/2108.12409>), by slopes that differ between heads:
//!
//! ```text
//! y       = P Norm( blocks( E x ) )
//! bias(d) = −m_h d        m_h = 2^(−8 h / H)        h = 1 .. H
//! ```
//!
//! The blocks, and what is carried, are in `attention`. E and P are linear layers with biases; all
//! linear layers start as PyTorch's do. With `bf16`, attention computes in bfloat16 while it
//! trains; acting never does, nor does a network in double precision.

use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

use super::attention::{Pass, Shape, Transformer, TransformerStyle, example_heads, numbers};
use super::input_layer::{self, InputLayer};
use super::{BuiltMemory, LayerConfig, Memory, MemoryConfig};
use crate::error::PolicyError;
use crate::initialization::Initialization;
use crate::mlp::Linear;
use crate::normalize::Norm;
use crate::parameters::Parameters;
use crate::resets::Resets;
use crate::state::CoreState;

/// RESeL's `cgpt`: causal attention whose biases (ALiBi) take the place of positions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CgptConfig {
    /// Layer between the features and the residual stream; a linear one if not given.
    #[serde(default, skip_serializing_if = "InputLayer::is_linear")]
    pub input: InputLayer,
    /// The width of the residual stream.
    pub width: i64,
    /// Attention heads, which share the width.
    pub heads: i64,
    /// Blocks, one after another.
    pub blocks: i64,
    /// Frames that attention looks back upon, the present one included.
    pub context_length: i64,
    /// Normalization.
    pub norm: Norm,
    /// True for attention in bfloat16 while training.
    pub bf16: bool,
    /// True if its state travels with trajectories, so that a replay may store it; if not given, it
    /// stays with those who act, and streams of a learner carry one of their own.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub export_state: bool,
}

impl CgptConfig {
    /// Sizes of its transformer.
    fn shape(&self) -> Shape {
        let &CgptConfig { width, heads, blocks, context_length, .. } = self;
        Shape { width, heads, blocks, context_length }
    }
}

impl LayerConfig for CgptConfig {
    fn validate(&self) -> Result<(), PolicyError> {
        self.shape().validate()
    }

    fn build(&self, inputs: i64, name: &str, p: &mut Parameters) -> BuiltMemory {
        Ok(Box::new(Cgpt::new(self, inputs, name, p)?))
    }

    fn examples(&self, width: i64) -> Vec<MemoryConfig> {
        let layer = |context_length, norm| {
            let (heads, blocks, bf16) = (example_heads(width), 2, false);
            let input = InputLayer::Linear;
            MemoryConfig::Cgpt(CgptConfig {
                input,
                width,
                heads,
                blocks,
                context_length,
                norm,
                bf16,
                export_state: false,
            })
        };
        vec![layer(4, Norm::Layer), layer(3, Norm::Rms), layer(1, Norm::Rms)]
    }
}

/// A transformer with ALiBi.
pub(crate) struct Cgpt {
    export_state: bool,
    width: i64,
    bf16: bool,
    /// E: `[W, D]`.
    input: Option<Linear>,
    transformer: Transformer,
    /// P: `[W, W]`.
    output: Linear,
}

impl Cgpt {
    fn new(
        config: &CgptConfig,
        inputs: i64,
        name: &str,
        p: &mut Parameters,
    ) -> Result<Self, PolicyError> {
        let &CgptConfig { width, norm, bf16, export_state, .. } = config;
        let style =
            TransformerStyle { norm, init: Initialization::FAN_IN, gelu: "none", alibi: true };
        Ok(Cgpt {
            export_state,
            width,
            bf16,
            input: config.input.build(inputs, width, name, p)?,
            transformer: Transformer::new(config.shape(), &style, name, p),
            output: Linear::new(p, &format!("{name}.output"), width, width, Initialization::FAN_IN),
        })
    }

    /// x `[T, B, D]` to `[T, B, W]`.
    fn run(
        &self,
        x: &Tensor,
        state: &CoreState,
        resets: &Resets,
        mut pass: Pass,
    ) -> (Tensor, CoreState) {
        let x = input_layer::through(self.input.as_ref(), x);
        let numbers = numbers(state, resets);
        let (y, after) = self.transformer.run(&x, state, &numbers, resets, &mut pass);
        (self.output.forward(&y), after)
    }
}

impl Memory for Cgpt {
    fn outputs(&self) -> i64 {
        self.width
    }

    fn exports_state(&self) -> bool {
        self.export_state
    }

    fn initial_state(&self, batch: i64) -> CoreState {
        self.transformer.initial_state(batch)
    }

    fn step(&self, x: &Tensor, state: &CoreState, resets: &Resets) -> (Tensor, CoreState) {
        let (y, after) = self.run(&x.unsqueeze(0), state, resets, Pass::plain());
        (y.squeeze_dim(0), after)
    }

    fn unroll(&self, x: &Tensor, state: &CoreState, resets: &Resets) -> (Tensor, CoreState) {
        let kind = (self.bf16 && x.kind() == Kind::Float).then_some(Kind::BFloat16);
        self.run(x, state, resets, Pass { kind, dropout: None })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_must_share_the_width() {
        let cgpt = |heads| CgptConfig {
            input: InputLayer::Linear,
            width: 12,
            heads,
            blocks: 1,
            context_length: 8,
            norm: Norm::Layer,
            bf16: false,
            export_state: false,
        };
        assert!(cgpt(4).validate().is_ok());
        assert!(cgpt(5).validate().unwrap_err().to_string().contains("divisor"));
    }
}
