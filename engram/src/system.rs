//! A learner, an inference server and actors in one process, over Unix sockets.
//!
//! These are the services of the three programs, unchanged: what works here works across machines.
//! Each service has a runtime of its own, each actor a thread.

use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use engram_actor::{ActorConfig, ActorSummary, MAX_UNACKNOWLEDGED, Patience, Purpose};
use engram_envs::EnvConfig;
use engram_inference_server::{BatchLimits, InferenceConfig, WeightsSource};
use engram_learner::{LearnerArgs, LearnerConfig, Summary};
use engram_mdp::Seed;
use engram_policy::Device;
use engram_service::net::{Address, Exposure, Listener};
use engram_service::progress::ProgressLine;
use engram_service::threads::spawn_named;
use engram_service::{RunConfig, Shutdown};
use tempfile::TempDir;
use tokio::sync::watch;

use crate::evaluations::Evaluations;
use crate::experiment::Experiment;

/// Where and how wide networks compute.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Compute {
    /// The device of the policies.
    pub(crate) device: Device,
    /// Threads of one tensor operation in the learner.
    pub(crate) learner_threads: usize,
    /// Threads of one tensor operation in the inference server.
    pub(crate) inference_threads: usize,
}

/// What to train, and how.
#[derive(Clone, Debug)]
pub(crate) struct Job<'a> {
    /// What.
    pub(crate) experiment: &'a Experiment,
    /// The run's name.
    pub(crate) run_id: &'a str,
    /// Its folder; without one nothing is left behind.
    pub(crate) folder: Option<&'a Path>,
    /// Where networks compute.
    pub(crate) compute: Compute,
    /// The learner's own flags.
    pub(crate) learner: LearnerArgs,
}

/// What a training came to.
#[derive(Debug)]
pub(crate) struct Trained {
    /// The learner's own account.
    pub(crate) summary: Summary,
    /// Each actor's.
    pub(crate) actors: Vec<ActorSummary>,
}

/// Trains until the budget is spent or `shutdown`; progress goes to `progress`.
pub(crate) fn train(
    job: &Job<'_>,
    progress: watch::Sender<ProgressLine>,
    shutdown: &Shutdown,
) -> Result<Trained> {
    let &Job { experiment, run_id, folder, compute, .. } = job;
    let sockets = Sockets::new()?;
    let ending = Shutdown::new();
    let evaluations = folder.filter(|_| experiment.run.eval_env_steps > 0).map(|folder| {
        Evaluations {
            experiment: experiment.clone(),
            run_id: run_id.into(),
            folder: folder.into(),
            learner: sockets.learner.clone(),
            compute,
            progress: progress.subscribe(),
            ending: ending.clone(),
        }
        .spawn()
    });
    let learner = start_learner(job, progress, &sockets, shutdown)?;
    let weights = WeightsSource::Learner(sockets.learner.clone());
    let inference = start_inference(&experiment.run, run_id, weights, compute, &sockets, &ending)?;
    let actors: Vec<_> = (0..experiment.run.actors)
        .map(|actor| start_actor(experiment, run_id, actor, &sockets, &ending))
        .collect();

    let summary = join("the learner", learner);
    // The learner has told the actors; those that it could not reach are told now.
    ending.trigger();
    let actors = actors.into_iter().map(|actor| join("an actor", actor)).collect::<Vec<_>>();
    join("the inference server", inference)?;
    if let Some(evaluations) = evaluations {
        join("the evaluations", evaluations)?;
    }
    Ok(Trained { summary: summary?, actors: actors.into_iter().collect::<Result<_>>()? })
}

/// Plays `episodes` greedy episodes with weights from `weights`, in worlds that come from `seed`,
/// and returns them.
pub(crate) fn evaluate(
    env: &EnvConfig,
    run: &RunConfig,
    seed: Seed,
    weights: WeightsSource,
    episodes: u32,
    compute: Compute,
    shutdown: &Shutdown,
) -> Result<ActorSummary> {
    let sockets = Sockets::new()?;
    let ending = Shutdown::new();
    let inference = start_inference(run, "evaluation", weights, compute, &sockets, &ending)?;
    let actor = ActorConfig {
        actor: 0,
        generation: engram_actor::generation_now(),
        run_id: None,
        env: env.clone(),
        envs: episodes.min(run.envs_per_actor),
        seed,
        inference: vec![sockets.inference.clone()],
        purpose: Purpose::Evaluate { episodes },
        patience: Patience::STANDARD,
    };
    let played = join("the evaluating actor", engram_actor::spawn(actor, shutdown.clone()));
    ending.trigger();
    join("the inference server", inference)?;
    played
}

/// Sockets in a folder that goes away with them.
struct Sockets {
    learner: Address,
    inference: Address,
    _folder: TempDir,
}

impl Sockets {
    fn new() -> Result<Self> {
        let folder = tempfile::Builder::new()
            .prefix("engram-")
            .tempdir()
            .context("cannot make a temporary folder for sockets")?;
        let socket = |name: &str| Address::Unix(folder.path().join(name));
        let (learner, inference) = (socket("learner"), socket("inference"));
        Ok(Sockets { learner, inference, _folder: folder })
    }
}

type Thread<T> = JoinHandle<Result<T>>;

fn start_learner(
    job: &Job<'_>,
    progress: watch::Sender<ProgressLine>,
    sockets: &Sockets,
    shutdown: &Shutdown,
) -> Result<Thread<Summary>> {
    let &Job { experiment, compute, .. } = job;
    let config = LearnerConfig {
        run_id: job.run_id.into(),
        folder: job.folder.map(PathBuf::from),
        resolved: experiment.resolved.clone(),
        run: experiment.run.clone(),
        rl: experiment.rl.clone(),
        policy: experiment.seq.clone(),
        device: compute.device.ready()?,
        threads: i32::try_from(compute.learner_threads)?,
        flags: job.learner.clone(),
    };
    let shutdown = shutdown.clone();
    Ok(start("learner-io", &sockets.learner, async move |listener| {
        Ok(engram_learner::run(config, listener, progress, shutdown).await?)
    }))
}

fn start_inference(
    run: &RunConfig,
    run_id: &str,
    weights: WeightsSource,
    compute: Compute,
    sockets: &Sockets,
    ending: &Shutdown,
) -> Result<Thread<()>> {
    let config = InferenceConfig {
        run_id: matches!(weights, WeightsSource::Learner(_)).then(|| run_id.to_string()),
        weights,
        device: compute.device,
        threads: compute.inference_threads,
        seed: run.seed,
        batch: BatchLimits { max_batch_size: run.max_batch_size, max_wait: run.max_wait() },
        lease: Duration::from_secs(60),
        weights_wait: Duration::from_secs(60),
        max_slots: 1 << 20,
    };
    let ending = ending.clone();
    Ok(start("inference-io", &sockets.inference, async move |listener| {
        Ok(engram_inference_server::run(config, listener, ending).await?)
    }))
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
        purpose: Purpose::Train {
            learner: sockets.learner.clone(),
            unroll_length: experiment.run.unroll_length,
            max_unacknowledged: MAX_UNACKNOWLEDGED,
            stagger_steps: experiment.run.stagger_steps,
        },
        patience: Patience::STANDARD,
    };
    engram_actor::spawn(config, ending.clone())
}

/// Runs a service on a thread with a runtime of its own. It listens when this returns.
fn start<T, F>(
    name: &str,
    address: &Address,
    serve: impl FnOnce(Listener) -> F + Send + 'static,
) -> Thread<T>
where
    T: Send + 'static,
    F: Future<Output = Result<T>>,
{
    let (bound, is_bound) = std::sync::mpsc::sync_channel(1);
    let address = address.clone();
    let thread = spawn_named(name, move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let listener = Listener::bind(&address, Exposure::Local).await?;
            let _ = bound.send(());
            serve(listener).await
        })
    });
    // An error drops the sender; whoever joins the thread is told of it.
    let _ = is_bound.recv();
    thread
}

fn join<T, E>(who: &str, thread: JoinHandle<Result<T, E>>) -> Result<T>
where
    anyhow::Error: From<E>,
{
    match thread.join() {
        Ok(result) => result.map_err(anyhow::Error::from).with_context(|| who.to_string()),
        Err(_) => Err(anyhow!("{who} panicked; the log says where")),
    }
}
