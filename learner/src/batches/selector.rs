//! Which trajectories make the next batch.
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

use crate::batches::batcher::{Row, Rules};
use crate::rpc::queue::Arrival;

/// So many trajectories of a stream may be held back while a batch waits for other streams.
pub(crate) const AHEAD: usize = 4;

/// A batch in the making, and what is held back from it.
#[derive(Debug)]
pub(crate) struct Gathering {
    rules: Rules,
    trajectories: Vec<Trajectory>,
    rows: Vec<Row>,
    stale: u64,
    held: VecDeque<Arrival>,
    /// The batch's streams, each with how many of its trajectories are held back; empty where a
    /// batch may hold several of a stream.
    streams: HashMap<StreamId, usize>,
    complained: Complaints,
}

/// What was said already.
#[derive(Debug, Default)]
struct Complaints {
    of_stale: bool,
    of_few_streams: bool,
}

/// A batch's trajectories.
#[derive(Debug)]
pub(crate) struct Gathered {
    pub(crate) trajectories: Vec<Trajectory>,
    pub(crate) rows: Vec<Row>,
    /// Trajectories that were dropped on the way because they were stale.
    pub(crate) stale: u64,
}

impl Gathering {
    pub(crate) fn new(rules: Rules) -> Self {
        Gathering {
            rules,
            trajectories: Vec::new(),
            rows: Vec::new(),
            stale: 0,
            held: VecDeque::new(),
            streams: HashMap::new(),
            complained: Complaints::default(),
        }
    }

    /// Begins a batch with those that are first in line; `newest` is the learner's version.
    pub(crate) fn begin(&mut self, newest: u64) {
        for arrival in std::mem::take(&mut self.held) {
            self.add(arrival, newest);
        }
    }

    /// Takes a trajectory into the batch, holds it back, or drops it because it is stale.
    pub(crate) fn add(&mut self, arrival: Arrival, newest: u64) {
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
        self.rows.push(Row { stream, generation, sequence, policy_version });
        self.trajectories.push(arrival.trajectory);
    }

    /// How many trajectories the batch still has room for.
    pub(crate) fn missing(&self) -> usize {
        self.rules.batch_size - self.rows.len()
    }

    /// Whether the batch is full, or has waited for other streams for long enough.
    pub(crate) fn is_complete(&self) -> bool {
        self.missing() == 0 || self.streams.values().any(|&held| held >= AHEAD)
    }

    /// Trajectories dropped since the last batch because they were stale.
    pub(crate) fn stale(&self) -> u64 {
        self.stale
    }

    /// The batch.
    pub(crate) fn take(&mut self) -> Gathered {
        self.streams.clear();
        self.complained.of_stale = false;
        Gathered {
            trajectories: std::mem::take(&mut self.trajectories),
            rows: std::mem::take(&mut self.rows),
            stale: std::mem::take(&mut self.stale),
        }
    }

    /// Says so when batches do not fill: where so much is stale, once per batch; where there are
    /// too few streams, once.
    pub(crate) fn complain(&mut self) {
        let Rules { batch_size, max_policy_lag, .. } = self.rules;
        if !self.complained.of_stale && self.stale >= 8 * batch_size as u64 {
            tracing::warn!(
                trajectories = self.stale,
                max_policy_lag,
                "most trajectories are stale: allow a larger run.max_policy_lag, or take fewer \
                 actors"
            );
            self.complained.of_stale = true;
        }
        if !self.complained.of_few_streams && self.is_complete() && self.missing() > 0 {
            tracing::warn!(
                streams = self.rows.len(),
                batch_size,
                "fewer streams than rl.batch_size keep up with one another, so batches are \
                 smaller: set a smaller rl.batch_size, or take more environments"
            );
            self.complained.of_few_streams = true;
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

    fn rules(batch_size: usize, one_per_stream: bool) -> Rules {
        Rules { batch_size, max_policy_lag: 5, one_per_stream }
    }

    fn places(gathered: &Gathered) -> Vec<(u32, u64)> {
        let place = |row: &Row| (row.stream.env_index, row.sequence);
        gathered.rows.iter().map(place).collect()
    }

    #[test]
    fn a_stale_trajectory_is_dropped_and_rows_say_where_the_others_came_from() {
        let mut gathering = Gathering::new(rules(8, false));
        for (sequence, policy_version) in [(0, 9), (1, 4), (2, 5), (3, 9)] {
            gathering.add(arrival(0, sequence, policy_version), 10);
        }
        gathering.add(arrival(1, 0, 9), 10);
        let row = |env_index, sequence, policy_version| Row {
            stream: stream(env_index),
            generation: 3,
            sequence,
            policy_version,
        };
        let gathered = gathering.take();
        assert_eq!(gathered.rows, [row(0, 0, 9), row(0, 2, 5), row(0, 3, 9), row(1, 0, 9)]);
        assert_eq!((gathered.stale, gathered.trajectories.len()), (1, 4));
    }

    #[test]
    fn a_batch_that_waits_for_streams_that_do_not_come_closes_smaller() {
        let mut gathering = Gathering::new(rules(3, true));
        for sequence in 0..AHEAD as u64 {
            gathering.add(arrival(0, sequence, 1), 1);
            gathering.add(arrival(1, sequence, 1), 1);
        }
        assert!(!gathering.is_complete());
        gathering.add(arrival(0, AHEAD as u64, 1), 1);
        assert!(gathering.is_complete() && gathering.missing() == 1);
        gathering.complain();
        assert!(gathering.complained.of_few_streams);
        assert_eq!(places(&gathering.take()), [(0, 0), (1, 0)]);
        gathering.begin(1);
        assert!(!gathering.is_complete(), "none is so far ahead now");
        gathering.add(arrival(2, 0, 1), 1);
        assert_eq!(places(&gathering.take()), [(0, 1), (1, 1), (2, 0)]);
    }

    #[test]
    fn what_was_held_back_can_become_stale() {
        let mut gathering = Gathering::new(rules(1, true));
        gathering.add(arrival(0, 0, 1), 1);
        gathering.add(arrival(0, 1, 1), 1);
        gathering.add(arrival(0, 2, 3), 1);
        assert_eq!(places(&gathering.take()), [(0, 0)]);
        gathering.begin(7);
        let gathered = gathering.take();
        assert_eq!((places(&gathered), gathered.stale), (vec![(0, 2)], 1));
    }

    /// The model, which begins from nothing at every question: walk the line of all that came and
    /// is not taken; take the first of each stream, as long as there is room, unless it is stale.
    struct Model {
        rules: Rules,
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
            let mut gathering = Gathering::new(rules.clone());
            let mut model = Model { rules, line: Vec::new(), dropped: Vec::new() };
            let (mut newest, mut sequences, mut taken) = (0, [0; 6], Vec::new());
            for (env, lag) in arrivals {
                let sequence = sequences[env as usize];
                sequences[env as usize] += 1;
                let arrival = arrival(env, sequence, u64::saturating_sub(newest, lag));
                model.line.push(arrival.clone());
                gathering.add(arrival, newest);
                loop {
                    let Walked { batch, closes, left, stale } = model.walk(newest);
                    prop_assert_eq!(gathering.is_complete(), closes);
                    prop_assert_eq!(gathering.stale(), stale.len() as u64);
                    prop_assert!(gathering.held.len() < AHEAD * batch_size + batch_size);
                    if !closes {
                        break;
                    }
                    let gathered = gathering.take();
                    prop_assert_eq!(places(&gathered), batch.clone());
                    model.line = left;
                    model.dropped.extend(stale);
                    taken.extend(batch);
                    newest += 1;
                    gathering.begin(newest);
                }
            }
            let Walked { batch, left, stale, .. } = model.walk(newest);
            prop_assert_eq!(places(&gathering.take()), batch.clone());
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
