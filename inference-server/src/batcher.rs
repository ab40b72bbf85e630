//! Batcher: closes batches of waiting requests.
//!
//! A batch closes when it is full (`max_batch_size` rows, or every stream that could ask has
//! asked), or when its oldest request has waited `max_wait`; it is empty if all its clients have
//! left. Requests are served in the order in which they came; one is never split, and one that is
//! larger than `max_batch_size` goes alone.
//!
//! Pure state: the time is handed in, nothing here waits. Its size is bounded by the streams that
//! joined, each of which may have one request waiting.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use thiserror::Error;

/// One stream of requests. Keys count upwards in the order of registration; none is used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamKey(pub u64);

/// Limits that close a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchLimits {
    /// Rows that fill a batch, at least 1.
    pub max_batch_size: usize,
    /// Longest wait of the oldest request for others; zero takes the requests at hand.
    pub max_wait: Duration,
}

impl BatchLimits {
    /// Limits where no learner sets any.
    pub const STANDARD: BatchLimits = BatchLimits { max_batch_size: 256, max_wait: Duration::ZERO };
}

/// Batch limits that a server sets itself; the learner's experiment sets the others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BatchOverrides {
    /// Rows that fill a batch, at least 1, in place of `run.max_batch_size`.
    pub max_batch_size: Option<usize>,
    /// Longest wait of the oldest request, in place of `run.max_wait_ms`.
    pub max_wait: Option<Duration>,
}

impl BatchOverrides {
    /// These limits, and those of `limits` where there are none.
    pub fn over(&self, limits: BatchLimits) -> BatchLimits {
        BatchLimits {
            max_batch_size: self.max_batch_size.unwrap_or(limits.max_batch_size),
            max_wait: self.max_wait.unwrap_or(limits.max_wait),
        }
    }

    /// True if nothing is left to the learner.
    pub fn are_complete(&self) -> bool {
        self.max_batch_size.is_some() && self.max_wait.is_some()
    }
}

impl From<BatchLimits> for BatchOverrides {
    fn from(limits: BatchLimits) -> Self {
        let BatchLimits { max_batch_size, max_wait } = limits;
        BatchOverrides { max_batch_size: Some(max_batch_size), max_wait: Some(max_wait) }
    }
}

/// Time of the next batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// Nothing waits.
    Never,
    /// Then, unless it fills up before.
    At(Instant),
    /// Now.
    Now,
}

/// A stream may not ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum PushError {
    /// It has asked already.
    #[error("a second request came before the answer to the first; one at a time per stream")]
    InFlight,
    /// It has left.
    #[error("the stream has ended")]
    Left,
}

/// Requests that go through the policy together.
#[derive(Debug, PartialEq)]
pub struct RequestBatch<T> {
    /// The requests, oldest first.
    pub requests: Vec<T>,
    /// Their rows.
    pub rows: usize,
    /// Arrival of the oldest one.
    pub since: Instant,
}

/// The requests that wait.
#[derive(Debug)]
pub struct RequestBatcher<T> {
    limits: BatchLimits,
    streams: HashMap<StreamKey, StreamState>,
    queue: VecDeque<Waiting<T>>,
    rows: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum StreamState {
    Idle,
    Waiting,
}

#[derive(Debug)]
struct Waiting<T> {
    stream: StreamKey,
    rows: usize,
    since: Instant,
    request: T,
}

impl<T> RequestBatcher<T> {
    /// No streams, no requests.
    pub fn new(limits: BatchLimits) -> Self {
        assert!(limits.max_batch_size > 0, "a batch holds at least one row");
        RequestBatcher { limits, streams: HashMap::new(), queue: VecDeque::new(), rows: 0 }
    }

    /// Changes the limits, for the next batch too.
    pub fn set_limits(&mut self, limits: BatchLimits) {
        assert!(limits.max_batch_size > 0, "a batch holds at least one row");
        self.limits = limits;
    }

    /// From now on `stream` could ask.
    pub fn join(&mut self, stream: StreamKey) {
        let before = self.streams.insert(stream, StreamState::Idle);
        assert_eq!(before, None, "a stream's key was used twice");
    }

    /// `stream` will not ask again; the request that it had waiting goes with it.
    pub fn leave(&mut self, stream: StreamKey) -> Option<T> {
        if self.streams.remove(&stream)? == StreamState::Idle {
            return None;
        }
        let at = self.queue.iter().position(|w| w.stream == stream)?;
        let waiting = self.queue.remove(at)?;
        self.rows -= waiting.rows;
        Some(waiting.request)
    }

    /// `stream` asks for `rows` actions.
    pub fn push(
        &mut self,
        stream: StreamKey,
        rows: usize,
        request: T,
        now: Instant,
    ) -> Result<(), PushError> {
        match self.streams.get_mut(&stream) {
            None => return Err(PushError::Left),
            Some(StreamState::Waiting) => return Err(PushError::InFlight),
            Some(state) => *state = StreamState::Waiting,
        }
        self.rows += rows;
        self.queue.push_back(Waiting { stream, rows, since: now, request });
        Ok(())
    }

    /// Time of the next batch.
    pub fn due(&self, now: Instant) -> Due {
        let Some(oldest) = self.queue.front() else {
            return Due::Never;
        };
        let full =
            self.rows >= self.limits.max_batch_size || self.queue.len() == self.streams.len();
        let patience = oldest.since + self.limits.max_wait;
        match full || patience <= now {
            true => Due::Now,
            false => Due::At(patience),
        }
    }

    /// The next batch, if it is due.
    pub fn take(&mut self, now: Instant) -> Option<RequestBatch<T>> {
        if self.due(now) != Due::Now {
            return None;
        }
        let since = self.queue.front()?.since;
        let mut batch = RequestBatch { requests: Vec::new(), rows: 0, since };
        while let Some(next) = self.queue.front() {
            let rows = batch.rows + next.rows;
            if rows > self.limits.max_batch_size && !batch.requests.is_empty() {
                break;
            }
            let next = self.queue.pop_front().expect("it is at the front");
            self.streams.insert(next.stream, StreamState::Idle);
            batch.requests.push(next.request);
            batch.rows = rows;
        }
        self.rows -= batch.rows;
        Some(batch)
    }

    /// Streams that could ask.
    pub fn streams(&self) -> usize {
        self.streams.len()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn batcher(max_batch_size: usize, max_wait: Duration, streams: u64) -> RequestBatcher<u64> {
        let mut batcher = RequestBatcher::new(BatchLimits { max_batch_size, max_wait });
        (0..streams).for_each(|key| batcher.join(StreamKey(key)));
        batcher
    }

    #[test]
    fn a_batch_closes_when_its_rows_are_full() {
        let now = Instant::now();
        let mut batcher = batcher(8, 5 * MS, 4);
        batcher.push(StreamKey(0), 4, 0, now).unwrap();
        assert_eq!(batcher.due(now), Due::At(now + 5 * MS));
        assert_eq!(batcher.take(now), None);
        batcher.push(StreamKey(2), 4, 2, now + MS).unwrap();
        let batch = batcher.take(now + MS).expect("eight rows are full");
        assert_eq!((batch.requests, batch.rows, batch.since), (vec![0, 2], 8, now));
        assert_eq!(batcher.due(now + 9 * MS), Due::Never);
    }

    #[test]
    fn a_batch_closes_when_every_stream_has_asked() {
        let now = Instant::now();
        let mut batcher = batcher(64, 5 * MS, 3);
        for key in [2, 0] {
            batcher.push(StreamKey(key), 1, key, now).unwrap();
            assert_ne!(batcher.due(now), Due::Now);
        }
        batcher.leave(StreamKey(1));
        assert_eq!(batcher.take(now).expect("both have asked").requests, [2, 0]);
    }

    #[test]
    fn a_batch_closes_when_its_oldest_request_has_waited_long_enough() {
        let now = Instant::now();
        let mut patient = batcher(64, 5 * MS, 3);
        patient.push(StreamKey(1), 1, 1, now).unwrap();
        patient.push(StreamKey(0), 1, 0, now + 4 * MS).unwrap();
        assert_eq!(patient.take(now + 4 * MS), None);
        assert_eq!(patient.take(now + 5 * MS).unwrap().requests, [1, 0]);

        let mut hasty = batcher(64, Duration::ZERO, 3);
        hasty.push(StreamKey(1), 1, 1, now).unwrap();
        assert_eq!(hasty.take(now).unwrap().requests, [1]);
    }

    #[test]
    fn a_request_is_never_split_and_too_large_a_one_goes_alone() {
        let now = Instant::now();
        let mut batcher = batcher(8, 5 * MS, 4);
        for (key, rows) in [(0, 5), (1, 4), (2, 20), (3, 1)] {
            batcher.push(StreamKey(key), rows, key, now).unwrap();
        }
        let taken: Vec<_> = std::iter::from_fn(|| batcher.take(now + 5 * MS))
            .map(|batch| (batch.requests, batch.rows))
            .collect();
        let expected = [(vec![0], 5), (vec![1], 4), (vec![2], 20), (vec![3], 1)];
        assert_eq!(taken, expected);
    }

    #[test]
    fn a_stream_has_one_request_at_a_time_and_takes_it_along_when_it_leaves() {
        let now = Instant::now();
        let mut batcher = batcher(8, MS, 2);
        batcher.push(StreamKey(0), 1, 7, now).unwrap();
        assert_eq!(batcher.push(StreamKey(0), 1, 8, now), Err(PushError::InFlight));
        assert_eq!(batcher.leave(StreamKey(0)), Some(7));
        assert_eq!(batcher.leave(StreamKey(0)), None);
        assert_eq!(batcher.push(StreamKey(0), 1, 9, now), Err(PushError::Left));
        assert_eq!(batcher.due(now + MS), Due::Never);
    }

    #[test]
    fn new_limits_hold_for_requests_that_wait_already() {
        let now = Instant::now();
        let mut batcher = batcher(64, 5 * MS, 3);
        batcher.push(StreamKey(0), 4, 0, now).unwrap();
        batcher.push(StreamKey(1), 4, 1, now).unwrap();
        assert_eq!(batcher.due(now), Due::At(now + 5 * MS));
        batcher.set_limits(BatchLimits { max_batch_size: 4, max_wait: 5 * MS });
        assert_eq!(batcher.take(now).expect("eight rows are more than full").requests, [0]);
    }

    #[derive(Clone, Debug)]
    enum Op {
        Join,
        Leave(usize),
        Push(usize, usize),
        Wait(u64),
        Take,
    }

    fn ops() -> impl Strategy<Value = Vec<Op>> {
        let op = prop_oneof![
            2 => Just(Op::Join),
            1 => (0..8_usize).prop_map(Op::Leave),
            6 => (0..8_usize, 1..12_usize).prop_map(|(stream, rows)| Op::Push(stream, rows)),
            2 => (0..4_u64).prop_map(Op::Wait),
            4 => Just(Op::Take),
        ];
        prop::collection::vec(op, 1..120)
    }

    /// The sentence on top of this file, said with lists only.
    struct Model {
        limits: BatchLimits,
        joined: Vec<u64>,
        waiting: Vec<(u64, usize, u64, Instant)>,
    }

    impl Model {
        fn take(&mut self, now: Instant) -> Option<Vec<u64>> {
            let (_, _, _, oldest) = *self.waiting.first()?;
            let rows: usize = self.waiting.iter().map(|w| w.1).sum();
            let everybody = self.joined.iter().all(|s| self.waiting.iter().any(|w| w.0 == *s));
            let waited = now - oldest >= self.limits.max_wait;
            if rows < self.limits.max_batch_size && !everybody && !waited {
                return None;
            }
            let fitting = (1..=self.waiting.len())
                .rev()
                .find(|&n| {
                    let rows: usize = self.waiting[..n].iter().map(|w| w.1).sum();
                    rows <= self.limits.max_batch_size
                })
                .unwrap_or(1);
            Some(self.waiting.drain(..fitting).map(|w| w.2).collect())
        }
    }

    proptest! {
        #[test]
        fn it_behaves_like_lists(ops in ops(), size in 1..16_usize, wait in 0..4_u64) {
            let limits = BatchLimits { max_batch_size: size, max_wait: MS * wait as u32 };
            let mut batcher = RequestBatcher::new(limits);
            let mut model = Model { limits, joined: vec![], waiting: vec![] };
            let (mut now, mut keys, mut number) = (Instant::now(), 0, 0);
            for op in ops {
                match op {
                    Op::Join => {
                        batcher.join(StreamKey(keys));
                        model.joined.push(keys);
                        keys += 1;
                    }
                    Op::Leave(i) if i < model.joined.len() => {
                        let stream = model.joined.remove(i);
                        let at = model.waiting.iter().position(|w| w.0 == stream);
                        let expected = at.map(|at| model.waiting.remove(at).2);
                        prop_assert_eq!(batcher.leave(StreamKey(stream)), expected);
                    }
                    Op::Push(i, rows) if i < model.joined.len() => {
                        let stream = model.joined[i];
                        number += 1;
                        let pushed = batcher.push(StreamKey(stream), rows, number, now);
                        if model.waiting.iter().any(|w| w.0 == stream) {
                            prop_assert_eq!(pushed, Err(PushError::InFlight));
                        } else {
                            prop_assert_eq!(pushed, Ok(()));
                            model.waiting.push((stream, rows, number, now));
                        }
                    }
                    Op::Wait(ms) => now += MS * ms as u32,
                    Op::Take => {
                        let taken = batcher.take(now).map(|batch| batch.requests);
                        prop_assert_eq!(taken, model.take(now));
                    }
                    Op::Leave(_) | Op::Push(..) => {}
                }
                prop_assert_eq!(batcher.streams(), model.joined.len());
                prop_assert_eq!(batcher.due(now) == Due::Never, model.waiting.is_empty());
            }
        }
    }
}
