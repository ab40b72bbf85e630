//! A learner, an inference server, actors and an evaluator in one process, over Unix sockets.
//!
//! These are the services of the four programs, unchanged: what works here works across machines.
//! Each service has a runtime of its own, each actor a thread.

pub(crate) mod services;

use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::Duration;

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
    /// Silence of the thread that trains, or of the one that runs the policy, after which it counts
    /// as hung and ends the process; zero watches nobody.
    pub(crate) watchdog: Duration,
}

/// Result of a training.
#[derive(Debug)]
pub(crate) struct Trained {
    /// Summary of the learner.
    pub(crate) summary: RunSummary,
    /// Summaries of the actors.
    pub(crate) actors: Vec<ActorSummary>,
}

/// Trains until the budget is spent or `shutdown`; progress goes to `progress`. A run of which a part
/// fails ends: that triggers `shutdown`, and the error is returned.
pub(crate) fn train(
    job: &Job<'_>,
    progress: watch::Sender<ProgressLine>,
    shutdown: &Shutdown,
) -> Result<Trained> {
    let &Job { experiment, run_id, compute, .. } = job;
    train_with(job, progress, shutdown, |sockets, ending| {
        let weights = WeightsSource::Learner(sockets.learner.clone());
        let (run, at, watchdog) = (&experiment.run, &sockets.inference, job.watchdog);
        Ok(start_inference(run, run_id, weights, compute, at, watchdog, ending)?.0)
    })
}

/// Trains with an inference server that is started by `start_server`.
fn train_with(
    job: &Job<'_>,
    progress: watch::Sender<ProgressLine>,
    shutdown: &Shutdown,
    start_server: impl FnOnce(&Sockets, &Shutdown) -> Result<Thread<()>>,
) -> Result<Trained> {
    let &Job { experiment, run_id, .. } = job;
    let sockets = Sockets::new()?;
    let ending = Shutdown::new();
    let (learner, _) = start_learner(job, progress, &sockets, shutdown)?;
    let evaluator = job.evaluates().then(|| start_evaluator(job, &sockets, &ending));
    let inference =
        watched("the inference server", start_server(&sockets, &ending)?, shutdown.clone());
    let actors: Vec<_> = (0..experiment.run.actors)
        .map(|actor| start_actor(experiment, run_id, actor, &sockets, &ending))
        .map(|actor| watched("an actor", actor, shutdown.clone()))
        .collect();

    let summary = join("the learner", learner);
    // The learner has told the actors; those that it could not reach are told now.
    ending.trigger();
    let actors: Vec<_> = actors.into_iter().map(outcome).collect();
    let inference = outcome(inference);
    let evaluator = evaluator.map(|evaluator| join("the evaluator", evaluator));
    let summary = summary?;
    inference?;
    let actors = actors.into_iter().collect::<Result<_>>()?;
    evaluator.transpose()?;
    Ok(Trained { summary, actors })
}

/// Waits for a thread that the run cannot do without, on another one. If it fails, that triggers
/// `shutdown`: the learner would wait for its work for ever.
fn watched<T, E>(
    who: &'static str,
    thread: JoinHandle<Result<T, E>>,
    shutdown: Shutdown,
) -> Thread<T>
where
    T: Send + 'static,
    E: Send + 'static,
    anyhow::Error: From<E>,
{
    spawn_named("watch", move || {
        join(who, thread).inspect_err(|error| {
            tracing::error!("the run ends: {error:#}");
            shutdown.trigger();
        })
    })
}

fn outcome<T>(watch: Thread<T>) -> Result<T> {
    watch.join().expect("it only waits")
}

impl<'a> Job<'a> {
    /// One that leaves nothing behind, and that nobody watches.
    pub(crate) fn unattended(
        experiment: &'a Experiment,
        run_id: &'a str,
        compute: Compute,
    ) -> Self {
        let (folder, learner, watchdog) = (None, LearnerArgs::default(), Duration::ZERO);
        Job { experiment, run_id, folder, compute, learner, watchdog }
    }

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
    let config = LearnerConfig { flags: job.learner.clone(), watchdog: job.watchdog, ..config };
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
        actor: Some(actor),
        instance: engram_service::process::any_number().wrapping_add(actor.into()),
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
        episodes: job.experiment.evaluation_episodes(job.experiment.run.eval_actions, job.compute),
    };
    let ending = ending.clone();
    spawn_named("evaluator", move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let ended = runtime.block_on(engram_evaluator::run(config, ending));
        // Training goes on, so this is its only word for a long time.
        ended.inspect_err(|error| tracing::error!(%error, "nothing more is evaluated"))
    })
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use engram_inference_server::InferenceError;
    use engram_policy::{Device, Policy};
    use engram_service::config::ConfigArgs;

    use super::*;

    const COMPUTE: Compute =
        Compute { device: Device::Cpu, learner_threads: 1, inference_threads: 1 };

    fn experiment(choices: &str) -> Experiment {
        let set = ["run.actors=1", "run.envs_per_actor=2", choices].map(str::to_owned).to_vec();
        let (env, rl, seq) = (None, None, None);
        let configs = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../configs");
        let experiment = "recall-20".into();
        let args = ConfigArgs { experiment, env, rl, seq, set, configs, print_config: false };
        Experiment::from_args(&args).unwrap()
    }

    /// The error that a run ends with whose inference server is started by `start_server`.
    fn ends_with(
        start_server: impl FnOnce(&Sockets, &Shutdown) -> Result<Thread<()>> + Send + 'static,
    ) -> String {
        let (ended, end) = mpsc::sync_channel(1);
        std::thread::spawn(move || {
            let experiment = experiment("env.choices=4");
            let job = Job::unattended(&experiment, "run", COMPUTE);
            let (progress, _) = watch::channel(ProgressLine::default());
            let trained = train_with(&job, progress, &Shutdown::new(), start_server);
            ended.send(trained.map(drop)).unwrap();
        });
        let trained = end.recv_timeout(Duration::from_secs(60)).expect("the run ends");
        format!("{:#}", trained.unwrap_err())
    }

    /// A run waited for ever when its inference server's model thread had panicked: the learner waits
    /// for actors, and these for the server.
    #[test]
    fn a_run_whose_inference_server_fails_ends_with_its_error() {
        let error = ends_with(|sockets, _| {
            let serve = async |_| Err(InferenceError::Model("no such row".into()).into());
            Ok(start("inference-io", &sockets.inference, serve)?.0)
        });
        assert_eq!(error, "the inference server: the model thread panicked: no such row");
    }

    #[test]
    fn a_run_whose_inference_server_panics_ends_and_names_it() {
        let error = ends_with(|sockets, _| {
            let serve = async |_| -> Result<()> { panic!("a test") };
            Ok(start("inference-io", &sockets.inference, serve)?.0)
        });
        assert_eq!(error, "the inference server panicked; the log says where");
    }

    #[test]
    fn a_run_whose_actor_is_refused_ends_with_the_reason() {
        let error = ends_with(|sockets, ending| {
            let Experiment { run, env, seq, .. } = experiment("env.choices=3");
            let device = COMPUTE.device.ready().unwrap();
            let policy = Policy::new(&seq, &env.spec(), Seed::new(1), device).unwrap();
            let weights = WeightsSource::Bytes(policy.save(1).into());
            let (at, watchdog) = (&sockets.inference, Duration::ZERO);
            Ok(start_inference(&run, "other", weights, COMPUTE, at, watchdog, ending)?.0)
        });
        assert!(error.starts_with("an actor: "), "{error}");
        assert!(error.contains("this run's environment is ["), "{error}");
    }
}
