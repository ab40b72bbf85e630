//! A causal depthwise convolution over the last K frames, RESeL's `conv1d` (Luo et al. 2024,
//! <https://arxiv.org/abs/2405.15384>):
//!
//! ```text
//! u_t = V x_t + d
//! y_t = Σ_k w_k ⊙ u_{t-k} + b        k = 0 .. K - 1; u is zero before the episode's first frame
//! ```
//!
//! A `feed_forward` layer follows where asked for. It remembers K − 1 frames and nothing else: what
//! memory is worth on a task, a convolution of the same width tells.

use serde::{Deserialize, Serialize};
use tch::Tensor;

use super::causal_conv::CausalConv;
use super::feed_forward::FeedForward;
use super::{BuiltMemory, LayerConfig, Memory, MemoryConfig};
use crate::error::PolicyError;
use crate::initialization::Initialization;
use crate::mlp::Linear;
use crate::parameters::Parameters;
use crate::range::{MAX_WIDTH, in_range};
use crate::resets::Resets;
use crate::state::{Batched, CoreState};

const EPSILON: f64 = 1e-5;

/// A causal depthwise convolution over the last few frames.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Conv1dConfig {
    /// Channels.
    pub hidden: i64,
    /// Taps: frames that each output sees.
    pub kernel: i64,
    /// True if a residual feed-forward layer follows.
    pub feed_forward: bool,
}

impl LayerConfig for Conv1dConfig {
    fn validate(&self) -> Result<(), PolicyError> {
        in_range("memory.hidden", self.hidden, MAX_WIDTH)?;
        in_range("memory.kernel", self.kernel, 64)
    }

    fn build(&self, inputs: i64, name: &str, p: &mut Parameters) -> BuiltMemory {
        Ok(Box::new(Conv1d::new(self, inputs, name, p)))
    }

    fn examples(&self, width: i64) -> Vec<MemoryConfig> {
        let layer = |kernel, feed_forward| {
            MemoryConfig::Conv1d(Conv1dConfig { hidden: width, kernel, feed_forward })
        };
        vec![layer(1, false), layer(3, true)]
    }
}

/// One convolution.
pub(crate) struct Conv1d {
    hidden: i64,
    kernel: i64,
    /// V, `[H, D]`, and d.
    input: Linear,
    conv: CausalConv,
    feed_forward: Option<FeedForward>,
}

impl Conv1d {
    fn new(config: &Conv1dConfig, inputs: i64, name: &str, p: &mut Parameters) -> Self {
        let &Conv1dConfig { hidden, kernel, feed_forward } = config;
        let input =
            Linear::new(p, &format!("{name}.input"), inputs, hidden, Initialization::FAN_IN);
        let conv = CausalConv::new(hidden, kernel, &format!("{name}.conv"), p);
        let feed_forward = feed_forward
            .then(|| FeedForward::new(hidden, EPSILON, &format!("{name}.feed_forward"), p));
        Conv1d { hidden, kernel, input, conv, feed_forward }
    }

    /// `[.., H]` to `[.., H]`.
    fn output(&self, y: Tensor) -> Tensor {
        self.feed_forward.as_ref().map_or_else(|| y.shallow_clone(), |layer| layer.forward(&y))
    }
}

impl Memory for Conv1d {
    fn outputs(&self) -> i64 {
        self.hidden
    }

    fn exports_state(&self) -> bool {
        self.kernel > 1
    }

    /// The last u, oldest first: `[B, K - 1, H]`; nothing where K is 1.
    fn initial_state(&self, batch: i64) -> CoreState {
        match self.kernel {
            1 => CoreState::new(batch, vec![]),
            _ => CoreState::new(batch, vec![self.conv.initial(batch)]),
        }
    }

    fn step(&self, x: &Tensor, state: &CoreState, resets: &Resets) -> (Tensor, CoreState) {
        let state = state.begin(resets, 0);
        let u = self.input.forward(x);
        let Some(before) = state.tensors().first() else {
            let (y, _) = self.conv.step(&u, &self.conv.initial(state.batch()));
            return (self.output(y), state);
        };
        let (y, after) = self.conv.step(&u, before);
        (self.output(y), CoreState::new(state.batch(), vec![after]))
    }

    fn unroll(&self, x: &Tensor, state: &CoreState, resets: &Resets) -> (Tensor, CoreState) {
        let u = self.input.forward(x);
        let Some(before) = state.tensors().first() else {
            let (y, _) = self.conv.unroll(&u, &self.conv.initial(state.batch()), resets);
            return (self.output(y), state.shallow_clone());
        };
        let (y, after) = self.conv.unroll(&u, before, resets);
        (self.output(y), CoreState::new(state.batch(), vec![after]))
    }
}
