//! No memory: features pass through, and nothing is carried.

use tch::Tensor;

use super::Memory;
use crate::resets::Resets;
use crate::state::{Batched, CoreState};

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
