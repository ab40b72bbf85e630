//! Inputs of a policy: raw frames as tensors, the same for stepping and for unrolling.

use engram_mdp::{ActionSpec, Actions, EnvSpec, Frames, Observations};
use tch::{Device, Tensor};

use crate::resets::Resets;

/// Frames: of B environments at one moment, `[..]` = `[B]`, or at T moments, `[..]` = `[T, B]`.
#[derive(Debug)]
pub struct Inputs {
    /// Raw observations `[.., O..]`, u8 or f32 as the spec says.
    pub observation: Tensor,
    /// The action that led to each frame: i64 `[..]` when discrete, else f32 `[.., A]`; zero at
    /// First frames.
    pub previous_action: Tensor,
    /// The reward that came with it, f32 `[..]`; zero at First frames.
    pub previous_reward: Tensor,
    /// True where the frame is First, bool `[..]`.
    pub is_first: Tensor,
    /// First frames, on the CPU.
    resets: Resets,
}

impl Inputs {
    /// Inputs from columns that share the leading shape `[B]` or `[T, B]` and a device; `is_first`
    /// is time-major.
    pub fn new(
        observation: Tensor,
        previous_action: Tensor,
        previous_reward: Tensor,
        is_first: Vec<bool>,
    ) -> Self {
        let leading = previous_reward.size();
        assert!(matches!(leading.len(), 1 | 2), "frames have leading shape [B] or [T, B]");
        assert!(observation.size().starts_with(&leading), "observations [.., O..]");
        assert!(previous_action.size().starts_with(&leading), "previous actions [..] or [.., A]");
        let flags = Tensor::from_slice(&is_first).view(leading.as_slice());
        let batch = leading[leading.len() - 1] as usize;
        Inputs {
            is_first: flags.to_device(observation.device()),
            observation,
            previous_action,
            previous_reward,
            resets: Resets::new(is_first, batch),
        }
    }

    /// One moment: the B rows of `frames`, which were checked against `spec`.
    pub fn from_frames(frames: &Frames, spec: &EnvSpec, device: Device) -> Self {
        let batch = frames.rows() as i64;
        Inputs::new(
            observations(&frames.observations, &[batch], spec).to_device(device),
            actions(&frames.previous_actions, &[batch], spec.action).to_device(device),
            Tensor::from_slice(&frames.previous_rewards).to_device(device),
            frames.step_types.iter().map(|step_type| step_type.is_first()).collect(),
        )
    }

    /// Of frames at T moments those from `start` on, `length` of them.
    pub fn narrow(&self, start: i64, length: i64) -> Inputs {
        assert_eq!(self.leading().len(), 2, "frames have leading shape [T, B]");
        let moments = |tensor: &Tensor| tensor.narrow(0, start, length);
        Inputs {
            observation: moments(&self.observation),
            previous_action: moments(&self.previous_action),
            previous_reward: moments(&self.previous_reward),
            is_first: moments(&self.is_first),
            resets: self.resets.narrow(start as usize, length as usize),
        }
    }

    /// Of frames of B environments at T moments those of the environments `rows`, in their order.
    pub(crate) fn select(&self, rows: &[i64]) -> Inputs {
        assert_eq!(self.leading().len(), 2, "frames have leading shape [T, B]");
        let index = Tensor::from_slice(rows).to_device(self.observation.device());
        let columns = |tensor: &Tensor| tensor.index_select(1, &index);
        Inputs {
            observation: columns(&self.observation),
            previous_action: columns(&self.previous_action),
            previous_reward: columns(&self.previous_reward),
            is_first: columns(&self.is_first),
            resets: self.resets.select(rows),
        }
    }

    /// Beginnings of episodes among these frames.
    pub fn resets(&self) -> &Resets {
        &self.resets
    }

    /// `[..]`: `[B]` or `[T, B]`.
    pub fn leading(&self) -> Vec<i64> {
        self.previous_reward.size()
    }
}

/// A tensor `[leading.., O..]` of `observations`.
pub(crate) fn observations(observations: &Observations, leading: &[i64], spec: &EnvSpec) -> Tensor {
    match observations {
        Observations::U8(numbers) => Tensor::from_slice(numbers),
        Observations::F32(numbers) => Tensor::from_slice(numbers),
    }
    .view(shape(leading, spec).as_slice())
}

/// `[leading.., O..]`.
pub(crate) fn shape(leading: &[i64], spec: &EnvSpec) -> Vec<i64> {
    leading.iter().copied().chain(spec.observation.shape.iter().map(|&side| side as i64)).collect()
}

/// A tensor of `actions`: i64 `[leading..]`, or f32 `[leading.., A]`.
pub(crate) fn actions(actions: &Actions, leading: &[i64], spec: ActionSpec) -> Tensor {
    match (actions, spec) {
        (Actions::Discrete(numbers), ActionSpec::Discrete { .. }) => {
            let numbers: Vec<i64> = numbers.iter().map(|&action| i64::from(action)).collect();
            Tensor::from_slice(&numbers).view(leading)
        }
        (Actions::Continuous(numbers), ActionSpec::Continuous { dimensions }) => {
            let shape: Vec<i64> = leading.iter().copied().chain([dimensions as i64]).collect();
            Tensor::from_slice(numbers).view(shape.as_slice())
        }
        _ => panic!("discrete and continuous actions were mixed"),
    }
}
