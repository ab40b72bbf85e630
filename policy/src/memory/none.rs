//! No memory: features pass through, and nothing is carried.

use serde::{Deserialize, Serialize};
use tch::Tensor;

use super::{BuiltMemory, LayerConfig, Memory, MemoryConfig};
use crate::error::PolicyError;
use crate::parameters::Parameters;
use crate::resets::Resets;
use crate::state::{Batched, CoreState};

/// No memory: a feed-forward policy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoneConfig {}

impl LayerConfig for NoneConfig {
    fn validate(&self) -> Result<(), PolicyError> {
        Ok(())
    }

    fn build(&self, inputs: i64, _: &str, _: &mut Parameters) -> BuiltMemory {
        Ok(Box::new(None::new(inputs)))
    }

    fn examples(&self, _width: i64) -> Vec<MemoryConfig> {
        vec![MemoryConfig::None(self.clone())]
    }
}

/// A feed-forward policy's memory.
pub(crate) struct None {
    width: i64,
}

impl None {
    pub(crate) fn new(width: i64) -> Self {
        None { width }
    }
}

impl Memory for None {
    fn outputs(&self) -> i64 {
        self.width
    }

    fn exports_state(&self) -> bool {
        false
    }

    fn initial_state(&self, batch: i64) -> CoreState {
        CoreState::new(batch, vec![])
    }

    fn step(&self, x: &Tensor, state: &CoreState, _resets: &Resets) -> (Tensor, CoreState) {
        (x.shallow_clone(), state.shallow_clone())
    }

    fn unroll(&self, x: &Tensor, state: &CoreState, _resets: &Resets) -> (Tensor, CoreState) {
        (x.shallow_clone(), state.shallow_clone())
    }
}
