//! Membership: the actors of the run, and who is who of them.
//!
//! The learner issues **generations**, as Kafka issues the epochs of its producers: an actor that
//! registers for the first time gets one, and says it whenever it comes again. So a trajectory
//! belongs to one incarnation of an actor, whatever the clocks of machines say. A newer generation
//! of an actor fences the older one. An actor that has no number of its own gets a free one, from a million on.
//!
//! Who leaves may come again, and is remembered: but of those who are away no more than of those
//! who were ever present at once (or [`KEPT_ABSENT`], if that is more). Beyond it, whoever has been
//! away for longest is forgotten when somebody new comes. So a run is bounded by its largest fleet,
//! however many actors have come and gone. Who was forgotten and comes again gets a new generation;
//! what it had sent without an answer may have been learned from, so it is not sent again.
//!
//! Generations survive the learner. A checkpoint holds the last one; those that a killed learner
//! has issued after it lie in a range of their own, and actors keep them, until they are forgotten.

use std::collections::{BTreeSet, HashMap};

use engram_mdp::StreamId;
use thiserror::Error;

use crate::rpc::stream_positions::{StreamPositions, Verdict};

mod saved;

pub use saved::SavedMembership;

/// The most streams of actors that are present at once: a bound on memory, far above any real run.
pub const MAX_STREAMS: usize = 1 << 18;

/// Streams of absent actors that are remembered in any case.
pub const KEPT_ABSENT: usize = 4096;

/// The lowest number that is issued to actors without one of their own. Whoever numbers actors begins
/// at 0, and the two do not meet.
pub const FIRST_ISSUED_NUMBER: u32 = 1_000_000;

/// Generations that one learner may issue before another one takes its place.
const ISSUED_AT_MOST: u64 = 1 << 20;

/// An actor as it registers: what it claims to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Its number. `None`: it has none yet, and any will do.
    pub actor: Option<u32>,
    /// True if its number was issued by a learner, so that another will do as well.
    pub any_number: bool,
    /// Its generation; `None` if it has none yet.
    pub generation: Option<u64>,
    /// A number unlike that of any other process; 0 if nobody tells.
    pub instance: u64,
    /// Its environments.
    pub streams: u32,
}

/// An actor that was registered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Incarnation {
    /// Its number.
    pub actor: u32,
    /// Its generation.
    pub generation: u64,
    /// A number that no other generation of this actor's number gets.
    pub predecessors: u64,
}

/// Refusal of an actor or a trajectory.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum MembershipError {
    /// Another process has taken the actor's place.
    #[error(
        "actor {actor} is at generation {current}, but generation {found} came: another process \
         runs as this actor; give every actor its own number"
    )]
    Superseded {
        /// The actor.
        actor: u32,
        /// The newest generation.
        current: u64,
        /// The one that came.
        found: u64,
    },
    /// So many are present that there is no room.
    #[error("{found} streams would be more than the {limit} that may be present at once")]
    TooMany {
        /// The most that is allowed.
        limit: usize,
        /// Number that there would be.
        found: usize,
    },
    /// A trajectory of an actor that nobody registered.
    #[error("actor {0} was not registered")]
    Unregistered(u32),
}

/// An actor that is remembered no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forgotten {
    /// Its number, which another one may get.
    pub actor: u32,
    /// Its last generation.
    pub generation: u64,
}

/// The actors of the run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Membership {
    limit: usize,
    kept_absent: usize,
    members: HashMap<u32, Member>,
    /// Time of departure of those who are away: departures are counted.
    absent: BTreeSet<(u64, u32)>,
    departures: u64,
    present_streams: usize,
    absent_streams: usize,
    most_present_streams: usize,
    generations: Generations,
    /// Predecessors that an actor may have had that was forgotten.
    forgotten_predecessors: u64,
    forgotten: Vec<Forgotten>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Member {
    generation: u64,
    /// The process that it is.
    instance: u64,
    predecessors: u64,
    streams: u32,
    positions: StreamPositions,
    /// Sequence of its last report.
    reported: Option<u64>,
    /// Connections on which it is present.
    sessions: usize,
    /// Time of its departure, if it is away.
    departed: u64,
}

/// Generations that were issued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Generations {
    /// The last one that the checkpoint knows of, or of a lost learner's that was forgotten since.
    known: u64,
    /// The last one that a learner may have issued before this one.
    lost: u64,
    last: u64,
}

/// Ruling on a claim.
enum Ruling {
    /// It goes on where it stood.
    GoesOn(u32),
    /// It is new here, under the generation that another learner has issued.
    Keeps(u32, u64),
    /// It is new, under that number if it must have one.
    New(Option<u32>),
}

impl Default for Membership {
    fn default() -> Self {
        Membership::new(MAX_STREAMS, KEPT_ABSENT)
    }
}

impl Membership {
    /// Nobody yet; at most `limit` streams at once, and `kept_absent` absent ones in any case.
    pub fn new(limit: usize, kept_absent: usize) -> Self {
        Membership {
            limit,
            kept_absent,
            members: HashMap::new(),
            absent: BTreeSet::new(),
            departures: 0,
            present_streams: 0,
            absent_streams: 0,
            most_present_streams: 0,
            generations: Generations::after(0),
            forgotten_predecessors: 0,
            forgotten: Vec::new(),
        }
    }

    /// Registers an actor, which is present from here on until it [departs](Self::depart) as often
    /// as it has registered. From here on an older generation of it is refused; the same one goes
    /// on where it stood. Where it is refused nothing changes.
    pub fn register(&mut self, claim: Claim) -> Result<Incarnation, MembershipError> {
        let ruling = self.judge(&claim)?;
        let number = match ruling {
            Ruling::GoesOn(actor) | Ruling::Keeps(actor, _) => Some(actor),
            Ruling::New(actor) => actor,
        };
        let own = number.and_then(|actor| self.members.get(&actor));
        let present = own.filter(|member| member.sessions > 0).map_or(0, |m| m.streams as usize);
        let found = self.present_streams - present + claim.streams as usize;
        if found > self.limit {
            return Err(MembershipError::TooMany { limit: self.limit, found });
        }
        if own.is_none() {
            self.forget_absent(claim.streams as usize);
        }
        let actor = number.unwrap_or_else(|| self.free_number());
        let generation = match ruling {
            Ruling::GoesOn(actor) => self.members[&actor].generation,
            Ruling::Keeps(_, generation) => generation,
            Ruling::New(_) => self.generations.issue(),
        };
        self.arrive(actor, generation, &claim);
        let predecessors = self.members[&actor].predecessors;
        Ok(Incarnation { actor, generation, predecessors })
    }

    /// A connection on which the actor was present has ended.
    pub fn depart(&mut self, actor: u32) {
        let Some(member) = self.members.get_mut(&actor) else { return };
        member.sessions = member.sessions.saturating_sub(1);
        if member.sessions > 0 {
            return;
        }
        self.departures += 1;
        member.departed = self.departures;
        self.absent.insert((self.departures, actor));
        self.present_streams -= member.streams as usize;
        self.absent_streams += member.streams as usize;
    }

    /// Judges trajectory `sequence` of a registered stream.
    pub fn accept(
        &mut self,
        stream: StreamId,
        generation: u64,
        sequence: u64,
    ) -> Result<Verdict, MembershipError> {
        let StreamId { actor, env_index } = stream;
        let member = self.members.get_mut(&actor).ok_or(MembershipError::Unregistered(actor))?;
        let current = member.generation;
        if generation != current {
            return Err(MembershipError::Superseded { actor, current, found: generation });
        }
        Ok(member.positions.accept(env_index, sequence))
    }

    /// Takes note of a report of episodes: true, unless it came before, or its actor was replaced or
    /// forgotten.
    pub fn report(&mut self, actor: u32, generation: u64, sequence: u64) -> bool {
        let Some(member) = self.members.get_mut(&actor) else { return false };
        let new = member.reported.is_none_or(|reported| sequence > reported);
        let counts = member.generation == generation && new;
        if counts {
            member.reported = Some(sequence);
        }
        counts
    }

    /// Actors that were forgotten since this was last asked: nothing of theirs needs to be kept.
    pub fn take_forgotten(&mut self) -> Vec<Forgotten> {
        std::mem::take(&mut self.forgotten)
    }

    /// Actors that are remembered, present or not.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// True if nobody is remembered.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Streams, each with its actor's generation and the sequence that comes next.
    pub fn streams(&self) -> impl Iterator<Item = (StreamId, u64, u64)> + '_ {
        self.members.iter().flat_map(|(&actor, member)| {
            let stream = move |env_index| StreamId { actor, env_index };
            let positions = member.positions.iter();
            positions.map(move |(env_index, next)| (stream(env_index), member.generation, next))
        })
    }

    fn judge(&self, claim: &Claim) -> Result<Ruling, MembershipError> {
        if let Some(actor) = self.same_process(claim) {
            return Ok(Ruling::GoesOn(actor));
        }
        let Some(actor) = claim.actor else { return Ok(Ruling::New(None)) };
        let known = self.members.get(&actor);
        let same_number = Ruling::New((!claim.any_number).then_some(actor));
        let Some(found) = claim.generation else { return Ok(same_number) };
        let outside = self.generations.is_of_a_lost_learner(found);
        match known {
            // Issued to this actor after the checkpoint that this learner began with. A number that
            // the learner has given to somebody else meanwhile is not taken away.
            Some(member) if outside && found > member.generation => match claim.any_number {
                true if member.sessions > 0 => Ok(same_number),
                _ => Ok(Ruling::Keeps(actor, found)),
            },
            None if outside => Ok(Ruling::Keeps(actor, found)),
            Some(member) if !claim.any_number && found < member.generation => {
                let current = member.generation;
                Err(MembershipError::Superseded { actor, current, found })
            }
            _ => Ok(same_number),
        }
    }

    /// The actor that the process is already. It may register again without a word of its generation:
    /// it has not heard of it, or its first registration arrives after its second one.
    fn same_process(&self, claim: &Claim) -> Option<u32> {
        let Claim { actor, instance, generation, .. } = *claim;
        let known = actor.and_then(|actor| Some((actor, self.members.get(&actor)?)));
        match known {
            Some((actor, member)) if member.instance == instance => {
                (instance > 0 || generation == Some(member.generation)).then_some(actor)
            }
            None if actor.is_none() && instance > 0 => {
                let same = |member: &Member| member.instance == instance;
                self.members.iter().find(|(_, member)| same(member)).map(|(&actor, _)| actor)
            }
            _ => None,
        }
    }

    fn arrive(&mut self, actor: u32, generation: u64, claim: &Claim) {
        let (first, instance, streams) =
            (self.forgotten_predecessors, claim.instance, claim.streams);
        let new = || Member::new(generation, instance, first);
        let member = self.members.entry(actor).or_insert_with(new);
        if member.sessions > 0 {
            self.present_streams -= member.streams as usize;
        } else if self.absent.remove(&(member.departed, actor)) {
            self.absent_streams -= member.streams as usize;
        }
        if member.generation != generation {
            let (sessions, predecessors) = (member.sessions, member.predecessors + 1);
            *member = Member { sessions, ..Member::new(generation, instance, predecessors) };
        }
        member.sessions += 1;
        member.streams = streams;
        self.present_streams += streams as usize;
        self.most_present_streams = self.most_present_streams.max(self.present_streams);
    }

    /// Forgets those who have been away for longest, for somebody new with so many streams.
    fn forget_absent(&mut self, streams: usize) {
        let kept = self.most_present_streams.max(self.kept_absent);
        let room = self.limit.saturating_sub(self.present_streams + streams);
        while self.absent_streams > kept.min(room) {
            let (_, actor) = self.absent.pop_first().expect("absent streams are somebody's");
            let member = self.members.remove(&actor).expect("who is absent is remembered");
            self.absent_streams -= member.streams as usize;
            let predecessors = member.predecessors + 1;
            self.forgotten_predecessors = self.forgotten_predecessors.max(predecessors);
            self.generations.forget(member.generation);
            self.forgotten.push(Forgotten { actor, generation: member.generation });
        }
    }

    fn free_number(&self) -> u32 {
        let free = |actor: &u32| !self.members.contains_key(actor);
        (FIRST_ISSUED_NUMBER..=u32::MAX).find(free).expect("fewer actors than numbers")
    }
}

impl Member {
    fn new(generation: u64, instance: u64, predecessors: u64) -> Self {
        Member {
            generation,
            instance,
            predecessors,
            streams: 0,
            positions: StreamPositions::default(),
            reported: None,
            sessions: 0,
            departed: 0,
        }
    }
}

impl Generations {
    /// Those of a learner that begins where `saved` was the last one.
    fn after(saved: u64) -> Self {
        let lost = saved + ISSUED_AT_MOST;
        Generations { known: saved, lost, last: lost }
    }

    fn issue(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    /// True if neither this learner has issued it, nor any whose checkpoint this one has seen.
    fn is_of_a_lost_learner(&self, generation: u64) -> bool {
        (self.known + 1..=self.lost).contains(&generation)
    }

    /// An actor is remembered no more. What came under its generation may have been learned from, so it
    /// is not kept a second time; nor are earlier ones, of which none is kept in mind.
    fn forget(&mut self, generation: u64) {
        if self.is_of_a_lost_learner(generation) {
            self.known = generation;
        }
    }
}

#[cfg(test)]
mod tests;
