//! `engram eval`: greedy episodes with what a run has learned.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use bytes::Bytes;
use clap::Args;
use engram_inference_server::WeightsSource;
use engram_mdp::Seed;
use engram_service::Shutdown;

use crate::compute::Compute;
use crate::experiment::Experiment;
use crate::in_process::evaluation;
use crate::score::Score;

/// Flags of `engram eval`.
#[derive(Args, Clone, Debug)]
pub(crate) struct EvalArgs {
    /// A run's folder
    #[arg(value_name = "RUN")]
    run: PathBuf,
    /// Episodes to play [default: the run's eval_episodes]
    #[arg(long, value_name = "N")]
    episodes: Option<u32>,
    /// Set one key of the run's configuration, as in env.delay=40 or run.seed=2
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    #[command(flatten)]
    compute: Compute,
}

/// Evaluates the newest checkpoint of a run, and prints the score.
#[expect(clippy::print_stdout, reason = "this is the command's answer")]
pub(crate) fn run(args: &EvalArgs, shutdown: &Shutdown) -> Result<()> {
    let experiment = Experiment::of_run(&args.run, &args.set)?;
    let episodes = args.episodes.unwrap_or(experiment.run.eval_episodes);
    println!("{}", score(&experiment, &args.run, episodes, args.compute.checked()?, shutdown)?);
    Ok(())
}

/// The weights of the newest checkpoint in `folder`.
pub(crate) fn newest_weights(folder: &Path) -> Result<Bytes> {
    let checkpoints = folder.join("checkpoints");
    let store = engram_learner::storage::checkpoint::CheckpointStore::new(checkpoints, usize::MAX);
    match store.newest()? {
        Some((_, checkpoint)) => Ok(checkpoint.weights),
        None => bail!("{} holds no complete checkpoint yet", folder.display()),
    }
}

/// Plays greedy episodes with the newest checkpoint in `folder`.
pub(crate) fn score(
    experiment: &Experiment,
    folder: &Path,
    episodes: u32,
    compute: Compute,
    shutdown: &Shutdown,
) -> Result<Score> {
    let weights = WeightsSource::Bytes(newest_weights(folder)?);
    let seed = Seed::new(experiment.run.seed);
    let played = evaluation::play(experiment, seed, weights, episodes, compute, shutdown)?;
    Score::new(&played, experiment.env.optimum())
}
