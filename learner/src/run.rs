//! How a run starts, goes on and ends.
//!
//! [`run`] is the whole life of a learner: it serves actors and inference servers, and gives the
//! learning to a thread of its own. There [`startup`] resumes or begins the run, [`training`] is
//! its loop, and [`learner`] what that changes. [`channels`] connect the two sides.

mod channels;

pub mod error;

pub mod learner;

pub mod learner_config;

mod startup;

pub mod summary;

mod training;

use std::sync::Arc;
use std::time::Duration;

use engram_service::progress::ProgressLine;
use engram_service::threads::{reason, spawn_named};
use engram_service::{Listener, Shutdown, health, net};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::task::TaskTracker;

use crate::rpc::service::{Services, Stage};
use crate::rpc::{publisher, queue};
use crate::telemetry::metrics::Metrics;
use channels::{Ledger, Wiring};
use error::LearnerError;
use learner_config::LearnerConfig;
use summary::{Ended, Summary};

/// How long streams may take to end once the server is closed.
const GRACE: Duration = Duration::from_secs(1);

/// The whole life of a learner: it opens or resumes the run, serves until the run has had its env
/// steps or `shutdown` is triggered, saves a last checkpoint and closes every stream.
pub async fn run(
    config: LearnerConfig,
    listener: Listener,
    progress: watch::Sender<ProgressLine>,
    shutdown: Shutdown,
) -> Result<Summary, LearnerError> {
    config.check()?;
    let (stage, stages) = watch::channel(Stage::Training);
    let (services, wiring) = wire(&config, stages, progress, shutdown.clone());
    let _shown = services.metrics.run(&config.run_id, &config.resolved, &config.run);
    let (ready, is_ready) = oneshot::channel();
    let learner = spawn_named("learner", move || startup::run(&config, wiring, ready));
    let learned = tokio::task::spawn_blocking(move || learner.join());

    let (health, health_service) = health::health().await;
    let (experience, weights) = services.servers();
    let router = net::server_builder()
        .add_service(health_service)
        .add_service(experience)
        .add_service(weights);
    let (address, closing) = (listener.address().clone(), Shutdown::new());
    let mut serving = std::pin::pin!(net::serve(router, listener, closing.clone()));
    let announced = async {
        // An error while the run opens drops `ready`, and ends the thread.
        if is_ready.await.is_ok() {
            health.serving().await;
            tracing::info!(%address, "serving");
        }
    };
    let mut learned = std::pin::pin!(async { tokio::join!(learned, announced).0 });
    let (outcome, served) = tokio::select! {
        outcome = &mut learned => (outcome, None),
        // It ends by itself only when it is broken, and then the run cannot go on.
        served = &mut serving => {
            shutdown.trigger();
            (learned.await, Some(served))
        }
    };
    let outcome = settle(outcome.expect("the learner's thread is waited for to its end"));
    let finished = matches!(&outcome, Ok(summary) if summary.ended == Ended::Finished);
    stage.send_replace(if finished { Stage::Finished } else { Stage::Closing });
    closing.trigger();
    let served = match served {
        Some(served) => served,
        None => serving.await,
    };
    services.tasks.close();
    if tokio::time::timeout(GRACE, services.tasks.wait()).await.is_err() {
        tracing::warn!(streams = services.tasks.len(), "streams were left behind");
    }
    let summary = outcome?;
    served?;
    Ok(summary)
}

/// The ends of every channel between the services and the learner.
fn wire(
    config: &LearnerConfig,
    stage: watch::Receiver<Stage>,
    progress: watch::Sender<ProgressLine>,
    shutdown: Shutdown,
) -> (Services, Wiring) {
    let metrics = Metrics::new();
    let ledger = Arc::new(Ledger::default());
    let (terms, known_terms) = watch::channel(None);
    // Full while the learner builds a policy for the first world: other actors wait for it.
    let (proposer, proposals) = mpsc::channel(1);
    let (intake, arrivals) = queue::bounded(config.run.queue_trajectories);
    let (publisher, newest) = publisher::publisher();
    let services = Services {
        run_id: config.run_id.clone(),
        unroll_length: config.run.unroll_length,
        terms: known_terms,
        proposals: proposer,
        intake,
        ledger: ledger.clone(),
        newest: newest.clone(),
        stage,
        tasks: TaskTracker::new(),
        metrics: metrics.clone(),
    };
    let runtime = tokio::runtime::Handle::current();
    let wiring = Wiring {
        ledger,
        terms,
        proposals,
        arrivals,
        publisher,
        newest,
        progress,
        metrics,
        shutdown,
        runtime,
    };
    (services, wiring)
}

fn settle(
    outcome: std::thread::Result<Result<Summary, LearnerError>>,
) -> Result<Summary, LearnerError> {
    outcome.unwrap_or_else(|panic| {
        Err(LearnerError::Panicked { thread: "learner", reason: reason(&*panic).into() })
    })
}
