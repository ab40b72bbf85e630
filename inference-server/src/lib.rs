//! Inference server: batches the requests of all actors through one policy, and keeps its recurrent
//! states.
//!
//! ```text
//! stream ──Act──▶ service ──▶ queue ──▶ model ──▶ policy
//!   ▲                         │   ▲       │
//!   └───────── answer ────────┼───┼───────┘
//!                     batcher ┘   └── weights ◀── learner
//!                     slots
//! ```
//!
//! In reading order: [`service`] speaks with one group of environments; [`request_queue`] lies
//! between streams and the model thread; [`batcher`] decides when waiting requests become a batch,
//! and [`slots`] assigns rows of recurrent state; [`model`] is the thread that owns the policy and
//! those rows; [`weights`] follows the learner, and [`chunk_assembler`] puts its pieces together.
//! [`run`] is the whole life of the server.

#![deny(missing_docs)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod service;

pub mod request_queue;

pub mod batcher;

pub mod slots;

pub mod model;

pub mod weights;

pub mod chunk_assembler;

mod metrics;

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use engram_policy::{Device, DeviceError};
use engram_proto::limits::MAX_MESSAGE_BYTES;
use engram_proto::v1::inference_server::InferenceServer;
use engram_service::health::{Health, health};
use engram_service::heartbeat::{Heartbeat, Watchdog};
use engram_service::net::{self, Listener, NetError};
use engram_service::{Shutdown, threads};
use thiserror::Error;
use tokio::sync::{oneshot, watch};

pub use crate::batcher::{BatchLimits, BatchOverrides};
pub use crate::weights::{WeightsError, WeightsSource};

use crate::metrics::ModelMetrics;
use crate::request_queue::RequestQueue;
use crate::service::{InferenceService, StreamSettings};
use crate::weights::Serving;

/// Configuration of an inference server.
#[derive(Clone, Debug)]
pub struct InferenceConfig {
    /// The run that is served; `None` takes the learner's, whichever it is.
    pub run_id: Option<String>,
    /// Source of weights.
    pub weights: WeightsSource,
    /// Device of the policy.
    pub device: Device,
    /// Threads that one operation of the policy may use on the processor, at least 1.
    pub threads: usize,
    /// Number of this process, unlike that of others, so that servers of a run do not come back to
    /// a restarted learner in step. No result depends on it.
    pub instance: u64,
    /// Limits that close a batch. A learner's experiment sets those that are not given here;
    /// without a learner [`BatchLimits::STANDARD`] does.
    pub batch: BatchOverrides,
    /// Silence after which a stream's slots are taken back.
    pub lease: Duration,
    /// Wait of a registration for the first weights, after which it is refused.
    pub weights_wait: Duration,
    /// Slots of recurrent state, one per environment, that may be leased at once.
    pub max_slots: usize,
    /// Silence of the model thread after which it counts as hung and ends the process; zero watches
    /// nobody.
    pub watchdog: Duration,
}

/// The longest that a request may be told to wait for others.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);

/// Reason why an inference server ended.
#[derive(Debug, Error)]
pub enum InferenceError {
    /// A setting is out of its range.
    #[error("`{key}` is {found}; it must be {expected}")]
    Config {
        /// The setting.
        key: &'static str,
        /// Its value.
        found: String,
        /// Its range.
        expected: &'static str,
    },
    /// The policy cannot run where it should.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// There is nothing to serve.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// The transport broke.
    #[error(transparent)]
    Net(#[from] NetError),
    /// A bug.
    #[error("the model thread panicked: {0}")]
    Model(String),
}

impl InferenceConfig {
    /// Checks every setting.
    pub fn validate(&self) -> Result<(), InferenceError> {
        let positive = |key, found: usize| match found {
            0 => Err(InferenceError::Config { key, found: "0".into(), expected: "at least 1" }),
            _ => Ok(()),
        };
        positive("threads", self.threads)?;
        positive("max_batch_size", self.batch.max_batch_size.unwrap_or(1))?;
        positive("max_slots", self.max_slots)?;
        if let Some(max_wait) = self.batch.max_wait.filter(|&wait| wait > LONGEST_WAIT) {
            let (key, found) = ("max_wait", format!("{max_wait:?}"));
            return Err(InferenceError::Config { key, found, expected: "at most an hour" });
        }
        for (key, found) in [("lease", self.lease), ("weights_wait", self.weights_wait)] {
            if found.is_zero() {
                let found = "0".into();
                return Err(InferenceError::Config { key, found, expected: "longer than nothing" });
            }
        }
        Ok(())
    }
}

/// Serves until shutdown, or until it cannot.
pub async fn run(
    config: InferenceConfig,
    listener: Listener,
    shutdown: Shutdown,
) -> Result<(), InferenceError> {
    config.validate()?;
    let device = config.device.ready()?;
    metrics::describe();
    let queue = RequestQueue::new(config.batch.over(BatchLimits::STANDARD), config.max_slots);
    let nothing = Serving::Nothing("nobody has sent any so far".into());
    let serving = Arc::new(watch::channel(nothing).0);
    let mut watchdog = Watchdog::new(config.watchdog);
    let heartbeat = watchdog.thread("model");
    let (model, model_ended) = start_model(&queue, &serving, device, config.threads, heartbeat);

    let settings = StreamSettings { lease: config.lease, weights_wait: config.weights_wait };
    let closing = Shutdown::new();
    let (health, health_service) = health().await;
    let service =
        InferenceService::new(queue.clone(), serving.subscribe(), settings, closing.clone());
    let router = net::server_builder()
        .add_service(health_service)
        .add_service(InferenceServer::new(service).max_decoding_message_size(MAX_MESSAGE_BYTES));
    tracing::info!(address = %listener.address(), ?device, "the inference server listens");
    let mut server = std::pin::pin!(net::serve(router, listener, closing.clone()));

    let watch = watchdog.watch(&health);
    let (ended, served) = tokio::select! {
        () = shutdown.triggered() => (Ok(()), None),
        served = &mut server => (Ok(()), Some(served)),
        error = follow(config, &queue, &serving) => (Err(error), None),
        never = announce(&health, serving.subscribe()) => match never {},
        _ = model_ended => (Ok(()), None), // It panicked; joining it tells why.
    };
    drop(watch);
    health.not_serving().await;
    closing.trigger();
    queue.close();
    let served = match served {
        Some(served) => served,
        None => server.await,
    };
    let joined = tokio::task::spawn_blocking(|| model.join()).await.expect("joining is no work");
    joined.map_err(|panic| InferenceError::Model(threads::reason(&*panic).into()))?;
    tracing::info!("the inference server has ended");
    ended.and(served.map_err(InferenceError::from))
}

/// Starts the thread that owns the policy; the receiver hears when it ends.
fn start_model(
    queue: &Arc<RequestQueue>,
    serving: &Arc<watch::Sender<Serving>>,
    device: tch::Device,
    threads: usize,
    heartbeat: Heartbeat,
) -> (JoinHandle<()>, oneshot::Receiver<()>) {
    let (alive, ended) = oneshot::channel();
    let (queue, serving, metrics) = (queue.clone(), serving.clone(), ModelMetrics::new());
    let thread = threads::spawn_named("engram-model", move || {
        let _alive: oneshot::Sender<()> = alive;
        model::run(&queue, &heartbeat, &serving, device, threads, &metrics);
    });
    (thread, ended)
}

/// Follows the source of weights; returns only if that is of no use.
async fn follow(
    config: InferenceConfig,
    queue: &RequestQueue,
    serving: &watch::Sender<Serving>,
) -> InferenceError {
    let InferenceConfig { weights, run_id, batch, instance, .. } = config;
    match weights::follow(weights, run_id, batch, instance, queue, serving).await {
        Ok(()) => std::future::pending().await,
        Err(error) => error.into(),
    }
}

/// Reports itself as serving once there is a policy.
async fn announce(
    health: &Health,
    mut serving: watch::Receiver<Serving>,
) -> std::convert::Infallible {
    // The senders end with the server.
    if serving.wait_for(|serving| matches!(serving, Serving::Policy { .. })).await.is_ok() {
        health.serving().await;
    }
    std::future::pending().await
}
