//! Spec of an environment: its observations and actions.

use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The largest observation that a spec may announce, in bytes.
pub const MAX_OBSERVATION_BYTES: usize = 4 << 20;

/// The most observations that are stacked.
pub const MAX_FRAME_STACK: u32 = 64;

/// The largest number of discrete actions, and of continuous action dimensions.
pub const MAX_ACTIONS: usize = 4096;

/// The type of the numbers in an observation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dtype {
    /// Bytes, as in images; networks divide them by 255.
    U8,
    /// 32-bit floats, little-endian on the wire.
    F32,
}

impl Dtype {
    /// Bytes that one number takes.
    pub fn size(self) -> usize {
        match self {
            Dtype::U8 => 1,
            Dtype::F32 => 4,
        }
    }
}

/// The shape and type of one observation.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ObservationSpec {
    /// The type of its numbers.
    pub dtype: Dtype,
    /// Its shape; images are `[channels, height, width]`.
    pub shape: Vec<usize>,
}

impl ObservationSpec {
    /// Numbers in one observation.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// True if an observation holds no number at all; never for a checked spec.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of one observation.
    pub fn bytes(&self) -> usize {
        self.len() * self.dtype.size()
    }
}

/// Action space.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum ActionSpec {
    /// One of `count` actions, numbered from zero.
    Discrete {
        /// Number of actions.
        count: usize,
    },
    /// A vector in `[-1, 1]^dimensions`; the environment rescales it.
    Continuous {
        /// The length of the vector.
        dimensions: usize,
    },
}

impl ActionSpec {
    /// Numbers that one action takes: 1 when discrete, its dimensions when continuous.
    pub fn len(self) -> usize {
        match self {
            ActionSpec::Discrete { .. } => 1,
            ActionSpec::Continuous { dimensions } => dimensions,
        }
    }

    /// Numbers in which a network sees or describes an action: one per action when discrete, one
    /// per dimension when continuous.
    pub fn width(self) -> usize {
        match self {
            ActionSpec::Discrete { count } => count,
            ActionSpec::Continuous { dimensions } => dimensions,
        }
    }

    /// True if an action holds no number at all; never for a checked spec.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }
}

/// Spec of an environment, as actors announce it and everybody else trusts it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnvSpec {
    /// The environment's name in the registry, with the parameters that change what is seen.
    pub name: String,
    /// Observation of one frame.
    pub observation: ObservationSpec,
    /// Observations that a policy is shown side by side, along their first dimension, the oldest
    /// first; 1: the present one alone. Actors send that one only. Before an episode's first
    /// observation stand copies of it.
    #[serde(default = "one")]
    pub frame_stack: u32,
    /// Space of one decision.
    pub action: ActionSpec,
    /// Emulator frames per env step; 1 where the environment knows no such thing.
    pub action_repeat: u32,
}

/// Reason why a spec cannot be worked with.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SpecError {
    /// The environment has no name.
    #[error("the environment's name is empty")]
    Nameless,
    /// The observation's shape is empty, holds a zero, or is too large.
    #[error(
        "observation shape {shape:?} takes {bytes} bytes; it must take between 1 and \
         {MAX_OBSERVATION_BYTES}"
    )]
    Observation {
        /// The shape as announced.
        shape: Vec<usize>,
        /// The bytes one observation would take.
        bytes: usize,
    },
    /// The number of actions is zero or too large.
    #[error("the action space has {count} actions or dimensions; it must have 1 to {MAX_ACTIONS}")]
    Action {
        /// The number as announced.
        count: usize,
    },
    /// There are no observations side by side, or too many.
    #[error("frame_stack is {count}; it must be 1 to {MAX_FRAME_STACK}")]
    FrameStack {
        /// The number as announced.
        count: u32,
    },
    /// The action repeat is zero.
    #[error("action_repeat is 0; it must be at least 1")]
    ActionRepeat,
}

/// The frame stack of a spec that tells of none.
fn one() -> u32 {
    1
}

impl EnvSpec {
    /// Observation of a frame as a policy sees it: the frame's own, or as many as are stacked.
    pub fn stacked_observation(&self) -> ObservationSpec {
        let ObservationSpec { dtype, mut shape } = self.observation.clone();
        shape[0] *= self.frame_stack as usize;
        ObservationSpec { dtype, shape }
    }

    /// Checks that everything announced can be worked with.
    pub fn checked(self) -> Result<Self, SpecError> {
        if self.name.is_empty() {
            return Err(SpecError::Nameless);
        }
        if !(1..=MAX_FRAME_STACK).contains(&self.frame_stack) {
            return Err(SpecError::FrameStack { count: self.frame_stack });
        }
        let shape = &self.observation.shape;
        let bytes = shape
            .iter()
            .try_fold(self.observation.dtype.size(), |product, &side| product.checked_mul(side))
            .unwrap_or(usize::MAX);
        if shape.is_empty() || bytes == 0 || bytes > MAX_OBSERVATION_BYTES {
            return Err(SpecError::Observation { shape: shape.clone(), bytes });
        }
        let count = match self.action {
            ActionSpec::Discrete { count } => count,
            ActionSpec::Continuous { dimensions } => dimensions,
        };
        if count == 0 || count > MAX_ACTIONS {
            return Err(SpecError::Action { count });
        }
        if self.action_repeat == 0 {
            return Err(SpecError::ActionRepeat);
        }
        Ok(self)
    }
}

impl fmt::Display for ObservationSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dtype = match self.dtype {
            Dtype::U8 => "u8",
            Dtype::F32 => "f32",
        };
        write!(f, "{dtype}{:?} observations", self.shape)
    }
}

impl fmt::Display for ActionSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ActionSpec::Discrete { count } => write!(f, "{count} discrete actions"),
            ActionSpec::Continuous { dimensions } => {
                write!(f, "{dimensions}-dimensional continuous actions")
            }
        }
    }
}

impl fmt::Display for EnvSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.observation)?;
        if self.frame_stack > 1 {
            write!(f, ", {} of them stacked", self.frame_stack)?;
        }
        write!(f, ", {}", self.action)?;
        match self.action_repeat {
            1 => Ok(()),
            repeat => write!(f, ", action repeat {repeat}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> EnvSpec {
        EnvSpec {
            name: "recall".into(),
            observation: ObservationSpec { dtype: Dtype::F32, shape: vec![6] },
            frame_stack: 1,
            action: ActionSpec::Discrete { count: 4 },
            action_repeat: 1,
        }
    }

    #[test]
    fn a_spec_reads_like_a_sentence() {
        assert_eq!(spec().to_string(), "recall: f32[6] observations, 4 discrete actions");
        let text = EnvSpec { frame_stack: 4, ..spec() }.to_string();
        assert_eq!(text, "recall: f32[6] observations, 4 of them stacked, 4 discrete actions");
    }

    #[test]
    fn a_policy_is_shown_stacked_observations() {
        let mut pictures = EnvSpec { frame_stack: 4, ..spec() };
        pictures.observation.shape = vec![3, 84, 84];
        assert_eq!(pictures.stacked_observation().shape, [12, 84, 84]);
        assert_eq!(spec().stacked_observation(), spec().observation);
        for count in [0, 65] {
            let refused = EnvSpec { frame_stack: count, ..spec() }.checked();
            assert_eq!(refused, Err(SpecError::FrameStack { count }));
        }
    }

    #[test]
    fn a_shape_whose_product_overflows_is_refused() {
        let mut huge = spec();
        huge.observation.shape = vec![usize::MAX, usize::MAX];
        assert!(matches!(huge.checked(), Err(SpecError::Observation { .. })));
    }

    #[test]
    fn empty_spaces_are_refused() {
        let mut no_actions = spec();
        no_actions.action = ActionSpec::Continuous { dimensions: 0 };
        assert_eq!(no_actions.checked(), Err(SpecError::Action { count: 0 }));
        let mut no_observation = spec();
        no_observation.observation.shape = vec![3, 0];
        assert!(no_observation.checked().is_err());
        assert!(spec().checked().is_ok());
    }
}
