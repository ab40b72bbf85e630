//! Memory layers: one file each, with its settings, equations and parameters.
//!
//! A layer is given the features of frames and, from the CPU, where episodes begin among them. A
//! frame that is First sees zero state. Stepping and unrolling are the same function, to
//! rounding: `step` is for acting, one frame at a time and without gradients; `unroll` is for
//! training, many frames at a time, as parallel as the layer allows.
//!
//! Layers whose recurrence is elementwise can do more: `rtrl` tells how their gradients reach
//! back before the unroll. `scan` computes linear recurrences in parallel, `input_gated` is one that
//! several layers share, `gated` unrolls layers over libtorch's kernels, `recent` and `positions` are
//! for layers that look back upon frames or count them, `feed_forward` is what follows several layers.
//!
//! Adding a layer: `docs/guide/own-memory-layer.md`.

mod attention;
pub mod candidate;
mod causal_conv;
mod feed_forward;
mod gated;
mod input_gated;
pub mod input_layer;
mod positions;
mod recent;
pub mod rtrl;
mod scan;

pub mod cgpt;
pub mod conv1d;
pub mod dense;
pub mod elstm;
pub mod frame_stack;
pub mod gilr;
pub mod gilr_lstm;
pub mod gpt2;
pub mod gru;
pub mod indrnn;
pub mod lru;
pub mod lstm;
pub mod mamba;
pub mod mingru;
pub mod minlstm;
pub mod none;
pub mod positional_mlp;
pub(crate) mod previous;
pub mod stack;

use engram_mdp::Seed;
use serde::{Deserialize, Serialize};
use tch::Tensor;

use self::rtrl::Gradient;
pub(crate) use self::rtrl::{Sensitivities, SensitivityUpdate, StateGradient};
use crate::error::PolicyError;
use crate::parameters::Parameters;
use crate::resets::Resets;
use crate::state::CoreState;

/// A memory layer's settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "snake_case")]
pub enum MemoryConfig {
    /// No memory: a feed-forward policy.
    None(none::NoneConfig),
    /// Long short-term memory.
    Lstm(lstm::LstmConfig),
    /// Gated recurrent units.
    Gru(gru::GruConfig),
    /// The LSTM with elementwise recurrence.
    Elstm(elstm::ElstmConfig),
    /// The independently recurrent neural network.
    Indrnn(indrnn::IndrnnConfig),
    /// The linear recurrent unit.
    Lru(lru::LruConfig),
    /// The gated impulse linear recurrence.
    Gilr(gilr::GilrConfig),
    /// An LSTM on a gated impulse linear recurrence.
    GilrLstm(gilr_lstm::GilrLstmConfig),
    /// The minimal gated recurrent unit.
    Mingru(mingru::MingruConfig),
    /// The minimal long short-term memory.
    Minlstm(minlstm::MinlstmConfig),
    /// Selective state spaces.
    Mamba(mamba::MambaConfig),
    /// Causal attention with ALiBi.
    Cgpt(cgpt::CgptConfig),
    /// GPT-2 with absolute positions.
    Gpt2(gpt2::Gpt2Config),
    /// A causal convolution.
    Conv1d(conv1d::Conv1dConfig),
    /// The last few frames side by side.
    FrameStack(frame_stack::FrameStackConfig),
    /// Fully connected layers that see the time.
    PositionalMlp(positional_mlp::PositionalMlpConfig),
    /// Fully connected layers without a state.
    Dense(dense::DenseConfig),
    /// Layers of any kind, one after another.
    Stack(stack::StackConfig),
}

impl MemoryConfig {
    fn layer(&self) -> &dyn LayerConfig {
        match self {
            MemoryConfig::None(layer) => layer,
            MemoryConfig::Lstm(layer) => layer,
            MemoryConfig::Gru(layer) => layer,
            MemoryConfig::Elstm(layer) => layer,
            MemoryConfig::Indrnn(layer) => layer,
            MemoryConfig::Lru(layer) => layer,
            MemoryConfig::Gilr(layer) => layer,
            MemoryConfig::GilrLstm(layer) => layer,
            MemoryConfig::Mingru(layer) => layer,
            MemoryConfig::Minlstm(layer) => layer,
            MemoryConfig::Mamba(layer) => layer,
            MemoryConfig::Cgpt(layer) => layer,
            MemoryConfig::Gpt2(layer) => layer,
            MemoryConfig::Conv1d(layer) => layer,
            MemoryConfig::FrameStack(layer) => layer,
            MemoryConfig::PositionalMlp(layer) => layer,
            MemoryConfig::Dense(layer) => layer,
            MemoryConfig::Stack(layer) => layer,
        }
    }

    /// Checks everything that needs no environment to be known.
    pub(crate) fn validate(&self) -> Result<(), PolicyError> {
        self.layer().validate()
    }

    /// The layer, which is fed `inputs` features; its parameters' names begin with `name`. An error
    /// if it cannot be fed so many.
    pub(crate) fn build(&self, inputs: i64, name: &str, p: &mut Parameters) -> BuiltMemory {
        self.layer().build(inputs, name, p)
    }

    /// Method by which the gradient of its own weights is found.
    pub fn gradient(&self) -> Gradient {
        self.layer().gradient()
    }

    /// The same layer with another method; `None` where it has no choice.
    pub fn with_gradient(&self, gradient: Gradient) -> Option<MemoryConfig> {
        self.layer().with_gradient(gradient)
    }

    /// Small layers of this kind, `width` wide, that cover its settings: for tests.
    pub fn examples(&self, width: i64) -> Vec<MemoryConfig> {
        self.layer().examples(width)
    }

    /// Note on what `gradient = "rtrl"` leaves truncated, all that lies `below` the memory among it;
    /// `None` where nothing asks for it.
    pub(crate) fn truncation(&self, below: &str) -> Option<String> {
        if self.gradient() == Gradient::Tbptt {
            return None;
        }
        let layers = match self {
            MemoryConfig::Stack(stack) if stack.layers.len() > 1 => " and other memory layers",
            _ => "",
        };
        Some(format!(
            "RTRL gives the recurrent layer's own weights their exact gradient; what lies below it, \
             {below}{layers}, learns from within each unroll only"
        ))
    }
}

/// A layer that was built.
pub(crate) type BuiltMemory = Result<Box<dyn Memory>, PolicyError>;

/// Settings of one kind of layer.
pub(crate) trait LayerConfig {
    /// Checks everything that needs no environment to be known.
    fn validate(&self) -> Result<(), PolicyError>;

    /// The layer, which is fed `inputs` features; its parameters' names begin with `name`. An error
    /// if it cannot be fed so many.
    fn build(&self, inputs: i64, name: &str, p: &mut Parameters) -> BuiltMemory;

    /// Small layers of this kind, `width` wide, that cover its settings.
    fn examples(&self, width: i64) -> Vec<MemoryConfig>;

    /// Method by which the gradient of its own weights is found.
    fn gradient(&self) -> Gradient {
        Gradient::Tbptt
    }

    /// The same settings with another method, where there is a choice.
    fn with_gradient(&self, gradient: Gradient) -> Option<MemoryConfig> {
        let _ = gradient;
        None
    }
}

/// A memory layer.
pub(crate) trait Memory: Send {
    /// H: the width of what comes out.
    fn outputs(&self) -> i64;

    /// True if the state is small enough to travel with trajectories.
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

    /// Puts weights back into the range that the layer keeps them in, where it has one: after each
    /// update.
    fn constrain(&self) {}

    /// Starts dropout where the layer has it, drawn from `seed`; `None` ends it.
    fn set_dropout(&mut self, seed: Option<Seed>) {
        let _ = seed;
    }
}

#[cfg(test)]
mod tests {
    use super::elstm::ElstmConfig;
    use super::stack::StackConfig;
    use super::*;

    fn elstm(gradient: Gradient) -> MemoryConfig {
        MemoryConfig::Elstm(ElstmConfig { hidden: 8, gradient, forget_bias: 0.0 })
    }

    #[test]
    fn what_rtrl_truncates_is_said() {
        let below = "the torso";
        assert_eq!(elstm(Gradient::Tbptt).truncation(below), None);
        assert!(elstm(Gradient::Rtrl).truncation(below).unwrap().contains("the torso, learns"));
        let layers = vec![elstm(Gradient::Tbptt), elstm(Gradient::Rtrl)];
        let stacked = MemoryConfig::Stack(StackConfig { layers });
        assert!(stacked.truncation(below).unwrap().contains("other memory layers"));
    }
}
