//! How a loss reaches back before the unroll that it is of.
//!
//! Backpropagation ends at the state with which an unroll begins. Where a memory learns in real
//! time the weights that made this state are to learn, too: [`Past`] keeps the state and its
//! sensitivities from the unroll until the loss is known, and [`Policy::gradient`] adds what their
//! product is.

use tch::{Tensor, no_grad};

use crate::policy::Policy;
use crate::state::CoreState;

/// Where an unroll of streams began.
#[derive(Debug)]
pub struct Past {
    /// The state, leaves of the loss's graph.
    pub(crate) state: CoreState,
    /// How it depends on the memory's weights; nothing where gradients end with the unroll.
    pub(crate) sensitivities: CoreState,
}

impl Past {
    /// That of a loss whose gradient ends with the unroll.
    pub fn none() -> Self {
        Past { state: CoreState::nothing(0), sensitivities: CoreState::nothing(0) }
    }
}

impl Policy {
    /// The gradient of `loss`, a scalar, by each weight that learns, in the order of
    /// [`trainable`](Self::trainable): what backpropagation finds within the unroll that the loss
    /// is of, and what RTRL adds for the `past` before it. Not defined where the loss does not
    /// depend on a weight. The loss's graph is used up.
    pub fn gradient(&self, loss: &Tensor, past: &Past) -> Vec<Tensor> {
        let weights = self.trainable();
        let weights: Vec<&Tensor> = weights.iter().map(|(_, weight)| weight).collect();
        if past.sensitivities.tensors().is_empty() {
            return Tensor::run_backward(&[loss], &weights, false, false);
        }
        let learned = past.state.tensors().iter().filter(|tensor| tensor.requires_grad());
        let inputs: Vec<&Tensor> = weights.iter().copied().chain(learned).collect();
        let mut gradients = Tensor::run_backward(&[loss], &inputs, false, false);
        let mut errors = gradients.split_off(weights.len()).into_iter();
        let errors = past.state.map(|tensor| match tensor.requires_grad() {
            true => errors.next().filter(Tensor::defined).unwrap_or_else(|| tensor.zeros_like()),
            false => tensor.zeros_like(),
        });
        let before = self.memory.past_loss(&errors, &past.sensitivities);
        // None of it is left where the memory is frozen.
        let Some(before) = before.filter(Tensor::requires_grad) else { return gradients };
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
        gradients
    }
}
