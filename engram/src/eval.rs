//! `engram eval`: episodes with what a run has learned.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use clap::Args;
use engram_analysis::CheckpointChoice;
use engram_learner::storage::best_checkpoint::BestCheckpoint;
use engram_learner::storage::checkpoint::CheckpointStore;
use engram_mdp::Seed;
use engram_service::Shutdown;
use engram_service::config::ActionChoice;

use crate::compute::Compute;
use crate::experiment::Experiment;

/// Flags of `engram eval`.
#[derive(Args, Clone, Debug)]
pub(crate) struct EvalArgs {
    /// A run's folder
    #[arg(value_name = "RUN")]
    run: PathBuf,
    /// Checkpoint to play with: the newest, or the one with the best evaluation while training
    #[arg(long, value_enum, default_value_t)]
    checkpoint: CheckpointChoice,
    /// Episodes to play [default: the run's eval_episodes]
    #[arg(long, value_name = "N")]
    episodes: Option<u32>,
    /// Actions that are taken [default: the run's eval_actions]
    #[arg(long, value_enum)]
    actions: Option<ActionChoice>,
    /// Set one key of the run's configuration, as in env.delay=40 or run.seed=2
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    #[command(flatten)]
    compute: Compute,
}

/// Evaluates a checkpoint of a run, and prints the score.
#[expect(clippy::print_stdout, reason = "this is the command's answer")]
pub(crate) fn run(args: &EvalArgs, shutdown: &Shutdown) -> Result<()> {
    let experiment = Experiment::of_run(&args.run, &args.set)?;
    let actions = args.actions.unwrap_or(experiment.run.eval_actions);
    let player = experiment.evaluation_episodes(actions, args.compute.checked()?);
    let weights = weights(&args.run, args.checkpoint)?;
    let episodes = args.episodes.unwrap_or(experiment.run.eval_episodes);
    let score = player.play(weights, Seed::new(experiment.run.seed), episodes, shutdown)?;
    let score = score.context("the evaluation was stopped before its last episode ended")?;
    println!("{}", score.sentence(actions.episodes(), experiment.env.optimum()));
    Ok(())
}

/// The weights of a checkpoint in a run's folder.
pub(crate) fn weights(run: &Path, checkpoint: CheckpointChoice) -> Result<Bytes> {
    let checkpoints = run.join("checkpoints");
    match checkpoint {
        CheckpointChoice::Newest => {
            let newest = CheckpointStore::new(checkpoints, usize::MAX).newest()?;
            let Some((_, newest)) = newest else {
                bail!("{} holds no complete checkpoint yet", run.display())
            };
            Ok(newest.weights)
        }
        CheckpointChoice::Best => {
            let Some(best) = BestCheckpoint::read(&checkpoints)? else {
                bail!(
                    "{} holds no best checkpoint: it was not evaluated while training; set \
                     run.eval_env_steps, or take --checkpoint newest",
                    run.display()
                )
            };
            Ok(best.weights)
        }
    }
}
