//! Refusals: why a peer loses its stream, and the gRPC status that tells it.

use engram_policy::PolicyError;
use engram_proto::WireError;
use thiserror::Error;
use tonic::Status;

use crate::rpc::membership::MembershipError;

/// Why a peer is refused.
#[derive(Debug, Error)]
pub(crate) enum Refusal {
    #[error(transparent)]
    Wire(#[from] WireError),
    #[error(transparent)]
    Membership(#[from] MembershipError),
    #[error("{0}")]
    Run(WireError),
    #[error("no policy can be made for this environment: {0}")]
    Environment(PolicyError),
    #[error(
        "an actor that evaluates plays the policy's most likely actions, from which the learner \
         must not learn: only actors that train push trajectories"
    )]
    Evaluating,
    #[error("an actor that trains has no scores: only evaluators are sent evaluations")]
    Training,
    #[error("a score came before an evaluation")]
    Unasked,
    #[error("environment {found} was not registered; this stream speaks for {expected:?}")]
    EnvIndex { expected: std::ops::Range<u32>, found: u32 },
    #[error(
        "the trajectory brings a core_state of {found} numbers; this run's policy exports \
         {expected}: is the inference server of another experiment?"
    )]
    CoreState { expected: usize, found: usize },
    #[error("the message cannot be read: {0}")]
    Unreadable(String),
    #[error("no registration came within {0} s")]
    Silent(u64),
    #[error("the learner is shutting down; come back when it is up again")]
    Closing,
}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        let message = refusal.to_string();
        match refusal {
            Refusal::Wire(error) | Refusal::Run(error) => error.into(),
            Refusal::Membership(MembershipError::TooMany { .. }) => {
                Status::resource_exhausted(message)
            }
            Refusal::Membership(MembershipError::Superseded { .. })
            | Refusal::Environment(_)
            | Refusal::Evaluating
            | Refusal::Training => Status::failed_precondition(message),
            Refusal::Membership(MembershipError::Unregistered(_))
            | Refusal::EnvIndex { .. }
            | Refusal::CoreState { .. }
            | Refusal::Unasked
            | Refusal::Unreadable(_) => Status::invalid_argument(message),
            Refusal::Silent(_) => Status::deadline_exceeded(message),
            Refusal::Closing => Status::unavailable(message),
        }
    }
}
