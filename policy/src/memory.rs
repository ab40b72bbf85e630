//! What remembers: one file per layer.
//!
//! A layer is given the features of frames and, from the CPU, where episodes begin among them. A
//! frame that is First sees zero state. Stepping and unrolling are the same function, to
//! rounding: `step` is for acting, one frame at a time and without gradients; `unroll` is for
//! training, many frames at a time, as parallel as the layer allows.

mod elstm;
mod lstm;
mod none;

use tch::Tensor;

use crate::config::MemoryConfig;
use crate::parameters::Parameters;
use crate::resets::Resets;
use crate::state::CoreState;

/// A memory layer.
pub(crate) trait Memory: Send {
    /// H: the width of what comes out.
    fn outputs(&self) -> i64;

    /// Whether the state is small enough to travel with trajectories.
    fn exports_state(&self) -> bool;

    /// The state at the beginning of `batch` episodes: zeros.
    fn initial_state(&self, batch: i64) -> CoreState;

    /// `x` is `[B, D]`; `resets` holds one moment. Returns `[B, H]` and the state after it.
    fn step(&self, x: &Tensor, state: &CoreState, resets: &Resets) -> (Tensor, CoreState);

    /// `x` is `[T, B, D]`; `resets` holds T moments. Returns `[T, B, H]` and the state after them.
    fn unroll(&self, x: &Tensor, state: &CoreState, resets: &Resets) -> (Tensor, CoreState);
}

/// The memory of `config`, which is fed `inputs` features.
pub(crate) fn build(config: &MemoryConfig, inputs: i64, p: &mut Parameters) -> Box<dyn Memory> {
    match *config {
        MemoryConfig::None {} => Box::new(none::None::new(inputs)),
        MemoryConfig::Lstm { hidden, layers, forget_bias } => {
            Box::new(lstm::Lstm::new(inputs, hidden, layers, forget_bias, p))
        }
        MemoryConfig::Elstm { hidden, gradient, forget_bias } => {
            Box::new(elstm::Elstm::new(inputs, hidden, gradient, forget_bias, p))
        }
    }
}
