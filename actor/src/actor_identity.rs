//! Actor identity: the actor's number, generation, environment and run, as every stream states
//! them.

use std::ops::Range;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use engram_mdp::EnvSpec;
use engram_proto::{Purpose, Registration, v1};
use engram_service::config::ActionChoice;

use crate::error::ActorError;

/// Identity of an actor. The run is learned from the first peer that names one, and never changes
/// from then on: a peer of another run is refused, or refuses.
#[derive(Debug)]
pub(crate) struct ActorIdentity {
    /// The number that it was given at its start; without one the learner issues it.
    number: Option<u32>,
    instance: u64,
    pub(crate) spec: EnvSpec,
    pub(crate) purpose: Purpose,
    run_id: OnceLock<String>,
    rank: AtomicU32,
    /// Nothing, until the learner has issued its generation.
    incarnation: Mutex<Option<Incarnation>>,
}

/// An actor's number, and its generation under that number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Incarnation {
    pub(crate) actor: u32,
    pub(crate) generation: u64,
}

impl ActorIdentity {
    /// An actor that trains: the learner says which incarnation it is.
    pub(crate) fn training(
        number: Option<u32>,
        instance: u64,
        spec: EnvSpec,
        run_id: Option<String>,
    ) -> Self {
        ActorIdentity {
            number,
            instance,
            spec,
            purpose: Purpose::Train,
            run_id: run_id.map(OnceLock::from).unwrap_or_default(),
            rank: AtomicU32::new(0),
            incarnation: Mutex::new(None),
        }
    }

    /// An actor that evaluates, which needs no learner.
    pub(crate) fn evaluating(
        own: Incarnation,
        actions: ActionChoice,
        spec: EnvSpec,
        run_id: Option<String>,
    ) -> Self {
        ActorIdentity {
            purpose: match actions {
                ActionChoice::Greedy => Purpose::Evaluate,
                ActionChoice::Drawn => Purpose::Train,
            },
            incarnation: Mutex::new(Some(own)),
            ..ActorIdentity::training(Some(own.actor), 0, spec, run_id)
        }
    }

    /// Its incarnation, as soon as it is known.
    pub(crate) fn incarnation(&self) -> Option<Incarnation> {
        *self.incarnation.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes note of what the learner has issued; false if it was another incarnation until now.
    pub(crate) fn becomes(&self, issued: Incarnation) -> bool {
        let mut own = self.incarnation.lock().unwrap_or_else(PoisonError::into_inner);
        own.replace(issued).is_none_or(|before| before == issued)
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
        let Incarnation { actor, generation } = self
            .incarnation()
            .unwrap_or(Incarnation { actor: self.number.unwrap_or_default(), generation: 0 });
        v1::Registration::from(&Registration {
            run_id: self.run_id.get().cloned(),
            actor,
            any_number: self.number.is_none(),
            instance: self.instance,
            generation,
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

    fn spec() -> EnvSpec {
        EnvSpec {
            name: "any".into(),
            observation: ObservationSpec { dtype: Dtype::U8, shape: vec![1] },
            action: ActionSpec::Discrete { count: 2 },
            frame_stack: 1,
            action_repeat: 1,
        }
    }

    #[test]
    fn the_first_run_that_is_named_is_the_only_one() {
        let identity = ActorIdentity::training(None, 9, spec(), None);
        assert_eq!(identity.registration(0..1).run_id, "");
        identity.check_run("inference server", String::new()).unwrap();
        assert_eq!(identity.run_id(), None);
        identity.check_run("inference server", "one".into()).unwrap();
        assert_eq!(identity.registration(0..1).run_id, "one");
        let error = identity.check_run("the learner", "two".into()).unwrap_err().to_string();
        assert!(error.contains("run `one`, but the learner serves run `two`"), "{error}");
    }

    #[test]
    fn an_actor_says_what_the_learner_has_issued() {
        let identity = ActorIdentity::training(None, 9, spec(), None);
        let said = || {
            let v1::Registration { actor, generation, any_number, .. } =
                identity.registration(0..1);
            (actor, generation, any_number)
        };
        assert_eq!(said(), (0, 0, true));
        assert!(identity.becomes(Incarnation { actor: 5, generation: 70 }));
        assert_eq!(said(), (5, 70, true));
        assert!(identity.becomes(Incarnation { actor: 5, generation: 70 }), "the same one");
        assert!(!identity.becomes(Incarnation { actor: 6, generation: 80 }), "it was forgotten");
        assert_eq!(said(), (6, 80, true));
        let numbered = ActorIdentity::training(Some(3), 9, spec(), None).registration(0..1);
        assert_eq!((numbered.actor, numbered.generation, numbered.any_number), (3, 0, false));
    }
}
