//! Time to solve: env steps and seconds until the latest episodes are solved, seed by seed.

use std::path::Path;
use std::time::Instant;

use anyhow::Result;
use engram_analysis::statistics::median;
use engram_service::Shutdown;
use engram_service::config::{ExperimentSelection, resolve};
use engram_service::format;
use engram_service::progress::ProgressLine;
use tokio::sync::watch;

use crate::compute::Compute;
use crate::experiment::Experiment;
use crate::in_process::{self, Job};

/// Episodes that must have ended: luck solves the first few.
const EPISODES: u64 = 1000;

/// Settings of the measurement.
pub(super) struct SolveSettings<'a> {
    /// Names of experiments.
    pub(super) experiments: Vec<&'a str>,
    /// Folder of experiments and parts.
    pub(super) configs: &'a Path,
    /// Keys set in each of them.
    pub(super) set: &'a [String],
    /// Seeds of each: 1, 2 and so on.
    pub(super) seeds: u32,
    /// Share of the latest 1000 episodes that counts as solved.
    pub(super) level: f64,
}

/// Cost of a run until it was solved.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Solved {
    /// Env steps.
    pub(crate) env_steps: u64,
    /// Seconds.
    pub(crate) seconds: f64,
}

/// Trains each experiment with each seed until it is solved, and prints env steps and seconds.
#[expect(clippy::print_stdout, reason = "this is the command's answer")]
pub(super) fn run(
    settings: &SolveSettings<'_>,
    compute: Compute,
    shutdown: &Shutdown,
) -> Result<()> {
    println!("until {:.0} % of the latest 1000 episodes are solved\n", 100.0 * settings.level);
    println!("{:<28} {:>6} {:>12} {:>9}", "experiment", "seed", "env steps", "seconds");
    for name in &settings.experiments {
        let mut solved = Vec::new();
        for seed in 1..=settings.seeds {
            let cost = solve(name, seed, settings, compute, shutdown)?;
            if shutdown.is_triggered() {
                return Ok(());
            }
            print_row(name, &seed.to_string(), cost);
            solved.push(cost);
        }
        // A run that was not solved counts as one that took for ever.
        let of = |number: fn(Solved) -> f64| {
            let all: Vec<f64> = solved.iter().map(|s| s.map_or(f64::INFINITY, number)).collect();
            median(&all).unwrap_or(f64::INFINITY)
        };
        let (env_steps, seconds) = (of(|s| s.env_steps as f64), of(|s| s.seconds));
        let all = env_steps.is_finite().then_some(Solved { env_steps: env_steps as u64, seconds });
        print_row(name, "median", all);
    }
    Ok(())
}

#[expect(clippy::print_stdout, reason = "this is the command's answer")]
fn print_row(name: &str, seed: &str, cost: Option<Solved>) {
    match cost {
        Some(Solved { env_steps, seconds }) => {
            let env_steps = format::number(env_steps as f64);
            println!("{name:<28} {seed:>6} {env_steps:>12} {seconds:>9.1}");
        }
        None => println!("{name:<28} {seed:>6} {:>12} {:>9}", "–", "–"),
    }
}

/// Trains one run of an experiment until it is solved; `None` if it has had its env steps before.
fn solve(
    name: &str,
    seed: u32,
    settings: &SolveSettings<'_>,
    compute: Compute,
    shutdown: &Shutdown,
) -> Result<Option<Solved>> {
    let mut set = settings.set.to_vec();
    set.push(format!("run.seed={seed}"));
    let experiment = Experiment::new(resolve(&ExperimentSelection {
        experiment: name.into(),
        env: None,
        rl: None,
        seq: None,
        set,
        configs: settings.configs.into(),
    })?)?;
    until_solved(&experiment, settings.level, compute, shutdown)
}

/// Trains until this share of the latest 1000 episodes is solved; `None` if that did not happen
/// within the run's env steps.
pub(crate) fn until_solved(
    experiment: &Experiment,
    level: f64,
    compute: Compute,
    shutdown: &Shutdown,
) -> Result<Option<Solved>> {
    let started = Instant::now();
    let (sender, mut lines) = watch::channel(ProgressLine::default());
    let (stop, outer) = (Shutdown::new(), shutdown.clone());
    let stopping = stop.clone();
    let observer = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
        let solved = |line: &ProgressLine| {
            line.episodes >= EPISODES && line.success.is_some_and(|s| f64::from(s) >= level)
        };
        let line = runtime.block_on(async {
            tokio::select! {
                () = outer.triggered() => None,
                line = lines.wait_for(solved) => line.ok().map(|line| line.env_steps),
            }
        });
        let seconds = started.elapsed().as_secs_f64();
        stopping.trigger();
        line.map(|env_steps| Solved { env_steps, seconds })
    });
    let job = Job::unattended(experiment, "solve", compute);
    in_process::train(&job, sender, &stop)?;
    Ok(observer.join().expect("the observer does not panic"))
}
