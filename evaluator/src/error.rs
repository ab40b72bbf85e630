//! Errors that end an evaluator.

use engram_actor::ActorError;
use engram_inference_server::InferenceError;
use engram_service::NetError;
use thiserror::Error;

/// Reason why nothing can be evaluated.
#[derive(Debug, Error)]
pub enum EvaluatorError {
    /// The episodes cannot be played.
    #[error(transparent)]
    Actor(#[from] ActorError),
    /// The weights cannot be acted with.
    #[error(transparent)]
    Inference(#[from] InferenceError),
    /// The learner will not work with this evaluator, now or later.
    #[error(transparent)]
    Refused(#[from] NetError),
    /// The system has no room for an event loop.
    #[error("the evaluator's event loop could not be started: {0}")]
    Runtime(#[from] std::io::Error),
}
