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

use tch::{Kind, Tensor};

use super::Memory;
use super::attention::{Pass, Shape, Start, Style, Transformer, numbers};
use crate::config::Norm;
use crate::mlp::Linear;
use crate::parameters::Parameters;
use crate::resets::Resets;
use crate::state::CoreState;

/// A transformer with ALiBi.
pub(crate) struct Cgpt {
    width: i64,
    bf16: bool,
    /// E: `[W, D]`.
    input: Linear,
    transformer: Transformer,
    /// P: `[W, W]`.
    output: Linear,
}

impl Cgpt {
    pub(crate) fn new(
        shape: Shape,
        norm: Norm,
        bf16: bool,
        name: &str,
        p: &mut Parameters,
    ) -> Self {
        let Shape { inputs, width, .. } = shape;
        let style = Style { norm, start: Start::Uniform, gelu: "none", alibi: true };
        Cgpt {
            width,
            bf16,
            input: Linear::new(p, &format!("{name}.input"), inputs, width),
            transformer: Transformer::new(shape, &style, name, p),
            output: Linear::new(p, &format!("{name}.output"), width, width),
        }
    }

    /// x `[T, B, D]` to `[T, B, W]`.
    fn run(
        &self,
        x: &Tensor,
        state: &CoreState,
        resets: &Resets,
        mut pass: Pass,
    ) -> (Tensor, CoreState) {
        let (x, numbers) = (self.input.forward(x), numbers(state, resets));
        let (y, after) = self.transformer.run(&x, state, &numbers, resets, &mut pass);
        (self.output.forward(&y), after)
    }
}

impl Memory for Cgpt {
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
        let kind = (self.bf16 && x.kind() == Kind::Float).then_some(Kind::BFloat16);
        self.run(x, state, resets, Pass { kind, dropout: None })
    }
}
