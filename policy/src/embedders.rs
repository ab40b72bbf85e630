//! Embedders: a linear layer and its activation for each of the memory's inputs, before these stand
//! side by side (Ni et al. 2023, <https://arxiv.org/abs/2307.03864>).
//!
//! Without one, an input goes in as it is. One-hot actions and rewards are few numbers beside a
//! torso's features; behind an embedder they have as much to say as its width.

use tch::Tensor;

use crate::config::{EmbedConfig, MemoryInput};
use crate::mlp::{Activation, Linear};
use crate::parameters::Parameters;

/// Embedders of one network.
pub(crate) struct Embedders {
    observation: Option<Linear>,
    previous_observation: Option<Linear>,
    previous_action: Option<Linear>,
    previous_reward: Option<Linear>,
    activation: Activation,
}

impl Embedders {
    /// Those of `config`, or none, for so many `features` of the torso and numbers of an `action`.
    pub(crate) fn new(
        config: Option<&EmbedConfig>,
        features: i64,
        action: i64,
        p: &mut Parameters,
    ) -> Self {
        let Some(config) = config else {
            return Embedders {
                observation: None,
                previous_observation: None,
                previous_action: None,
                previous_reward: None,
                activation: Activation::Identity,
            };
        };
        let mut layer = |name: &str, inputs, width: Option<i64>| {
            width.map(|width| Linear::new(p, &format!("embed.{name}"), inputs, width, config.init))
        };
        Embedders {
            observation: layer("observation", features, config.observation),
            previous_observation: layer(
                "previous_observation",
                features,
                config.previous_observation,
            ),
            previous_action: layer("previous_action", action, config.previous_action),
            previous_reward: layer("previous_reward", 1, config.previous_reward),
            activation: config.activation,
        }
    }

    /// The memory's share of `input`, `[N, D]`, which is `x` before.
    pub(crate) fn forward(&self, input: MemoryInput, x: Tensor) -> Tensor {
        match self.layer(input) {
            Some(layer) => self.activation.of(layer.forward(&x)),
            None => x,
        }
    }

    /// D: numbers that the memory is fed of `input`, which are `numbers` before.
    pub(crate) fn outputs(&self, input: MemoryInput, numbers: i64) -> i64 {
        self.layer(input).map_or(numbers, |layer| layer.bias.size()[0])
    }

    /// The layer of the frame before and its activation, which belong to whoever remembers it.
    pub(crate) fn take_previous(&mut self) -> Option<(Linear, Activation)> {
        self.previous_observation.take().map(|layer| (layer, self.activation))
    }

    fn layer(&self, input: MemoryInput) -> Option<&Linear> {
        match input {
            MemoryInput::Observation => self.observation.as_ref(),
            MemoryInput::PreviousObservation => self.previous_observation.as_ref(),
            MemoryInput::PreviousAction => self.previous_action.as_ref(),
            MemoryInput::PreviousReward | MemoryInput::ClippedPreviousReward => {
                self.previous_reward.as_ref()
            }
        }
    }
}
