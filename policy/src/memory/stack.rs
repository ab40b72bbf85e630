//! Layers of any kind, one after another.

use engram_mdp::Seed;
use serde::{Deserialize, Serialize};
use tch::Tensor;

use super::rtrl::Gradient;
use super::{
    BuiltMemory, LayerConfig, Memory, MemoryConfig, Sensitivities, SensitivityUpdate, StateGradient,
};
use crate::error::PolicyError;
use crate::parameters::Parameters;
use crate::range::in_range;
use crate::resets::Resets;
use crate::state::CoreState;

/// Layers of any kind, one after another.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StackConfig {
    /// From the one that sees the features to the one that the heads see.
    pub layers: Vec<MemoryConfig>,
}

impl LayerConfig for StackConfig {
    /// In a stack, only the layer on top can have an exact gradient: what a lower one did before the
    /// unroll lives on in the states of those above it, of which it keeps no sensitivities.
    fn validate(&self) -> Result<(), PolicyError> {
        let layers = &self.layers;
        in_range("number of memory.layers", layers.len() as i64, 64)?;
        for layer in layers {
            if matches!(layer, MemoryConfig::Stack(_)) {
                let expected = "one list of layers, without stacks inside".into();
                let found = "a stack in a stack".into();
                return Err(PolicyError::Config { key: "memory.layers", found, expected });
            }
            layer.validate()?;
        }
        let below = &layers[..layers.len() - 1];
        if let Some(at) = below.iter().position(|layer| layer.gradient() == Gradient::Rtrl) {
            return Err(PolicyError::Config {
                key: "memory.layers.gradient",
                found: format!("\"rtrl\" in layer {at} of {}", layers.len()),
                expected: "\"tbptt\" in every layer but the last: below another layer, real-time \
                           recurrent learning would not be exact"
                    .into(),
            });
        }
        Ok(())
    }

    fn build(&self, inputs: i64, name: &str, p: &mut Parameters) -> BuiltMemory {
        Ok(Box::new(Stack::new(self, inputs, name, p)?))
    }

    fn gradient(&self) -> Gradient {
        self.layers.last().map_or(Gradient::Tbptt, MemoryConfig::gradient)
    }

    /// The first example of each of its layers, one above another.
    fn examples(&self, width: i64) -> Vec<MemoryConfig> {
        let example = |layer: &MemoryConfig| {
            let example = layer.examples(width).swap_remove(0);
            example.with_gradient(layer.gradient()).unwrap_or(example)
        };
        let layers: Vec<_> = self.layers.iter().map(example).collect();
        vec![MemoryConfig::Stack(StackConfig { layers })]
    }
}

/// Several layers; the state of all of them is theirs, one after another.
pub(crate) struct Stack {
    layers: Vec<Box<dyn Memory>>,
}

impl Stack {
    fn new(
        config: &StackConfig,
        mut inputs: i64,
        name: &str,
        p: &mut Parameters,
    ) -> Result<Self, PolicyError> {
        let mut layers = Vec::with_capacity(config.layers.len());
        for (i, config) in config.layers.iter().enumerate() {
            let layer = config.build(inputs, &format!("{name}.{i}"), p)?;
            inputs = layer.outputs();
            layers.push(layer);
        }
        Ok(Stack { layers })
    }

    /// Each layer's tensors among those of a state, or of what goes with one.
    fn states(&self, tensors: &[Tensor]) -> Vec<Vec<Tensor>> {
        split(tensors, self.layers.iter().map(|layer| layer.initial_state(1).tensors().len()))
    }

    /// `run` of every layer in turn, from the outputs of the one below; the last outputs, and the
    /// state of all layers.
    fn through(
        &self,
        x: &Tensor,
        state: &CoreState,
        mut run: impl FnMut(&dyn Memory, &Tensor, &CoreState) -> (Tensor, CoreState),
    ) -> (Tensor, CoreState) {
        let (batch, mut y) = (state.batch(), x.shallow_clone());
        let mut after = Vec::with_capacity(state.tensors().len());
        for (layer, before) in self.layers.iter().zip(self.states(state.tensors())) {
            let (output, state) = run(&**layer, &y, &CoreState::new(batch, before));
            after.extend(state.into_tensors());
            y = output;
        }
        (y, CoreState::new(batch, after))
    }
}

/// Parts of `tensors` that have so many tensors each.
fn split(tensors: &[Tensor], counts: impl Iterator<Item = usize>) -> Vec<Vec<Tensor>> {
    let mut rest = tensors;
    let parts = counts
        .map(|count| {
            let part;
            (part, rest) = rest.split_at(count);
            part.iter().map(Tensor::shallow_clone).collect()
        })
        .collect();
    assert!(rest.is_empty(), "every tensor belongs to a part");
    parts
}

impl Memory for Stack {
    fn outputs(&self) -> i64 {
        self.layers.last().expect("a stack has layers").outputs()
    }

    /// True if every layer's state travels: a trajectory brings all or nothing.
    fn exports_state(&self) -> bool {
        let remembers = |layer: &dyn Memory| !layer.initial_state(1).tensors().is_empty();
        let mut remembering = self.layers.iter().filter(|layer| remembers(&***layer)).peekable();
        remembering.peek().is_some() && remembering.all(|layer| layer.exports_state())
    }

    fn initial_state(&self, batch: i64) -> CoreState {
        let states = self.layers.iter().map(|layer| layer.initial_state(batch));
        CoreState::new(batch, states.flat_map(CoreState::into_tensors).collect())
    }

    fn step(&self, x: &Tensor, state: &CoreState, resets: &Resets) -> (Tensor, CoreState) {
        self.through(x, state, |layer, x, state| layer.step(x, state, resets))
    }

    fn unroll(&self, x: &Tensor, state: &CoreState, resets: &Resets) -> (Tensor, CoreState) {
        self.through(x, state, |layer, x, state| layer.unroll(x, state, resets))
    }

    fn initial_sensitivities(&self, batch: i64) -> Sensitivities {
        let parts = self.layers.iter().map(|layer| layer.initial_sensitivities(batch));
        Sensitivities::new(parts.flat_map(Sensitivities::into_tensors).collect())
    }

    fn unroll_streams(
        &self,
        x: &Tensor,
        state: &CoreState,
        resets: &Resets,
    ) -> (Tensor, CoreState, Vec<SensitivityUpdate>) {
        let mut updates = Vec::new();
        let (y, state) = self.through(x, state, |layer, x, state| {
            let (y, state, of_layer) = layer.unroll_streams(x, state, resets);
            updates.extend(of_layer);
            (y, state)
        });
        (y, state, updates)
    }

    fn update_sensitivities(
        &self,
        sensitivities: &Sensitivities,
        updates: Vec<SensitivityUpdate>,
        errors: Option<&StateGradient>,
    ) -> Option<Tensor> {
        let counts = self.layers.iter().map(|layer| layer.initial_sensitivities(1).tensors().len());
        let parts = split(sensitivities.tensors(), counts);
        let mut errors = errors.map(|errors| self.states(errors.tensors()).into_iter());
        let mut updates = updates.into_iter();
        let mut losses = Vec::new();
        for (layer, part) in self.layers.iter().zip(parts) {
            let errors = errors.as_mut().map(|errors| errors.next().expect("a part per layer"));
            let errors = errors.map(StateGradient::new);
            let updates = updates.by_ref().take(part.len()).collect();
            let part = Sensitivities::new(part);
            losses.extend(layer.update_sensitivities(&part, updates, errors.as_ref()));
        }
        losses.into_iter().reduce(|sum, loss| sum + loss)
    }

    fn constrain(&self) {
        self.layers.iter().for_each(|layer| layer.constrain());
    }

    fn set_dropout(&mut self, seed: Option<Seed>) {
        for (i, layer) in self.layers.iter_mut().enumerate() {
            layer.set_dropout(seed.map(|seed| seed.derive("layer", i as u64)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::elstm::ElstmConfig;

    fn elstm(gradient: Gradient) -> MemoryConfig {
        MemoryConfig::Elstm(ElstmConfig { hidden: 8, gradient, forget_bias: 0.0 })
    }

    #[test]
    fn rtrl_is_refused_where_it_would_not_be_exact() {
        let (exact, truncated) = (elstm(Gradient::Rtrl), elstm(Gradient::Tbptt));
        let stack = |layers: &[&MemoryConfig]| StackConfig {
            layers: layers.iter().map(|&layer| layer.clone()).collect(),
        };
        assert!(stack(&[&truncated, &exact]).validate().is_ok());
        assert!(stack(&[&truncated, &truncated]).validate().is_ok());
        let message = stack(&[&exact, &truncated]).validate().unwrap_err().to_string();
        assert!(message.contains("layer 0 of 2") && message.contains("exact"), "{message}");
    }
}
