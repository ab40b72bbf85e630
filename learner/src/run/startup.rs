//! Startup of a run: from the newest checkpoint, or with the first actor's environment.

use std::path::PathBuf;
use std::sync::Arc;

use engram_service::heartbeat::Heartbeat;
use engram_service::threads::reason;
use tokio::sync::oneshot;

use crate::algorithms::RlConfig;
use crate::durable::owner::Owner;
use crate::rpc::context::EnvironmentContract;
use crate::rpc::membership::Membership;
use crate::run::channels::LearnerChannels;
use crate::run::disk::Disk;
use crate::run::error::LearnerError;
use crate::run::evaluations::Evaluations;
use crate::run::learner::Learner;
use crate::run::learner_config::LearnerConfig;
use crate::run::pipeline::{
    BatchSource, BatchThread, Pipeline, ReplayPipeline, Resumed, StreamsPipeline,
};
use crate::run::publishing::{PATIENCE, Publishing, PublishingThread};
use crate::run::summary::RunSummary;
use crate::run::training::{Limits, Training};
use crate::storage::checkpoint_writer::{CheckpointFolders, CheckpointWriter};
use crate::storage::evaluation_record::EvaluationRecord;
use crate::storage::run_folder::{RunFolder, replay_folder};
use crate::storage::warm_start::WarmStart;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::progress_log::ProgressLog;

/// Pulses of threads that a run is made by.
#[derive(Debug)]
pub(crate) struct Heartbeats {
    pub(crate) learner: Heartbeat,
    pub(crate) publisher: Heartbeat,
}

/// The whole life of the learner's thread: it learns from streams or from a replay, as its
/// algorithm does. `ready` is sent once actors may come.
pub(crate) fn run(
    config: &LearnerConfig,
    channels: LearnerChannels,
    heartbeats: Heartbeats,
    ready: oneshot::Sender<()>,
) -> Result<RunSummary, LearnerError> {
    match &config.rl {
        RlConfig::Streams(algorithm) => {
            Startup::<StreamsPipeline> { config, algorithm }.run(channels, heartbeats, ready)
        }
        RlConfig::Replay(algorithm) => {
            Startup::<ReplayPipeline> { config, algorithm }.run(channels, heartbeats, ready)
        }
    }
}

/// A run that starts, by the pipeline `P`.
struct Startup<'a, P: Pipeline> {
    config: &'a LearnerConfig,
    algorithm: &'a Arc<P::Config>,
}

/// A learner, and the checkpoint that it goes on from.
struct Opened<P> {
    learner: Learner<P>,
    resumed: Option<PathBuf>,
}

impl<P: Pipeline> Startup<'_, P> {
    fn run(
        &self,
        mut channels: LearnerChannels,
        heartbeats: Heartbeats,
        ready: oneshot::Sender<()>,
    ) -> Result<RunSummary, LearnerError> {
        let config = self.config;
        tch::set_num_threads(config.threads);
        let folder = config.folder.as_deref().map(RunFolder::open).transpose()?;
        let resumed = match &folder {
            Some(folder) => self.resume(folder, &channels)?,
            None => None,
        };
        if let Some(folder) = &folder {
            let env_steps = resumed.as_ref().map_or(0, |o| o.learner.counters().env_steps);
            folder.begin(&config.resolved.to_toml(), env_steps)?;
        }
        // Read before anybody waits for it, so that a wrong path is an error at once.
        let warm_start = match resumed {
            Some(_) => None,
            None => config.warm_start()?,
        };
        // Nobody waits for it any more only when the run is being given up.
        let _ = ready.send(());
        let opened = match resumed {
            Some(opened) => Some(opened),
            None => self.first_environment(warm_start.as_ref(), &mut channels)?,
        };
        match opened {
            Some(opened) => self.train(channels, heartbeats, folder, opened),
            None => Ok(RunSummary::default()),
        }
    }

    /// The learner of the newest checkpoint, if there is one.
    fn resume(
        &self,
        folder: &RunFolder,
        channels: &LearnerChannels,
    ) -> Result<Option<Opened<P>>, LearnerError> {
        let config = self.config;
        let Some((path, checkpoint)) = config.store(folder).newest()? else { return Ok(None) };
        checkpoint.state.check_config(&path, &config.resolved)?;
        let resumed = Resumed { path: &path, checkpoint: &checkpoint };
        let learner = Learner::resume(self.algorithm, config.clone(), resumed)?;
        *channels.stats.membership() = Membership::default().resuming(checkpoint.state.membership);
        *channels.stats.episodes() = checkpoint.state.episodes;
        channels.contract.send_replace(Some(contract(&learner)));
        let env_steps = learner.counters().env_steps;
        tracing::info!(checkpoint = %path.display(), env_steps, "the run goes on");
        Ok(Some(Opened { learner, resumed: Some(path) }))
    }

    /// Waits for the first actor whose environment a policy can be made for. `None` on shutdown.
    fn first_environment(
        &self,
        warm_start: Option<&WarmStart>,
        channels: &mut LearnerChannels,
    ) -> Result<Option<Opened<P>>, LearnerError> {
        loop {
            let proposed = channels.runtime.block_on(async {
                tokio::select! {
                    () = channels.shutdown.triggered() => None,
                    proposal = channels.proposals.recv() => proposal,
                }
            });
            let Some(proposal) = proposed else { return Ok(None) };
            let config = self.config.clone();
            match Learner::new(self.algorithm, config, &proposal.spec, warm_start) {
                Ok(learner) => {
                    tracing::info!(environment = %learner.spec(), "the run begins");
                    channels.contract.send_replace(Some(contract(&learner)));
                    return Ok(Some(Opened { learner, resumed: None }));
                }
                Err(LearnerError::Environment(error)) => {
                    tracing::warn!(%error, "an actor's environment was refused");
                    // The actor may have left meanwhile.
                    let _ = proposal.refusal.send(error);
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Trains, with the thread that makes batches at its side.
    fn train(
        &self,
        channels: LearnerChannels,
        heartbeats: Heartbeats,
        folder: Option<RunFolder>,
        Opened { learner, resumed }: Opened<P>,
    ) -> Result<RunSummary, LearnerError> {
        let config = self.config;
        if let Some(truncation) = config.policy.truncation() {
            tracing::info!("{truncation}");
        }
        let LearnerChannels { arrivals, proposals, played, contract: _contract, .. } = channels;
        // Whoever still proposes an environment finds the contract instead. A pattern of `_` would
        // keep the channel open until the end of the run, and its second actor waiting.
        drop(proposals);
        // The first actor may have kept this learner waiting while another one has come.
        let owner = folder.as_ref().map(|folder| folder.owner().clone());
        owner.as_ref().map_or(Ok(()), Owner::look)?;
        // Before anything is inserted, which the first mark of the disk would count as saved.
        let disk = match folder {
            Some(folder) => {
                let record = self.open_record(&folder, &learner, &channels.metrics)?;
                let (run, queue) = (&config.run, channels.evaluations);
                let runtime = channels.runtime.clone();
                let evaluations = Evaluations::start(run, queue, played, record, runtime);
                Some(self.open_disk(folder, &learner, resumed, evaluations, &channels.metrics)?)
            }
            None => None,
        };
        let learned = learner.counters().env_steps;
        let BatchThread { batches, stop, thread } = learner.pipeline().start(BatchSource {
            arrivals,
            spec: learner.spec().clone(),
            newest: channels.newest,
            grants: channels.grants.clone(),
            max_policy_lag: config.run.max_policy_lag,
            unroll_length: config.run.unroll_length,
            env_steps_left: config.run.env_steps.saturating_sub(learned),
            device: config.device,
            owner: owner.clone(),
            metrics: channels.metrics.clone(),
            runtime: channels.runtime.clone(),
        });
        let limits = Limits::new(config, learner.pipeline());
        let publishing = Publishing {
            publisher: channels.publisher,
            grants: channels.grants.clone(),
            metrics: channels.metrics.clone(),
            heartbeat: heartbeats.publisher,
            patience: PATIENCE,
        };
        let trained = Training {
            learner,
            batches,
            publishing: PublishingThread::start(publishing, channels.runtime.clone()),
            stage: channels.stage,
            grants: channels.grants,
            stats: channels.stats,
            disk,
            progress: channels.progress,
            metrics: channels.metrics,
            shutdown: channels.shutdown,
            runtime: channels.runtime,
            heartbeat: heartbeats.learner,
            limits,
        }
        .run();
        stop.trigger();
        match thread.join() {
            Ok(batched) => batched.map_err(LearnerError::Batch)?,
            Err(panic) => return Err(panicked(&*panic)),
        }
        owner.as_ref().map_or(Ok(()), Owner::taken)?;
        trained
    }

    fn open_disk(
        &self,
        folder: RunFolder,
        learner: &Learner<P>,
        resumed: Option<PathBuf>,
        evaluations: Evaluations,
        metrics: &Metrics,
    ) -> Result<Disk, LearnerError> {
        let env_steps = learner.counters().env_steps;
        let progress_log = ProgressLog::open(folder.path(), env_steps)
            .map_err(|source| LearnerError::ProgressLog { folder: folder.path().into(), source })?;
        let (store, replay) = (self.config.store(&folder), replay_folder(folder.path()));
        let (folders, saved) = (CheckpointFolders { store, replay }, learner.mark());
        let writer = CheckpointWriter::start(folders, saved, metrics.clone());
        Ok(Disk { folder, progress_log, writer, evaluations, resumed })
    }

    fn open_record(
        &self,
        folder: &RunFolder,
        learner: &Learner<P>,
        metrics: &Metrics,
    ) -> Result<EvaluationRecord, LearnerError> {
        let env_steps = learner.counters().env_steps;
        let record = EvaluationRecord::open(folder.path(), env_steps, metrics.clone())?;
        Ok(record.owned_by(folder.owner().clone()))
    }
}

fn contract<P: Pipeline>(learner: &Learner<P>) -> EnvironmentContract {
    let (spec, core_state_width) = (learner.spec().clone(), learner.core_state_width());
    EnvironmentContract { spec, core_state_width }
}

fn panicked(panic: &(dyn std::any::Any + Send)) -> LearnerError {
    LearnerError::Panicked { thread: "batches", reason: reason(panic).into() }
}
