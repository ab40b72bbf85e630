//! The real services around a proxy, each with an event loop of its own, as a process has.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::time::Duration;

use engram_actor::{
    ActorConfig, ActorError, ActorMode, ActorSummary, MAX_UNACKNOWLEDGED, Timeouts,
};
use engram_envs::EnvConfig;
use engram_inference_server::{BatchLimits, InferenceConfig, InferenceError, WeightsSource};
use engram_learner::storage::checkpoint::{Checkpoint, CheckpointStore};
use engram_learner::{LearnerConfig, LearnerError, RunSummary};
use engram_mdp::{EnvSpec, Seed};
use engram_policy::{Device, Policy};
use engram_service::config::{ExperimentSelection, resolve};
use engram_service::progress::ProgressLine;
use engram_service::threads::spawn_named;
use engram_service::{
    Address, Exposure, Listener, NetError, Resolved, RunConfig, Shutdown, process,
};
use tempfile::TempDir;
use tokio::sync::{oneshot, watch};
use tokio::time::timeout;

use super::{PATIENCE, Recording, RecordingProxy};

/// The run.
const RUN: &str = "counting";

/// A service that can be asked to leave, and killed.
pub(crate) struct ServiceThread<T> {
    leave: Shutdown,
    killed: Shutdown,
    ended: oneshot::Receiver<Option<T>>,
}

/// A learner and a proxy in front of it; a place for an inference server, and for actors.
pub(crate) struct System {
    resolved: Resolved,
    run: RunConfig,
    env: EnvConfig,
    pub(crate) proxy: RecordingProxy,
    proxy_at: Address,
    learner_at: Address,
    inference_at: Address,
    learner: ServiceThread<Result<RunSummary, LearnerError>>,
    relay: ServiceThread<Result<(), NetError>>,
    progress: watch::Receiver<ProgressLine>,
    folder: TempDir,
}

/// Remains when everything has ended.
pub(crate) struct Left {
    /// The proxy's recording.
    pub(crate) recording: Recording,
    /// The learner's summary.
    pub(crate) summary: RunSummary,
    /// Its last checkpoint.
    pub(crate) checkpoint: Checkpoint,
}

impl<T: Send + 'static> ServiceThread<T> {
    fn start<F>(name: &str, life: impl FnOnce(Shutdown) -> F + Send + 'static) -> Self
    where
        F: Future<Output = T>,
    {
        let (leave, killed) = (Shutdown::new(), Shutdown::new());
        let (told, kill) = (leave.clone(), killed.clone());
        let (sender, ended) = oneshot::channel();
        spawn_named(name, move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.expect("the system has room for an event loop");
            let result = runtime.block_on(async {
                tokio::select! {
                    biased;
                    () = kill.triggered() => None,
                    result = life(told) => Some(result),
                }
            });
            // All tasks stop and all connections are cut, wherever they are.
            drop(runtime);
            let _ = sender.send(result);
        });
        ServiceThread { leave, killed, ended }
    }

    /// Ends it in the middle of everything.
    pub(crate) async fn kill(mut self) {
        self.killed.trigger();
        assert!(self.end().await.is_none(), "it ended before it was killed");
    }

    /// Asks it to leave, and waits until it has.
    pub(crate) async fn stop(mut self) -> T {
        self.leave.trigger();
        self.end().await.expect("nobody killed it")
    }

    async fn end(&mut self) -> Option<T> {
        let ended = timeout(PATIENCE, &mut self.ended).await;
        ended.expect("it ends when it is told to").expect("it did not panic")
    }
}

impl<T> Drop for ServiceThread<T> {
    fn drop(&mut self) {
        // After a failed test nobody else does.
        self.leave.trigger();
    }
}

impl System {
    /// A system of `main` in the counting environment with an LSTM, and with these settings.
    pub(crate) fn start(settings: &[&str]) -> Self {
        let resolved = resolve(&ExperimentSelection {
            experiment: "recall-20".into(),
            env: Some("counting".into()),
            rl: None,
            seq: Some("lstm".into()),
            set: settings.iter().map(ToString::to_string).collect(),
            configs: Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs"),
        })
        .expect("a good configuration");
        let run = resolved.run().expect("a good [run]");
        let env = EnvConfig::from_table(resolved.table("env").clone()).expect("a good [env]");
        let folder = tempfile::tempdir().expect("a temporary folder");
        let listener = Listener::memory();
        let learner_at = listener.address().clone();
        let (progress, progress_seen) = watch::channel(ProgressLine::default());
        let config = LearnerConfig::new(
            resolved.clone(),
            RUN.into(),
            Some(run_folder(&folder)),
            tch::Device::Cpu,
            1,
        )
        .expect("a good experiment");
        let learner = ServiceThread::start("learner", |leave| {
            engram_learner::run(config, listener, progress, leave)
        });

        let proxy = RecordingProxy::new(learner_at.clone(), run.unroll_length);
        let listener = Listener::memory();
        let proxy_at = listener.address().clone();
        let seen = proxy.clone();
        let relay = ServiceThread::start("proxy", |leave| seen.run(listener, leave));
        System {
            resolved,
            run,
            env,
            proxy,
            proxy_at,
            learner_at,
            // A socket, because its place can be taken.
            inference_at: Address::Unix(folder.path().join("inference")),
            learner,
            relay,
            progress: progress_seen,
            folder,
        }
    }

    /// An inference server, always at the same address.
    pub(crate) fn inference(&self) -> ServiceThread<Result<(), InferenceError>> {
        let config = InferenceConfig {
            run_id: Some(RUN.into()),
            weights: WeightsSource::Learner(self.learner_at.clone()),
            device: Device::Cpu,
            threads: 1,
            instance: 0,
            batch: BatchLimits {
                max_batch_size: self.run.max_batch_size,
                max_wait: self.run.max_wait(),
            }
            .into(),
            lease: Duration::from_secs(60),
            weights_wait: Duration::from_secs(60),
            max_slots: 1024,
            watchdog: Duration::ZERO,
        };
        let address = self.inference_at.clone();
        ServiceThread::start("inference", async move |leave| {
            let listener = Listener::bind(&address, Exposure::Local).await;
            let listener = listener.expect("the place of a killed server is free");
            engram_inference_server::run(config, listener, leave).await
        })
    }

    /// An incarnation of an actor.
    pub(crate) fn actor(&self, number: u32) -> ServiceThread<Result<ActorSummary, ActorError>> {
        let config = ActorConfig {
            actor: Some(number),
            instance: process::any_number(),
            run_id: Some(RUN.into()),
            env: self.env.clone(),
            envs: self.run.envs_per_actor,
            seed: Seed::new(self.run.seed),
            inference: vec![self.inference_at.clone()],
            mode: ActorMode::Train {
                learner: self.proxy_at.clone(),
                unroll_length: self.run.unroll_length,
                max_unacknowledged: MAX_UNACKNOWLEDGED,
                stagger_steps: self.run.stagger_steps,
            },
            timeouts: Timeouts::STANDARD,
        };
        ServiceThread::start("actor", |leave| engram_actor::run(config, leave))
    }

    /// The environment.
    pub(crate) fn spec(&self) -> EnvSpec {
        self.env.spec()
    }

    /// The policy that the learner begins with.
    pub(crate) fn policy(&self) -> Policy {
        let config = self.resolved.section("seq").expect("a good [seq]");
        let seed = Seed::new(self.run.seed).derive("policy", 0);
        Policy::new(&config, &self.spec(), seed, tch::Device::Cpu).expect("a good policy")
    }

    /// Waits until the learner has learned from everything that actors, who have left, had sent;
    /// then ends it.
    pub(crate) async fn end(mut self) -> Left {
        self.proxy.until("every connection is closed", |seen| seen.connections == 0).await;
        let sent = self.proxy.recording().env_steps();
        let learned = self.progress.wait_for(|line| line.env_steps >= sent);
        let Ok(learned) = timeout(PATIENCE, learned).await else {
            panic!("{sent} env steps were sent; the learner has {:?}", self.progress.borrow());
        };
        drop(learned.expect("the learner lives"));
        let summary = self.learner.stop().await.expect("a good end of the learner");
        self.relay.stop().await.expect("a good end of the proxy");
        let store = CheckpointStore::new(run_folder(&self.folder).join("checkpoints"), 1);
        let (_, checkpoint) = store.newest().expect("a good checkpoint").expect("a checkpoint");
        Left { recording: self.proxy.into_recording(), summary, checkpoint }
    }
}

fn run_folder(folder: &TempDir) -> PathBuf {
    folder.path().join("run")
}
