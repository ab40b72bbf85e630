//! How a run opens: from the newest checkpoint, or with the first actor's world.

use std::path::{Path, PathBuf};
use std::thread::JoinHandle;

use engram_mdp::{EnvSpec, Seed};
use engram_policy::{Loaded, PolicyError};
use engram_service::Shutdown;
use engram_service::threads::{reason, spawn_named};
use tch::Device;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};

use crate::batches::batcher::{Assembled, Assembler, BATCHES_AHEAD, Rules};
use crate::batches::replay_worker::{Memory, Plan, Replayer};
use crate::replay::World;
use crate::rpc::context::EnvironmentContract;
use crate::rpc::publisher::Newest;
use crate::rpc::queue::Arrivals;
use crate::run::channels::LearnerChannels;
use crate::run::error::LearnerError;
use crate::run::learner::Learner;
use crate::run::learner_config::LearnerConfig;
use crate::run::summary::Summary;
use crate::run::training::{Disk, Training};
use crate::storage::checkpoint_writer::{Places, Writer};
use crate::storage::run_folder::RunFolder;
use crate::storage::warm_start::Origin;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::progress_log::Curves;

/// A learner, and the checkpoint that it goes on from.
struct Opened {
    learner: Learner,
    resumed: Option<PathBuf>,
    /// What it learns from, where that is a replay.
    memory: Option<Memory>,
}

/// The whole life of the learner's thread. `ready` is sent once actors may come.
pub(crate) fn run(
    config: &LearnerConfig,
    mut channels: LearnerChannels,
    ready: oneshot::Sender<()>,
) -> Result<Summary, LearnerError> {
    tch::set_num_threads(config.threads);
    let folder = config.folder.as_deref().map(RunFolder::open).transpose()?;
    let resumed = match &folder {
        Some(folder) => resume(config, folder, &channels)?,
        None => None,
    };
    if let Some(folder) = &folder {
        let env_steps = resumed.as_ref().map_or(0, |o| o.learner.counters().env_steps);
        folder.begin(&config.resolved.to_toml(), env_steps)?;
    }
    // Read before anybody waits for it, so that a wrong path is an error at once.
    let origin = match resumed {
        Some(_) => None,
        None => config.origin()?,
    };
    // Nobody waits for it any more only when the run is being given up.
    let _ = ready.send(());
    let opened = match resumed {
        Some(opened) => Some(opened),
        None => first_world(config, origin.as_ref(), &mut channels)?,
    };
    match opened {
        Some(opened) => train(config, channels, folder, opened),
        None => Ok(Summary::default()),
    }
}

/// The learner of the newest checkpoint, if there is one.
fn resume(
    config: &LearnerConfig,
    folder: &RunFolder,
    channels: &LearnerChannels,
) -> Result<Option<Opened>, LearnerError> {
    let Some((path, checkpoint)) = config.store(folder).newest()? else { return Ok(None) };
    checkpoint.state.check_config(&path, &config.resolved)?;
    let learner = Learner::resume(config.recipe(), &path, &checkpoint)?;
    let memory = plan(config, &learner).map(|plan| Memory::resume(plan, &checkpoint.state));
    let memory = memory.transpose()?;
    *channels.stats.streams() = checkpoint.state.streams;
    *channels.stats.episodes() = checkpoint.state.episodes;
    channels.contract.send_replace(Some(contract(&learner)));
    let env_steps = learner.counters().env_steps;
    tracing::info!(checkpoint = %path.display(), env_steps, "the run goes on");
    Ok(Some(Opened { learner, resumed: Some(path), memory }))
}

/// Waits for the first actor whose world a policy can be made for. `None` on shutdown.
fn first_world(
    config: &LearnerConfig,
    origin: Option<&Origin>,
    channels: &mut LearnerChannels,
) -> Result<Option<Opened>, LearnerError> {
    loop {
        let proposed = channels.runtime.block_on(async {
            tokio::select! {
                () = channels.shutdown.triggered() => None,
                proposal = channels.proposals.recv() => proposal,
            }
        });
        let Some(proposal) = proposed else { return Ok(None) };
        match Learner::new(config.recipe(), proposal.spec) {
            Ok(mut learner) => {
                if let Some(origin) = origin {
                    let Loaded { tensors, numbers } = learner.begin_from(origin)?;
                    tracing::info!(%origin, tensors, numbers, "weights of another run");
                }
                tracing::info!(world = %learner.spec(), "the run begins");
                let memory = plan(config, &learner).map(Memory::new).transpose()?;
                channels.contract.send_replace(Some(contract(&learner)));
                return Ok(Some(Opened { learner, resumed: None, memory }));
            }
            Err(LearnerError::World(error)) => {
                tracing::warn!(%error, "an actor's world was refused");
                // The actor may have left meanwhile.
                let _ = proposal.refusal.send(error);
            }
            Err(error) => return Err(error),
        }
    }
}

/// How the replay is made of an algorithm that learns from one.
fn plan(config: &LearnerConfig, learner: &Learner) -> Option<Plan> {
    let off_policy = config.rl.off_policy()?;
    Some(Plan {
        replay: off_policy.replay,
        limiter: off_policy.limiter,
        unroll_length: config.run.unroll_length,
        world: World { spec: learner.spec().clone(), state_width: learner.core_state_width() },
        folder: config.folder.as_deref().map(replay_folder),
        seed: Seed::new(config.run.seed),
    })
}

/// Where the segments of a run's replay are.
fn replay_folder(run: &Path) -> PathBuf {
    run.join("replay")
}

fn contract(learner: &Learner) -> EnvironmentContract {
    EnvironmentContract {
        spec: learner.spec().clone(),
        core_state_width: learner.core_state_width(),
    }
}

/// Trains, with whoever makes batches at its side.
fn train(
    config: &LearnerConfig,
    channels: LearnerChannels,
    folder: Option<RunFolder>,
    opened: Opened,
) -> Result<Summary, LearnerError> {
    let Opened { learner, resumed, memory } = opened;
    if let Some(truncation) = config.policy.memory.truncation() {
        tracing::info!("{truncation}");
    }
    let LearnerChannels { arrivals, proposals, contract: _contract, .. } = channels;
    // Whoever still proposes a world finds the contract instead. A pattern of `_` would keep the
    // channel open until the end of the run, and its second actor waiting.
    drop(proposals);
    let source = Source {
        arrivals,
        spec: learner.spec().clone(),
        device: config.device,
        metrics: channels.metrics.clone(),
    };
    let batches = match &memory {
        None => assemble(config, source, channels.newest, &channels.runtime, learner.carries()),
        Some(memory) => replay(config, source, memory.clone(), &channels.runtime),
    };
    let disk = match folder {
        Some(folder) => Some(open_disk(config, folder, &learner, resumed, &channels.metrics)?),
        None => None,
    };
    let Batches { received, stop, thread } = batches;
    let trained = Training {
        learner,
        memory,
        batches: received,
        publisher: channels.publisher,
        stats: channels.stats,
        disk,
        progress: channels.progress,
        metrics: channels.metrics,
        shutdown: channels.shutdown,
        runtime: channels.runtime,
        limits: config.into(),
    }
    .run();
    stop.trigger();
    join(thread)?;
    trained
}

/// Where batches are made from, and where they go.
struct Source {
    arrivals: Arrivals,
    spec: EnvSpec,
    device: Device,
    metrics: Metrics,
}

/// Batches, and the thread that makes them.
struct Batches {
    received: mpsc::Receiver<Assembled>,
    stop: Shutdown,
    thread: JoinHandle<Result<(), PolicyError>>,
}

/// Batches of what arrives.
fn assemble(
    config: &LearnerConfig,
    source: Source,
    newest: Newest,
    runtime: &Handle,
    one_per_stream: bool,
) -> Batches {
    let Source { arrivals, spec, device, metrics } = source;
    let rules = Rules {
        batch_size: config.rl.batch_size(),
        max_policy_lag: config.run.max_policy_lag,
        one_per_stream,
    };
    let assembler = Assembler { arrivals, rules, spec, device, newest, metrics };
    Batches::spawn("assembler", runtime, move |runtime, stop, batches| {
        assembler.run(runtime, stop, batches)
    })
}

/// Batches of what was kept.
fn replay(config: &LearnerConfig, source: Source, memory: Memory, runtime: &Handle) -> Batches {
    let Source { arrivals, spec, device, metrics } = source;
    let replayer = Replayer {
        arrivals,
        memory,
        unroll_length: config.run.unroll_length as u64,
        batch_size: config.rl.batch_size(),
        burn_in: config.rl.off_policy().map_or(0, |config| config.replay.burn_in()),
        spec,
        device,
        metrics,
    };
    Batches::spawn("replayer", runtime, move |runtime, stop, batches| {
        replayer.run(runtime, stop, batches)
    })
}

impl Batches {
    fn spawn(
        name: &'static str,
        runtime: &Handle,
        work: impl FnOnce(&Handle, &Shutdown, &mpsc::Sender<Assembled>) -> Result<(), PolicyError>
        + Send
        + 'static,
    ) -> Self {
        let (sender, received) = mpsc::channel(BATCHES_AHEAD);
        let stop = Shutdown::new();
        let (runtime, stopping) = (runtime.clone(), stop.clone());
        let thread = spawn_named(name, move || work(&runtime, &stopping, &sender));
        Batches { received, stop, thread }
    }
}

fn open_disk(
    config: &LearnerConfig,
    folder: RunFolder,
    learner: &Learner,
    resumed: Option<PathBuf>,
    metrics: &Metrics,
) -> Result<Disk, LearnerError> {
    let env_steps = learner.counters().env_steps;
    let curves = Curves::open(folder.path(), env_steps)
        .map_err(|source| LearnerError::Curves { folder: folder.path().into(), source })?;
    let (store, replay) = (config.store(&folder), replay_folder(folder.path()));
    let writer = Writer::start(Places { store, replay }, metrics.clone());
    Ok(Disk { folder, curves, writer, resumed })
}

fn join(assembly: JoinHandle<Result<(), PolicyError>>) -> Result<(), LearnerError> {
    match assembly.join() {
        Ok(assembled) => assembled.map_err(LearnerError::Batch),
        Err(panic) => {
            Err(LearnerError::Panicked { thread: "assembler", reason: reason(&*panic).into() })
        }
    }
}
