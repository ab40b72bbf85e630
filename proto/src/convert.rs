//! Conversion of messages to checked values, once, and of values to messages.

use bytes::Bytes;
use engram_mdp::{
    ActionSpec, Actions, Dtype, Ending, EnvSpec, Episode, Finish, FrameError, Frames,
    ObservationSpec, Observations, Score, SpecError, StepType, StreamId, Trajectory,
    TrajectoryError,
};
use thiserror::Error;
use tonic::Status;

use crate::limits::{MAX_NAME_BYTES, MAX_UNROLL_LENGTH};
use crate::{PROTOCOL_VERSION, v1};

/// Fault of a message.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum WireError {
    /// The peer speaks another version of the protocol.
    #[error(
        "the peer speaks protocol version {found}, this build speaks {PROTOCOL_VERSION}; \
         run the same release on both sides"
    )]
    Protocol {
        /// Its version.
        found: u32,
    },
    /// The actor belongs to another run.
    #[error("the actor belongs to run `{registered}`, but run `{served}` is served here")]
    Run {
        /// The run that is served.
        served: String,
        /// The run that the actor named.
        registered: String,
    },
    /// The actor steps another environment.
    #[error("this run's environment is [{served}], but the actor brings [{registered}]")]
    Spec {
        /// The environment of the run.
        served: Box<EnvSpec>,
        /// The actor's.
        registered: Box<EnvSpec>,
    },
    /// A field that is always needed is not there.
    #[error("the message has no `{0}`")]
    Missing(&'static str),
    /// A stream must begin with a registration, and have only one.
    #[error("a stream begins with one registration, and only one; found {0}")]
    OutOfOrder(&'static str),
    /// There is too much, or nothing, of something.
    #[error("{found} {what}; the limit is {limit}")]
    TooMany {
        /// The things that are counted.
        what: &'static str,
        /// The most that is allowed.
        limit: usize,
        /// Their number.
        found: usize,
    },
    /// The message holds too many of something, and was not decoded.
    #[error("a message of {bytes} bytes holds more than {limit} {what}; {remedy}")]
    Excess {
        /// Its bytes.
        bytes: usize,
        /// The things that are counted.
        what: &'static str,
        /// The most that is allowed.
        limit: usize,
        /// The remedy.
        remedy: &'static str,
    },
    /// The bytes are no message of this protocol.
    #[error("not a message of this protocol: {0}")]
    Malformed(String),
    /// A column's bytes do not make whole numbers.
    #[error("`{column}` holds {bytes} bytes, which is not a whole number of its values")]
    Ragged {
        /// The column.
        column: &'static str,
        /// Its bytes.
        bytes: usize,
    },
    /// A column has the wrong number of values.
    #[error("`{column}` holds {found} values; {expected} were expected")]
    Length {
        /// The column.
        column: &'static str,
        /// Values expected.
        expected: usize,
        /// Values found.
        found: usize,
    },
    /// A byte stands for no step type.
    #[error("{0} is no step type; 0 is first, 1 mid, 2 terminated, 3 truncated")]
    StepType(u8),
    /// The trajectory is not of the run's unroll length.
    #[error("a trajectory of {found} decisions came; this run's unroll_length is {expected}")]
    UnrollLength {
        /// The run's.
        expected: usize,
        /// The trajectory's.
        found: usize,
    },
    /// The score is not of the evaluation that was asked for.
    #[error("a score of {found} episodes came; {expected} were to be played")]
    Episodes {
        /// Episodes of the evaluation.
        expected: u32,
        /// Episodes of the score.
        found: u64,
    },
    /// The announced environment cannot be worked with.
    #[error("the announced environment is not one: {0}")]
    BadSpec(#[from] SpecError),
    /// The rows are not frames of the environment.
    #[error("bad frames: {0}")]
    BadFrames(#[from] FrameError),
    /// The unroll is not a trajectory.
    #[error("bad trajectory: {0}")]
    BadTrajectory(#[from] TrajectoryError),
}

impl From<WireError> for Status {
    fn from(error: WireError) -> Self {
        let message = error.to_string();
        match error {
            WireError::Protocol { .. } | WireError::Run { .. } | WireError::Spec { .. } => {
                Status::failed_precondition(message)
            }
            _ => Status::invalid_argument(message),
        }
    }
}

impl From<&EnvSpec> for v1::EnvSpec {
    fn from(spec: &EnvSpec) -> Self {
        v1::EnvSpec {
            name: spec.name.clone(),
            observation_dtype: match spec.observation.dtype {
                Dtype::U8 => v1::Dtype::U8,
                Dtype::F32 => v1::Dtype::F32,
            }
            .into(),
            observation_shape: spec.observation.shape.iter().map(|&side| side as u32).collect(),
            action: Some(match spec.action {
                ActionSpec::Discrete { count } => {
                    v1::env_spec::Action::DiscreteActions(count as u32)
                }
                ActionSpec::Continuous { dimensions } => {
                    v1::env_spec::Action::ContinuousDimensions(dimensions as u32)
                }
            }),
            action_repeat: spec.action_repeat,
            frame_stack: spec.frame_stack,
        }
    }
}

impl TryFrom<v1::EnvSpec> for EnvSpec {
    type Error = WireError;

    fn try_from(message: v1::EnvSpec) -> Result<Self, WireError> {
        if message.name.len() > MAX_NAME_BYTES {
            let found = message.name.len();
            return Err(WireError::TooMany {
                what: "bytes in the environment's name",
                limit: MAX_NAME_BYTES,
                found,
            });
        }
        let dtype = match v1::Dtype::try_from(message.observation_dtype) {
            Ok(v1::Dtype::U8) => Dtype::U8,
            Ok(v1::Dtype::F32) => Dtype::F32,
            Ok(v1::Dtype::Unspecified) | Err(_) => {
                return Err(WireError::Missing("observation_dtype"));
            }
        };
        let action = match message.action.ok_or(WireError::Missing("action"))? {
            v1::env_spec::Action::DiscreteActions(count) => {
                ActionSpec::Discrete { count: count as usize }
            }
            v1::env_spec::Action::ContinuousDimensions(dimensions) => {
                ActionSpec::Continuous { dimensions: dimensions as usize }
            }
        };
        let shape = message.observation_shape.iter().map(|&side| side as usize).collect();
        let spec = EnvSpec {
            name: message.name,
            observation: ObservationSpec { dtype, shape },
            frame_stack: message.frame_stack.max(1),
            action,
            action_repeat: message.action_repeat,
        };
        Ok(spec.checked()?)
    }
}

/// The message for rows of frames; copies the columns.
pub fn frames_to_wire(frames: &Frames) -> v1::Frames {
    v1::Frames {
        observations: Bytes::copy_from_slice(frames.observations.as_bytes()),
        previous_actions: Bytes::copy_from_slice(frames.previous_actions.as_bytes()),
        previous_rewards: floats_to_wire(&frames.previous_rewards),
        step_types: frames.step_types.iter().map(|s| s.code()).collect::<Vec<u8>>().into(),
    }
}

/// `rows` checked rows of frames.
pub fn frames_from_wire(
    message: v1::Frames,
    spec: &EnvSpec,
    rows: usize,
) -> Result<Frames, WireError> {
    let frames = columns_from_wire(message, spec)?;
    frames.check(spec, rows)?;
    Ok(frames)
}

/// The message for a trajectory; its stream's actor is known from the registration.
pub fn trajectory_to_wire(trajectory: &Trajectory) -> v1::Trajectory {
    v1::Trajectory {
        env_index: trajectory.stream.env_index,
        sequence: trajectory.sequence,
        frames: Some(frames_to_wire(&trajectory.frames)),
        log_probs: floats_to_wire(&trajectory.log_probs),
        policy_versions: Bytes::copy_from_slice(bytemuck::cast_slice(&trajectory.policy_versions)),
        core_state: floats_to_wire(&trajectory.core_state),
    }
}

/// A checked trajectory of `unroll_length` decisions by `actor`.
pub fn trajectory_from_wire(
    message: v1::Trajectory,
    actor: u32,
    spec: &EnvSpec,
    unroll_length: usize,
) -> Result<Trajectory, WireError> {
    let log_probs = floats_from_wire("log_probs", &message.log_probs)?;
    let found = log_probs.len();
    if found > MAX_UNROLL_LENGTH {
        let what = "decisions in one trajectory";
        return Err(WireError::TooMany { what, limit: MAX_UNROLL_LENGTH, found });
    }
    if found != unroll_length {
        return Err(WireError::UnrollLength { expected: unroll_length, found });
    }
    let versions = &message.policy_versions;
    if !versions.len().is_multiple_of(8) {
        let bytes = versions.len();
        return Err(WireError::Ragged { column: "policy_versions", bytes });
    }
    let trajectory = Trajectory {
        stream: StreamId { actor, env_index: message.env_index },
        sequence: message.sequence,
        frames: columns_from_wire(message.frames.ok_or(WireError::Missing("frames"))?, spec)?,
        log_probs,
        policy_versions: bytemuck::pod_collect_to_vec(versions),
        core_state: floats_from_wire("core_state", &message.core_state)?,
    };
    Ok(trajectory.checked(spec)?)
}

/// Raw little-endian memory of floats.
pub fn floats_to_wire(floats: &[f32]) -> Bytes {
    Bytes::copy_from_slice(bytemuck::cast_slice(floats))
}

/// Floats from raw little-endian memory; `column` names them in an error.
pub fn floats_from_wire(column: &'static str, bytes: &[u8]) -> Result<Vec<f32>, WireError> {
    if !bytes.len().is_multiple_of(4) {
        return Err(WireError::Ragged { column, bytes: bytes.len() });
    }
    Ok(bytemuck::pod_collect_to_vec(bytes))
}

/// Raw little-endian memory of actions.
pub fn actions_to_wire(actions: &Actions) -> Bytes {
    Bytes::copy_from_slice(actions.as_bytes())
}

/// `rows` checked actions.
pub fn actions_from_wire(
    bytes: &[u8],
    spec: ActionSpec,
    rows: usize,
) -> Result<Actions, WireError> {
    let actions = Actions::from_bytes(spec, bytes)
        .ok_or(WireError::Ragged { column: "actions", bytes: bytes.len() })?;
    if actions.len() != rows * spec.len() {
        let (expected, found) = (rows * spec.len(), actions.len());
        return Err(WireError::Length { column: "actions", expected, found });
    }
    match actions.first_invalid_row(spec) {
        Some(row) => Err(FrameError::Action { row, spec }.into()),
        None => Ok(actions),
    }
}

/// The message for an episode.
pub fn episode_to_wire(episode: &Episode) -> v1::Episode {
    v1::Episode {
        env_index: episode.env_index,
        env_steps: episode.env_steps,
        episode_return: episode.episode_return,
        success: episode.success,
        finish: match episode.finish {
            Finish::Ended(Ending::Terminated) => v1::Finish::Terminated,
            Finish::Ended(Ending::Truncated) => v1::Finish::Truncated,
            Finish::Interrupted => v1::Finish::Interrupted,
        }
        .into(),
    }
}

/// A checked episode.
pub fn episode_from_wire(message: &v1::Episode) -> Result<Episode, WireError> {
    if !message.episode_return.is_finite() {
        let column = "episode_return";
        return Err(FrameError::NotFinite { column, row: 0 }.into());
    }
    Ok(Episode {
        env_index: message.env_index,
        env_steps: message.env_steps,
        episode_return: message.episode_return,
        success: message.success,
        finish: match v1::Finish::try_from(message.finish) {
            Ok(v1::Finish::Terminated) => Finish::Ended(Ending::Terminated),
            Ok(v1::Finish::Truncated) => Finish::Ended(Ending::Truncated),
            Ok(v1::Finish::Interrupted) => Finish::Interrupted,
            Ok(v1::Finish::Unspecified) | Err(_) => return Err(WireError::Missing("finish")),
        },
    })
}

/// The message for a score.
pub fn score_to_wire(score: &Score) -> v1::Score {
    let Score { episodes, mean_return, return_std, success, mean_length } = *score;
    v1::Score { episodes, mean_return, return_std, success, mean_length }
}

/// A checked score of `expected` episodes.
pub fn score_from_wire(message: &v1::Score, expected: u32) -> Result<Score, WireError> {
    let v1::Score { episodes, mean_return, return_std, success, mean_length } = *message;
    if episodes != u64::from(expected) {
        return Err(WireError::Episodes { expected, found: episodes });
    }
    let score = Score { episodes, mean_return, return_std, success, mean_length };
    for (column, number) in score.columns() {
        if number.is_some_and(|number| !number.is_finite()) {
            return Err(FrameError::NotFinite { column, row: 0 }.into());
        }
    }
    Ok(score)
}

/// Columns of whole numbers, not yet checked against each other.
fn columns_from_wire(message: v1::Frames, spec: &EnvSpec) -> Result<Frames, WireError> {
    let ragged = |column, bytes: &Bytes| WireError::Ragged { column, bytes: bytes.len() };
    Ok(Frames {
        observations: Observations::from_bytes(spec.observation.dtype, &message.observations)
            .ok_or_else(|| ragged("observations", &message.observations))?,
        previous_actions: Actions::from_bytes(spec.action, &message.previous_actions)
            .ok_or_else(|| ragged("previous_actions", &message.previous_actions))?,
        previous_rewards: floats_from_wire("previous_rewards", &message.previous_rewards)?,
        step_types: message
            .step_types
            .iter()
            .map(|&code| StepType::from_code(code).ok_or(WireError::StepType(code)))
            .collect::<Result<_, _>>()?,
    })
}
