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
use engram_mdp::{ActionSpec, Actions, Frames};
use engram_policy::exploration::{self, Behavior, Exploration, Noise};
use engram_policy::slots::SlotIndex;
use engram_policy::{Batched, CoreState, Distribution, Inputs, Policy, PolicyError, StateTable};
use engram_proto::convert::{actions_to_wire, floats_to_wire};
use engram_proto::{Purpose, v1};
use engram_service::heartbeat::Heartbeat;
use tch::{Device, Kind, Tensor};
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

/// Choices for a batch, on the host.
struct Chosen {
    /// All rows' actions, as they go over the wire.
    actions: Bytes,
    /// All rows' log-probabilities, as they go over the wire.
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
        let (actions, log_probs) = choose(&output.distribution, exploration, &requests);
        let chosen = self.to_host(&actions, &log_probs);
        let exported = self.export(&before, &requests);
        let forward = started.elapsed();
        metrics.batch(requests.len(), rows, started - since, forward);
        self.reply(requests, &chosen, exported);
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

    /// Actions `[B]` or `[B, A]` and log-probabilities `[B]` in one transfer from the device.
    fn to_host(&self, actions: &Tensor, log_probs: &Tensor) -> Chosen {
        let spec = self.policy.spec().action;
        let (rows, width) = (self.frames.rows(), spec.len());
        // [B, A + 1]; a float holds any discrete action's number exactly.
        let actions = actions.view([rows as i64, width as i64]).to_kind(Kind::Float);
        let packed = Tensor::cat(&[actions, log_probs.unsqueeze(1)], 1);
        let packed = Vec::<f32>::try_from(packed.view(-1)).expect("floats, one row after another");
        let packed = packed.chunks_exact(width + 1);
        let actions = packed.clone().flat_map(|row| &row[..width]).copied();
        let actions = match spec {
            ActionSpec::Discrete { .. } => Actions::Discrete(actions.map(|a| a as i32).collect()),
            ActionSpec::Continuous { .. } => Actions::Continuous(actions.collect()),
        };
        // A decision at a Last frame means nothing.
        let log_probs: Vec<f32> = packed
            .zip(&self.frames.step_types)
            .map(|(row, step_type)| if step_type.is_last() { 0.0 } else { row[width] })
            .collect();
        Chosen {
            actions: actions_to_wire(&actions),
            log_probs: floats_to_wire(&log_probs),
            action_bytes: 4 * width,
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

    fn reply(&self, requests: Vec<Request>, chosen: &Chosen, mut exported: Bytes) {
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
                actions: chosen
                    .actions
                    .slice(start * chosen.action_bytes..end * chosen.action_bytes),
                log_probs: chosen.log_probs.slice(4 * start..4 * end),
                policy_version: self.version,
                core_states,
            });
        }
    }
}

/// Actions `[B]` or `[B, A]` and their log-probabilities `[B]`: those who train explore, each
/// request with a generator of its own; those who evaluate get the likeliest ones.
fn choose(
    distribution: &Distribution,
    exploration: &Exploration,
    requests: &[Request],
) -> (Tensor, Tensor) {
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
    let generators = requests.iter().map(|r| (r.seed.generator(), r.slots.len() as i64)).collect();
    let noise = Noise::by_rows(distribution, &behaviors, generators);
    exploration::act(distribution, &behaviors, &noise)
}
