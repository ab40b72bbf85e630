//! Errors of configurations, weights and batches.

use engram_mdp::{EnvSpec, SpecError};
use thiserror::Error;

/// Reasons why a policy cannot be built, loaded or fed.
#[derive(Debug, Error)]
pub enum PolicyError {
    /// A setting of the sequence model is out of its range.
    #[error("`{key}` of the sequence model is {found}; it must be {expected}")]
    Config {
        /// The setting, as in the file.
        key: &'static str,
        /// Value found.
        found: String,
        /// Values that are allowed.
        expected: String,
    },
    /// The environment announces something that no policy can work with.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// Bytes are no safetensors.
    #[error("these bytes are no safetensors: {0}")]
    Format(#[from] safetensors::SafeTensorError),
    /// A safetensors file without a policy's description.
    #[error("these weights do not describe themselves as a policy's: {0}")]
    Metadata(String),
    /// Weights of a policy for another environment.
    #[error("these weights are for another environment\n  expected {expected}\n     found {found}")]
    OtherSpec {
        /// The policy's own environment.
        expected: Box<EnvSpec>,
        /// The environment that the weights are for.
        found: Box<EnvSpec>,
    },
    /// An algorithm for numbered actions in an environment without them.
    #[error(
        "this algorithm values each action by itself, so it needs discrete actions; the \
         environment has continuous ones of {dimensions} dimensions: choose an algorithm for \
         continuous actions, such as V-trace, SAC or TD3"
    )]
    ContinuousActions {
        /// Dimensions of an action.
        dimensions: usize,
    },
    /// An algorithm for vectors of actions in an environment whose actions are numbered.
    #[error(
        "this algorithm follows the slope of a critic along actions, so it needs continuous ones; \
         the environment has {count} discrete actions: choose an algorithm for discrete actions, \
         such as V-trace, DQN or SAC-Discrete"
    )]
    DiscreteActions {
        /// Number of actions.
        count: usize,
    },
    /// Weights of another network.
    #[error("these weights are of another network\n  expected {expected}\n     found {found}")]
    OtherConfig {
        /// The policy's own configuration.
        expected: String,
        /// The configuration that the weights were saved with.
        found: String,
    },
    /// A tensor is missing, left over, or of another shape or type.
    #[error("the weights' tensor `{name}` is {found}; the policy needs {expected}")]
    Tensor {
        /// Its name.
        name: String,
        /// Tensor that the policy needs.
        expected: String,
        /// Tensor that was found.
        found: String,
    },
    /// A part that names no weight.
    #[error("no weight lies below the part `{part}`; there are: {parts}, and what is below them")]
    UnknownPart {
        /// The part as asked for.
        part: String,
        /// The upper parts there are, separated by commas.
        parts: String,
    },
    /// A flat core state does not fit the memory.
    #[error(
        "a core state of {found} numbers does not fit this policy, which exports {expected} \
         (0: none at all)"
    )]
    CoreState {
        /// Numbers that the policy exports.
        expected: usize,
        /// Numbers found.
        found: usize,
    },
    /// Trajectories that cannot stand side by side.
    #[error(
        "trajectory {index} of a batch has {column} {found}, but the first one has {expected}: \
         every actor of a run needs the same unroll length and policy"
    )]
    UnevenBatch {
        /// Index of the trajectory in the batch.
        index: usize,
        /// Quantity that differs.
        column: &'static str,
        /// Value in the first trajectory.
        expected: usize,
        /// Value in this trajectory.
        found: usize,
    },
    /// A batch needs at least one trajectory.
    #[error("a batch needs at least one trajectory")]
    EmptyBatch,
}
