//! How a loss reaches back before the unroll that it is of.
//!
//! Backpropagation ends at the state with which an unroll begins. Where a memory learns in real
//! time the weights that made this state are to learn, too: [`Past`] keeps the state and its
//! sensitivities from the unroll until the loss is known, and [`Policy::gradient`] adds what their
//! product is. Only then do the sensitivities go on to the unroll's end, in the same memory.

use tch::{Tensor, no_grad};

use crate::memory::Advance;
use crate::policy::Policy;
use crate::state::CoreState;

/// Where an unroll of streams began, and how it goes on from there.
#[derive(Debug)]
pub struct Past {
    /// The state, leaves of the loss's graph.
    state: CoreState,
    /// How it depends on the memory's weights; nothing where gradients end with the unroll.
    sensitivities: CoreState,
    /// What the unroll does to them.
    advances: Vec<Advance>,
    /// The state at the unroll's end, if that does not come with the next trajectories.
    last: CoreState,
}

impl Past {
    pub(crate) fn new(
        state: CoreState,
        sensitivities: CoreState,
        advances: Vec<Advance>,
        last: CoreState,
    ) -> Self {
        Past { state, sensitivities, advances, last }
    }

    /// That of a loss whose gradient ends with the unroll, of no streams.
    pub fn none() -> Self {
        let nothing = || CoreState::nothing(0);
        Past::new(nothing(), nothing(), vec![], nothing())
    }
}

impl Policy {
    /// The gradient of `loss`, a scalar, by each weight that learns, in the order of
    /// [`trainable`](Self::trainable): what backpropagation finds within the unroll that the loss
    /// is of, and what RTRL adds for the `past` before it. Not defined where the loss does not
    /// depend on a weight. The loss's graph is used up. Second, what the unroll's streams carry to
    /// their next one.
    pub fn gradient(&self, loss: &Tensor, past: Past) -> (Vec<Tensor>, CoreState) {
        let weights = self.trainable();
        let weights: Vec<&Tensor> = weights.iter().map(|(_, weight)| weight).collect();
        let learned = past.state.tensors().iter().filter(|tensor| tensor.requires_grad());
        let inputs: Vec<&Tensor> = weights.iter().copied().chain(learned).collect();
        let mut gradients = Tensor::run_backward(&[loss], &inputs, false, false);
        if past.advances.is_empty() {
            return (gradients, self.carry_on(past));
        }
        let mut errors = gradients.split_off(weights.len()).into_iter();
        let errors = past.state.map(|tensor| match tensor.requires_grad() {
            true => errors.next().filter(Tensor::defined).unwrap_or_else(|| tensor.zeros_like()),
            false => tensor.zeros_like(),
        });
        let (carry, before) = self.advance(past, Some(&errors));
        // None of it is left where the memory is frozen.
        let Some(before) = before.filter(Tensor::requires_grad) else {
            return (gradients, carry);
        };
        let earlier = Tensor::run_backward(&[before], &weights, false, false);
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

    /// What an unroll's streams carry to their next one, where nothing is learned from it.
    pub fn carry_on(&self, past: Past) -> CoreState {
        self.advance(past, None).0
    }

    /// What is carried on; and from a loss's derivatives by the past state, a scalar with the
    /// gradient that is owed to it.
    fn advance(&self, past: Past, errors: Option<&CoreState>) -> (CoreState, Option<Tensor>) {
        let Past { sensitivities, advances, last, .. } = past;
        let before = self.memory.advance(&sensitivities, advances, errors);
        (CoreState::join(last.batch(), vec![last, sensitivities]), before)
    }
}
