//! Ledger of what the learner has taken, and the invariants that it must keep to.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use engram_learner::rpc::queue::Arrival;
use engram_mdp::{StepType, StreamId, Trajectory};

use crate::support::checks::numbers;

/// One incarnation of an environment's stream.
pub(crate) type Source = (StreamId, u64);

/// Trajectories that a learner has taken in its life, and that those had taken whose checkpoint it
/// began with.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ledger {
    /// Environment and first decision of each, by the policy version that no other decision has.
    taken: BTreeSet<(u32, u64)>,
    digest: DefaultHasher,
    /// The last trajectory of each stream in this learner's life.
    last: BTreeMap<Source, Trajectory>,
}

impl Ledger {
    /// Takes note of a trajectory.
    ///
    /// No trajectory comes twice: not under another generation, not after a checkpoint that knows of
    /// it. Within one life of
    /// the learner none is missing, however often connections broke; and frames go on where the
    /// trajectory before has ended, unless the environment was reset.
    pub(crate) fn take(&mut self, Arrival { trajectory, generation }: Arrival) {
        let (source, sequence) = ((trajectory.stream, generation), trajectory.sequence);
        let decision = (trajectory.stream.env_index, trajectory.policy_versions[0]);
        assert!(self.taken.insert(decision), "{source:?}: {sequence} came twice");
        decision.hash(&mut self.digest);
        if let Some(before) = self.last.get(&source) {
            assert_eq!(sequence, before.sequence + 1, "{source:?}: a gap, or another order");
            let first = trajectory.frames.step_types[0];
            let joins = numbers(before).last() == numbers(&trajectory).first();
            assert!(joins || first == StepType::First, "{source:?}: frames are missing");
        }
        self.last.insert(source, trajectory);
    }

    /// Ledger of a learner that begins with a checkpoint of this one.
    pub(crate) fn checkpoint(&self) -> Self {
        Ledger { last: BTreeMap::new(), ..self.clone() }
    }

    /// Trajectories taken, and a digest of these in their order: two simulations that agree in it
    /// agree in everything that the learner has seen.
    pub(crate) fn digest(&self) -> (usize, u64) {
        (self.taken.len(), self.digest.finish())
    }

    /// Streams that something has come of in this life.
    pub(crate) fn streams(&self) -> usize {
        self.last.len()
    }
}
