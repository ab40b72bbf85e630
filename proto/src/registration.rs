//! Registration: the first message on every stream of an actor. It names the actor, the run and the
//! environment.

use engram_mdp::EnvSpec;

use crate::convert::WireError;
use crate::limits::{MAX_ENVS_PER_STREAM, MAX_NAME_BYTES};
use crate::{PROTOCOL_VERSION, v1};

/// Purpose of an actor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Actions are sampled from the policy.
    Train,
    /// Actions are the policy's most likely ones.
    Evaluate,
}

/// A checked registration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registration {
    /// The run that the actor belongs to; `None` means whichever is being served.
    pub run_id: Option<String>,
    /// The actor's number within the run.
    pub actor: u32,
    /// True if the learner issues that number, and may issue another one.
    pub any_number: bool,
    /// Incarnation of that actor; 0 where the learner has issued none yet.
    pub generation: u64,
    /// A number unlike that of any other process; 0 where nobody tells.
    pub instance: u64,
    /// The environments that the stream speaks for.
    pub env_indices: std::ops::Range<u32>,
    /// The environment.
    pub spec: EnvSpec,
    /// Purpose of the actor.
    pub purpose: Purpose,
    /// Seed of the actions that are drawn on the stream.
    pub seed: u64,
}

impl Registration {
    /// Refuses an actor of another run.
    pub fn check_run(&self, served: &str) -> Result<(), WireError> {
        match &self.run_id {
            Some(run_id) if run_id != served => {
                Err(WireError::Run { served: served.into(), registered: run_id.clone() })
            }
            _ => Ok(()),
        }
    }

    /// Refuses an actor of another environment.
    pub fn check_spec(&self, served: &EnvSpec) -> Result<(), WireError> {
        if &self.spec == served {
            return Ok(());
        }
        Err(WireError::Spec {
            served: Box::new(served.clone()),
            registered: Box::new(self.spec.clone()),
        })
    }
}

impl From<&Registration> for v1::Registration {
    fn from(registration: &Registration) -> Self {
        v1::Registration {
            protocol_version: PROTOCOL_VERSION,
            run_id: registration.run_id.clone().unwrap_or_default(),
            actor: registration.actor,
            generation: registration.generation,
            any_number: registration.any_number,
            instance: registration.instance,
            first_env_index: registration.env_indices.start,
            env_count: registration.env_indices.len() as u32,
            spec: Some(v1::EnvSpec::from(&registration.spec)),
            purpose: match registration.purpose {
                Purpose::Train => v1::Purpose::Train,
                Purpose::Evaluate => v1::Purpose::Evaluate,
            }
            .into(),
            seed: registration.seed,
        }
    }
}

impl TryFrom<v1::Registration> for Registration {
    type Error = WireError;

    fn try_from(message: v1::Registration) -> Result<Self, WireError> {
        check_protocol(message.protocol_version)?;
        if message.run_id.len() > MAX_NAME_BYTES {
            return Err(WireError::TooMany {
                what: "bytes in run_id",
                limit: MAX_NAME_BYTES,
                found: message.run_id.len(),
            });
        }
        if !(1..=MAX_ENVS_PER_STREAM).contains(&message.env_count) {
            return Err(WireError::TooMany {
                what: "environments on one stream (at least 1)",
                limit: MAX_ENVS_PER_STREAM as usize,
                found: message.env_count as usize,
            });
        }
        let first = message.first_env_index;
        let end = first.checked_add(message.env_count).ok_or(WireError::TooMany {
            what: "environments of one actor",
            limit: u32::MAX as usize,
            found: first as usize + message.env_count as usize,
        })?;
        let purpose = match v1::Purpose::try_from(message.purpose) {
            Ok(v1::Purpose::Train) => Purpose::Train,
            Ok(v1::Purpose::Evaluate) => Purpose::Evaluate,
            Ok(v1::Purpose::Unspecified) | Err(_) => return Err(WireError::Missing("purpose")),
        };
        Ok(Registration {
            run_id: (!message.run_id.is_empty()).then_some(message.run_id),
            actor: message.actor,
            any_number: message.any_number,
            instance: message.instance,
            generation: message.generation,
            env_indices: first..end,
            spec: message.spec.ok_or(WireError::Missing("spec"))?.try_into()?,
            purpose,
            seed: message.seed,
        })
    }
}

/// Refuses a peer that speaks another version of the protocol.
pub fn check_protocol(version: u32) -> Result<(), WireError> {
    if version == PROTOCOL_VERSION {
        return Ok(());
    }
    Err(WireError::Protocol { found: version })
}
