//! Membership as checkpoints hold it.

use serde::{Deserialize, Serialize};

use super::{Generations, Member, Membership};
use crate::rpc::stream_positions::StreamPositions;

/// Membership as checkpoints hold it: members by the time of their departure, those who were present
/// last.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SavedMembership {
    last_generation: u64,
    most_present_streams: usize,
    forgotten_predecessors: u64,
    members: Vec<SavedMember>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SavedMember {
    actor: u32,
    generation: u64,
    instance: u64,
    predecessors: u64,
    streams: u32,
    reported: Option<u64>,
    next: StreamPositions,
}

impl Membership {
    /// Membership as a checkpoint holds it.
    pub fn save(&self) -> SavedMembership {
        let mut members: Vec<_> = self.members.iter().collect();
        members.sort_unstable_by_key(|(actor, m)| (m.sessions > 0, m.departed, **actor));
        let saved = |(&actor, member): (&u32, &Member)| SavedMember {
            actor,
            generation: member.generation,
            instance: member.instance,
            predecessors: member.predecessors,
            streams: member.streams,
            reported: member.reported,
            next: member.positions.clone(),
        };
        SavedMembership {
            last_generation: self.generations.last,
            most_present_streams: self.most_present_streams,
            forgotten_predecessors: self.forgotten_predecessors,
            members: members.into_iter().map(saved).collect(),
        }
    }

    /// The same limits with the actors of a checkpoint, all of them absent.
    pub fn resuming(self, saved: SavedMembership) -> Self {
        let mut membership = Membership {
            most_present_streams: saved.most_present_streams,
            forgotten_predecessors: saved.forgotten_predecessors,
            generations: Generations::after(saved.last_generation),
            ..Membership::new(self.limit, self.kept_absent)
        };
        for saved in saved.members {
            membership.departures += 1;
            let departed = membership.departures;
            membership.absent.insert((departed, saved.actor));
            membership.absent_streams += saved.streams as usize;
            let member = Member {
                streams: saved.streams,
                positions: saved.next,
                reported: saved.reported,
                departed,
                ..Member::new(saved.generation, saved.instance, saved.predecessors)
            };
            membership.members.insert(saved.actor, member);
        }
        membership
    }
}
