//! `engram sweep`: one experiment under every combination of some settings, over several seeds,
//! as one table and one picture.
//!
//! Each run is an ordinary one, with a folder of its own below the sweep's. A sweep that was
//! stopped goes on where it was: finished runs are only evaluated again.

mod grid;
mod report;

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::Args;
use engram_learner::{Ended, LearnerArgs};

use engram_service::Shutdown;
use engram_service::config::ConfigArgs;
use engram_service::progress::ProgressLine;
use tokio::sync::watch;

use self::grid::{Axis, Point};
use self::report::{Outcome, Report};
use crate::compute::ComputeArgs;
use crate::eval;
use crate::experiment::Experiment;
use crate::system::{self, Job};

/// Flags of `engram sweep`.
#[derive(Args, Clone, Debug)]
pub(crate) struct SweepArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// A setting and its values, as in env.delay=20,50 or seq=lstm,gru; settings that change
    /// together are joined, as in run.unroll_length+rl.batch_size=1+128,5+32; may be given many
    /// times
    #[arg(long, value_name = "KEY=V,V,..", required = true)]
    vary: Vec<Axis>,
    /// Seeds of each combination
    #[arg(long, value_name = "N,N,..", value_delimiter = ',', default_value = "1,2,3")]
    seeds: Vec<u64>,
    /// Greedy episodes after each training
    #[arg(long, value_name = "N", default_value_t = 100)]
    evaluate: u32,
    /// The sweep's name [default: experiment and the settings' names]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Where runs are stored
    #[arg(long, value_name = "DIR", env = "ENGRAM_RUNS", default_value = "runs")]
    runs: PathBuf,
    #[command(flatten)]
    compute: ComputeArgs,
    #[command(flatten)]
    learner: LearnerArgs,
}

/// Trains every combination with every seed, one after another.
#[expect(clippy::print_stdout, reason = "this is the command's answer")]
pub(crate) fn run(args: &SweepArgs, shutdown: &Shutdown) -> Result<()> {
    let points = grid::points(&args.vary);
    // Mistakes are told before the first run, not after an hour.
    for point in &points {
        experiment(args, point, args.seeds[0]).with_context(|| point.to_string())?;
    }
    let folder = args.runs.join(args.name.clone().unwrap_or_else(|| name(args)));
    let mut report = Report::new(&folder, &args.vary, &args.seeds)?;
    println!("{} combinations × {} seeds", points.len(), args.seeds.len());
    for point in &points {
        for &seed in &args.seeds {
            let Some(outcome) = train(args, point, seed, &folder, shutdown)? else {
                println!("stopped; the same command goes on from here");
                return report.finish();
            };
            println!("{point}, seed {seed}: {outcome}");
            report.add(point, seed, outcome)?;
        }
    }
    report.finish()
}

/// One run, and how well it plays; `None` if it was stopped.
fn train(
    args: &SweepArgs,
    point: &Point,
    seed: u64,
    folder: &std::path::Path,
    shutdown: &Shutdown,
) -> Result<Option<Outcome>> {
    let experiment = experiment(args, point, seed)?;
    let run_id = format!("{}-seed{seed}", point.file_name());
    let folder = folder.join(&run_id);
    let compute = args.compute.compute()?;
    let (sender, _receiver) = watch::channel(ProgressLine::default());
    let job = Job {
        experiment: &experiment,
        run_id: &run_id,
        folder: Some(&folder),
        compute,
        learner: args.learner.clone(),
    };
    let trained =
        system::train(&job, sender, shutdown).with_context(|| format!("{point}, seed {seed}"))?;
    if trained.summary.ended == Ended::Stopped {
        return Ok(None);
    }
    let score = eval::score(&experiment, &folder, args.evaluate, compute, shutdown)?;
    Outcome::read(&folder, &score).map(Some)
}

fn experiment(args: &SweepArgs, point: &Point, seed: u64) -> Result<Experiment> {
    let mut config = args.config.clone();
    for (key, value) in point.settings() {
        match key {
            "env" => config.env = Some(value.into()),
            "rl" => config.rl = Some(value.into()),
            "seq" => config.seq = Some(value.into()),
            _ => config.set.push(format!("{key}={value}")),
        }
    }
    config.set.push(format!("run.seed={seed}"));
    Experiment::from_args(&config)
}

fn name(args: &SweepArgs) -> String {
    let keys: Vec<String> = args.vary.iter().map(Axis::short).collect();
    let experiment = std::path::Path::new(&args.config.experiment);
    let stem = experiment.file_stem().unwrap_or_default().to_string_lossy();
    format!("{stem}-by-{}", keys.join("-"))
}

/// Refuses an empty list with the form that is right.
fn not_empty(text: &str, list: &[Vec<String>]) -> Result<()> {
    if list.is_empty() {
        bail!("`{text}` names no values; write KEY=VALUE,VALUE,...");
    }
    Ok(())
}
