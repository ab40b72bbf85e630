//! Cost of learning from a replay: sampling, updating, and all of it in a whole run.
//!
//! Deep Q-learning with Memory-RL's networks on whole episodes of passive T-mazes. Medians; what
//! is compared takes turns. `learner/comparisons/dqn_plain_pytorch.py` makes the same updates in
//! plain PyTorch.
//!
//! In reading order: `episodes` to learn from, what the `replays` that keep them cost, the `updates`
//! as timed `cases`, and those of continuous `control`, a measurement of its own.

mod cases;
mod control;
mod episodes;
mod replays;
mod updates;

use std::path::Path;

use anyhow::Result;
use engram_service::Shutdown;
use engram_service::config::{ExperimentSelection, resolve};

pub(super) use self::control::run as control;
use super::whole;
use crate::compute::Compute;
use crate::experiment::Experiment;

/// Keys that are set in the experiment of the whole run, before those of the command line: a short
/// run shall have its progress often, and actors that wait for updates from early on.
pub(super) const SET: [&str; 2] = ["run.log_seconds=0.25", "rl.rate_limiter.slack_env_steps=400"];

/// The experiment whose networks and replays are measured.
const TMAZE: &str = "memory-rl/tmaze-passive";

/// Cells of the corridors. An episode has one decision more.
const CORRIDORS: [usize; 2] = [50, 250];

/// Measures and prints; `experiment` is that of the whole run.
#[expect(clippy::print_stdout, reason = "this is the command's answer")]
pub(super) fn run(
    experiment: &Experiment,
    configs: &Path,
    compute: Compute,
    seconds: f64,
    shutdown: &Shutdown,
) -> Result<()> {
    let mazes = CORRIDORS.map(|corridor| maze(configs, corridor));
    let mazes = mazes.into_iter().collect::<Result<Vec<_>>>()?;
    tch::set_num_threads(i32::try_from(compute.learner_threads)?);
    updates::run(&mazes, compute, seconds)?;
    replays::run(&mazes[0], seconds)?;

    let (whole, wall, trained) = whole::together(experiment, compute, shutdown)?;
    let rate = experiment.replay_settings()?.shared().rate_limiter.updates_per_env_step;
    println!(
        "\na whole run, {}: {wall:.0} env steps/s and {:.0} updates/s, {:.0} µs of CPU per env \
         step; bottleneck {}",
        experiment.resolved.experiment(),
        rate * wall,
        whole.micros(),
        crate::train::bottleneck(&trained)
    );
    Ok(())
}

/// Milliseconds of an update of deep Q-learning by an LSTM and GPT-2 in a T-maze with a corridor of so
/// many cells, on a device.
pub(crate) fn update_times(
    configs: &Path,
    corridor: usize,
    device: tch::Device,
    seconds: f64,
) -> Result<Vec<(&'static str, f64)>> {
    updates::times(&maze(configs, corridor)?, device, seconds)
}

/// A passive T-maze with a corridor of so many cells, whose unrolls are one episode and its Last
/// frame each.
fn maze(configs: &Path, corridor: usize) -> Result<Experiment> {
    Experiment::new(resolve(&ExperimentSelection {
        experiment: TMAZE.into(),
        env: None,
        rl: None,
        seq: None,
        set: vec![
            format!("env.corridor_length={corridor}"),
            format!("run.unroll_length={}", corridor + 2),
        ],
        configs: configs.into(),
    })?)
}
