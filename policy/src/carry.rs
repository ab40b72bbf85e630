//! The carry of streams: what a learner keeps of them from one unroll to the next.

use tch::Tensor;

use crate::memory::Sensitivities;
use crate::state::{Batched, CoreState};

/// Carry of B streams between unrolls: a core state where it does not travel with trajectories,
/// and sensitivities where the memory learns by RTRL. Empty where neither is needed.
#[derive(Debug)]
pub struct Carry {
    state: CoreState,
    sensitivities: Sensitivities,
}

impl Carry {
    /// The carry of the streams that `state` has rows for; a state of no tensors where it travels.
    pub(crate) fn new(state: CoreState, sensitivities: Sensitivities) -> Self {
        Carry { state, sensitivities }
    }

    /// The carry of `batch` streams of a policy that carries nothing.
    pub fn nothing(batch: i64) -> Self {
        Carry::new(CoreState::nothing(batch), Sensitivities::none())
    }

    /// True if there is nothing to carry.
    pub fn is_empty(&self) -> bool {
        self.columns().is_empty()
    }

    /// The state, where it does not travel with trajectories.
    pub(crate) fn state(&self) -> &CoreState {
        &self.state
    }

    /// The state, and the sensitivities.
    pub(crate) fn into_parts(self) -> (CoreState, Sensitivities) {
        (self.state, self.sensitivities)
    }
}

impl Batched for Carry {
    fn batch(&self) -> i64 {
        self.state.batch()
    }

    fn columns(&self) -> Vec<&Tensor> {
        self.state.tensors().iter().chain(self.sensitivities.tensors()).collect()
    }

    fn map(&self, batch: i64, mut f: impl FnMut(&Tensor) -> Tensor) -> Self {
        let state = self.state.map(batch, &mut f);
        let sensitivities = self.sensitivities.tensors().iter().map(f).collect();
        Carry { state, sensitivities: Sensitivities::new(sensitivities) }
    }
}
