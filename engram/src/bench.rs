//! `engram bench`: the cost of a run, stage by stage and as a whole.
//!
//! Machines are shared and noisy: look at the ratios, which were taken side by side.

mod broadcast;
mod fleet;
mod intake;
pub(crate) mod memory;
pub(crate) mod offpolicy;
mod programs;
mod recovery;
mod requests;
mod scaling;
mod soak;
pub(crate) mod solve;
pub(crate) mod stages;
mod timing;
mod whole;

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, ValueEnum};
use engram_service::Shutdown;
use engram_service::config::{ExperimentSelection, resolve};

use self::programs::Transport;
use self::solve::Goal;
use crate::compute::Compute;
use crate::experiment::Experiment;

/// Flags of `engram bench`.
#[derive(Args, Clone, Debug)]
pub(crate) struct BenchArgs {
    /// Subject of the measurement
    #[arg(value_enum, default_value = "system")]
    what: What,
    /// The experiment whose environment, network and algorithm are used [default: recall-30-wide,
    /// or recall-dqn for offpolicy and weights; without memory for scaling, fleet, recovery and
    /// weights]; for solve, several may be named, separated by commas
    #[arg(long, value_name = "NAME")]
    experiment: Option<String>,
    /// Another environment than the experiment's: a name from configs/env, or a .toml file
    #[arg(long, value_name = "NAME")]
    env: Option<String>,
    /// Another algorithm: a name from configs/rl, or a .toml file
    #[arg(long, value_name = "NAME")]
    rl: Option<String>,
    /// Another sequence model: a name from configs/seq, or a .toml file
    #[arg(long, value_name = "NAME")]
    seq: Option<String>,
    /// Set one key, as in run.envs_per_actor=128; may be given many times
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Folder of experiments and parts
    #[arg(long, value_name = "DIR", env = "ENGRAM_CONFIGS", default_value = "configs")]
    configs: PathBuf,
    /// Seconds that each stage is measured
    #[arg(long, value_name = "S", default_value_t = 3.0)]
    seconds: f64,
    /// Env steps of a whole run [default: 400000, or 10 million for soak, 8000 for offpolicy]
    #[arg(long, value_name = "N")]
    env_steps: Option<u64>,
    /// For weights: numbers of inference servers [default: 4,16]
    #[arg(long, value_name = "N", value_delimiter = ',',
          value_parser = clap::value_parser!(u32).range(1..=1_000))]
    servers: Option<Vec<u32>>,
    /// For weights: the network link that these share, in Gbit/s
    #[arg(long, value_name = "GBIT", default_value_t = 10.0)]
    link: f64,
    /// For scaling and fleet: numbers of actors [default: 1,2,4,8, or 10,100,1000 for fleet]
    #[arg(long, value_name = "N", value_delimiter = ',',
          value_parser = clap::value_parser!(u32).range(1..=10_000))]
    actors: Option<Vec<u32>>,
    /// For scaling: transports between the programs
    #[arg(long, value_enum, value_delimiter = ',', default_value = "tcp,unix,tls")]
    transports: Vec<Transport>,
    /// For scaling, recovery, weights and solve (seeds): repetitions, of which medians are shown
    #[arg(long, value_name = "N", default_value_t = 3,
          value_parser = clap::value_parser!(u32).range(1..=1000))]
    repetitions: u32,
    /// For solve: share of the latest 1000 episodes that counts as solved
    #[arg(long, value_name = "SHARE", default_value_t = 0.95)]
    level: f64,
    /// For solve: mean return of the latest 100 episodes that counts as solved, in place of --level
    #[arg(long, value_name = "R", conflicts_with = "level", allow_negative_numbers = true)]
    to_return: Option<f64>,
    #[command(flatten)]
    compute: Compute,
}

/// Subject of a measurement.
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
    /// Updates of soft actor-critic: single transitions without memory, whole episodes with one
    Continuous,
    /// The real programs with more and more actors, over TCP, Unix sockets and mutual TLS
    Scaling,
    /// Hundreds of actors beside the real learner and inference server: memory, lag, churn
    Fleet,
    /// The learner's updates while it sends large weights to many inference servers
    Weights,
    /// The real programs, each killed and started again: how long the others wait, what is lost
    Recovery,
    /// Resident memory over a long run
    Soak,
    /// Env steps and seconds until experiments are solved
    Solve,
}

impl BenchArgs {
    /// Selection of an experiment, with these keys set.
    fn selection(&self, experiment: &str, set: Vec<String>) -> ExperimentSelection {
        ExperimentSelection {
            experiment: experiment.into(),
            env: self.env.clone(),
            rl: self.rl.clone(),
            seq: self.seq.clone(),
            set,
            configs: self.configs.clone(),
        }
    }
}

/// More than any measurement of programs takes: it ends them.
const ENDLESS: u64 = 1 << 40;

/// Measures, and prints a table.
pub(crate) fn run(args: &BenchArgs, shutdown: &Shutdown) -> Result<()> {
    if args.what == What::Solve {
        return solve(args, shutdown);
    }
    let (name, env_steps, set): (_, _, &[&str]) = match args.what {
        What::OffPolicy => ("recall-dqn", 8_000, &offpolicy::SET),
        What::Soak => ("recall-30-wide", 10_000_000, &[]),
        What::Scaling => ("recall-30-wide", ENDLESS, &scaling::SET),
        What::Fleet => ("recall-30-wide", ENDLESS, &fleet::SET),
        What::Recovery => ("recall-30-wide", ENDLESS, &recovery::SET),
        What::Weights => ("recall-dqn", ENDLESS, &broadcast::SET),
        _ => ("recall-30-wide", 400_000, &[]),
    };
    let mut set: Vec<String> = set.iter().map(ToString::to_string).collect();
    set.extend_from_slice(&args.set);
    set.push(format!("run.env_steps={}", args.env_steps.unwrap_or(env_steps)));
    // A light network: what lies between the programs shall show.
    let programs =
        matches!(args.what, What::Scaling | What::Recovery | What::Fleet | What::Weights);
    let light = programs && args.experiment.is_none();
    let mut selection = args.selection(args.experiment.as_deref().unwrap_or(name), set);
    if light {
        selection.seq.get_or_insert_with(|| "feedforward".into());
    }
    let experiment = Experiment::new(resolve(&selection)?)?;
    let compute = args.compute.checked()?;
    match args.what {
        What::System => whole::run(&experiment, compute, args.seconds, shutdown),
        What::Inference => requests::run(&experiment, compute, args.seconds),
        What::Experience => intake::run(&experiment, compute, args.seconds),
        What::Memory => memory::run(compute, args.seconds),
        What::OffPolicy => {
            offpolicy::run(&experiment, &args.configs, compute, args.seconds, shutdown)
        }
        What::Continuous => offpolicy::control(&args.configs, compute, args.seconds),
        What::Scaling => {
            let settings = scaling::ScalingSettings {
                actors: args.actors.as_deref().unwrap_or(&scaling::ACTORS),
                transports: &args.transports,
                rounds: args.repetitions,
                seconds: args.seconds,
            };
            scaling::run(&experiment, settings, compute, shutdown)
        }
        What::Fleet => {
            let actors = args.actors.as_deref().unwrap_or(&fleet::ACTORS);
            fleet::run(&experiment, actors, compute, args.seconds, shutdown)
        }
        What::Weights => {
            let servers = args.servers.as_deref().unwrap_or(&broadcast::SERVERS);
            let settings = broadcast::BroadcastSettings {
                servers,
                link: args.link,
                rounds: args.repetitions,
                seconds: args.seconds,
            };
            broadcast::run(&experiment, settings, compute, shutdown)
        }
        What::Recovery => recovery::run(&experiment, args.repetitions, compute, shutdown),
        What::Soak => soak::run(&experiment, compute, shutdown),
        What::Solve => unreachable!("it has several experiments"),
    }
}

fn solve(args: &BenchArgs, shutdown: &Shutdown) -> Result<()> {
    let mut set = args.set.clone();
    set.extend(args.env_steps.map(|env_steps| format!("run.env_steps={env_steps}")));
    let experiments = args.experiment.as_deref().unwrap_or("recall-30").split(',');
    let settings = solve::SolveSettings {
        experiments: experiments.map(|name| args.selection(name, set.clone())).collect(),
        seeds: args.repetitions,
        goal: args.to_return.map_or(Goal::Share(args.level), Goal::Return),
    };
    solve::run(&settings, args.compute, shutdown)
}
