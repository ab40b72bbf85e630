//! Each stream of trajectories is taken in sequence order, and no trajectory twice.
//!
//! A stream is one environment of one actor, in one generation of that actor. What comes a second
//! time is recognized; what is missing is noticed, because state carried from one unroll to the
//! next must not cross the hole. Nothing here knows of connections or clocks: an actor may come
//! back on another connection, and a restarted learner reads its streams from the checkpoint.

use std::collections::HashMap;

use engram_mdp::StreamId;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The most streams that one run may have: a bound on memory, far above any real run.
pub const MAX_STREAMS: usize = 1 << 18;

/// Verdict on a trajectory that arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is new and must be kept.
    Accepted(Continuity),
    /// It was accepted before: acknowledge it again, and drop it.
    Repeat,
}

/// Continuity with the stream's last accepted trajectory: it says if state carried from there is
/// good for this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Continuity {
    /// It is the direct successor.
    Continues,
    /// It is the first of its stream's generation.
    Begins,
    /// Some trajectories before it never came.
    Gap {
        /// Number of those missing.
        missing: u64,
    },
}

/// Why a stream is refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum StreamError {
    /// Another process has taken the actor's place.
    #[error(
        "{stream} is at generation {current}, but generation {found} came: another process runs \
         as this actor; give every actor its own number"
    )]
    OlderGeneration {
        /// The stream.
        stream: StreamId,
        /// The newest generation.
        current: u64,
        /// The one that came.
        found: u64,
    },
    /// The run has as many streams as it may have.
    #[error("{found} streams would be more than the {limit} that a run may have")]
    TooMany {
        /// The most that is allowed.
        limit: usize,
        /// Number that there would be.
        found: usize,
    },
    /// A trajectory of a stream that nobody registered.
    #[error("{0} was not registered on this connection")]
    Unregistered(StreamId),
}

/// Positions of all streams of the run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Vec<Row>", into = "Vec<Row>")]
pub struct StreamPositions {
    limit: usize,
    positions: HashMap<StreamId, Position>,
}

/// Position of one stream: the sequence that comes next, unknown at a generation's start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Position {
    generation: u64,
    next: Option<u64>,
    /// Generations before this one.
    predecessors: u64,
}

/// One stream, as checkpoints hold it: actor, environment, generation, next sequence, and
/// generations before.
pub type Row = (u32, u32, u64, Option<u64>, u64);

impl Default for StreamPositions {
    fn default() -> Self {
        StreamPositions::new(MAX_STREAMS)
    }
}

impl StreamPositions {
    /// No streams yet, and at most `limit` of them.
    pub fn new(limit: usize) -> Self {
        StreamPositions { limit, positions: HashMap::new() }
    }

    /// Opens `streams` for `generation`: all of them, or none where one of them is refused. From
    /// here on an older generation is refused; the same one goes on where it stood. Returns the
    /// most generations that any of the streams had before: a number that no other generation of
    /// these streams gets.
    pub fn register(&mut self, streams: &[StreamId], generation: u64) -> Result<u64, StreamError> {
        let mut unknown = 0;
        for stream in streams {
            match self.positions.get(stream) {
                Some(position) => position.check(*stream, generation)?,
                None => unknown += 1,
            }
        }
        let found = self.positions.len() + unknown;
        if found > self.limit {
            let limit = self.limit;
            return Err(StreamError::TooMany { limit, found });
        }
        let mut most = 0;
        for &stream in streams {
            let new = Position { generation, next: None, predecessors: 0 };
            let position = self.positions.entry(stream).or_insert(new);
            if position.generation != generation {
                *position = Position { predecessors: position.predecessors + 1, ..new };
            }
            most = most.max(position.predecessors);
        }
        Ok(most)
    }

    /// Judges trajectory `sequence` of a registered stream.
    pub fn accept(
        &mut self,
        stream: StreamId,
        generation: u64,
        sequence: u64,
    ) -> Result<Verdict, StreamError> {
        let position = self.positions.get_mut(&stream).ok_or(StreamError::Unregistered(stream))?;
        position.check(stream, generation)?;
        let continuity = match position.next {
            Some(next) if sequence < next => return Ok(Verdict::Repeat),
            Some(next) if sequence == next => Continuity::Continues,
            Some(next) => Continuity::Gap { missing: sequence - next },
            None => Continuity::Begins,
        };
        position.next = Some(sequence.saturating_add(1));
        Ok(Verdict::Accepted(continuity))
    }

    /// Number of streams that are known.
    pub fn len(&self) -> usize {
        self.positions.len()
    }

    /// True if no stream is known.
    pub fn is_empty(&self) -> bool {
        self.positions.is_empty()
    }
}

impl Position {
    fn check(self, stream: StreamId, found: u64) -> Result<(), StreamError> {
        let current = self.generation;
        if found >= current {
            return Ok(());
        }
        Err(StreamError::OlderGeneration { stream, current, found })
    }
}

impl From<Vec<Row>> for StreamPositions {
    fn from(rows: Vec<Row>) -> Self {
        let positions = rows
            .into_iter()
            .map(|(actor, env_index, generation, next, predecessors)| {
                (StreamId { actor, env_index }, Position { generation, next, predecessors })
            })
            .collect();
        StreamPositions { limit: MAX_STREAMS, positions }
    }
}

impl From<StreamPositions> for Vec<Row> {
    fn from(streams: StreamPositions) -> Self {
        let mut rows: Vec<Row> = streams
            .positions
            .into_iter()
            .map(|(id, p)| (id.actor, id.env_index, p.generation, p.next, p.predecessors))
            .collect();
        rows.sort_unstable();
        rows
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn stream(env_index: u32) -> StreamId {
        StreamId { actor: 3, env_index }
    }

    fn all(count: u32) -> Vec<StreamId> {
        (0..count).map(stream).collect()
    }

    fn open(generation: u64) -> StreamPositions {
        let mut streams = StreamPositions::new(4);
        streams.register(&all(2), generation).unwrap();
        streams
    }

    #[test]
    fn a_repeat_is_recognized_and_a_gap_is_measured() {
        let mut streams = open(1);
        let mut accept = |sequence| streams.accept(stream(0), 1, sequence).unwrap();
        assert_eq!(accept(0), Verdict::Accepted(Continuity::Begins));
        assert_eq!(accept(1), Verdict::Accepted(Continuity::Continues));
        assert_eq!(accept(1), Verdict::Repeat);
        assert_eq!(accept(0), Verdict::Repeat);
        assert_eq!(accept(5), Verdict::Accepted(Continuity::Gap { missing: 3 }));
        assert_eq!(accept(3), Verdict::Repeat);
        assert_eq!(accept(6), Verdict::Accepted(Continuity::Continues));
    }

    #[test]
    fn streams_do_not_disturb_each_other() {
        let mut streams = open(1);
        streams.accept(stream(0), 1, 0).unwrap();
        let first = streams.accept(stream(1), 1, 0);
        assert_eq!(first, Ok(Verdict::Accepted(Continuity::Begins)));
    }

    #[test]
    fn the_same_generation_goes_on_and_a_newer_one_begins_anew() {
        let mut streams = open(7);
        streams.accept(stream(0), 7, 0).unwrap();
        streams.register(&all(2), 7).unwrap();
        assert_eq!(streams.accept(stream(0), 7, 0), Ok(Verdict::Repeat));
        streams.register(&all(2), 8).unwrap();
        let began = streams.accept(stream(0), 8, 0);
        assert_eq!(began, Ok(Verdict::Accepted(Continuity::Begins)));
    }

    #[test]
    fn an_older_generation_is_refused_from_the_moment_the_newer_one_registers() {
        let mut streams = open(7);
        streams.register(&all(2), 8).unwrap();
        let refused = StreamError::OlderGeneration { stream: stream(0), current: 8, found: 7 };
        assert_eq!(streams.accept(stream(0), 7, 0), Err(refused.clone()));
        assert_eq!(streams.register(&all(2), 7), Err(refused));
    }

    #[test]
    fn every_generation_gets_a_number_of_its_own_and_keeps_it() {
        let mut streams = StreamPositions::new(4);
        assert_eq!(streams.register(&all(2), 7), Ok(0));
        assert_eq!(streams.register(&all(2), 8), Ok(1));
        assert_eq!(streams.register(&all(2), 8), Ok(1));
        // Another number of environments makes no difference.
        assert_eq!(streams.register(&all(1), 9), Ok(2));
        assert_eq!(streams.register(&all(3), 10), Ok(3));
        assert_eq!(streams.register(&[StreamId { actor: 4, env_index: 0 }], 10), Ok(0));
    }

    #[test]
    fn a_registration_beyond_the_limit_changes_nothing() {
        let mut streams = open(1);
        let before = streams.clone();
        let refused = streams.register(&all(5), 2);
        assert_eq!(refused, Err(StreamError::TooMany { limit: 4, found: 5 }));
        assert_eq!(streams, before);
    }

    #[test]
    fn streams_survive_a_checkpoint() {
        let mut streams = StreamPositions::default();
        streams.register(&all(3), 9).unwrap();
        streams.accept(stream(1), 9, 4).unwrap();
        let json = serde_json::to_string(&streams).unwrap();
        assert_eq!(serde_json::from_str::<StreamPositions>(&json).unwrap(), streams);
    }

    proptest! {
        /// The model: of one generation, what is accepted is exactly what is greater than all
        /// that was accepted before; nothing is accepted twice; nothing old is ever accepted.
        #[test]
        fn nothing_is_accepted_twice_or_out_of_order(
            arrivals in prop::collection::vec((0_u32..2, 1_u64..4, 0_u64..12, any::<bool>()), 0..80)
        ) {
            let mut streams = StreamPositions::new(2);
            let mut newest = [0; 2];
            let mut accepted: [BTreeSet<(u64, u64)>; 2] = Default::default();
            for (env, generation, sequence, register) in arrivals {
                let id = stream(env);
                let env = env as usize;
                if register {
                    let opened = streams.register(&[id], generation);
                    prop_assert_eq!(opened.is_ok(), generation >= newest[env]);
                    newest[env] = newest[env].max(generation);
                }
                let verdict = streams.accept(id, newest[env], sequence);
                let last = accepted[env].iter().filter(|(g, _)| *g == newest[env]).max().copied();
                match (newest[env], verdict) {
                    (0, verdict) => prop_assert_eq!(verdict, Err(StreamError::Unregistered(id))),
                    (_, Ok(Verdict::Repeat)) => {
                        prop_assert!(last.is_some_and(|(_, last)| sequence <= last));
                    }
                    (generation, Ok(Verdict::Accepted(continuity))) => {
                        let expected = match last {
                            None => Continuity::Begins,
                            Some((_, last)) if sequence == last + 1 => Continuity::Continues,
                            Some((_, last)) => Continuity::Gap { missing: sequence - last - 1 },
                        };
                        prop_assert_eq!(continuity, expected);
                        prop_assert!(accepted[env].insert((generation, sequence)));
                    }
                    (_, refused) => prop_assert!(false, "{:?}", refused),
                }
            }
        }
    }
}
