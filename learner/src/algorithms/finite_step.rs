//! Finite step: a step of an optimizer that is known to be finite, and was not taken yet.
//!
//! Where two optimizers move two networks, both steps are made before either is taken, so nothing is
//! ever taken back.

use tch::Tensor;

use super::algorithm::{NonFinite, to_host};
use super::optimizer::{Optimizer, clipped, global_norm};
use super::state_dict::StateDict;
use crate::config::OffPolicyConfig;

/// A step of one optimizer.
pub(super) struct FiniteStep {
    gradient: Tensor,
    weights: StateDict,
    /// Length of the gradient, before it is clipped.
    pub(super) norm: f64,
}

impl FiniteStep {
    /// Against the gradient of `loss` by `weights`.
    pub(super) fn of(
        optimizer: &Optimizer,
        loss: &Tensor,
        weights: StateDict,
    ) -> Result<Self, NonFinite> {
        let gradient = optimizer.gradient(loss, &weights);
        let [value, norm] = to_host([loss, &global_norm(&gradient)]);
        NonFinite::check("loss", value)?;
        NonFinite::check("gradient's length", norm)?;
        Ok(FiniteStep { gradient, weights, norm })
    }

    /// Takes it, clipped as `settings` say.
    pub(super) fn take<O>(self, optimizer: &mut Optimizer, settings: &OffPolicyConfig<O>) {
        let gradient = clipped(self.gradient, self.norm, settings.longest_gradient());
        optimizer.step(&self.weights, &gradient, settings.learning_rate);
    }
}
