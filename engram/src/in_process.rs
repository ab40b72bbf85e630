//! A learner, an inference server, actors and an evaluator in one process, over Unix sockets.
//!
//! These are the services of the four programs, unchanged: what works here works across machines.
//! Each service has a runtime of its own, each actor a thread.

pub(crate) mod services;

use std::path::{Path, PathBuf};
use std::thread::JoinHandle;

use anyhow::Result;
use engram_actor::{ActorConfig, ActorMode, ActorSummary, MAX_UNACKNOWLEDGED, Timeouts};
use engram_evaluator::{EvaluatorConfig, EvaluatorError};
use engram_inference_server::WeightsSource;
use engram_learner::{LearnerArgs, LearnerConfig, RunSummary};
use engram_mdp::Seed;
use engram_service::progress::ProgressLine;
use engram_service::threads::spawn_named;
use engram_service::{Address, Shutdown};
use tokio::sync::watch;

use self::services::{Sockets, Thread, join, start, start_inference};
use crate::compute::Compute;
use crate::experiment::Experiment;

/// Training job: experiment, run and device.
#[derive(Clone, Debug)]
pub(crate) struct Job<'a> {
    /// The experiment.
    pub(crate) experiment: &'a Experiment,
    /// The run's name.
    pub(crate) run_id: &'a str,
    /// Its folder; without one nothing is left behind.
    pub(crate) folder: Option<&'a Path>,
    /// Devices and threads.
    pub(crate) compute: Compute,
    /// The learner's own flags.
    pub(crate) learner: LearnerArgs,
}

/// Result of a training.
#[derive(Debug)]
pub(crate) struct Trained {
    /// Summary of the learner.
    pub(crate) summary: RunSummary,
    /// Summaries of the actors.
    pub(crate) actors: Vec<ActorSummary>,
}

/// Trains until the budget is spent or `shutdown`; progress goes to `progress`.
pub(crate) fn train(
    job: &Job<'_>,
    progress: watch::Sender<ProgressLine>,
    shutdown: &Shutdown,
) -> Result<Trained> {
    let &Job { experiment, run_id, compute, .. } = job;
    let sockets = Sockets::new()?;
    let ending = Shutdown::new();
    let (learner, _) = start_learner(job, progress, &sockets, shutdown)?;
    let evaluator = job.evaluates().then(|| start_evaluator(job, &sockets, &ending));
    let weights = WeightsSource::Learner(sockets.learner.clone());
    let (run, at) = (&experiment.run, &sockets.inference);
    let (inference, _) = start_inference(run, run_id, weights, compute, at, &ending)?;
    let actors: Vec<_> = (0..experiment.run.actors)
        .map(|actor| start_actor(experiment, run_id, actor, &sockets, &ending))
        .collect();

    let summary = join("the learner", learner);
    // The learner has told the actors; those that it could not reach are told now.
    ending.trigger();
    let actors = actors.into_iter().map(|actor| join("an actor", actor)).collect::<Vec<_>>();
    join("the inference server", inference)?;
    if let Some(evaluator) = evaluator {
        join("the evaluator", evaluator)?;
    }
    Ok(Trained { summary: summary?, actors: actors.into_iter().collect::<Result<_>>()? })
}

impl Job<'_> {
    /// True if anything is evaluated, while it trains or at its end.
    fn evaluates(&self) -> bool {
        let run = &self.experiment.run;
        self.folder.is_some() && (run.eval_env_steps > 0 || run.final_eval_episodes > 0)
    }
}

fn start_learner(
    job: &Job<'_>,
    progress: watch::Sender<ProgressLine>,
    sockets: &Sockets,
    shutdown: &Shutdown,
) -> Result<(Thread<RunSummary>, Address)> {
    let &Job { experiment, compute, .. } = job;
    let (resolved, folder) = (experiment.resolved.clone(), job.folder.map(PathBuf::from));
    let (device, threads) = (compute.device.ready()?, i32::try_from(compute.learner_threads)?);
    let config = LearnerConfig::new(resolved, job.run_id.into(), folder, device, threads)?;
    let config = LearnerConfig { flags: job.learner.clone(), ..config };
    let shutdown = shutdown.clone();
    start("learner-io", &sockets.learner, async move |listener| {
        Ok(engram_learner::run(config, listener, progress, shutdown).await?)
    })
}

fn start_actor(
    experiment: &Experiment,
    run_id: &str,
    actor: u32,
    sockets: &Sockets,
    ending: &Shutdown,
) -> JoinHandle<Result<ActorSummary, engram_actor::ActorError>> {
    let config = ActorConfig {
        actor,
        generation: engram_actor::generation_now(),
        run_id: Some(run_id.into()),
        env: experiment.env.clone(),
        envs: experiment.run.envs_per_actor,
        seed: Seed::new(experiment.run.seed),
        inference: vec![sockets.inference.clone()],
        mode: ActorMode::Train {
            learner: sockets.learner.clone(),
            unroll_length: experiment.run.unroll_length,
            max_unacknowledged: MAX_UNACKNOWLEDGED,
            stagger_steps: experiment.run.stagger_steps,
        },
        timeouts: Timeouts::STANDARD,
    };
    engram_actor::spawn(config, ending.clone())
}

fn start_evaluator(
    job: &Job<'_>,
    sockets: &Sockets,
    ending: &Shutdown,
) -> JoinHandle<Result<(), EvaluatorError>> {
    let config = EvaluatorConfig {
        learner: sockets.learner.clone(),
        run_id: Some(job.run_id.into()),
        generation: engram_actor::generation_now(),
        greedy: job.experiment.greedy_episodes(job.compute),
    };
    let ending = ending.clone();
    spawn_named("evaluator", move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let ended = runtime.block_on(engram_evaluator::run(config, ending));
        // Training goes on, so this is its only word for a long time.
        ended.inspect_err(|error| tracing::error!(%error, "nothing more is evaluated"))
    })
}
