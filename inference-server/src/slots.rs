//! Slot table: the holder of each row of recurrent state.
//!
//! A registration leases one slot per environment, for as long as its stream lasts. A newer
//! incarnation of an actor evicts the streams of older ones, and a stream that comes again for the
//! same environments evicts the one that it replaces; an older incarnation is refused. Slots that
//! were freed are leased again, lowest first, so that what is in use lies together.
//!
//! Pure bookkeeping; the states themselves are in [`crate::model`]'s table.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Range;

use engram_proto::Registration;
use thiserror::Error;

use crate::batcher::StreamKey;

/// Reason why slots cannot be leased.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum LeaseError {
    /// A newer incarnation of the actor has been here.
    #[error(
        "actor {actor} came as generation {generation}, but generation {newest} has taken its \
         place; an actor's generation must grow with every start"
    )]
    Superseded {
        /// The actor.
        actor: u32,
        /// The incarnation that was refused.
        generation: u64,
        /// The newest one.
        newest: u64,
    },
    /// There are not so many slots.
    #[error(
        "{asked} environments were announced, but only {free} of {limit} slots of recurrent state \
         are free; raise --max-slots, or start another inference server"
    )]
    Full {
        /// Slots asked for.
        asked: usize,
        /// Slots that could be had.
        free: usize,
        /// All slots.
        limit: usize,
    },
}

/// Slots that a registration was given.
#[derive(Debug, PartialEq, Eq)]
pub struct Leased {
    /// One slot per environment, in the registration's order.
    pub slots: Vec<i64>,
    /// The streams that it evicted.
    pub evicted: Vec<StreamKey>,
}

/// The table of slots.
#[derive(Debug)]
pub struct SlotTable {
    limit: usize,
    /// Slots below this one are leased or free; those from it on were never used.
    used: i64,
    free: BTreeSet<i64>,
    leases: BTreeMap<StreamKey, SlotLease>,
    /// The newest generation of every actor that was here. Actors without a lease are forgotten
    /// when there are more of them than slots.
    newest: HashMap<u32, u64>,
}

#[derive(Debug)]
struct SlotLease {
    actor: u32,
    generation: u64,
    env_indices: Range<u32>,
    slots: Vec<i64>,
}

impl SlotTable {
    /// A table of at most `limit` slots, all free.
    pub fn new(limit: usize) -> Self {
        SlotTable {
            limit,
            used: 0,
            free: BTreeSet::new(),
            leases: BTreeMap::new(),
            newest: HashMap::new(),
        }
    }

    /// Leases slots to `stream`, which takes the place of others of the same actor; or changes
    /// nothing.
    pub fn lease(
        &mut self,
        registration: &Registration,
        stream: StreamKey,
    ) -> Result<Leased, LeaseError> {
        let Registration { actor, generation, .. } = *registration;
        match self.newest.get(&actor) {
            Some(&newest) if newest > generation => {
                return Err(LeaseError::Superseded { actor, generation, newest });
            }
            _ => {}
        }
        let evicted: Vec<StreamKey> = self
            .leases
            .iter()
            .filter(|(_, lease)| lease.gives_way_to(registration))
            .map(|(&key, _)| key)
            .collect();
        let returned: usize = evicted.iter().map(|key| self.leases[key].slots.len()).sum();
        let free = self.limit - self.leased() + returned;
        let asked = registration.env_indices.len();
        if asked > free {
            let limit = self.limit;
            return Err(LeaseError::Full { asked, free, limit });
        }
        evicted.iter().for_each(|&key| self.free(key));
        let slots: Vec<i64> = (0..asked).map(|_| self.take_lowest()).collect();
        let lease = SlotLease {
            actor,
            generation,
            env_indices: registration.env_indices.clone(),
            slots: slots.clone(),
        };
        self.leases.insert(stream, lease);
        self.remember(actor, generation);
        Ok(Leased { slots, evicted })
    }

    /// Takes back the slots of `stream`; nothing happens if it holds none.
    pub fn free(&mut self, stream: StreamKey) {
        if let Some(lease) = self.leases.remove(&stream) {
            self.free.extend(lease.slots);
        }
    }

    /// Slots that are leased now.
    pub fn leased(&self) -> usize {
        self.used as usize - self.free.len()
    }

    fn take_lowest(&mut self) -> i64 {
        self.free.pop_first().unwrap_or_else(|| {
            self.used += 1;
            self.used - 1
        })
    }

    fn remember(&mut self, actor: u32, generation: u64) {
        self.newest.insert(actor, generation);
        if self.newest.len() > self.limit {
            let here: BTreeSet<u32> = self.leases.values().map(|lease| lease.actor).collect();
            self.newest.retain(|actor, _| here.contains(actor));
        }
    }
}

impl SlotLease {
    fn gives_way_to(&self, newer: &Registration) -> bool {
        let overlap = self.env_indices.start < newer.env_indices.end
            && newer.env_indices.start < self.env_indices.end;
        self.actor == newer.actor && (self.generation < newer.generation || overlap)
    }
}

#[cfg(test)]
mod tests {
    use engram_mdp::{ActionSpec, Dtype, EnvSpec, ObservationSpec};
    use engram_proto::Purpose;
    use proptest::prelude::*;

    use super::*;

    fn registration(actor: u32, generation: u64, env_indices: Range<u32>) -> Registration {
        Registration {
            run_id: None,
            actor,
            any_number: false,
            instance: 0,
            generation,
            env_indices,
            spec: EnvSpec {
                name: "counting".into(),
                observation: ObservationSpec { dtype: Dtype::F32, shape: vec![1] },
                action: ActionSpec::Discrete { count: 2 },
                frame_stack: 1,
                action_repeat: 1,
            },
            purpose: Purpose::Train,
            seed: 0,
        }
    }

    #[test]
    fn freed_slots_are_leased_again_lowest_first() {
        let mut table = SlotTable::new(8);
        for key in 0..3 {
            let leased = table.lease(&registration(key as u32, 0, 0..2), StreamKey(key));
            let first = 2 * key as i64;
            assert_eq!(leased.unwrap().slots, [first, first + 1]);
        }
        table.free(StreamKey(1));
        table.free(StreamKey(1));
        let leased = table.lease(&registration(9, 0, 0..3), StreamKey(3));
        assert_eq!(leased.unwrap().slots, [2, 3, 6]);
        assert_eq!(table.leased(), 7);
    }

    #[test]
    fn a_newer_incarnation_evicts_all_streams_of_older_ones() {
        let mut table = SlotTable::new(6);
        table.lease(&registration(1, 5, 0..2), StreamKey(0)).unwrap();
        table.lease(&registration(1, 5, 2..4), StreamKey(1)).unwrap();
        table.lease(&registration(2, 5, 0..2), StreamKey(2)).unwrap();
        let newer = table.lease(&registration(1, 6, 0..2), StreamKey(3)).unwrap();
        assert_eq!(newer.evicted, [StreamKey(0), StreamKey(1)]);
        let sibling = table.lease(&registration(1, 6, 2..4), StreamKey(4)).unwrap();
        assert_eq!(sibling.evicted, []);
    }

    #[test]
    fn an_older_incarnation_is_refused_even_after_the_newer_one_has_left() {
        let mut table = SlotTable::new(4);
        table.lease(&registration(1, 6, 0..2), StreamKey(0)).unwrap();
        table.free(StreamKey(0));
        let refused = table.lease(&registration(1, 5, 0..2), StreamKey(1));
        let expected = LeaseError::Superseded { actor: 1, generation: 5, newest: 6 };
        assert_eq!(refused, Err(expected));
    }

    #[test]
    fn a_stream_that_comes_again_replaces_itself_only() {
        let mut table = SlotTable::new(4);
        table.lease(&registration(1, 5, 0..2), StreamKey(0)).unwrap();
        table.lease(&registration(1, 5, 2..4), StreamKey(1)).unwrap();
        let again = table.lease(&registration(1, 5, 0..2), StreamKey(2)).unwrap();
        assert_eq!(again.evicted, [StreamKey(0)]);
    }

    #[test]
    fn too_many_slots_are_refused_and_nothing_is_changed() {
        let mut table = SlotTable::new(4);
        table.lease(&registration(1, 5, 0..2), StreamKey(0)).unwrap();
        let refused = table.lease(&registration(1, 6, 0..5), StreamKey(1));
        let (asked, free, limit) = (5, 4, 4);
        assert_eq!(refused, Err(LeaseError::Full { asked, free, limit }));
        assert_eq!(table.leased(), 2);
        let refused = table.lease(&registration(2, 0, 0..3), StreamKey(2));
        assert!(refused.unwrap_err().to_string().contains("only 2 of 4 slots"));
    }

    proptest! {
        #[test]
        fn no_slot_is_ever_held_twice_or_lost(
            ops in prop::collection::vec((0..4_u32, 0..3_u64, 0..6_u32, 1..5_u32, 0..3_u32), 1..60)
        ) {
            let mut table = SlotTable::new(16);
            let mut held: BTreeMap<StreamKey, Vec<i64>> = BTreeMap::new();
            for (key, (actor, generation, first, count, leave)) in ops.into_iter().enumerate() {
                let key = StreamKey(key as u64);
                let registration = registration(actor, generation, first..first + count);
                if let Ok(leased) = table.lease(&registration, key) {
                    leased.evicted.iter().for_each(|key| { held.remove(key); });
                    prop_assert_eq!(leased.slots.len(), count as usize);
                    held.insert(key, leased.slots);
                }
                if leave == 0 && let Some((key, _)) = held.pop_first() {
                    table.free(key);
                }
                let slots: Vec<i64> = held.values().flatten().copied().collect();
                let distinct: BTreeSet<i64> = slots.iter().copied().collect();
                prop_assert_eq!(distinct.len(), slots.len());
                prop_assert!(distinct.iter().all(|slot| (0..16).contains(slot)));
                prop_assert_eq!(table.leased(), slots.len());
            }
        }
    }
}
