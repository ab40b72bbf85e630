//! `engram bench`: what a run costs, stage by stage and as a whole, in one run.
//!
//! Machines are shared and noisy: look at the ratios, which were taken side by side.

mod intake;
mod memory;
mod requests;
mod soak;
mod stages;
mod whole;

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, ValueEnum};
use engram_service::Shutdown;
use engram_service::config::{Selection, resolve};

use crate::compute::ComputeArgs;
use crate::experiment::Experiment;

/// Flags of `engram bench`.
#[derive(Args, Clone, Debug)]
pub(crate) struct BenchArgs {
    /// What to measure
    #[arg(value_enum, default_value = "system")]
    what: What,
    /// The experiment whose world, network and algorithm are used
    #[arg(long, value_name = "NAME", default_value = "recall-30")]
    experiment: String,
    /// Set one key, as in run.envs_per_actor=128; may be given many times
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Where experiments and parts are found
    #[arg(long, value_name = "DIR", env = "ENGRAM_CONFIGS", default_value = "configs")]
    configs: PathBuf,
    /// Seconds that each stage is measured
    #[arg(long, value_name = "S", default_value_t = 3.0)]
    seconds: f64,
    /// Env steps of a whole run [default: 400000, or 10 million for soak]
    #[arg(long, value_name = "N")]
    env_steps: Option<u64>,
    #[command(flatten)]
    compute: ComputeArgs,
}

/// What to measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum What {
    /// The stages alone, the whole together, and their ratio
    System,
    /// Requests per second and latency of the inference server, by number of clients
    Inference,
    /// Bytes of trajectories per second into the learner
    Experience,
    /// Every memory layer: acting, unrolling, updating, and what exact gradients add
    Memory,
    /// Resident memory over a long run
    Soak,
}

/// Measures, and prints a table.
pub(crate) fn run(args: &BenchArgs, shutdown: &Shutdown) -> Result<()> {
    let mut set = args.set.clone();
    let env_steps = args.env_steps.unwrap_or(match args.what {
        What::Soak => 10_000_000,
        _ => 400_000,
    });
    set.push(format!("run.env_steps={env_steps}"));
    let experiment = Experiment::new(resolve(&Selection {
        experiment: args.experiment.clone(),
        env: None,
        rl: None,
        seq: None,
        set,
        configs: args.configs.clone(),
    })?)?;
    let compute = args.compute.compute()?;
    match args.what {
        What::System => whole::run(&experiment, compute, args.seconds, shutdown),
        What::Inference => requests::run(&experiment, compute, args.seconds),
        What::Experience => intake::run(&experiment, compute, args.seconds),
        What::Memory => memory::run(compute, args.seconds),
        What::Soak => soak::run(&experiment, compute, shutdown),
    }
}
