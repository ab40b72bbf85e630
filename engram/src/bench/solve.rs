//! Time to solve: env steps and seconds until the latest episodes are solved, or reach a return, seed
//! by seed.

use std::fmt;
use std::time::Instant;

use anyhow::Result;
use engram_analysis::statistics::median;
use engram_learner::config::replay::Storage;
use engram_service::Shutdown;
use engram_service::config::{ExperimentSelection, resolve};
use engram_service::format;
use engram_service::progress::ProgressLine;
use tokio::sync::watch;

use crate::compute::Compute;
use crate::experiment::Experiment;
use crate::in_process::{self, Job};

/// Episodes that must have ended before their share solved counts: luck solves the first few.
const EPISODES: u64 = 1000;

/// Sign that a run has solved its task.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Goal {
    /// This share of the latest 1000 episodes is solved.
    Share(f64),
    /// The latest 100 episodes have this mean return.
    Return(f64),
}

/// Settings of the measurement.
pub(super) struct SolveSettings {
    /// Experiments.
    pub(super) experiments: Vec<ExperimentSelection>,
    /// Seeds of each: 1, 2 and so on.
    pub(super) seeds: u32,
    pub(super) goal: Goal,
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
pub(super) fn run(settings: &SolveSettings, compute: Compute, shutdown: &Shutdown) -> Result<()> {
    println!("until {}\n", settings.goal);
    println!("{:<28} {:>6} {:>12} {:>9}", "experiment", "seed", "env steps", "seconds");
    for selection in &settings.experiments {
        let name = selection.experiment.as_str();
        let mut solved = Vec::new();
        for seed in 1..=settings.seeds {
            let cost = solve(selection, seed, settings.goal, compute, shutdown)?;
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
    selection: &ExperimentSelection,
    seed: u32,
    goal: Goal,
    compute: Compute,
    shutdown: &Shutdown,
) -> Result<Option<Solved>> {
    let mut selection = selection.clone();
    selection.set.push(format!("run.seed={seed}"));
    until_solved(&without_folder(&selection)?, goal, compute, shutdown)
}

/// An experiment that leaves nothing behind: a replay on the disk stays in memory.
fn without_folder(selection: &ExperimentSelection) -> Result<Experiment> {
    let experiment = Experiment::new(resolve(selection)?)?;
    let replay = experiment.replay_settings().map(|rl| rl.shared().replay.storage);
    if !replay.is_ok_and(|storage| storage == Storage::Disk) {
        return Ok(experiment);
    }
    let mut selection = selection.clone();
    selection.set.push("rl.replay.storage=memory".into());
    Experiment::new(resolve(&selection)?)
}

/// Trains until the goal is reached; `None` if that did not happen within the run's env steps.
pub(crate) fn until_solved(
    experiment: &Experiment,
    goal: Goal,
    compute: Compute,
    shutdown: &Shutdown,
) -> Result<Option<Solved>> {
    let started = Instant::now();
    let (sender, mut lines) = watch::channel(ProgressLine::default());
    let (stop, outer) = (Shutdown::new(), shutdown.clone());
    let stopping = stop.clone();
    let observer = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
        let line = runtime.block_on(async {
            tokio::select! {
                () = outer.triggered() => None,
                line = lines.wait_for(|line| goal.is_reached(line)) => line.ok().map(|line| line.env_steps),
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

impl Goal {
    fn is_reached(self, line: &ProgressLine) -> bool {
        match self {
            Goal::Share(level) => {
                line.episodes >= EPISODES && line.success.is_some_and(|s| f64::from(s) >= level)
            }
            Goal::Return(level) => line.return_of_100.is_some_and(|r| f64::from(r) >= level),
        }
    }
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Goal::Share(level) => {
                write!(f, "{:.0} % of the latest {EPISODES} episodes are solved", 100.0 * level)
            }
            Goal::Return(level) => {
                write!(f, "the latest 100 episodes have a mean return of {level}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replay_on_the_disk_stays_in_memory() {
        let storage = |experiment: &Experiment| {
            experiment.replay_settings().expect("R2D2 has a replay").shared().replay.storage
        };
        let selection = ExperimentSelection {
            experiment: "cartpole-p-r2d2".into(),
            env: None,
            rl: None,
            seq: None,
            set: Vec::new(),
            configs: "../configs".into(),
        };
        let preset = Experiment::new(resolve(&selection).unwrap()).unwrap();
        assert_eq!(storage(&preset), Storage::Disk);
        assert_eq!(storage(&without_folder(&selection).unwrap()), Storage::Memory);
    }

    #[test]
    fn a_few_lucky_episodes_reach_no_goal() {
        let share = |episodes| ProgressLine { episodes, success: Some(0.96), ..Default::default() };
        assert!(!Goal::Share(0.95).is_reached(&share(999)));
        assert!(Goal::Share(0.95).is_reached(&share(1000)));
        assert!(!Goal::Share(0.97).is_reached(&share(1000)));
        let mean = |return_of_100| ProgressLine { return_of_100, ..Default::default() };
        assert!(!Goal::Return(-1.0).is_reached(&mean(None)));
        assert!(!Goal::Return(475.0).is_reached(&mean(Some(474.0))));
        assert!(Goal::Return(475.0).is_reached(&mean(Some(475.0))));
    }
}
