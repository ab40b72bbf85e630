//! GPT-2 (Radford et al. 2019) as Memory-RL has it (Ni et al. 2023,
//! <https://arxiv.org/abs/2307.03864>), with absolute positions:
//!
//! ```text
//! y_t = LayerNorm( blocks( E x_t + position(n) ) )        n: the frame's number in its episode
//! ```
//!
//! Sine positions are in `positions`. Learned ones are a vector for each n below the context's
//! length; from there on a frame has the last of them. Numbers go on from unroll to unroll. E may
//! be left out where the features are as wide as the stream.
//!
//! The blocks, and what is carried, are in `attention`; their GELU is the tanh approximation. Their
//! weights and learned positions start normal with standard deviation 0.02, their biases at zero;
//! E starts as PyTorch's linear layers do.
//!
//! Dropout, where `set_dropout` has asked for it, applies to the embedding, the attention weights,
//! and to what attention and the feed-forward layer add to the residual stream, while unrolling.

use engram_mdp::Seed;
use serde::{Deserialize, Serialize};
use tch::Tensor;

use super::attention::{
    DropoutSeeds, Pass, Shape, Transformer, TransformerStyle, example_heads, numbers,
};
use super::input_layer::InputLayer;
use super::positions::SinePositions;
use super::{BuiltMemory, LayerConfig, Memory, MemoryConfig};
use crate::error::PolicyError;
use crate::initialization::Initialization;
use crate::mlp::Linear;
use crate::normalize::Norm;
use crate::parameters::Parameters;
use crate::resets::Resets;
use crate::state::CoreState;

const INITIAL_STD: f64 = 0.02;

/// GPT-2 as Memory-RL has it, with absolute positions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gpt2Config {
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
    /// Encoding of a frame's place in its episode.
    pub positions: Positions,
    /// The share of numbers that training sets to zero at the input, in attention, after it,
    /// and after each feed-forward layer.
    pub dropout: f64,
    /// True if its state travels with trajectories, so that a replay may store it; if not given, it
    /// stays with those who act, and streams of a learner carry one of their own.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub export_state: bool,
}

/// Encoding of a frame's place in its episode, for attention.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Positions {
    /// Sines and cosines of its number, added to its features.
    Sine,
    /// A learned vector per number; from frame `context_length` on, the last of them.
    Learned,
}

impl Gpt2Config {
    /// Sizes of its transformer.
    fn shape(&self) -> Shape {
        let &Gpt2Config { width, heads, blocks, context_length, .. } = self;
        Shape { width, heads, blocks, context_length }
    }
}

impl LayerConfig for Gpt2Config {
    fn validate(&self) -> Result<(), PolicyError> {
        self.shape().validate()?;
        dropout_in_range(self.dropout)
    }

    fn build(&self, inputs: i64, name: &str, p: &mut Parameters) -> BuiltMemory {
        Ok(Box::new(Gpt2::new(self, inputs, name, p)?))
    }

    fn examples(&self, width: i64) -> Vec<MemoryConfig> {
        let layer = |context_length, positions| {
            let (heads, blocks, dropout) = (example_heads(width), 1, 0.2);
            MemoryConfig::Gpt2(Gpt2Config {
                input: InputLayer::Linear,
                width,
                heads,
                blocks,
                context_length,
                positions,
                dropout,
                export_state: false,
            })
        };
        vec![layer(4, Positions::Sine), layer(3, Positions::Learned)]
    }
}

fn dropout_in_range(found: f64) -> Result<(), PolicyError> {
    if (0.0..1.0).contains(&found) {
        return Ok(());
    }
    let (found, expected) = (found.to_string(), "at least 0 and less than 1".into());
    Err(PolicyError::Config { key: "memory.dropout", found, expected })
}

/// A transformer with absolute positions.
pub(crate) struct Gpt2 {
    export_state: bool,
    width: i64,
    /// The share that dropout drops.
    share: f64,
    dropout: Option<DropoutSeeds>,
    /// E: `[W, D]`.
    input: Option<Linear>,
    transformer: Transformer,
    positions: Table,
}

/// Table of positions.
enum Table {
    /// Of W numbers each.
    Sine(SinePositions),
    /// `[M, W]`.
    Learned(Tensor),
}

impl Gpt2 {
    fn new(
        config: &Gpt2Config,
        inputs: i64,
        name: &str,
        p: &mut Parameters,
    ) -> Result<Self, PolicyError> {
        let &Gpt2Config { width, context_length, positions, dropout, export_state, .. } = config;
        let init = Initialization::Normal { std: INITIAL_STD, bias: 0.0 };
        let style = TransformerStyle { norm: Norm::Layer, init, gelu: "tanh", alibi: false };
        let input = config.input.build(inputs, width, name, p)?;
        let transformer = Transformer::new(config.shape(), &style, name, p);
        let positions = match positions {
            Positions::Sine => Table::Sine(SinePositions::new(width, transformer.options())),
            Positions::Learned => {
                let (name, shape) = (format!("{name}.positions"), [context_length, width]);
                Table::Learned(p.normal(name, &shape, 0.0, INITIAL_STD))
            }
        };
        Ok(Gpt2 {
            export_state,
            width,
            share: dropout,
            dropout: None,
            input,
            transformer,
            positions,
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
        let numbers = numbers(state, resets);
        let positions = self.positions.at(&numbers, self.width);
        let x = match &self.input {
            Some(input) => input.forward(x) + positions,
            None => x + positions,
        };
        let x = pass.drop_from(x);
        self.transformer.run(&x, state, &numbers, resets, &mut pass)
    }
}

impl Table {
    /// Numbers i64 `[T, B]` to positions `[T, B, W]`.
    fn at(&self, numbers: &Tensor, width: i64) -> Tensor {
        match self {
            Table::Sine(positions) => positions.at(numbers),
            Table::Learned(vectors) => {
                let last = vectors.size()[0] - 1;
                let rows = vectors.index_select(0, &numbers.clamp_max(last).view([-1]));
                rows.view([numbers.size()[0], numbers.size()[1], width])
            }
        }
    }
}

impl Memory for Gpt2 {
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
        let dropout = self.dropout.as_ref().and_then(DropoutSeeds::next);
        self.run(x, state, resets, Pass { kind: None, dropout })
    }

    fn set_dropout(&mut self, seed: Option<Seed>) {
        self.dropout = seed.map(|seed| DropoutSeeds::new(self.share, seed));
    }
}
