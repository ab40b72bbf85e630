//! Request queue between streams and the model thread: one lock around the requests that wait, the
//! slots that are leased, and the newest weights.
//!
//! Streams [`register`](RequestQueue::register) and [`ask`](StreamLease::ask); the model thread
//! takes the [`next`](RequestQueue::next) work: newer weights before anything else, so that they
//! are swapped between batches, then the batch that is due. The lock is held for bookkeeping only,
//! never while a policy runs or across an `.await`. A request wakes the model thread only if that
//! changes when the next batch is due.

use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Instant;

use bytes::Bytes;
use engram_mdp::{Frames, Seed};
use engram_proto::{Purpose, Registration, v1};
use engram_service::heartbeat::Heartbeat;
use thiserror::Error;
use tokio::sync::{oneshot, watch};

use crate::batcher::{BatchLimits, Due, PushError, RequestBatch, RequestBatcher, StreamKey};
use crate::metrics;
use crate::slots::{LeaseError, SlotTable};

/// One group of environments that wants actions.
#[derive(Debug)]
pub struct Request {
    /// The slot of each row.
    pub slots: Arc<[i64]>,
    /// True for the stream's first request: its slots hold the state of their last holder.
    pub fresh: bool,
    /// Frames of the environments; checked against the spec.
    pub frames: Frames,
    /// True if the answer must hold the states before these frames.
    pub unroll_start: bool,
    /// Training explores, evaluation takes the likeliest actions.
    pub purpose: Purpose,
    /// Rank of the actor that asks: each may explore in its own way.
    pub rank: u32,
    /// Seed of this answer.
    pub seed: Seed,
    /// Destination of the answer; the stream may have left.
    pub reply: oneshot::Sender<v1::Act>,
}

/// Weights that have arrived whole.
#[derive(Debug)]
pub struct NewWeights {
    /// The run they belong to, where their source knows.
    pub run_id: Option<String>,
    /// Safetensors, as [`engram_policy`] writes them.
    pub bytes: Bytes,
    /// Answered with the version once they are in use, or with the reason why they are not. Closed
    /// unanswered if newer weights came first.
    pub outcome: oneshot::Sender<Result<u64, String>>,
}

/// Next work of the model thread.
#[derive(Debug)]
pub enum ModelWork {
    /// Swap the weights.
    Weights(NewWeights),
    /// Answer these.
    Batch(RequestBatch<Request>),
    /// End.
    Closed,
}

/// Reason why the server ends a stream.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum StreamEnd {
    /// Its environments are spoken for by another stream.
    #[error(
        "generation {generation} of actor {actor} has registered the same environments on another \
         stream, which takes the place of this one"
    )]
    Evicted {
        /// The actor.
        actor: u32,
        /// The generation that took over.
        generation: u64,
    },
    /// The server ends.
    #[error("the inference server is shutting down")]
    ShuttingDown,
}

/// A stream cannot be registered.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RegisterError {
    /// There are no slots for it.
    #[error(transparent)]
    Lease(#[from] LeaseError),
    /// The server ends.
    #[error(transparent)]
    End(#[from] StreamEnd),
}

/// Queue between streams and the model thread.
#[derive(Debug)]
pub struct RequestQueue {
    state: Mutex<QueueState>,
    changed: Condvar,
    /// The version of the weights in use.
    policy_version: watch::Sender<u64>,
}

#[derive(Debug)]
struct QueueState {
    batcher: RequestBatcher<Request>,
    slots: SlotTable,
    /// Ends each registered stream, with a reason.
    streams: HashMap<StreamKey, oneshot::Sender<StreamEnd>>,
    next_key: u64,
    /// The newest weights, until the model thread takes them.
    weights: Option<NewWeights>,
    closed: bool,
    /// Time at which the model thread wakes by itself, if it sleeps.
    asleep: Option<Due>,
}

impl RequestQueue {
    /// A queue without streams, whose slots number at most `max_slots`.
    pub fn new(limits: BatchLimits, max_slots: usize) -> Arc<Self> {
        Arc::new(RequestQueue {
            state: Mutex::new(QueueState {
                batcher: RequestBatcher::new(limits),
                slots: SlotTable::new(max_slots),
                streams: HashMap::new(),
                next_key: 0,
                weights: None,
                closed: false,
                asleep: None,
            }),
            changed: Condvar::new(),
            policy_version: watch::channel(0).0,
        })
    }

    /// Leases slots to a new stream. Streams that it replaces end.
    pub fn register(
        self: &Arc<Self>,
        registration: &Registration,
    ) -> Result<StreamLease, RegisterError> {
        let mut state = self.lock();
        if state.closed {
            return Err(StreamEnd::ShuttingDown.into());
        }
        let key = StreamKey(state.next_key);
        let leased = state.slots.lease(registration, key)?;
        state.next_key += 1;
        for &evicted in &leased.evicted {
            let (actor, generation) = (registration.actor, registration.generation);
            state.end(evicted, StreamEnd::Evicted { actor, generation });
        }
        let (sender, ended) = oneshot::channel();
        state.streams.insert(key, sender);
        state.batcher.join(key);
        metrics::evicted(leased.evicted.len());
        metrics::streams(state.streams.len(), state.slots.leased());
        self.wake(&state);
        Ok(StreamLease { queue: self.clone(), key, slots: leased.slots.into(), ended })
    }

    /// Puts newer weights in place of those that still wait.
    pub fn offer(&self, weights: NewWeights) {
        let mut state = self.lock();
        state.weights = Some(weights);
        self.wake(&state);
    }

    /// From here on weights of this version answer.
    pub fn loaded(&self, policy_version: u64) {
        self.policy_version.send_replace(policy_version);
    }

    /// Changes the limits of batches.
    pub fn set_limits(&self, limits: BatchLimits) {
        let mut state = self.lock();
        state.batcher.set_limits(limits);
        self.wake(&state);
    }

    /// Ends all streams and the model thread; nobody can register any more.
    pub fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        state.weights = None;
        let keys: Vec<StreamKey> = state.streams.keys().copied().collect();
        keys.into_iter().for_each(|key| state.end(key, StreamEnd::ShuttingDown));
        metrics::streams(state.streams.len(), state.slots.leased());
        self.wake(&state);
    }

    /// Waits for the model thread's next work; it beats meanwhile.
    pub fn next(&self, heartbeat: &Heartbeat) -> ModelWork {
        let mut state = self.lock();
        loop {
            heartbeat.beat();
            if state.closed {
                return ModelWork::Closed;
            }
            if let Some(weights) = state.weights.take() {
                return ModelWork::Weights(weights);
            }
            let now = Instant::now();
            if let Some(batch) = state.batcher.take(now) {
                return ModelWork::Batch(batch);
            }
            let due = state.batcher.due(now);
            state.asleep = Some(due);
            let wait = match due {
                Due::At(then) => (then - now).min(heartbeat.interval()),
                Due::Never | Due::Now => heartbeat.interval(),
            };
            let waited = self.changed.wait_timeout(state, wait);
            state = waited.expect("no panic while locked").0;
            state.asleep = None;
        }
    }

    /// Wakes the model thread if it sleeps longer than it should.
    fn wake(&self, state: &QueueState) {
        let Some(until) = state.asleep else { return };
        let due = state.batcher.due(Instant::now());
        if due != until || state.closed || state.weights.is_some() {
            self.changed.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, QueueState> {
        self.state.lock().expect("no panic while locked")
    }
}

impl QueueState {
    /// Takes everything back from a stream, with a reason.
    fn end(&mut self, key: StreamKey, why: StreamEnd) {
        self.release(key);
        if let Some(stream) = self.streams.remove(&key) {
            // It may be leaving by itself at this moment.
            let _ = stream.send(why);
        }
    }

    fn release(&mut self, key: StreamKey) {
        self.batcher.leave(key);
        self.slots.free(key);
    }
}

/// A registered stream's right to ask. Dropping it frees its slots.
#[derive(Debug)]
pub struct StreamLease {
    queue: Arc<RequestQueue>,
    key: StreamKey,
    /// One slot per environment.
    pub slots: Arc<[i64]>,
    /// Answered when the server ends the stream.
    pub ended: oneshot::Receiver<StreamEnd>,
}

impl StreamLease {
    /// Waits until weights of this version or a newer one answer. May be dropped.
    pub async fn policy_version(&self, at_least: u64) {
        let mut loaded = self.queue.policy_version.subscribe();
        let _ = loaded.wait_for(|&version| version >= at_least).await;
    }

    /// Puts a request into the queue.
    pub fn ask(&self, request: Request) -> Result<(), PushError> {
        let mut state = self.queue.lock();
        let rows = request.slots.len();
        state.batcher.push(self.key, rows, request, Instant::now())?;
        self.queue.wake(&state);
        Ok(())
    }
}

impl Drop for StreamLease {
    fn drop(&mut self) {
        let mut state = self.queue.lock();
        if state.streams.remove(&self.key).is_none() {
            return; // The server ended it, and has taken everything back.
        }
        state.release(self.key);
        metrics::streams(state.streams.len(), state.slots.leased());
        self.queue.wake(&state);
    }
}
