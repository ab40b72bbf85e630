//! Run of a learner: how it starts, goes on and ends.
//!
//! [`run`] is the whole life of a learner: it serves actors and inference servers, and gives the
//! learning to a thread of its own. There `startup` resumes or begins the run, `training` is
//! its loop, [`learner`] what that changes, and `evaluations` when it is evaluated. `channels`
//! connect the two sides; `publishing` is how weights go out; `disk` is what the run leaves.

mod channels;

pub mod detached;

mod disk;

mod evaluations;

pub mod error;

pub mod learner;

pub mod learner_config;

pub mod pipeline;

mod publishing;

mod startup;

pub mod summary;

mod training;

#[cfg(test)]
mod service_tests;

#[cfg(test)]
mod registration_tests;

#[cfg(test)]
mod evaluation_tests;

use std::time::Duration;

use engram_service::heartbeat::Watchdog;
use engram_service::progress::ProgressLine;
use engram_service::threads::{reason, spawn_named};
use engram_service::{Listener, Shutdown, health, net};
use tokio::sync::{oneshot, watch};

use crate::rpc::context::Stage;
use crate::rpc::service;
use error::LearnerError;
use learner_config::LearnerConfig;
use startup::Heartbeats;
use summary::{Ended, RunSummary};

/// Time that streams may take to end once the server is closed.
const GRACE: Duration = Duration::from_secs(1);

/// The whole life of a learner: it opens or resumes the run, serves until the run has had its env
/// steps and is evaluated, or `shutdown` is triggered, saves a last checkpoint and closes every
/// stream.
pub async fn run(
    config: LearnerConfig,
    listener: Listener,
    progress: watch::Sender<ProgressLine>,
    shutdown: Shutdown,
) -> Result<RunSummary, LearnerError> {
    config.check()?;
    let stage = watch::Sender::new(Stage::Training);
    let (context, channels) = channels::connect(&config, stage.clone(), progress, shutdown.clone());
    let _shown = context.metrics.run(&config.run_id, &config.resolved, &config.run);
    let (ready, is_ready) = oneshot::channel();
    let mut watchdog = Watchdog::new(config.watchdog);
    let heartbeats =
        Heartbeats { learner: watchdog.thread("learner"), publisher: watchdog.thread("publisher") };
    let learner =
        spawn_named("learner", move || startup::run(&config, channels, heartbeats, ready));
    let learned = tokio::task::spawn_blocking(move || learner.join());

    let (health, health_service) = health::health().await;
    let router =
        net::server_builder().add_routes(service::routes(&context)).add_service(health_service);
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
    let watch = watchdog.watch(&health);
    let (outcome, served) = tokio::select! {
        outcome = &mut learned => (outcome, None),
        // It ends by itself only when it is broken, and then the run cannot go on.
        served = &mut serving => {
            shutdown.trigger();
            (learned.await, Some(served))
        }
    };
    drop(watch);
    let outcome = settle(outcome.expect("the learner's thread is waited for to its end"));
    let finished = matches!(&outcome, Ok(summary) if summary.ended == Ended::Finished);
    stage.send_replace(if finished { Stage::Finished } else { Stage::Closing });
    closing.trigger();
    let served = match served {
        Some(served) => served,
        None => serving.await,
    };
    context.tasks.close();
    if tokio::time::timeout(GRACE, context.tasks.wait()).await.is_err() {
        tracing::warn!(streams = context.tasks.len(), "streams were left behind");
    }
    let summary = outcome?;
    served?;
    Ok(summary)
}

fn settle(
    outcome: std::thread::Result<Result<RunSummary, LearnerError>>,
) -> Result<RunSummary, LearnerError> {
    outcome.unwrap_or_else(|panic| {
        Err(LearnerError::Panicked { thread: "learner", reason: reason(&*panic).into() })
    })
}
