//! Each stream of trajectories is taken in sequence order, and no trajectory twice.
//!
//! A stream is one environment of one actor, in one generation of that actor. What comes a second
//! time is recognized; what is missing is noticed, because state carried from one unroll to the
//! next must not cross the hole. Nothing here knows of connections or clocks: an actor may come
//! back on another connection, and a restarted learner reads its streams from the checkpoint.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

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

/// Positions of the streams of one actor, in one generation: of each environment that has sent a
/// trajectory the sequence that comes next.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct StreamPositions(BTreeMap<u32, u64>);

impl StreamPositions {
    /// Judges trajectory `sequence` of an environment.
    pub fn accept(&mut self, env_index: u32, sequence: u64) -> Verdict {
        let continuity = match self.0.get(&env_index) {
            Some(&next) if sequence < next => return Verdict::Repeat,
            Some(&next) if sequence == next => Continuity::Continues,
            Some(&next) => Continuity::Gap { missing: sequence - next },
            None => Continuity::Begins,
        };
        self.0.insert(env_index, sequence.saturating_add(1));
        Verdict::Accepted(continuity)
    }

    /// Environments, each with the sequence that comes next.
    pub fn iter(&self) -> impl Iterator<Item = (u32, u64)> + '_ {
        self.0.iter().map(|(&env_index, &next)| (env_index, next))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repeat_is_recognized_and_a_gap_is_measured() {
        let mut streams = StreamPositions::default();
        let mut accept = |sequence| streams.accept(0, sequence);
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
        let mut streams = StreamPositions::default();
        streams.accept(0, 0);
        assert_eq!(streams.accept(1, 0), Verdict::Accepted(Continuity::Begins));
        assert_eq!(streams.iter().collect::<Vec<_>>(), [(0, 1), (1, 1)]);
    }
}
