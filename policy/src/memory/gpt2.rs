//! GPT-2 (Radford et al. 2019) as Memory-RL has it (Ni et al. 2023,
//! <https://arxiv.org/abs/2307.03864>), with absolute positions:
//!
//! ```text
//! y_t = LayerNorm( blocks( E x_t + position(n) ) )        n: the frame's number in its episode
//! ```
//!
//! Sine positions are sin(n / 10⁴^(2i/W)) at dimension 2i and its cosine at 2i + 1; they know no
//! longest episode. Learned ones are a vector for each n below the context's length; from there on
//! a frame has the last of them. Numbers go on from unroll to unroll.
//!
//! The blocks, and what is carried, are in `attention`; their GELU is the tanh approximation. Their
//! weights and learned positions start normal with standard deviation 0.02, their biases at zero;
//! E starts as PyTorch's linear layers do.
//!
//! Dropout, where `set_dropout` has asked for it, applies to the embedding, the attention weights,
//! and to what attention and the feed-forward layer add to the residual stream, while unrolling.

use engram_mdp::Seed;
use tch::Tensor;

use super::Memory;
use super::attention::{DropoutSeeds, Pass, Shape, Start, Style, Transformer, numbers};
use crate::config::{Norm, Positions};
use crate::mlp::Linear;
use crate::parameters::Parameters;
use crate::resets::Resets;
use crate::state::CoreState;

const INITIAL_STD: f64 = 0.02;

/// The longest wave of sine positions, in 2π frames.
const BASE: f64 = 1e4;

/// A transformer with absolute positions.
pub(crate) struct Gpt2 {
    width: i64,
    /// The share that dropout drops.
    share: f64,
    dropout: Option<DropoutSeeds>,
    /// E: `[W, D]`.
    input: Linear,
    transformer: Transformer,
    positions: Table,
}

/// What is known of positions.
enum Table {
    /// Radians per frame of each wave: `[⌈W / 2⌉]`.
    Sine(Tensor),
    /// `[M, W]`.
    Learned(Tensor),
}

impl Gpt2 {
    pub(crate) fn new(
        shape: Shape,
        positions: Positions,
        dropout: f64,
        name: &str,
        p: &mut Parameters,
    ) -> Self {
        let Shape { inputs, width, context_length, .. } = shape;
        let start = Start::Normal(INITIAL_STD);
        let style = Style { norm: Norm::Layer, start, gelu: "tanh", alibi: false };
        let input = Linear::new(p, &format!("{name}.input"), inputs, width);
        let transformer = Transformer::new(shape, &style, name, p);
        let positions = match positions {
            Positions::Sine => {
                let (kind, device) = transformer.options();
                Table::Sine(frequencies(width).to_kind(kind).to_device(device))
            }
            Positions::Learned => {
                let (name, shape) = (format!("{name}.positions"), [context_length, width]);
                Table::Learned(p.normal(name, &shape, 0.0, INITIAL_STD))
            }
        };
        Gpt2 { width, share: dropout, dropout: None, input, transformer, positions }
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
        let x = self.input.forward(x) + self.positions.at(&numbers, self.width);
        let x = pass.drop_from(x);
        self.transformer.run(&x, state, &numbers, resets, &mut pass)
    }
}

impl Table {
    /// Numbers i64 `[T, B]` to positions `[T, B, W]`.
    fn at(&self, numbers: &Tensor, width: i64) -> Tensor {
        match self {
            Table::Sine(frequencies) => {
                let angles = numbers.to_kind(frequencies.kind()).unsqueeze(-1) * frequencies;
                let pairs = Tensor::stack(&[angles.sin(), angles.cos()], -1);
                pairs.flatten(-2, -1).narrow(-1, 0, width)
            }
            Table::Learned(vectors) => {
                let last = vectors.size()[0] - 1;
                let rows = vectors.index_select(0, &numbers.clamp_max(last).view([-1]));
                rows.view([numbers.size()[0], numbers.size()[1], width])
            }
        }
    }
}

/// 10⁴^(−2i/W) for each pair of a sine and a cosine.
fn frequencies(width: i64) -> Tensor {
    let frequency = |i: i64| BASE.powf(-2.0 * i as f64 / width as f64);
    Tensor::from_slice(&(0..(width + 1) / 2).map(frequency).collect::<Vec<_>>())
}

impl Memory for Gpt2 {
    fn outputs(&self) -> i64 {
        self.width
    }

    fn exports_state(&self) -> bool {
        false
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
