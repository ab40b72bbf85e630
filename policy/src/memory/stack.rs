//! Layers of any kind, one after another.

use engram_mdp::Seed;
use tch::Tensor;

use super::{Advance, Memory};
use crate::config::MemoryConfig;
use crate::parameters::Parameters;
use crate::resets::Resets;
use crate::state::CoreState;

/// Several layers; the state of all of them is theirs, one after another.
pub(crate) struct Stack {
    layers: Vec<Box<dyn Memory>>,
}

impl Stack {
    pub(crate) fn new(
        mut inputs: i64,
        configs: &[MemoryConfig],
        name: &str,
        p: &mut Parameters,
    ) -> Self {
        let mut layers = Vec::with_capacity(configs.len());
        for (i, config) in configs.iter().enumerate() {
            let layer = super::build(config, inputs, &format!("{name}.{i}"), p);
            inputs = layer.outputs();
            layers.push(layer);
        }
        Stack { layers }
    }

    /// All layers' states or sensitivities in one.
    fn initial(&self, batch: i64, of: impl Fn(&dyn Memory) -> CoreState) -> CoreState {
        CoreState::join(batch, self.layers.iter().map(|layer| of(&**layer)).collect())
    }

    /// Each layer's part of what [`initial`](Self::initial) joined.
    fn parts(&self, whole: &CoreState, of: impl Fn(&dyn Memory) -> CoreState) -> Vec<CoreState> {
        whole.split(self.layers.iter().map(|layer| of(&**layer).tensors().len()))
    }

    fn states(&self, state: &CoreState) -> Vec<CoreState> {
        self.parts(state, |layer| layer.initial_state(1))
    }
}

impl Memory for Stack {
    fn outputs(&self) -> i64 {
        self.layers.last().expect("a stack has layers").outputs()
    }

    /// Where one layer's state is large, all stay at home: a trajectory brings all or nothing.
    fn exports_state(&self) -> bool {
        let remembers = |layer: &dyn Memory| !layer.initial_state(1).tensors().is_empty();
        let mut remembering = self.layers.iter().filter(|layer| remembers(&***layer)).peekable();
        remembering.peek().is_some() && remembering.all(|layer| layer.exports_state())
    }

    fn initial_state(&self, batch: i64) -> CoreState {
        self.initial(batch, |layer| layer.initial_state(batch))
    }

    fn step(&self, x: &Tensor, state: &CoreState, resets: &Resets) -> (Tensor, CoreState) {
        let mut y = x.shallow_clone();
        let mut after = Vec::with_capacity(self.layers.len());
        for (layer, before) in self.layers.iter().zip(self.states(state)) {
            let (output, state) = layer.step(&y, &before, resets);
            after.push(state);
            y = output;
        }
        (y, CoreState::join(state.batch(), after))
    }

    fn unroll(&self, x: &Tensor, state: &CoreState, resets: &Resets) -> (Tensor, CoreState) {
        let mut y = x.shallow_clone();
        let mut after = Vec::with_capacity(self.layers.len());
        for (layer, before) in self.layers.iter().zip(self.states(state)) {
            let (output, state) = layer.unroll(&y, &before, resets);
            after.push(state);
            y = output;
        }
        (y, CoreState::join(state.batch(), after))
    }

    fn initial_sensitivities(&self, batch: i64) -> CoreState {
        self.initial(batch, |layer| layer.initial_sensitivities(batch))
    }

    fn unroll_in_real_time(
        &self,
        x: &Tensor,
        state: &CoreState,
        resets: &Resets,
    ) -> (Tensor, CoreState, Vec<Advance>) {
        let mut y = x.shallow_clone();
        let (mut states, mut advances) = (Vec::new(), Vec::new());
        for (layer, before) in self.layers.iter().zip(self.states(state)) {
            let (output, after, of_layer) = layer.unroll_in_real_time(&y, &before, resets);
            states.push(after);
            advances.extend(of_layer);
            y = output;
        }
        (y, CoreState::join(state.batch(), states), advances)
    }

    fn advance(
        &self,
        sensitivities: &CoreState,
        advances: Vec<Advance>,
        errors: Option<&CoreState>,
    ) -> Option<Tensor> {
        let parts = self.parts(sensitivities, |layer| layer.initial_sensitivities(1));
        let mut errors = errors.map(|errors| self.states(errors).into_iter());
        let mut advances = advances.into_iter();
        let mut losses = Vec::new();
        for (layer, part) in self.layers.iter().zip(parts) {
            let errors = errors.as_mut().map(|errors| errors.next().expect("a part per layer"));
            let advances = advances.by_ref().take(part.tensors().len()).collect();
            losses.extend(layer.advance(&part, advances, errors.as_ref()));
        }
        losses.into_iter().reduce(|sum, loss| sum + loss)
    }

    fn set_dropout(&mut self, seed: Option<Seed>) {
        for (i, layer) in self.layers.iter_mut().enumerate() {
            layer.set_dropout(seed.map(|seed| seed.derive("layer", i as u64)));
        }
    }
}
