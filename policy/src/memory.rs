//! What remembers: one file per layer.
//!
//! A layer is given the features of frames and, from the CPU, where episodes begin among them. A
//! frame that is First sees zero state. Stepping and unrolling are the same function, to
//! rounding: `step` is for acting, one frame at a time and without gradients; `unroll` is for
//! training, many frames at a time, as parallel as the layer allows.
//!
//! Layers whose recurrence is elementwise can do more: `rtrl` tells how their gradients reach
//! back before the unroll. `scan` computes linear recurrences in parallel, `feed_forward` is what
//! follows several layers, `normalize` what blocks begin with.

mod attention;
mod causal_conv;
mod cgpt;
mod conv1d;
mod elstm;
mod feed_forward;
mod gilr;
mod gilr_lstm;
mod gpt2;
mod gru;
mod lru;
mod lstm;
mod mamba;
mod none;
mod normalize;
mod rtrl;
mod scan;
mod stack;

use engram_mdp::Seed;
use tch::Tensor;

pub(crate) use self::rtrl::{Sensitivities, SensitivityUpdate, StateGradient};
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

    /// The sensitivities of B states at the beginning of episodes: zeros, or none where gradients
    /// are truncated at the unroll's start.
    fn initial_sensitivities(&self, batch: i64) -> Sensitivities {
        let _ = batch;
        Sensitivities::none()
    }

    /// [`unroll`](Self::unroll) of T + 1 moments, the last of which begins the next unroll. Returns
    /// `[T + 1, B, H]`, the state after T moments, and what these do to the sensitivities, an
    /// update for each of their tensors.
    fn unroll_streams(
        &self,
        x: &Tensor,
        state: &CoreState,
        resets: &Resets,
    ) -> (Tensor, CoreState, Vec<SensitivityUpdate>) {
        let time = resets.time() - 1;
        let (before, shared) = (x.narrow(0, 0, time as i64), x.narrow(0, time as i64, 1));
        let (y, state) = self.unroll(&before, state, &resets.narrow(0, time));
        let (last, _) = self.unroll(&shared, &state, &resets.narrow(time, 1));
        (Tensor::cat(&[y, last], 0), state, vec![])
    }

    /// Makes the sensitivities before an unroll those after it, in place, by its `updates`. Given
    /// `errors`, a loss's derivatives by the state before it, returns a scalar whose gradient by the
    /// layer's weights is what the loss owes to the time before; `None` where gradients are
    /// truncated at the unroll's start.
    fn update_sensitivities(
        &self,
        sensitivities: &Sensitivities,
        updates: Vec<SensitivityUpdate>,
        errors: Option<&StateGradient>,
    ) -> Option<Tensor> {
        let _ = (sensitivities, updates, errors);
        None
    }

    /// Where the layer has dropout, unrolls use it from here on, drawn from `seed`; `None` ends it.
    fn set_dropout(&mut self, seed: Option<Seed>) {
        let _ = seed;
    }
}

/// The memory of `config`, which is fed `inputs` features; its parameters' names begin with `name`.
pub(crate) fn build(
    config: &MemoryConfig,
    inputs: i64,
    name: &str,
    p: &mut Parameters,
) -> Box<dyn Memory> {
    match *config {
        MemoryConfig::None {} => Box::new(none::None::new(inputs)),
        MemoryConfig::Lstm { hidden, layers, forget_bias } => {
            Box::new(lstm::Lstm::new(inputs, hidden, layers, forget_bias, name, p))
        }
        MemoryConfig::Gru { hidden, layers, forget_bias } => {
            Box::new(gru::Gru::new(inputs, hidden, layers, forget_bias, name, p))
        }
        MemoryConfig::Elstm { hidden, gradient, forget_bias } => {
            Box::new(elstm::Elstm::new(inputs, hidden, gradient, forget_bias, name, p))
        }
        MemoryConfig::Lru { hidden, radius, feed_forward, gradient } => {
            Box::new(lru::Lru::new(inputs, hidden, radius, feed_forward, gradient, name, p))
        }
        MemoryConfig::Gilr { hidden, forget_bias, feed_forward, gradient } => {
            Box::new(gilr::Gilr::new(inputs, hidden, forget_bias, feed_forward, gradient, name, p))
        }
        MemoryConfig::GilrLstm { hidden, forget_bias, feed_forward } => {
            Box::new(gilr_lstm::GilrLstm::new(inputs, hidden, forget_bias, feed_forward, name, p))
        }
        MemoryConfig::Mamba { width, state, conv, blocks, selection_scale, norm, feed_forward } => {
            let shape = mamba::Shape { inputs, width, state, conv, blocks, selection_scale };
            Box::new(mamba::Mamba::new(shape, norm, feed_forward, name, p))
        }
        MemoryConfig::Cgpt { width, heads, blocks, context_length, norm, bf16 } => {
            let shape = attention::Shape { inputs, width, heads, blocks, context_length };
            Box::new(cgpt::Cgpt::new(shape, norm, bf16, name, p))
        }
        MemoryConfig::Gpt2 { width, heads, blocks, context_length, positions, dropout } => {
            let shape = attention::Shape { inputs, width, heads, blocks, context_length };
            Box::new(gpt2::Gpt2::new(shape, positions, dropout, name, p))
        }
        MemoryConfig::Conv1d { hidden, kernel, feed_forward } => {
            Box::new(conv1d::Conv1d::new(inputs, hidden, kernel, feed_forward, name, p))
        }
        MemoryConfig::Stack { ref layers } => Box::new(stack::Stack::new(inputs, layers, name, p)),
    }
}
