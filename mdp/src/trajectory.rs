//! Trajectories: unrolls of T decisions that overlap by one frame.

use thiserror::Error;

use crate::columns::Actions;
use crate::frame::{FrameError, Frames, StepType};
use crate::spec::EnvSpec;

/// One environment of one actor: the source of an ordered stream of trajectories.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamId {
    /// The actor's number within the run.
    pub actor: u32,
    /// The environment's number within the actor.
    pub env_index: u32,
}

impl std::fmt::Display for StreamId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "actor {} environment {}", self.actor, self.env_index)
    }
}

/// Decision of the acting policy at one frame.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Decision {
    /// The log-probability (density, where actions are continuous) of the action.
    pub log_prob: f32,
    /// The version of the weights that chose it.
    pub policy_version: u64,
}

/// T decisions on one environment, and the T + 1 frames around them.
#[derive(Clone, Debug, PartialEq)]
pub struct Trajectory {
    /// Its source.
    pub stream: StreamId,
    /// Its place in the stream, counted without gaps from zero.
    pub sequence: u64,
    /// T + 1 frames; the last one is the first one of the stream's next trajectory.
    pub frames: Frames,
    /// T behavior log-probabilities; zero where the frame is Last.
    pub log_probs: Vec<f32>,
    /// T policy versions.
    pub policy_versions: Vec<u64>,
    /// The acting policy's recurrent state before frame 0, flat; empty where the memory layer
    /// exports none.
    pub core_state: Vec<f32>,
}

/// Reason why something is not a trajectory.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TrajectoryError {
    /// It holds no decision at all.
    #[error("a trajectory needs at least one decision")]
    Empty,
    /// A column of decisions has the wrong length.
    #[error("column `{column}` holds {found} numbers; an unroll of {expected} needs {expected}")]
    Length {
        /// The column.
        column: &'static str,
        /// The unroll's length.
        expected: usize,
        /// Numbers found.
        found: usize,
    },
    /// The frames do not fit the spec.
    #[error(transparent)]
    Frames(#[from] FrameError),
    /// A log-probability or the recurrent state is not finite.
    #[error("column `{column}` holds a number that is not finite")]
    NotFinite {
        /// The column.
        column: &'static str,
    },
    /// A Last frame is not followed by a First one, or a First one follows another frame.
    #[error("frame {frame} is {found:?} after {before:?}; First follows Last and only Last")]
    Order {
        /// The frame at fault.
        frame: usize,
        /// The step type before it.
        before: StepType,
        /// Its own.
        found: StepType,
    },
    /// Policy versions go backwards.
    #[error("policy versions go backwards at decision {decision}")]
    Versions {
        /// The decision at fault.
        decision: usize,
    },
}

impl Trajectory {
    /// Bytes of all its numbers.
    pub fn bytes(&self) -> usize {
        let Trajectory { log_probs, policy_versions, core_state, .. } = self;
        self.frames.bytes() + 4 * (log_probs.len() + core_state.len()) + 8 * policy_versions.len()
    }

    /// Decisions in it: T.
    pub fn unroll_length(&self) -> usize {
        self.log_probs.len()
    }

    /// The T actions: `actions()` of row `t + 1` of the frames was taken at frame `t`.
    pub fn actions(&self) -> &Actions {
        &self.frames.previous_actions
    }

    /// The T rewards: `rewards()[t]` followed the decision at frame `t`; zero where that was Last.
    pub fn rewards(&self) -> &[f32] {
        &self.frames.previous_rewards[1..]
    }

    /// Env steps in it: decisions at frames that were not Last.
    pub fn env_steps(&self) -> usize {
        self.frames.step_types[..self.unroll_length()].iter().filter(|s| !s.is_last()).count()
    }

    /// The version of the weights that chose the first action: the oldest in it.
    pub fn oldest_version(&self) -> u64 {
        self.policy_versions[0]
    }

    /// Checks everything that can be checked without the stream's past.
    pub fn checked(self, spec: &EnvSpec) -> Result<Self, TrajectoryError> {
        let unroll_length = self.log_probs.len();
        if unroll_length == 0 {
            return Err(TrajectoryError::Empty);
        }
        if self.policy_versions.len() != unroll_length {
            return Err(TrajectoryError::Length {
                column: "policy_versions",
                expected: unroll_length,
                found: self.policy_versions.len(),
            });
        }
        self.frames.check(spec, unroll_length + 1)?;
        let not_finite = |numbers: &[f32]| numbers.iter().any(|x| !x.is_finite());
        if not_finite(&self.log_probs) {
            return Err(TrajectoryError::NotFinite { column: "log_probs" });
        }
        if not_finite(&self.core_state) {
            return Err(TrajectoryError::NotFinite { column: "core_state" });
        }
        for (i, pair) in self.frames.step_types.windows(2).enumerate() {
            if pair[0].is_last() != pair[1].is_first() {
                let (before, found) = (pair[0], pair[1]);
                return Err(TrajectoryError::Order { frame: i + 1, before, found });
            }
        }
        match self.policy_versions.windows(2).position(|pair| pair[0] > pair[1]) {
            Some(i) => Err(TrajectoryError::Versions { decision: i + 1 }),
            None => Ok(self),
        }
    }
}

/// Turns the frames of one environment into trajectories that overlap by one frame.
///
/// Alternate [`frame`](Self::frame) and [`decision`](Self::decision). After
/// [`interrupt`](Self::interrupt) the next frame must be the First of a new episode.
#[derive(Debug)]
pub struct TrajectoryBuilder {
    stream: StreamId,
    unroll_length: usize,
    sequence: u64,
    frames: Frames,
    log_probs: Vec<f32>,
    policy_versions: Vec<u64>,
    core_state: Vec<f32>,
}

impl TrajectoryBuilder {
    /// A builder at the start of its stream.
    pub fn new(stream: StreamId, spec: &EnvSpec, unroll_length: usize) -> Self {
        assert!(unroll_length > 0, "an unroll holds at least one decision");
        TrajectoryBuilder {
            stream,
            unroll_length,
            sequence: 0,
            frames: Frames::with_capacity(spec, unroll_length + 1),
            log_probs: Vec::with_capacity(unroll_length),
            policy_versions: Vec::with_capacity(unroll_length),
            core_state: Vec::new(),
        }
    }

    /// True if the next decision is the first of its unroll: its core state must be handed to
    /// [`core_state`](Self::core_state).
    pub fn at_unroll_start(&self) -> bool {
        self.log_probs.is_empty()
    }

    /// Records row `row` of `frames`, which share the builder's spec. Returns the trajectory that
    /// this frame completes; the frame is then also the first one of the next.
    pub fn frame(&mut self, frames: &Frames, row: usize, spec: &EnvSpec) -> Option<Trajectory> {
        assert_eq!(
            self.frames.rows(),
            self.log_probs.len(),
            "a frame was recorded before the decision at the last one"
        );
        self.frames.extend_rows(frames, row..row + 1, spec);
        if self.log_probs.len() < self.unroll_length {
            return None;
        }
        let mut next = Frames::with_capacity(spec, self.unroll_length + 1);
        next.extend_rows(frames, row..row + 1, spec);
        let trajectory = Trajectory {
            stream: self.stream,
            sequence: self.sequence,
            frames: std::mem::replace(&mut self.frames, next),
            log_probs: take_with_capacity(&mut self.log_probs),
            policy_versions: take_with_capacity(&mut self.policy_versions),
            core_state: std::mem::take(&mut self.core_state),
        };
        self.sequence += 1;
        Some(trajectory)
    }

    /// Hands over the acting policy's recurrent state before the frame that starts this unroll.
    pub fn core_state(&mut self, core_state: &[f32]) {
        assert!(self.at_unroll_start(), "a core state belongs to the first frame of an unroll");
        self.core_state.clear();
        self.core_state.extend_from_slice(core_state);
    }

    /// Records the acting policy's decision at the last frame.
    pub fn decision(&mut self, decision: Decision) {
        assert_eq!(
            self.frames.rows(),
            self.log_probs.len() + 1,
            "a decision was recorded before its frame"
        );
        self.log_probs.push(decision.log_prob);
        self.policy_versions.push(decision.policy_version);
    }

    /// Drops the unroll in progress: its environment is reset. The sequence goes on without a gap.
    pub fn interrupt(&mut self) {
        self.frames.clear();
        self.log_probs.clear();
        self.policy_versions.clear();
        self.core_state.clear();
    }
}

fn take_with_capacity<T>(column: &mut Vec<T>) -> Vec<T> {
    let capacity = column.capacity();
    std::mem::replace(column, Vec::with_capacity(capacity))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::columns::Observations;
    use crate::frame::Ending;
    use crate::spec::{ActionSpec, Dtype, ObservationSpec};

    fn spec() -> EnvSpec {
        EnvSpec {
            name: "counting".into(),
            observation: ObservationSpec { dtype: Dtype::F32, shape: vec![1] },
            action: ActionSpec::Discrete { count: 3 },
            frame_stack: 1,
            action_repeat: 1,
        }
    }

    /// Frame number `n` of an environment whose episodes last three decisions.
    fn frame(n: usize) -> Frames {
        let place = n % 4;
        let step_type = match place {
            0 => StepType::First,
            3 => StepType::Last(Ending::Truncated),
            _ => StepType::Mid,
        };
        let past = place != 0;
        Frames {
            observations: Observations::F32(vec![n as f32]),
            previous_actions: Actions::Discrete(vec![if past { 1 } else { 0 }]),
            previous_rewards: vec![if past { n as f32 } else { 0.0 }],
            step_types: vec![step_type],
        }
    }

    fn build(frames: std::ops::Range<usize>, builder: &mut TrajectoryBuilder) -> Vec<Trajectory> {
        let mut finished = Vec::new();
        for n in frames {
            finished.extend(builder.frame(&frame(n), 0, &spec()));
            if builder.at_unroll_start() {
                builder.core_state(&[n as f32]);
            }
            let log_prob = if frame(n).step_types[0].is_last() { 0.0 } else { -1.0 };
            builder.decision(Decision { log_prob, policy_version: n as u64 });
        }
        finished
    }

    const STREAM: StreamId = StreamId { actor: 1, env_index: 2 };

    #[test]
    fn trajectories_overlap_by_one_frame_and_pass_their_own_check() {
        let mut builder = TrajectoryBuilder::new(STREAM, &spec(), 5);
        let all = build(0..16, &mut builder);
        assert_eq!(all.len(), 3);
        for (k, trajectory) in all.into_iter().enumerate() {
            let trajectory = trajectory.checked(&spec()).expect("a good trajectory");
            let first = 5 * k;
            let numbers: Vec<f32> = (first..=first + 5).map(|n| n as f32).collect();
            assert_eq!(trajectory.frames.observations, Observations::F32(numbers));
            assert_eq!(trajectory.sequence, k as u64);
            assert_eq!(trajectory.core_state, [first as f32]);
            let lasts = (first..first + 5).filter(|n| n % 4 == 3).count();
            assert_eq!(trajectory.env_steps(), 5 - lasts);
        }
    }

    #[test]
    fn an_interrupted_unroll_is_dropped_and_the_sequence_goes_on() {
        let mut builder = TrajectoryBuilder::new(STREAM, &spec(), 2);
        assert_eq!(build(0..3, &mut builder).len(), 1);
        builder.interrupt();
        let after = build(8..11, &mut builder);
        assert_eq!(after.len(), 1);
        assert_eq!(after[0].sequence, 1);
        assert_eq!(after[0].frames.observations, Observations::F32(vec![8.0, 9.0, 10.0]));
        assert!(after[0].clone().checked(&spec()).is_ok());
    }

    #[test]
    fn what_is_no_trajectory_is_refused_with_the_reason() {
        let good = build(0..6, &mut TrajectoryBuilder::new(STREAM, &spec(), 5)).remove(0);
        let refuse = |change: fn(&mut Trajectory)| {
            let mut bad = good.clone();
            change(&mut bad);
            bad.checked(&spec()).expect_err("not a trajectory")
        };
        assert!(matches!(
            refuse(|t| t.frames.step_types[2] = StepType::First),
            TrajectoryError::Frames(FrameError::FirstWithPast { row: 2 })
        ));
        assert!(matches!(
            refuse(|t| t.frames.step_types[4] = StepType::Mid),
            TrajectoryError::Order { frame: 4, .. }
        ));
        assert!(matches!(
            refuse(|t| t.policy_versions[3] = 0),
            TrajectoryError::Versions { decision: 3 }
        ));
        assert!(matches!(
            refuse(|t| t.log_probs[0] = f32::NAN),
            TrajectoryError::NotFinite { column: "log_probs" }
        ));
        assert!(matches!(refuse(|t| t.log_probs.clear()), TrajectoryError::Empty));
    }
}
