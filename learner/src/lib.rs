//! Trajectories become weights.
//!
//! ```text
//!  actors ──▶ push ──▶ streams ──▶ queue ─┬▶ assembly ──┬▶ training ──▶ publisher ──▶ subscribe ──▶
//!             (a task per actor)           └▶ replaying ─┘  (a thread)              (a task each)
//!                                             (a thread)
//! ```
//!
//! In reading order: `service` takes what arrives: `push` checks an actor's trajectories,
//! [`streams`] accepts each exactly once, [`queue`] bounds what waits. On-policy, [`assembly`] turns
//! it into batches, of trajectories that `gathering` has chosen; off-policy, [`replaying`] puts it
//! into a [`replay`] and draws from that, as a [`limiter`] of updates per env step lets. `training` is the loop of the thread that
//! learns; [`learner`] is what it changes: a policy by one of the [`algorithms`], which are made
//! of [`vtrace`] and [`optimizer`] and set up by [`config`]; [`carried`] is what it keeps of each
//! stream between unrolls. [`publisher`] and `subscribe` bring the weights back.
//!
//! What learning from a replay is made of: [`n_step`] returns, on a scale of [`value_rescaling`], the
//! [`losses`] that they are the targets of, the [`target_network`] and [`exploration`].
//!
//! What stays: [`run_folder`] is what a run leaves, [`checkpoint`] what it resumes from, [`writer`]
//! who waits for the disk, [`curves`] and [`tensorboard`] what it looked like. [`episodes`],
//! [`interval`], [`meter`] and [`metrics`] count. `opening` and `wiring` tie it together, [`flags`]
//! say where and how, and [`transfer`] brings weights from another run.

#![deny(missing_docs)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod service;

mod push;

mod subscribe;

pub mod streams;

pub mod queue;

pub mod replay;

pub mod limiter;

pub mod assembly;

mod gathering;

pub mod replaying;

mod opening;

mod wiring;

pub mod flags;

pub mod transfer;

mod training;

pub mod learner;

pub mod carried;

pub mod algorithms;

pub mod vtrace;

pub mod n_step;

pub mod value_rescaling;

pub mod losses;

pub mod target_network;

pub mod exploration;

pub mod optimizer;

pub mod config;

pub mod publisher;

pub mod run_folder;

pub mod checkpoint;

pub mod writer;

mod tensors;

pub mod curves;

pub mod tensorboard;

pub mod counters;

pub mod episodes;

pub mod interval;

pub mod meter;

pub mod metrics;

mod error;

#[cfg(test)]
#[path = "../tests/fixtures/mod.rs"]
#[allow(missing_docs, unreachable_pub)]
mod fixtures;

#[cfg(test)]
mod service_tests;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use engram_mdp::Seed;
use engram_policy::PolicyConfig;
use engram_service::progress::ProgressLine;
use engram_service::threads::{reason, spawn_named};
use engram_service::{Listener, Resolved, RunConfig, Shutdown, health, net};
use tch::Device;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::task::TaskTracker;

pub use algorithms::{Algorithm, NonFinite, UpdateStats};
pub use config::RlConfig;
pub use error::LearnerError;
pub use flags::LearnerArgs;
pub use meter::Shares;

use checkpoint::Store;
use episodes::Means;
use learner::Recipe;
use limiter::Limiter;
use metrics::Metrics;
use run_folder::RunFolder;
use service::{Services, Stage};
use wiring::{Ledger, Wiring};

/// What to learn, and where.
#[derive(Clone, Debug)]
pub struct LearnerConfig {
    /// The run's name; actors and inference servers of other runs are refused.
    pub run_id: String,
    /// The run's folder. Without one nothing is left behind, and nothing can be resumed.
    pub folder: Option<PathBuf>,
    /// The whole configuration.
    pub resolved: Resolved,
    /// Its run section.
    pub run: RunConfig,
    /// Its algorithm.
    pub rl: RlConfig,
    /// Its sequence model.
    pub policy: PolicyConfig,
    /// Where the policy computes.
    pub device: Device,
    /// Threads of tensor operations on the CPU.
    pub threads: i32,
    /// The rest of where and how.
    pub flags: LearnerArgs,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ended {
    /// It has had its env steps.
    Finished,
    /// It was told to stop; it can be resumed.
    #[default]
    Stopped,
}

/// What a run came to. Counts are those of the run, times those of this process.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Summary {
    /// How it ended.
    pub ended: Ended,
    /// Agent decisions learned from.
    pub env_steps: u64,
    /// Steps of the optimizer.
    pub updates: u64,
    /// The newest published weights.
    pub policy_version: u64,
    /// Finished episodes.
    pub episodes: u64,
    /// Means over the latest 1000 of them.
    pub means: Means,
    /// Trajectories dropped because they were stale.
    pub stale_trajectories: u64,
    /// Env steps per second of this process's life.
    pub env_steps_per_second: f64,
    /// Where the learner's time went.
    pub shares: Shares,
    /// The newest checkpoint.
    pub checkpoint: Option<PathBuf>,
}

impl LearnerConfig {
    /// Reads the learner's sections of a configuration, and checks them. The flags are those of
    /// somebody who gave none.
    pub fn new(
        resolved: Resolved,
        run_id: String,
        folder: Option<PathBuf>,
        device: Device,
        threads: i32,
    ) -> Result<Self, LearnerError> {
        let (run, rl): (RunConfig, RlConfig) = (resolved.run()?, resolved.section("rl")?);
        rl.validate()?;
        let policy: PolicyConfig = resolved.section("seq")?;
        policy.validate().map_err(LearnerError::Policy)?;
        let flags = LearnerArgs::default();
        Ok(LearnerConfig { run_id, folder, resolved, run, rl, policy, device, threads, flags })
    }

    /// Refuses what could only fail later: settings of a replay that do not go with those of the
    /// run.
    pub fn check(&self) -> Result<(), LearnerError> {
        let Some(config) = self.rl.off_policy() else { return Ok(()) };
        config.replay.check_batch(config.batch_size)?;
        Limiter::new(config.limiter, self.run.unroll_length)?;
        Ok(())
    }

    fn recipe(&self) -> Recipe {
        Recipe {
            run_id: self.run_id.clone(),
            config: self.resolved.to_toml(),
            rl: self.rl.clone(),
            policy: self.policy.clone(),
            seed: Seed::new(self.run.seed),
            budget: self.run.env_steps,
            device: self.device,
            stream_memory: self.flags.stream_memory,
        }
    }

    fn store(&self, folder: &RunFolder) -> Store {
        Store::new(folder.checkpoints(), self.run.checkpoints_kept)
    }
}

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
    let learner = spawn_named("learner", move || opening::run(&config, wiring, ready));
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
