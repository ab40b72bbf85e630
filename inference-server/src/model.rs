//! Model thread: owns the policy and its recurrent states.
//!
//! ```text
//! take next work  ──▶ newer weights: swap them
//!                └──▶ a batch: states of its slots ▶ one forward pass ▶ states back ▶ actions
//! ```
//!
//! Weights change between batches only, so all of an answer comes from one version.

use std::time::Instant;

use bytes::Bytes;
use engram_mdp::Frames;
use engram_policy::acting::{self, Chosen};
use engram_policy::exploration::{Behavior, Exploration};
use engram_policy::slots::SlotIndex;
use engram_policy::{Batched, CoreState, Distribution, Inputs, Policy, PolicyError, StateTable};
use engram_proto::convert::{actions_to_wire, floats_to_wire};
use engram_proto::{Purpose, v1};
use engram_service::heartbeat::Heartbeat;
use tch::{Device, Tensor};
use tokio::sync::watch;

use crate::batcher::RequestBatch;
use crate::metrics::ModelMetrics;
use crate::request_queue::{ModelWork, NewWeights, Request, RequestQueue};
use crate::weights::Serving;

/// Works until the queue is closed. Announces the first usable weights in `serving`.
pub(crate) fn run(
    queue: &RequestQueue,
    heartbeat: &Heartbeat,
    serving: &watch::Sender<Serving>,
    device: Device,
    threads: usize,
    metrics: &ModelMetrics,
) {
    // Of this thread alone: learner and server of one process have their own numbers.
    tch::set_num_threads(threads as i32);
    let _no_gradients = tch::no_grad_guard();
    let mut model = None;
    loop {
        match queue.next(heartbeat) {
            ModelWork::Weights(weights) => {
                swap(&mut model, weights, device, serving);
                let version = model.as_ref().map_or(0, |model| model.version);
                metrics.policy_version(version);
                queue.loaded(version);
            }
            ModelWork::Batch(batch) => {
                let model: &mut Model = model.as_mut().expect("streams register after weights");
                model.answer(batch, metrics);
            }
            ModelWork::Closed => return,
        }
    }
}

/// Loads newer weights, or says why not; then those in use stay.
fn swap(
    model: &mut Option<Model>,
    weights: NewWeights,
    device: Device,
    serving: &watch::Sender<Serving>,
) {
    let NewWeights { run_id, bytes, outcome } = weights;
    let loaded = match model {
        Some(model) => model.load(&bytes),
        None => Model::first(&bytes, device).map(|first| {
            let (version, spec) = (first.version, first.policy.spec().clone());
            tracing::info!(policy_version = version, %spec, "the first weights are here");
            *model = Some(first);
            serving.send_replace(Serving::Policy { run_id, spec });
            version
        }),
    };
    // The source may have ended meanwhile.
    let _ = outcome.send(loaded.map_err(|error| error.to_string()));
}

struct Model {
    policy: Policy,
    version: u64,
    /// True if the memory's state travels with trajectories.
    exports: bool,
    states: StateTable<CoreState>,
    /// The rows of a batch; kept for their memory.
    frames: Frames,
}

/// Answers to a batch, as they go over the wire.
struct Answers {
    /// All rows' actions.
    actions: Bytes,
    /// All rows' log-probabilities.
    log_probs: Bytes,
    /// Bytes of one action.
    action_bytes: usize,
}

impl Model {
    fn first(bytes: &[u8], device: Device) -> Result<Self, PolicyError> {
        let mut policy = Policy::from_weights(bytes, device)?;
        let version = policy.load(bytes)?;
        Ok(Model {
            version,
            exports: policy.exported_state_width().is_some(),
            states: StateTable::new(&policy.initial_state(1), device, i64::MAX),
            frames: Frames::with_capacity(policy.spec(), 0),
            policy,
        })
    }

    fn load(&mut self, bytes: &[u8]) -> Result<u64, PolicyError> {
        self.version = self.policy.load(bytes)?;
        Ok(self.version)
    }

    fn answer(&mut self, batch: RequestBatch<Request>, metrics: &ModelMetrics) {
        let started = Instant::now();
        let RequestBatch { mut requests, rows, since } = batch;
        // By slot: rows that lie together are written together, and what is said does not depend
        // on which request of a batch came first.
        requests.sort_by_key(|request| request.slots[0]);
        let slots = self.slots(&requests);
        self.gather(&requests);
        let inputs = Inputs::from_frames(&self.frames, self.policy.spec(), self.policy.device());
        let before = self.states.take(&slots);
        let (output, after) = self.policy.step(&inputs, &before);
        self.states.put(&slots, &after);
        let exploration = self.policy.exploration();
        let chosen = choose(&output.distribution, exploration, &requests);
        let answers = self.to_wire(chosen);
        let exported = self.export(&before, &requests);
        let forward = started.elapsed();
        metrics.batch(requests.len(), rows, started - since, forward);
        self.reply(requests, &answers, exported);
    }

    /// Rows of the batch's states. Slots that have a new holder are cleared first.
    fn slots(&mut self, requests: &[Request]) -> SlotIndex {
        for fresh in requests.iter().filter(|request| request.fresh) {
            self.states.clear(&fresh.slots);
        }
        let slots: Vec<i64> = requests.iter().flat_map(|r| r.slots.iter().copied()).collect();
        SlotIndex::new(&slots, self.policy.device())
    }

    /// Lines up all requests' rows.
    fn gather(&mut self, requests: &[Request]) {
        self.frames.clear();
        for Request { frames, .. } in requests {
            self.frames.extend_rows(frames, 0..frames.rows(), self.policy.spec());
        }
    }

    fn to_wire(&self, chosen: Chosen) -> Answers {
        let Chosen { actions, mut log_probs } = chosen;
        for (log_prob, step_type) in log_probs.iter_mut().zip(&self.frames.step_types) {
            // A decision at a Last frame means nothing.
            if step_type.is_last() {
                *log_prob = 0.0;
            }
        }
        Answers {
            actions: actions_to_wire(&actions),
            log_probs: floats_to_wire(&log_probs),
            action_bytes: 4 * self.policy.spec().action.len(),
        }
    }

    /// The states before the frames of those requests that start an unroll, in their order. They
    /// are what the slots held: the policy has not yet applied the reset of a First frame, for the
    /// learner's unroll does so itself.
    fn export(&self, before: &CoreState, requests: &[Request]) -> Bytes {
        if !self.exports || !requests.iter().any(|request| request.unroll_start) {
            return Bytes::new();
        }
        let flat = before.flatten();
        let mut first = 0;
        let mut parts = Vec::with_capacity(requests.len());
        for request in requests {
            let rows = request.slots.len() as i64;
            if request.unroll_start {
                parts.push(flat.narrow(0, first, rows));
            }
            first += rows;
        }
        let flat = Tensor::cat(&parts, 0).view(-1);
        floats_to_wire(&Vec::<f32>::try_from(flat).expect("floats, one row after another"))
    }

    fn reply(&self, requests: Vec<Request>, answers: &Answers, mut exported: Bytes) {
        let exporting: usize =
            requests.iter().filter(|r| r.unroll_start).map(|r| r.slots.len()).sum();
        let state_bytes = exported.len().checked_div(exporting).unwrap_or(0);
        let mut first = 0;
        for request in requests {
            let (start, end) = (first, first + request.slots.len());
            first = end;
            let core_states = match request.unroll_start {
                true => exported.split_to(state_bytes * (end - start)),
                false => Bytes::new(),
            };
            // A stream that has left wants no answer.
            let _ = request.reply.send(v1::Act {
                actions: answers
                    .actions
                    .slice(start * answers.action_bytes..end * answers.action_bytes),
                log_probs: answers.log_probs.slice(4 * start..4 * end),
                policy_version: self.version,
                core_states,
            });
        }
    }
}

/// Actions of a batch: those who train explore, each request with a generator of its own; those who
/// evaluate get the likeliest ones.
fn choose(distribution: &Distribution, exploration: &Exploration, requests: &[Request]) -> Chosen {
    let behaviors: Vec<Behavior> = requests
        .iter()
        .flat_map(|request| {
            let behavior = match request.purpose {
                Purpose::Train => exploration.of_rank(request.rank),
                Purpose::Evaluate => Behavior::EVALUATION,
            };
            std::iter::repeat_n(behavior, request.slots.len())
        })
        .collect();
    let mut generators: Vec<_> =
        requests.iter().map(|r| (r.seed.generator(), r.slots.len())).collect();
    acting::act(distribution, &behaviors, &mut generators)
}
