//! Settings of Mamba.

use serde::{Deserialize, Serialize};

use crate::memory::input_layer::InputLayer;
use crate::normalize::Norm;

/// Mamba: selective state spaces (Gu & Dao 2023).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MambaConfig {
    /// Layer between the features and the residual stream; a linear one if not given.
    #[serde(default, skip_serializing_if = "InputLayer::is_linear")]
    pub input: InputLayer,
    /// The width of the residual stream.
    pub width: i64,
    /// Numbers of state per channel.
    pub state: i64,
    /// Taps of the causal convolution.
    pub conv: i64,
    /// Blocks, one after another.
    pub blocks: i64,
    /// Factor at the start for the weights of B and C, which write to the state and read from it.
    /// 1 is the authors'; larger lets what is remembered be heard earlier.
    pub selection_scale: f64,
    /// Normalization.
    pub norm: Norm,
    /// True if a residual feed-forward layer follows the last block, else a norm and a
    /// linear one.
    pub feed_forward: bool,
    /// True if its state travels with trajectories, so that a replay may store it; if not given, it
    /// stays with those who act, and streams of a learner carry one of their own.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub export_state: bool,
}
