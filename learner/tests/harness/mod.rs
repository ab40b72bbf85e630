//! A whole learner with its services, for fake actors.

#![allow(dead_code, reason = "every test uses some of it")]

use std::path::PathBuf;

use engram_learner::{LearnerArgs, LearnerConfig, LearnerError, RunSummary};
use engram_mdp::Trajectory;
use engram_proto::{PROTOCOL_VERSION, v1};
use engram_service::progress::ProgressLine;
use engram_service::{Channel, Listener, Resolved, Shutdown, net};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tonic::Streaming;

use crate::fixtures::*;

/// A trajectory of each of the actor's environments: a batch.
pub fn pair(sequence: u64) -> [Trajectory; 2] {
    [trajectory(0, sequence), trajectory(1, sequence)]
}

/// A place for the run's folder.
pub fn run_folder() -> (tempfile::TempDir, PathBuf) {
    let runs = tempfile::tempdir().unwrap();
    let folder = runs.path().join(RUN);
    (runs, folder)
}

/// A learner, as others see it.
pub struct Run {
    pub channel: Channel,
    pub shutdown: Shutdown,
    pub progress: watch::Receiver<ProgressLine>,
    pub learner: JoinHandle<Result<RunSummary, LearnerError>>,
}

impl Run {
    /// A run with changes.
    pub fn start(folder: Option<PathBuf>, changes: &[&str]) -> Self {
        Run::start_with(LearnerArgs::default(), folder, changes)
    }

    /// The same, with flags.
    pub fn start_with(flags: LearnerArgs, folder: Option<PathBuf>, changes: &[&str]) -> Self {
        Run::start_resolved(flags, folder, resolved(changes))
    }

    /// A run of an experiment.
    pub fn start_resolved(flags: LearnerArgs, folder: Option<PathBuf>, resolved: Resolved) -> Self {
        let config = LearnerConfig::new(resolved, RUN.into(), folder, tch::Device::Cpu, 1).unwrap();
        let config = LearnerConfig { flags, ..config };
        let listener = Listener::memory();
        let channel = net::connect(listener.address(), "learner");
        let shutdown = Shutdown::new();
        let (sender, progress) = watch::channel(ProgressLine::default());
        let run = engram_learner::run(config, listener, sender, shutdown.clone());
        Run { channel, shutdown, progress, learner: tokio::spawn(run) }
    }

    /// Learns from one batch, and stops.
    pub async fn learn_once(mut self) -> RunSummary {
        let actor = Actor::register(&self.channel).await;
        actor.send(push(&pair(0))).await;
        self.updates(1).await;
        self.stop().await
    }

    /// Waits until so many updates were made.
    pub async fn updates(&mut self, updates: u64) {
        self.progress.wait_for(|line| line.updates >= updates).await.unwrap();
    }

    /// Asks it to leave.
    pub async fn stop(self) -> RunSummary {
        self.shutdown.trigger();
        self.learner.await.unwrap().unwrap()
    }

    /// Its stream of weights.
    pub async fn weights(&self) -> Streaming<v1::WeightsChunk> {
        let mut client = v1::weights_client::WeightsClient::new(self.channel.clone());
        let protocol_version = PROTOCOL_VERSION;
        let request = v1::SubscribeRequest { protocol_version, run_id: String::new() };
        client.subscribe(request).await.unwrap().into_inner()
    }
}
