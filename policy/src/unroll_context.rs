//! Unroll context: how a loss reaches back before the unroll that it is of.
//!
//! Backpropagation ends at the state with which an unroll begins. Where a memory learns by RTRL,
//! the weights that made this state are to learn, too: [`UnrollContext`] keeps the state and its
//! sensitivities from the unroll until the loss is known, and `gradient`
//! adds what their product is. Only then do the sensitivities go on to the unroll's end, in the
//! same memory.

use tch::{Tensor, no_grad};

use crate::carry::Carry;
use crate::memory::{Memory, Sensitivities, SensitivityUpdate, StateGradient};
use crate::state::CoreState;

/// Start of an unroll of streams, and what the unroll changes: what a loss needs to reach back
/// before the unroll, and what the streams' next carry is made of.
#[derive(Debug)]
pub struct UnrollContext {
    /// The state at the start, leaves of the loss's graph.
    state: CoreState,
    /// The state's sensitivities to the memory's weights.
    sensitivities: Sensitivities,
    /// Updates of them by the unroll, one for each tensor.
    updates: Vec<SensitivityUpdate>,
    /// The state at the unroll's end, if that does not come with the next trajectories.
    last: CoreState,
}

impl UnrollContext {
    pub(crate) fn new(
        state: CoreState,
        sensitivities: Sensitivities,
        updates: Vec<SensitivityUpdate>,
        last: CoreState,
    ) -> Self {
        UnrollContext { state, sensitivities, updates, last }
    }

    /// The context of a loss whose gradient ends with the unroll, of no streams.
    pub fn none() -> Self {
        let nothing = || CoreState::nothing(0);
        UnrollContext::new(nothing(), Sensitivities::none(), vec![], nothing())
    }

    /// The gradient of `loss` by `weights`, of a policy with the memory `memory`, and the streams'
    /// next carry. See `Policy::gradient`.
    pub(crate) fn gradient(
        self,
        loss: &Tensor,
        weights: &[Tensor],
        memory: &dyn Memory,
    ) -> (Vec<Tensor>, Carry) {
        let learned = self.state.tensors().iter().filter(|tensor| tensor.requires_grad());
        let inputs: Vec<&Tensor> = weights.iter().chain(learned).collect();
        let mut gradients = Tensor::run_backward(&[loss], &inputs, false, false);
        if self.updates.is_empty() {
            return (gradients, self.next_carry(memory));
        }
        let mut errors = gradients.split_off(weights.len()).into_iter();
        let by_tensor = self.state.tensors().iter().map(|tensor| match tensor.requires_grad() {
            true => errors.next().filter(Tensor::defined).unwrap_or_else(|| tensor.zeros_like()),
            false => tensor.zeros_like(),
        });
        let errors = StateGradient::new(by_tensor.collect());
        let (carry, before) = self.update(memory, Some(&errors));
        // None of it is left where the memory is frozen.
        let Some(before) = before.filter(Tensor::requires_grad) else {
            return (gradients, carry);
        };
        let earlier = Tensor::run_backward(&[before], weights, false, false);
        no_grad(|| {
            for (gradient, earlier) in gradients.iter_mut().zip(earlier) {
                match (gradient.defined(), earlier.defined()) {
                    (true, true) => *gradient += earlier,
                    (false, true) => *gradient = earlier,
                    (_, false) => {}
                }
            }
        });
        (gradients, carry)
    }

    /// The streams' next carry, where nothing is learned from the unroll.
    pub(crate) fn next_carry(self, memory: &dyn Memory) -> Carry {
        self.update(memory, None).0
    }

    /// The streams' next carry; and where a loss's derivatives by the state at the start are given,
    /// a scalar whose gradient is what the loss owes to the time before.
    fn update(
        self,
        memory: &dyn Memory,
        errors: Option<&StateGradient>,
    ) -> (Carry, Option<Tensor>) {
        let UnrollContext { sensitivities, updates, last, .. } = self;
        let before = memory.update_sensitivities(&sensitivities, updates, errors);
        (Carry::new(last, sensitivities), before)
    }
}
