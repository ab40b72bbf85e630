//! Frames: the observations of an agent, in columns.
//!
//! A group of environments at one moment and one environment over many moments are the same
//! thing, [`Frames`]: rows of observation, the action and reward that led to it, and its place in
//! the episode. Each fact is said once: the action taken at frame `t` is the previous action of
//! frame `t + 1`.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::columns::{Action, Actions, Observations};
use crate::spec::{ActionSpec, EnvSpec};

/// Ending of an episode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Ending {
    /// The environment ended it: nothing follows, the value of what follows is zero.
    Terminated,
    /// It was cut off, by a time limit for one: the value of its last frame still counts.
    Truncated,
}

/// A frame's place in its episode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum StepType {
    /// The first frame: previous action and reward are zero, recurrent state starts afresh.
    First,
    /// Any frame between.
    Mid,
    /// The last frame. The agent sees it, but decides nothing more.
    Last(Ending),
}

impl StepType {
    /// True if recurrent state starts afresh here.
    pub fn is_first(self) -> bool {
        self == StepType::First
    }

    /// True if the episode is over: a decision here means nothing.
    pub fn is_last(self) -> bool {
        matches!(self, StepType::Last(_))
    }

    /// The discount of the value of *this* frame, seen from the one before: zero only after the
    /// environment itself ended the episode.
    pub fn discount(self, gamma: f32) -> f32 {
        match self {
            StepType::Last(Ending::Terminated) => 0.0,
            StepType::First | StepType::Mid | StepType::Last(Ending::Truncated) => gamma,
        }
    }

    /// One byte for files and wires; the inverse of [`StepType::from_code`].
    pub fn code(self) -> u8 {
        match self {
            StepType::First => 0,
            StepType::Mid => 1,
            StepType::Last(Ending::Terminated) => 2,
            StepType::Last(Ending::Truncated) => 3,
        }
    }

    /// Reads a code back; `None` for a byte that is none.
    pub fn from_code(code: u8) -> Option<Self> {
        match code {
            0 => Some(StepType::First),
            1 => Some(StepType::Mid),
            2 => Some(StepType::Last(Ending::Terminated)),
            3 => Some(StepType::Last(Ending::Truncated)),
            _ => None,
        }
    }
}

/// Rows of frames, in columns.
#[derive(Clone, Debug, PartialEq)]
pub struct Frames {
    /// Observations.
    pub observations: Observations,
    /// The action that led here; zero at First frames.
    pub previous_actions: Actions,
    /// The reward that came with it; zero at First frames.
    pub previous_rewards: Vec<f32>,
    /// The place in the episode.
    pub step_types: Vec<StepType>,
}

/// Reason why rows of frames are not valid.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum FrameError {
    /// A column has the wrong length.
    #[error("column `{column}` holds {found} numbers; {rows} rows need {expected}")]
    Length {
        /// The column.
        column: &'static str,
        /// Rows that the message claims.
        rows: usize,
        /// Numbers that so many rows take.
        expected: usize,
        /// Numbers found.
        found: usize,
    },
    /// A number is not finite.
    #[error("column `{column}` holds a number that is not finite in row {row}")]
    NotFinite {
        /// The column.
        column: &'static str,
        /// The first such row.
        row: usize,
    },
    /// An action is not one of the spec's.
    #[error("the previous action in row {row} is outside of {spec}")]
    Action {
        /// The first such row.
        row: usize,
        /// The action space.
        spec: ActionSpec,
    },
    /// A First frame claims that something led to it.
    #[error("row {row} is a First frame, but its previous action or reward is not zero")]
    FirstWithPast {
        /// The first such row.
        row: usize,
    },
}

impl Frames {
    /// No rows yet, with room for `rows`.
    pub fn with_capacity(spec: &EnvSpec, rows: usize) -> Self {
        let observation = &spec.observation;
        Frames {
            observations: Observations::with_capacity(observation.dtype, rows * observation.len()),
            previous_actions: Actions::with_capacity(spec.action, rows),
            previous_rewards: Vec::with_capacity(rows),
            step_types: Vec::with_capacity(rows),
        }
    }

    /// Rows of First frames with observations of zeros, to be written over.
    pub fn first(spec: &EnvSpec, rows: usize) -> Self {
        Frames {
            observations: Observations::zeros(
                spec.observation.dtype,
                rows * spec.observation.len(),
            ),
            previous_actions: Actions::zeros(spec.action, rows),
            previous_rewards: vec![0.0; rows],
            step_types: vec![StepType::First; rows],
        }
    }

    /// Bytes of all their numbers.
    pub fn bytes(&self) -> usize {
        let (observations, actions) =
            (self.observations.as_bytes(), self.previous_actions.as_bytes());
        observations.len() + actions.len() + 4 * self.previous_rewards.len() + self.step_types.len()
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.step_types.len()
    }

    /// Appends rows `rows` of `other`, which has the same spec.
    pub fn extend_rows(&mut self, other: &Self, rows: std::ops::Range<usize>, spec: &EnvSpec) {
        self.observations.extend_rows(&other.observations, rows.clone(), spec.observation.len());
        self.previous_actions.extend_rows(&other.previous_actions, rows.clone(), spec.action.len());
        self.previous_rewards.extend_from_slice(&other.previous_rewards[rows.clone()]);
        self.step_types.extend_from_slice(&other.step_types[rows]);
    }

    /// Removes all rows, keeping the memory.
    pub fn clear(&mut self) {
        self.observations.clear();
        self.previous_actions.clear();
        self.previous_rewards.clear();
        self.step_types.clear();
    }

    /// Checks every column against the spec and the claimed number of rows.
    pub fn check(&self, spec: &EnvSpec, rows: usize) -> Result<(), FrameError> {
        let length = |column, expected, found| {
            if expected == found {
                return Ok(());
            }
            Err(FrameError::Length { column, rows, expected, found })
        };
        length("observations", rows * spec.observation.len(), self.observations.len())?;
        length("previous_actions", rows * spec.action.len(), self.previous_actions.len())?;
        length("previous_rewards", rows, self.previous_rewards.len())?;
        length("step_types", rows, self.step_types.len())?;
        if let Observations::F32(numbers) = &self.observations
            && let Some(i) = numbers.iter().position(|x| !x.is_finite())
        {
            let row = i / spec.observation.len();
            return Err(FrameError::NotFinite { column: "observations", row });
        }
        if let Some(row) = self.previous_rewards.iter().position(|x| !x.is_finite()) {
            return Err(FrameError::NotFinite { column: "previous_rewards", row });
        }
        if let Some(row) = self.previous_actions.first_invalid_row(spec.action) {
            return Err(FrameError::Action { row, spec: spec.action });
        }
        let past = |row: usize| {
            self.previous_rewards[row] != 0.0
                || match self.previous_actions.row(row, spec.action.len()) {
                    Action::Discrete(index) => index != 0,
                    Action::Continuous(vector) => vector.iter().any(|&a| a != 0.0),
                }
        };
        match (0..rows).find(|&row| self.step_types[row].is_first() && past(row)) {
            Some(row) => Err(FrameError::FirstWithPast { row }),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{Dtype, ObservationSpec};

    fn spec() -> EnvSpec {
        EnvSpec {
            name: "test".into(),
            observation: ObservationSpec { dtype: Dtype::F32, shape: vec![2] },
            action: ActionSpec::Continuous { dimensions: 2 },
            frame_stack: 1,
            action_repeat: 1,
        }
    }

    fn frames() -> Frames {
        Frames {
            observations: Observations::F32(vec![1.0, 2.0, 3.0, 4.0]),
            previous_actions: Actions::Continuous(vec![0.0, 0.0, -1.0, 1.0]),
            previous_rewards: vec![0.0, 2.0],
            step_types: vec![StepType::First, StepType::Mid],
        }
    }

    #[test]
    fn only_termination_discounts_to_zero() {
        assert_eq!(StepType::Last(Ending::Terminated).discount(0.9), 0.0);
        assert_eq!(StepType::Last(Ending::Truncated).discount(0.9), 0.9);
        assert_eq!(StepType::Mid.discount(0.9), 0.9);
    }

    #[test]
    fn codes_are_read_back() {
        for code in 0..=255 {
            let read = StepType::from_code(code);
            assert_eq!(read.map(StepType::code), (code < 4).then_some(code));
        }
    }

    #[test]
    fn good_frames_pass() {
        assert_eq!(frames().check(&spec(), 2), Ok(()));
    }

    #[test]
    fn each_bad_column_is_named() {
        let check = |change: fn(&mut Frames)| {
            let mut bad = frames();
            change(&mut bad);
            bad.check(&spec(), 2).expect_err("a bad column").to_string()
        };
        assert!(check(|f| f.previous_rewards.push(0.0)).contains("previous_rewards"));
        assert!(check(|f| f.previous_rewards[1] = f32::NAN).contains("not finite"));
        assert!(check(|f| f.previous_rewards[0] = 1.0).contains("First frame"));
        assert!(
            check(|f| f.observations = Observations::F32(vec![f32::INFINITY; 4]))
                .contains("observations")
        );
        assert!(
            check(|f| f.previous_actions = Actions::Continuous(vec![0.0, 0.0, 0.0, 1.5]))
                .contains("row 1 is outside of 2-dimensional")
        );
    }
}
