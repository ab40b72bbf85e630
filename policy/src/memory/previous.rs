//! Previous observation: a memory that is fed the features of the frame before, too (Luo et al. 2024,
//! <https://arxiv.org/abs/2405.15384>). Its state is that of the memory below it, and those features.

use engram_mdp::Seed;
use tch::{Device, Kind, Tensor};

use super::{Memory, Sensitivities, SensitivityUpdate, StateGradient};
use crate::mlp::{Activation, Linear};
use crate::resets::Resets;
use crate::state::CoreState;

/// A memory and the features of the frame before.
pub(crate) struct PreviousObservation {
    inner: Box<dyn Memory>,
    /// F: features of an observation.
    features: i64,
    embedder: Option<(Linear, Activation)>,
    options: (Kind, Device),
}

impl PreviousObservation {
    /// `inner` is fed what stands before the last F numbers of a frame, then, behind the `embedder`
    /// where there is one, those F numbers of the frame before. `options` are those of its numbers.
    pub(crate) fn new(
        inner: Box<dyn Memory>,
        features: i64,
        embedder: Option<(Linear, Activation)>,
        options: (Kind, Device),
    ) -> Self {
        PreviousObservation { inner, features, embedder, options }
    }

    /// The state of the memory below, and the features `[B, F]` before the next frame.
    fn split(&self, state: &CoreState) -> (CoreState, Tensor) {
        let (last, inner) = state.tensors().split_last().expect("the features of a frame");
        let inner = inner.iter().map(Tensor::shallow_clone).collect();
        (CoreState::new(state.batch(), inner), last.shallow_clone())
    }

    fn join(state: CoreState, last: Tensor) -> CoreState {
        let batch = state.batch();
        let mut tensors = state.into_tensors();
        tensors.push(last);
        CoreState::new(batch, tensors)
    }

    /// Input of the memory below, of `[T, B, D + F]` and the features before it, which are zeros where
    /// there is no frame before. Second, the features of all frames, `[T, B, F]`.
    fn feed(&self, x: &Tensor, last: &Tensor, resets: &Resets) -> (Tensor, Tensor) {
        let (time, _, width) = x.size3().expect("x is [T, B, D + F]");
        let own = x.narrow(2, 0, width - self.features);
        let now = x.narrow(2, width - self.features, self.features);
        let before = Tensor::cat(&[last.unsqueeze(0), now.narrow(0, 0, time - 1)], 0);
        let before = before * resets.kept(x.kind(), x.device());
        let before = match &self.embedder {
            Some((layer, activation)) => activation.of(layer.forward(&before)),
            None => before,
        };
        (Tensor::cat(&[own, before], 2), now)
    }

    /// State after the frames whose features are `now`.
    fn after(state: CoreState, now: &Tensor) -> CoreState {
        Self::join(state, now.get(-1))
    }
}

impl Memory for PreviousObservation {
    fn outputs(&self) -> i64 {
        self.inner.outputs()
    }

    /// True if the memory below travels, or there is none.
    fn exports_state(&self) -> bool {
        self.inner.exports_state() || self.inner.initial_state(1).tensors().is_empty()
    }

    fn initial_state(&self, batch: i64) -> CoreState {
        let last = Tensor::zeros([batch, self.features], self.options);
        Self::join(self.inner.initial_state(batch), last)
    }

    fn step(&self, x: &Tensor, state: &CoreState, resets: &Resets) -> (Tensor, CoreState) {
        let (state, last) = self.split(state);
        let (x, now) = self.feed(&x.unsqueeze(0), &last, resets);
        let (y, state) = self.inner.step(&x.get(0), &state, resets);
        (y, Self::after(state, &now))
    }

    fn unroll(&self, x: &Tensor, state: &CoreState, resets: &Resets) -> (Tensor, CoreState) {
        let (state, last) = self.split(state);
        let (x, now) = self.feed(x, &last, resets);
        let (y, state) = self.inner.unroll(&x, &state, resets);
        (y, Self::after(state, &now))
    }

    fn initial_sensitivities(&self, batch: i64) -> Sensitivities {
        self.inner.initial_sensitivities(batch)
    }

    fn unroll_streams(
        &self,
        x: &Tensor,
        state: &CoreState,
        resets: &Resets,
    ) -> (Tensor, CoreState, Vec<SensitivityUpdate>) {
        let (state, last) = self.split(state);
        let (x, now) = self.feed(x, &last, resets);
        let (y, state, updates) = self.inner.unroll_streams(&x, &state, resets);
        let shared = now.size()[0] - 1;
        (y, Self::after(state, &now.narrow(0, 0, shared)), updates)
    }

    fn update_sensitivities(
        &self,
        sensitivities: &Sensitivities,
        updates: Vec<SensitivityUpdate>,
        errors: Option<&StateGradient>,
    ) -> Option<Tensor> {
        let below = errors.map(|errors| {
            let (_, below) = errors.tensors().split_last().expect("that of the features");
            StateGradient::new(below.iter().map(Tensor::shallow_clone).collect())
        });
        self.inner.update_sensitivities(sensitivities, updates, below.as_ref())
    }

    fn constrain(&self) {
        self.inner.constrain();
    }

    fn set_dropout(&mut self, seed: Option<Seed>) {
        self.inner.set_dropout(seed);
    }
}
