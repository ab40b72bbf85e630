//! Start index: the decisions of an episode at which a sequence may begin.
//!
//! A *start* is the first decision to learn from. From a zero state a chunk of `length`
//! may start anywhere where it is whole, and at 0 in any case: an episode of n decisions has
//! `max(1, n − length + 1)` starts. A whole episode has one; drawn by length it has one for each of
//! its decisions, all of them at 0. From stored states it may start at 0, and `burn_in` decisions
//! after every stored state; of the starts whose chunks reach the episode's end only the first
//! is one, so that no ending is left out and few chunks are short.

use crate::config::replay::{InitialState, ReplayConfig, Sampling, Sequences};

/// StartIndex of sequences of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct StartIndex {
    sequences: Sequences,
    initial_state: InitialState,
    by_length: bool,
}

impl StartIndex {
    /// Starts of a configuration.
    pub(super) fn new(config: &ReplayConfig) -> Self {
        StartIndex {
            sequences: config.sequences,
            initial_state: config.initial_state,
            by_length: config.sampling == Sampling::ByLength,
        }
    }

    /// Number of starts of an episode, at least one. `state_rows` are the rows before which states
    /// are stored.
    pub(super) fn count(self, decisions: usize, state_rows: &[u32]) -> usize {
        match (self.sequences, self.initial_state) {
            (Sequences::Episodes, _) if self.by_length => decisions,
            (Sequences::Episodes, _) => 1,
            (Sequences::Chunks { length, .. }, InitialState::Zero) => {
                decisions.saturating_sub(length) + 1
            }
            (_, InitialState::Stored) => self.stored(decisions, state_rows).count(),
        }
    }

    /// Start number `index`.
    pub(super) fn nth(self, decisions: usize, state_rows: &[u32], index: usize) -> usize {
        match (self.sequences, self.initial_state) {
            (Sequences::Episodes, _) => 0,
            (Sequences::Chunks { .. }, InitialState::Zero) => index,
            (_, InitialState::Stored) => {
                let start = self.stored(decisions, state_rows).nth(index);
                start.expect("a start is drawn out of as many as there are")
            }
        }
    }

    /// Number of the start `start`.
    pub(super) fn index(self, decisions: usize, state_rows: &[u32], start: usize) -> Option<usize> {
        match (self.sequences, self.initial_state) {
            (Sequences::Chunks { .. }, InitialState::Stored) => {
                self.stored(decisions, state_rows).position(|at| at == start)
            }
            (Sequences::Episodes, _) => (start == 0).then_some(0),
            _ => (start < self.count(decisions, state_rows)).then_some(start),
        }
    }

    /// Decisions to learn from, from `start` on.
    pub(super) fn length(self, decisions: usize, start: usize) -> usize {
        match self.sequences {
            Sequences::Episodes => decisions,
            Sequences::Chunks { length, .. } => length.min(decisions - start),
        }
    }

    /// Neighboring starts that share a priority: as many as a chunk is long where every decision
    /// is a start, so that a long episode has one priority for each of its parts.
    pub(super) fn per_item(self) -> usize {
        match (self.sequences, self.initial_state) {
            (Sequences::Chunks { length, .. }, InitialState::Zero) => length,
            _ => 1,
        }
    }

    fn stored(self, decisions: usize, state_rows: &[u32]) -> impl Iterator<Item = usize> {
        let Sequences::Chunks { length, burn_in } = self.sequences else {
            unreachable!("whole episodes begin with zeros: the configuration says so")
        };
        let begun = (burn_in > 0).then_some(burn_in);
        let later = state_rows.iter().map(move |&row| row as usize + burn_in);
        let all = [0].into_iter().chain(begun).chain(later);
        let mut reached = false;
        all.take_while(move |&start| {
            let taken = !reached && start < decisions;
            reached |= start + length >= decisions;
            taken
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn starts(length: usize, burn_in: usize, initial_state: InitialState) -> StartIndex {
        let sequences = Sequences::Chunks { length, burn_in };
        StartIndex { sequences, initial_state, by_length: false }
    }

    fn all(starts: StartIndex, decisions: usize, state_rows: &[u32]) -> Vec<usize> {
        let count = starts.count(decisions, state_rows);
        let all: Vec<_> = (0..count).map(|k| starts.nth(decisions, state_rows, k)).collect();
        for (k, &start) in all.iter().enumerate() {
            assert_eq!(starts.index(decisions, state_rows, start), Some(k));
        }
        all
    }

    #[test]
    fn from_zeros_every_whole_chunk_is_one() {
        let zero = starts(4, 2, InitialState::Zero);
        assert_eq!(all(zero, 6, &[]), [0, 1, 2]);
        assert_eq!(all(zero, 4, &[]), [0]);
        assert_eq!(all(zero, 1, &[]), [0]);
        assert_eq!(zero.index(6, &[], 3), None);
        assert_eq!((zero.length(6, 2), zero.length(3, 0)), (4, 3));
    }

    #[test]
    fn from_stored_states_the_episode_is_covered_to_its_end() {
        let no_burn_in = starts(4, 0, InitialState::Stored);
        assert_eq!(all(no_burn_in, 9, &[2, 5, 7]), [0, 2, 5]);
        assert_eq!(all(no_burn_in, 10, &[2, 5, 7]), [0, 2, 5, 7]);
        assert_eq!(all(no_burn_in, 3, &[2]), [0]);
        let burn_in = starts(4, 3, InitialState::Stored);
        assert_eq!(all(burn_in, 20, &[5, 10, 15]), [0, 3, 8, 13, 18]);
        assert_eq!(all(burn_in, 17, &[5, 10, 15]), [0, 3, 8, 13]);
        assert_eq!(all(burn_in, 3, &[]), [0]);
        assert_eq!(burn_in.index(20, &[5, 10, 15], 4), None);
    }
}
