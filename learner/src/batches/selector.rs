//! Batch selector: the trajectories of the next batch.
//!
//! They enter in the order in which they came. Where the learner carries state from one unroll of
//! a stream to the next, a batch holds at most one trajectory of each stream, for the second one
//! needs what the first one leaves. Those that come too early are held back in their order, and
//! are first in line for the next batch:
//!
//! ```text
//! held back ──▶ ┐                             ┌──▶ the batch
//!               ├──▶ stale? its stream there? ┤
//! arrivals  ──▶ ┘                             └──▶ held back
//! ```
//!
//! A batch that waits for more streams than there are would wait for ever, so it closes smaller
//! once a stream of it is [`AHEAD`] trajectories ahead. That bounds what is held back, too.

use std::collections::{HashMap, VecDeque};

use engram_mdp::{StreamId, Trajectory};

use crate::rpc::queue::Arrival;

/// So many trajectories of a stream may be held back while a batch waits for other streams.
pub const AHEAD: usize = 4;

/// Key of one trajectory of a batch: where it came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrajectoryKey {
    /// The stream.
    pub stream: StreamId,
    /// The incarnation of its actor.
    pub generation: u64,
    /// Its place in that generation's stream, counted without gaps from zero.
    pub sequence: u64,
    /// The version of the oldest weights in it.
    pub policy_version: u64,
}

/// Rules by which trajectories go into a batch.
#[derive(Clone, Debug)]
pub struct SelectorRules {
    /// Trajectories per batch.
    pub batch_size: usize,
    /// A trajectory that is older than so many versions when a batch has room for it is dropped.
    pub max_policy_lag: u64,
    /// True if a batch holds at most one trajectory of each stream, as a learner needs that
    /// carries state from one to the next.
    pub one_per_stream: bool,
}

/// A batch in the making, and what is held back from it.
#[derive(Debug)]
pub struct Selector {
    rules: SelectorRules,
    trajectories: Vec<Trajectory>,
    keys: Vec<TrajectoryKey>,
    stale: u64,
    held: VecDeque<Arrival>,
    /// The batch's streams, each with how many of its trajectories are held back; empty where a
    /// batch may hold several of a stream.
    streams: HashMap<StreamId, usize>,
    warned: Warned,
}

/// Warnings that were given already.
#[derive(Debug, Default)]
struct Warned {
    of_stale: bool,
    of_few_streams: bool,
}

/// A batch's trajectories.
#[derive(Debug)]
pub struct Selected {
    /// In the order of the batch.
    pub trajectories: Vec<Trajectory>,
    /// Their keys.
    pub keys: Vec<TrajectoryKey>,
    /// Trajectories that were dropped on the way because they were stale.
    pub stale: u64,
}

impl Selector {
    /// An empty batch.
    pub fn new(rules: SelectorRules) -> Self {
        Selector {
            rules,
            trajectories: Vec::new(),
            keys: Vec::new(),
            stale: 0,
            held: VecDeque::new(),
            streams: HashMap::new(),
            warned: Warned::default(),
        }
    }

    /// Begins a batch with those that are first in line; `newest` is the learner's version.
    pub fn begin(&mut self, newest: u64) {
        for arrival in std::mem::take(&mut self.held) {
            self.add(arrival, newest);
        }
    }

    /// Takes a trajectory into the batch, holds it back, or drops it because it is stale.
    pub fn add(&mut self, arrival: Arrival, newest: u64) {
        let Arrival { trajectory, generation } = &arrival;
        let stream = trajectory.stream;
        if self.missing() == 0 {
            return self.hold(arrival);
        }
        if let Some(held) = self.streams.get_mut(&stream) {
            *held += 1;
            return self.hold(arrival);
        }
        let policy_version = trajectory.oldest_version();
        if newest.saturating_sub(policy_version) > self.rules.max_policy_lag {
            self.stale += 1;
            return;
        }
        if self.rules.one_per_stream {
            self.streams.insert(stream, 0);
        }
        let (generation, sequence) = (*generation, trajectory.sequence);
        self.keys.push(TrajectoryKey { stream, generation, sequence, policy_version });
        self.trajectories.push(arrival.trajectory);
    }

    /// Number of trajectories that the batch still has room for.
    pub fn missing(&self) -> usize {
        self.rules.batch_size - self.keys.len()
    }

    /// Number of trajectories that are in the batch or held back from it.
    pub fn in_hand(&self) -> usize {
        self.keys.len() + self.held.len()
    }

    /// True if the batch is full, or has waited for other streams for long enough.
    pub fn is_complete(&self) -> bool {
        self.missing() == 0 || self.streams.values().any(|&held| held >= AHEAD)
    }

    /// Trajectories dropped since the last batch because they were stale.
    pub fn stale(&self) -> u64 {
        self.stale
    }

    /// The batch.
    pub fn take(&mut self) -> Selected {
        self.streams.clear();
        self.warned.of_stale = false;
        Selected {
            trajectories: std::mem::take(&mut self.trajectories),
            keys: std::mem::take(&mut self.keys),
            stale: std::mem::take(&mut self.stale),
        }
    }

    /// Says so when batches do not fill: where so much is stale, once per batch; where there are
    /// too few streams, once.
    pub fn warn_if_starved(&mut self) {
        let SelectorRules { batch_size, max_policy_lag, .. } = self.rules;
        if !self.warned.of_stale && self.stale >= 8 * batch_size as u64 {
            tracing::warn!(
                trajectories = self.stale,
                max_policy_lag,
                "most trajectories are stale: allow a larger run.max_policy_lag, or take fewer \
                 actors"
            );
            self.warned.of_stale = true;
        }
        if self.is_complete() && self.missing() > 0 {
            self.warn_of_few_streams();
        }
    }

    /// Says once that a batch closes before it is full.
    pub fn warn_of_few_streams(&mut self) {
        if !self.warned.of_few_streams {
            tracing::warn!(
                streams = self.keys.len(),
                batch_size = self.rules.batch_size,
                "fewer streams than rl.batch_size keep up with one another, so batches are \
                 smaller: set a smaller rl.batch_size, or take more environments"
            );
            self.warned.of_few_streams = true;
        }
    }

    fn hold(&mut self, arrival: Arrival) {
        self.held.push_back(arrival);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::fixtures::{stream, trajectory};

    fn arrival(env_index: u32, sequence: u64, policy_version: u64) -> Arrival {
        let mut trajectory = trajectory(env_index, sequence);
        trajectory.policy_versions.fill(policy_version);
        Arrival { trajectory, generation: 3 }
    }

    fn rules(batch_size: usize, one_per_stream: bool) -> SelectorRules {
        SelectorRules { batch_size, max_policy_lag: 5, one_per_stream }
    }

    fn places(selected: &Selected) -> Vec<(u32, u64)> {
        let place = |row: &TrajectoryKey| (row.stream.env_index, row.sequence);
        selected.keys.iter().map(place).collect()
    }

    #[test]
    fn a_stale_trajectory_is_dropped_and_keys_say_where_the_others_came_from() {
        let mut selector = Selector::new(rules(8, false));
        for (sequence, policy_version) in [(0, 9), (1, 4), (2, 5), (3, 9)] {
            selector.add(arrival(0, sequence, policy_version), 10);
        }
        selector.add(arrival(1, 0, 9), 10);
        let row = |env_index, sequence, policy_version| TrajectoryKey {
            stream: stream(env_index),
            generation: 3,
            sequence,
            policy_version,
        };
        let selected = selector.take();
        assert_eq!(selected.keys, [row(0, 0, 9), row(0, 2, 5), row(0, 3, 9), row(1, 0, 9)]);
        assert_eq!((selected.stale, selected.trajectories.len()), (1, 4));
    }

    #[test]
    fn a_batch_that_waits_for_streams_that_do_not_come_closes_smaller() {
        let mut selector = Selector::new(rules(3, true));
        for sequence in 0..AHEAD as u64 {
            selector.add(arrival(0, sequence, 1), 1);
            selector.add(arrival(1, sequence, 1), 1);
        }
        assert!(!selector.is_complete());
        selector.add(arrival(0, AHEAD as u64, 1), 1);
        assert!(selector.is_complete() && selector.missing() == 1);
        selector.warn_if_starved();
        assert!(selector.warned.of_few_streams);
        assert_eq!(places(&selector.take()), [(0, 0), (1, 0)]);
        selector.begin(1);
        assert!(!selector.is_complete(), "none is so far ahead now");
        selector.add(arrival(2, 0, 1), 1);
        assert_eq!(places(&selector.take()), [(0, 1), (1, 1), (2, 0)]);
    }

    #[test]
    fn what_was_held_back_can_become_stale() {
        let mut selector = Selector::new(rules(1, true));
        selector.add(arrival(0, 0, 1), 1);
        selector.add(arrival(0, 1, 1), 1);
        selector.add(arrival(0, 2, 3), 1);
        assert_eq!(places(&selector.take()), [(0, 0)]);
        selector.begin(7);
        let selected = selector.take();
        assert_eq!((places(&selected), selected.stale), (vec![(0, 2)], 1));
    }

    /// The model, which begins from nothing at every question: walk the line of all that came and
    /// is not taken; take the first of each stream, as long as there is room, unless it is stale.
    struct Model {
        rules: SelectorRules,
        line: Vec<Arrival>,
        dropped: Vec<(u32, u64)>,
    }

    /// The batch so far, whether it closes, what stays in line, and what is dropped.
    #[derive(Default)]
    struct Walked {
        batch: Vec<(u32, u64)>,
        closes: bool,
        left: Vec<Arrival>,
        stale: Vec<(u32, u64)>,
    }

    impl Model {
        fn walk(&self, newest: u64) -> Walked {
            let Walked { mut batch, mut left, mut stale, .. } = Walked::default();
            let mut ahead: HashMap<u32, usize> = HashMap::new();
            for arrival in &self.line {
                let Trajectory { stream, sequence, .. } = arrival.trajectory;
                let place = (stream.env_index, sequence);
                let old = newest - arrival.trajectory.oldest_version() > self.rules.max_policy_lag;
                if batch.len() == self.rules.batch_size {
                    left.push(arrival.clone());
                } else if let Some(ahead) = ahead.get_mut(&stream.env_index) {
                    *ahead += 1;
                    left.push(arrival.clone());
                } else if old {
                    stale.push(place);
                } else {
                    batch.push(place);
                    ahead.insert(stream.env_index, 0);
                }
            }
            let closes = batch.len() == self.rules.batch_size
                || ahead.values().any(|&trajectories| trajectories >= AHEAD);
            Walked { batch, closes, left, stale }
        }
    }

    proptest! {
        #[test]
        fn one_of_each_stream_in_order_and_nothing_is_lost_or_taken_twice(
            batch_size in 1_usize..5,
            arrivals in prop::collection::vec((0_u32..6, 0_u64..8), 0..120),
        ) {
            let rules = rules(batch_size, true);
            let mut selector = Selector::new(rules.clone());
            let mut model = Model { rules, line: Vec::new(), dropped: Vec::new() };
            let (mut newest, mut sequences, mut taken) = (0, [0; 6], Vec::new());
            for (env, lag) in arrivals {
                let sequence = sequences[env as usize];
                sequences[env as usize] += 1;
                let arrival = arrival(env, sequence, u64::saturating_sub(newest, lag));
                model.line.push(arrival.clone());
                selector.add(arrival, newest);
                loop {
                    let Walked { batch, closes, left, stale } = model.walk(newest);
                    prop_assert_eq!(selector.is_complete(), closes);
                    prop_assert_eq!(selector.stale(), stale.len() as u64);
                    prop_assert!(selector.held.len() < AHEAD * batch_size + batch_size);
                    if !closes {
                        break;
                    }
                    let selected = selector.take();
                    prop_assert_eq!(places(&selected), batch.clone());
                    model.line = left;
                    model.dropped.extend(stale);
                    taken.extend(batch);
                    newest += 1;
                    selector.begin(newest);
                }
            }
            let Walked { batch, left, stale, .. } = model.walk(newest);
            prop_assert_eq!(places(&selector.take()), batch.clone());
            let held = left.iter().map(|a| (a.trajectory.stream.env_index, a.trajectory.sequence));
            let mut all: Vec<_> =
                taken.iter().chain(&batch).copied().chain(held).chain(stale).collect();
            all.extend(&model.dropped);
            all.sort_unstable();
            let expected: Vec<_> = (0..6_u32)
                .flat_map(|env| (0..sequences[env as usize]).map(move |s| (env, s)))
                .collect();
            prop_assert_eq!(all, expected);
            for env in 0..6 {
                let order: Vec<_> = taken.iter().filter(|(e, _)| *e == env).collect();
                prop_assert!(order.is_sorted(), "{:?}", order);
            }
        }
    }
}
