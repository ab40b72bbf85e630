//! The carry of streams: what a learner keeps of them from one unroll to the next.

use tch::Tensor;

use crate::memory::Sensitivities;
use crate::state::{Batched, CoreState};

/// Carry of B streams between unrolls: a core state where it does not travel with trajectories,
/// sensitivities where the memory learns by RTRL, and an eligibility trace where the algorithm has
/// them. Empty where none is needed.
#[derive(Debug)]
pub struct Carry {
    state: CoreState,
    sensitivities: Sensitivities,
    trace: Option<Tensor>,
}

impl Carry {
    /// The carry of the streams that `state` has rows for; a state of no tensors where it travels.
    pub(crate) fn new(state: CoreState, sensitivities: Sensitivities) -> Self {
        Carry { state, sensitivities, trace: None }
    }

    /// The same with an eligibility trace for each stream, `[B, P]` for P weights.
    pub fn with_trace(self, trace: Tensor) -> Self {
        Carry { trace: Some(trace), ..self }
    }

    /// Takes the eligibility traces out, where there are any: an unroll has no use for them.
    pub fn take_trace(&mut self) -> Option<Tensor> {
        self.trace.take()
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
        let memory = self.state.tensors().iter().chain(self.sensitivities.tensors());
        memory.chain(&self.trace).collect()
    }

    fn map(&self, batch: i64, mut f: impl FnMut(&Tensor) -> Tensor) -> Self {
        let state = self.state.map(batch, &mut f);
        let sensitivities = self.sensitivities.tensors().iter().map(&mut f).collect();
        let trace = self.trace.as_ref().map(f);
        Carry { state, sensitivities: Sensitivities::new(sensitivities), trace }
    }
}
