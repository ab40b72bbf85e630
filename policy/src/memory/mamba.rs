//! Mamba: state spaces that select what they keep (Gu & Dao 2023,
//! <https://arxiv.org/abs/2312.00752>), as RESeL has them (Luo et al. 2024,
//! <https://arxiv.org/abs/2405.15384>). Features enter a residual stream r of width D, to which
//! each block adds what its mixer (see `mixer`) makes of it; `norm` divides by the root mean
//! square, or by the standard deviation after taking away the mean:
//!
//! ```text
//! r = W x + b
//! r = r + mixer( norm(r) )                    for each block
//! y = feed_forward(r)   or   V norm(r)
//! ```
//!
//! Norms add 1e-8 before the root, as there. In single precision that is still above nothing: an r
//! of zeros gives zeros, and one of rounding errors is magnified 10⁴ times at most.
//!
//! The state is large, K − 1 + N numbers for each of a block's 2 D channels: it stays at home unless
//! `export_state` says otherwise.

mod mixer;
mod settings;

use tch::Tensor;

use super::feed_forward::FeedForward;
use super::input_layer::{self, InputLayer};
use super::{BuiltMemory, LayerConfig, Memory, MemoryConfig};
use crate::error::PolicyError;
use crate::mlp::Linear;
use crate::normalize::{Norm, Normalize};
use crate::parameters::Parameters;
use crate::range::{MAX_WIDTH, in_range, number_in_range};
use crate::resets::Resets;
use crate::state::CoreState;
use mixer::Mixer;
pub use settings::MambaConfig;

/// Added to the mean square or the variance before its root is taken.
const EPSILON: f64 = 1e-8;

impl LayerConfig for MambaConfig {
    fn validate(&self) -> Result<(), PolicyError> {
        in_range("memory.width", self.width, MAX_WIDTH)?;
        in_range("memory.state", self.state, 4096)?;
        in_range("memory.conv", self.conv, 64)?;
        in_range("memory.blocks", self.blocks, 64)?;
        number_in_range("memory.selection_scale", self.selection_scale, [0.01, 100.0])
    }

    fn build(&self, inputs: i64, name: &str, p: &mut Parameters) -> BuiltMemory {
        Ok(Box::new(Mamba::new(self, inputs, name, p)?))
    }

    fn examples(&self, width: i64) -> Vec<MemoryConfig> {
        let layer = |conv, norm, feed_forward| {
            let (state, blocks, selection_scale) = (2, 2, 1.0);
            MemoryConfig::Mamba(MambaConfig {
                input: InputLayer::Linear,
                width,
                state,
                conv,
                blocks,
                selection_scale,
                norm,
                feed_forward,
                export_state: false,
            })
        };
        vec![layer(3, Norm::Rms, false), layer(1, Norm::Layer, true)]
    }
}

/// Mamba blocks, and what stands before and behind them.
pub(crate) struct Mamba {
    export_state: bool,
    width: i64,
    input: Option<Linear>,
    blocks: Vec<MambaBlock>,
    output: MambaOutput,
}

struct MambaBlock {
    norm: Normalize,
    mixer: Mixer,
}

enum MambaOutput {
    FeedForward(FeedForward),
    /// The norm and V, `[D, D]`.
    Linear(Normalize, Tensor),
}

impl Mamba {
    fn new(
        config: &MambaConfig,
        inputs: i64,
        name: &str,
        p: &mut Parameters,
    ) -> Result<Self, PolicyError> {
        let &MambaConfig { width, norm, feed_forward, export_state, .. } = config;
        let input = config.input.build(inputs, width, name, p)?;
        let block = |i| MambaBlock {
            norm: Normalize::new(norm, width, EPSILON, &format!("{name}.{i}.norm"), p),
            mixer: Mixer::new(config, &format!("{name}.{i}"), p),
        };
        let blocks = (0..config.blocks).map(block).collect();
        let output = if feed_forward {
            let name = format!("{name}.feed_forward");
            MambaOutput::FeedForward(FeedForward::new(width, EPSILON, &name, p))
        } else {
            let norm = Normalize::new(norm, width, EPSILON, &format!("{name}.norm"), p);
            let bound = 1.0 / (width as f64).sqrt();
            let weight = p.uniform(format!("{name}.output.weight"), &[width, width], bound);
            MambaOutput::Linear(norm, weight)
        };
        Ok(Mamba { export_state, width, input, blocks, output })
    }

    /// Everything but the mixers, which `mix` calls with a normalized `[.., D]` and their state.
    fn forward(
        &self,
        x: &Tensor,
        state: &CoreState,
        mix: impl Fn(&Mixer, &Tensor, [&Tensor; 2]) -> (Tensor, [Tensor; 2]),
    ) -> (Tensor, CoreState) {
        let mut stream = input_layer::through(self.input.as_ref(), x);
        let mut after = Vec::with_capacity(state.tensors().len());
        for (block, before) in self.blocks.iter().zip(state.tensors().chunks_exact(2)) {
            let normal = block.norm.forward(&stream);
            let (mixed, state) = mix(&block.mixer, &normal, [&before[0], &before[1]]);
            stream = &stream + mixed;
            after.extend(state);
        }
        let y = match &self.output {
            MambaOutput::FeedForward(layer) => layer.forward(&stream),
            MambaOutput::Linear(norm, weight) => {
                norm.forward(&stream).linear::<&Tensor>(weight, None)
            }
        };
        (y, CoreState::new(state.batch(), after))
    }
}

impl Memory for Mamba {
    fn outputs(&self) -> i64 {
        self.width
    }

    fn exports_state(&self) -> bool {
        self.export_state
    }

    /// For each block, the last inputs of its convolution, `[B, K - 1, 2 D]`, and its state
    /// space, `[B, N, 2 D]`.
    fn initial_state(&self, batch: i64) -> CoreState {
        let states = self.blocks.iter().flat_map(|block| block.mixer.initial_state(batch));
        CoreState::new(batch, states.collect())
    }

    fn step(&self, x: &Tensor, state: &CoreState, resets: &Resets) -> (Tensor, CoreState) {
        let state = state.begin(resets, 0);
        self.forward(x, &state, Mixer::step)
    }

    fn unroll(&self, x: &Tensor, state: &CoreState, resets: &Resets) -> (Tensor, CoreState) {
        let state = state.begin(resets, 0);
        self.forward(x, &state, |mixer, x, before| mixer.unroll(x, before, resets))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scale_of_selection_must_be_above_zero() {
        let mamba = |selection_scale| MambaConfig {
            input: InputLayer::Linear,
            width: 4,
            state: 2,
            conv: 1,
            blocks: 1,
            selection_scale,
            norm: Norm::Rms,
            feed_forward: false,
            export_state: false,
        };
        assert!(mamba(4.0).validate().is_ok());
        for wrong in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(mamba(wrong).validate().unwrap_err().to_string().contains("selection_scale"));
        }
    }
}
