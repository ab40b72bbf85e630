//! `engram bench`: what a run costs, stage by stage and as a whole, in one run.
//!
//! Machines are shared and noisy: look at the ratios, which were taken side by side.

mod intake;
mod memory;
mod offpolicy;
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
    /// The experiment whose world, network and algorithm are used [default: recall-30, or
    /// recall-dqn for offpolicy]
    #[arg(long, value_name = "NAME")]
    experiment: Option<String>,
    /// Set one key, as in run.envs_per_actor=128; may be given many times
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Where experiments and parts are found
    #[arg(long, value_name = "DIR", env = "ENGRAM_CONFIGS", default_value = "configs")]
    configs: PathBuf,
    /// Seconds that each stage is measured
    #[arg(long, value_name = "S", default_value_t = 3.0)]
    seconds: f64,
    /// Env steps of a whole run [default: 400000, or 10 million for soak, 8000 for offpolicy]
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
    /// Q-learning on whole episodes: replay, updates, and a whole run
    #[value(name = "offpolicy")]
    OffPolicy,
    /// Resident memory over a long run
    Soak,
}

/// Measures, and prints a table.
pub(crate) fn run(args: &BenchArgs, shutdown: &Shutdown) -> Result<()> {
    let (name, env_steps, set): (_, _, &[&str]) = match args.what {
        What::OffPolicy => ("recall-dqn", 8_000, &offpolicy::SET),
        What::Soak => ("recall-30", 10_000_000, &[]),
        _ => ("recall-30", 400_000, &[]),
    };
    let mut set: Vec<String> = set.iter().map(ToString::to_string).collect();
    set.extend_from_slice(&args.set);
    set.push(format!("run.env_steps={}", args.env_steps.unwrap_or(env_steps)));
    let experiment = Experiment::new(resolve(&Selection {
        experiment: args.experiment.clone().unwrap_or_else(|| name.into()),
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
        What::OffPolicy => {
            offpolicy::run(&experiment, &args.configs, compute, args.seconds, shutdown)
        }
        What::Soak => soak::run(&experiment, compute, shutdown),
    }
}
