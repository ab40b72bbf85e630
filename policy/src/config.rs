//! The `[seq]` part of an experiment: the sequence model.
//!
//! Nothing has a default: two experiments differ exactly where their files differ. Memory layers
//! have their settings in their own files, see `memory`.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::error::PolicyError;
use crate::initialization::Initialization;
use crate::memory::MemoryConfig;
pub use crate::mlp::Activation;
use crate::normalize::Norm;
pub use crate::range::MAX_WIDTH;
use crate::range::in_range;

/// A sequence model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyConfig {
    /// Inputs of the memory, each at most once; the observation is always among them.
    pub inputs: Vec<MemoryInput>,
    /// Turns an observation into features.
    pub torso: TorsoConfig,
    /// Layers of their own for the memory's inputs; if not given they go in as they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub embed: Option<EmbedConfig>,
    /// Remembers.
    pub memory: MemoryConfig,
    /// Way of the observation around the memory; none if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skip: Option<SkipConfig>,
    /// Turns what is remembered into actions and values.
    pub head: HeadConfig,
}

/// One of the things that a memory may be fed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MemoryInput {
    /// The torso's features.
    Observation,
    /// Those of the frame before; zeros at First frames.
    PreviousObservation,
    /// The action that led here: one-hot when discrete, as it is when continuous, zeros at First
    /// frames.
    PreviousAction,
    /// The reward that came with it, as the environment gave it; zero at First frames.
    PreviousReward,
    /// That reward within ±1, as Espeholt et al. 2018 feed it, <https://arxiv.org/abs/1802.01561>.
    ClippedPreviousReward,
}

/// From an observation to features. Bytes are divided by 255 first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "snake_case", deny_unknown_fields)]
pub enum TorsoConfig {
    /// The observation itself, flat.
    Identity {},
    /// Fully connected layers, each followed by the activation. Images are flattened.
    Mlp {
        /// Their widths.
        hidden: Vec<i64>,
        /// Activation behind each of them.
        activation: Activation,
        /// Start of them.
        init: Initialization,
        /// Normalization between each layer and its activation; none if not given.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        norm: Option<Norm>,
    },
    /// Convolutions, each followed by a ReLU, then one linear layer without activation: the small
    /// network of Ni et al. 2023, <https://arxiv.org/abs/2307.03864>. Needs observations of shape
    /// `[channels, height, width]`.
    Cnn {
        /// The convolutions, without padding.
        convolutions: Vec<Convolution>,
        /// The width of the linear layer.
        features: i64,
        /// Start of all layers.
        init: Initialization,
        /// Layers behind the linear one; none if not given.
        #[serde(default, skip_serializing_if = "CnnOutput::is_linear")]
        output: CnnOutput,
        /// True for bfloat16, where the device has it; false if not given.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        bf16: bool,
    },
    /// The deep residual network of Espeholt et al. 2018, figure 3,
    /// <https://arxiv.org/abs/1802.01561>: sections of a convolution, a pooling that halves the
    /// image's sides and two residual blocks, then ReLU, a linear layer and ReLU. Needs
    /// observations of shape `[channels, height, width]`.
    ImpalaResnet {
        /// Channels of each section; the paper's are 16, 32 and 32.
        channels: Vec<i64>,
        /// The width of the linear layer.
        features: i64,
        /// Start of all layers.
        init: Initialization,
        /// True for bfloat16, where the device has it; false if not given.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        bf16: bool,
    },
}

/// Layers behind the linear one of convolutions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CnnOutput {
    /// Nothing.
    #[default]
    Linear,
    /// A ReLU, as behind every other layer (Mnih et al. 2015, <https://doi.org/10.1038/nature14236>).
    Relu,
    /// Layer normalization, then tanh, as SAC from pixels has it (Yarats et al. 2021,
    /// <https://arxiv.org/abs/1910.01741>).
    LayerNormTanh,
}

impl CnnOutput {
    #[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
    fn is_linear(&self) -> bool {
        *self == CnnOutput::Linear
    }
}

/// Layers between the memory's inputs and the memory. An input that is not named goes in as it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EmbedConfig {
    /// The width of the layer behind the torso.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observation: Option<i64>,
    /// The width of the layer behind the torso's features of the frame before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous_observation: Option<i64>,
    /// The width of the previous action's layer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous_action: Option<i64>,
    /// The width of the previous reward's layer, clipped or not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous_reward: Option<i64>,
    /// Activation behind each of them.
    pub activation: Activation,
    /// Start of them.
    pub init: Initialization,
}

/// Skip connection: heads see the observation beside what is remembered.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SkipConfig {
    /// The width of the linear layer, without activation, behind the torso.
    pub observation: i64,
    /// Start of it.
    pub init: Initialization,
}

/// One convolution, without padding.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Convolution {
    /// Output channels.
    pub channels: i64,
    /// Side of the square kernel.
    pub kernel: i64,
    /// Step between its places.
    pub stride: i64,
}

/// The policy's and the value's heads: fully connected layers of their own, then a linear one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeadConfig {
    /// Widths of the hidden layers; may be empty.
    pub hidden: Vec<i64>,
    /// Activation behind each of them.
    pub activation: Activation,
    /// The width of a linear layer, without activation, between an action that is a vector and the
    /// critics that value it; if not given they see it as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<i64>,
    /// Start of their layers.
    pub init: HeadInit,
}

/// Start of the heads' layers.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeadInit {
    /// Start of the hidden layers.
    pub hidden: Initialization,
    /// Start of the policy's last layer: the smaller, the nearer to equally likely are actions.
    pub policy: Initialization,
    /// Start of the last layer of the frames' value.
    pub value: Initialization,
    /// Start of the last layer of the actions' values: near zero, a network that has seen nothing
    /// prefers nothing.
    pub action_values: Initialization,
}

impl HeadInit {
    /// PyTorch's start, and values of actions near zero, as Lillicrap et al. 2015 have them,
    /// <https://arxiv.org/abs/1509.02971>.
    pub const FAN_IN: HeadInit = HeadInit {
        hidden: Initialization::FAN_IN,
        policy: Initialization::FAN_IN,
        value: Initialization::FAN_IN,
        action_values: Initialization::Uniform { bound: 3e-3 },
    };

    fn validate(self) -> Result<(), PolicyError> {
        self.hidden.validate("head.init.hidden")?;
        self.policy.validate("head.init.policy")?;
        self.value.validate("head.init.value")?;
        self.action_values.validate("head.init.action_values")
    }
}

impl PolicyConfig {
    /// True if the memory is fed `input`.
    pub fn sees(&self, input: MemoryInput) -> bool {
        self.inputs.contains(&input)
    }

    /// Note on what `memory.gradient = "rtrl"` leaves truncated; `None` where nothing asks for it.
    pub fn truncation(&self) -> Option<String> {
        self.memory.truncation(match self.embed {
            None => "the torso",
            Some(_) => "the torso and the embedders",
        })
    }

    /// Checks everything that needs no environment to be known.
    pub fn validate(&self) -> Result<(), PolicyError> {
        let repeated = self.inputs.iter().enumerate().any(|(i, x)| self.inputs[..i].contains(x));
        if repeated || !self.sees(MemoryInput::Observation) {
            return Err(PolicyError::Config {
                key: "inputs",
                found: format!("{:?}", self.inputs),
                expected: "a list with \"observation\", and without repetition".into(),
            });
        }
        let rewards = [MemoryInput::PreviousReward, MemoryInput::ClippedPreviousReward];
        if rewards.iter().all(|&reward| self.sees(reward)) {
            return Err(PolicyError::Config {
                key: "inputs",
                found: format!("{:?}", self.inputs),
                expected: "a list with one of \"previous_reward\" and \
                           \"clipped_previous_reward\", not both"
                    .into(),
            });
        }
        self.torso.validate()?;
        self.embed.as_ref().map_or(Ok(()), |embed| embed.validate(&self.inputs))?;
        self.memory.validate()?;
        if let Some(SkipConfig { observation, init }) = self.skip {
            init.validate("skip.init")?;
            in_range("skip.observation", observation, MAX_WIDTH)?;
        }
        self.head.init.validate()?;
        self.head.action.map_or(Ok(()), |width| in_range("head.action", width, MAX_WIDTH))?;
        self.head.hidden.iter().try_for_each(|&width| in_range("head.hidden", width, MAX_WIDTH))
    }
}

/// One line of JSON.
impl fmt::Display for PolicyConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&serde_json::to_string(self).expect("a configuration is JSON"))
    }
}

impl TorsoConfig {
    /// Side of the smallest square image that it takes, 1 where it takes any.
    pub fn least_side(&self) -> usize {
        let TorsoConfig::Cnn { convolutions, .. } = self else { return 1 };
        let before = |side: i64, of: &Convolution| (side - 1) * of.stride + of.kernel;
        convolutions.iter().rev().fold(1, before) as usize
    }

    /// The same network without bfloat16, to be compared with another program or device.
    pub fn in_single_precision(mut self) -> Self {
        if let TorsoConfig::Cnn { bf16, .. } | TorsoConfig::ImpalaResnet { bf16, .. } = &mut self {
            *bf16 = false;
        }
        self
    }

    fn validate(&self) -> Result<(), PolicyError> {
        match self {
            TorsoConfig::Identity {} => Ok(()),
            TorsoConfig::Mlp { hidden, activation: _, init, norm: _ } => {
                init.validate("torso.init")?;
                in_range("number of torso.hidden", hidden.len() as i64, 64)?;
                hidden.iter().try_for_each(|&width| in_range("torso.hidden", width, MAX_WIDTH))
            }
            TorsoConfig::Cnn { convolutions, features, init, output: _, bf16: _ } => {
                init.validate("torso.init")?;
                in_range("number of torso.convolutions", convolutions.len() as i64, 64)?;
                for convolution in convolutions {
                    in_range("torso.convolutions.channels", convolution.channels, MAX_WIDTH)?;
                    in_range("torso.convolutions.kernel", convolution.kernel, 64)?;
                    in_range("torso.convolutions.stride", convolution.stride, 64)?;
                }
                in_range("torso.features", *features, MAX_WIDTH)
            }
            TorsoConfig::ImpalaResnet { channels, features, init, bf16: _ } => {
                init.validate("torso.init")?;
                in_range("number of torso.channels", channels.len() as i64, 16)?;
                for &channels in channels {
                    in_range("torso.channels", channels, MAX_WIDTH)?;
                }
                in_range("torso.features", *features, MAX_WIDTH)
            }
        }
    }
}

impl EmbedConfig {
    /// Checks it for a memory that is fed `inputs`.
    fn validate(&self, inputs: &[MemoryInput]) -> Result<(), PolicyError> {
        self.init.validate("embed.init")?;
        let EmbedConfig { observation, previous_action, previous_reward, .. } = *self;
        let [before, action, reward] = [
            &[MemoryInput::PreviousObservation][..],
            &[MemoryInput::PreviousAction],
            &[MemoryInput::PreviousReward, MemoryInput::ClippedPreviousReward],
        ]
        .map(|fed| fed.iter().any(|input| inputs.contains(input)));
        let layers = [
            ("embed.observation", observation, true, ""),
            (
                "embed.previous_observation",
                self.previous_observation,
                before,
                "\"previous_observation\"",
            ),
            ("embed.previous_action", previous_action, action, "\"previous_action\""),
            (
                "embed.previous_reward",
                previous_reward,
                reward,
                "\"previous_reward\" or \"clipped_previous_reward\"",
            ),
        ];
        for (key, width, is_fed, input) in layers {
            let Some(width) = width else { continue };
            in_range(key, width, MAX_WIDTH)?;
            if !is_fed {
                let expected = format!("left out, or {input} be one of `inputs`");
                return Err(PolicyError::Config { key, found: width.to_string(), expected });
            }
        }
        if layers.iter().all(|(_, width, ..)| width.is_none()) {
            return Err(PolicyError::Config {
                key: "embed",
                found: "without any width".into(),
                expected: "left out, or have one of observation, \
                           previous_observation, previous_action and previous_reward"
                    .into(),
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
