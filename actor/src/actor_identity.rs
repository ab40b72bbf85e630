//! Actor identity: the actor's number, generation, environment and run, as every stream states
//! them.

use std::ops::Range;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use engram_mdp::EnvSpec;
use engram_proto::{Purpose, Registration, v1};

use crate::error::ActorError;

/// Identity of an actor. The run is learned from the first peer that names one, and never changes
/// from then on: a peer of another run is refused, or refuses.
#[derive(Debug)]
pub(crate) struct ActorIdentity {
    pub(crate) actor: u32,
    pub(crate) generation: u64,
    pub(crate) spec: EnvSpec,
    pub(crate) purpose: Purpose,
    run_id: OnceLock<String>,
    rank: AtomicU32,
}

impl ActorIdentity {
    pub(crate) fn new(
        actor: u32,
        generation: u64,
        spec: EnvSpec,
        purpose: Purpose,
        run_id: Option<String>,
    ) -> Self {
        let run_id = run_id.map(OnceLock::from).unwrap_or_default();
        ActorIdentity { actor, generation, spec, purpose, run_id, rank: AtomicU32::new(0) }
    }

    /// The run, as soon as it is known.
    pub(crate) fn run_id(&self) -> Option<&str> {
        self.run_id.get().map(String::as_str)
    }

    /// Its rank, as the learner has told it last; 0 before.
    pub(crate) fn rank(&self) -> u32 {
        self.rank.load(Ordering::Relaxed)
    }

    /// Takes note of its rank.
    pub(crate) fn set_rank(&self, rank: u32) {
        self.rank.store(rank, Ordering::Relaxed);
    }

    /// The greeting for a stream that speaks for `env_indices`, and draws nothing.
    pub(crate) fn registration(&self, env_indices: Range<u32>) -> v1::Registration {
        v1::Registration::from(&Registration {
            run_id: self.run_id.get().cloned(),
            actor: self.actor,
            generation: self.generation,
            env_indices,
            spec: self.spec.clone(),
            purpose: self.purpose,
            seed: 0,
        })
    }

    /// Checks, or learns, the run that `peer` serves. A peer that names none has none yet.
    pub(crate) fn check_run(&self, peer: &str, served: String) -> Result<(), ActorError> {
        if served.is_empty() {
            return Ok(());
        }
        let expected = self.run_id.get_or_init(|| served.clone());
        if *expected == served {
            return Ok(());
        }
        let (peer, expected) = (peer.to_owned(), expected.clone());
        Err(ActorError::Run { peer, expected, found: served })
    }
}

#[cfg(test)]
mod tests {
    use engram_mdp::{ActionSpec, Dtype, ObservationSpec};

    use super::*;

    #[test]
    fn the_first_run_that_is_named_is_the_only_one() {
        let spec = EnvSpec {
            name: "any".into(),
            observation: ObservationSpec { dtype: Dtype::U8, shape: vec![1] },
            action: ActionSpec::Discrete { count: 2 },
            action_repeat: 1,
        };
        let identity = ActorIdentity::new(0, 1, spec, Purpose::Train, None);
        assert_eq!(identity.registration(0..1).run_id, "");
        identity.check_run("inference server", String::new()).unwrap();
        assert_eq!(identity.run_id(), None);
        identity.check_run("inference server", "one".into()).unwrap();
        assert_eq!(identity.registration(0..1).run_id, "one");
        let error = identity.check_run("the learner", "two".into()).unwrap_err().to_string();
        assert!(error.contains("run `one`, but the learner serves run `two`"), "{error}");
    }
}
