//! The stages alone, the whole together, and what lies between them.

use std::time::Instant;

use anyhow::{Context, Result};
use engram_service::process::cpu_seconds;
use engram_service::progress::ProgressLine;
use engram_service::{Shutdown, metrics};
use tokio::sync::watch;

use super::stages::{self, StageCost};
use crate::compute::Compute;
use crate::experiment::Experiment;
use crate::in_process::{self, Job, Trained};
use crate::watch::samples::Page;

/// The share of a run that is not measured: connections, first batches.
const WARM_UP: f64 = 0.2;

/// Measures and prints.
#[expect(clippy::print_stdout, reason = "this is the command's answer")]
pub(super) fn run(
    experiment: &Experiment,
    compute: Compute,
    seconds: f64,
    shutdown: &Shutdown,
) -> Result<()> {
    tch::set_num_threads(i32::try_from(compute.learner_threads)?);
    let (whole, wall, trained) = together(experiment, compute, shutdown)?;
    let page = Page::parse("this process", &metrics::snapshot())?;
    let mean = |name: &str| page.sum(&format!("{name}_sum")) / page.sum(&format!("{name}_count"));
    let (batch, lag) = (mean("engram_inference_batch_size"), mean("engram_policy_lag"));
    let group = experiment.run.envs_per_group();
    let rows = if batch.is_finite() { batch.round() as u32 } else { group };

    let device = compute.device.ready()?;
    let stepping = stages::stepping(experiment, group, seconds)?;
    let forward = stages::forward(experiment, rows, seconds, device)?;
    let updating = stages::updating(experiment, seconds, device)?;
    let sum = stepping.micros() + forward.micros() + updating.micros();

    let parts = experiment.resolved.parts();
    println!(
        "{}: {} with {}, unroll {}, batch of {}, {} actors × {} environments",
        experiment.env.spec(),
        parts.seq,
        parts.rl,
        experiment.run.unroll_length,
        experiment.rl.algorithm().batch_size(),
        experiment.run.actors,
        experiment.run.envs_per_actor
    );
    println!("\n{:<36} {:>16} {:>14}", "stage", "steps/CPU-second", "µs/env step");
    let row = |name: &str, cost: StageCost| {
        println!("{name:<36} {:>16.0} {:>14.2}", cost.rate(), cost.micros());
    };
    row(&format!("stepping {group} environments"), stepping);
    row(&format!("forward passes, {rows} rows"), forward);
    row("updates on stored trajectories", updating);
    println!("{:<36} {:>16.0} {:>14.2}", "sum of the three", 1e6 / sum, sum);
    row("the whole, training", whole);
    println!("\nwhole / sum      {:.2}", whole.micros() / sum);
    println!("wall clock       {wall:.0} env steps/s");
    println!("batch size       {batch:.1} rows on average");
    println!("policy lag       {lag:.1} versions on average");
    println!("bottleneck       {}", crate::train::bottleneck(&trained));
    Ok(())
}

/// The whole system, training; the warm-up is not counted.
pub(super) fn together(
    experiment: &Experiment,
    compute: Compute,
    shutdown: &Shutdown,
) -> Result<(StageCost, f64, Trained)> {
    metrics::install();
    let (sender, receiver) = watch::channel(ProgressLine::default());
    let warm = (WARM_UP * experiment.run.env_steps as f64) as u64;
    let observer = std::thread::spawn(move || observe(receiver, warm));
    let job = Job::unattended(experiment, "bench", compute);
    let trained = in_process::train(&job, sender, shutdown)?;
    let (from, to) = observer
        .join()
        .ok()
        .flatten()
        .context("the run ended before it was warm; ask for more --env-steps")?;
    let env_steps = to.env_steps - from.env_steps;
    let seconds = (to.time - from.time).as_secs_f64();
    let cost = StageCost { env_steps, cpu_seconds: to.cpu - from.cpu, seconds };
    Ok((cost, cost.throughput(), trained))
}

#[derive(Clone, Copy)]
struct RunMoment {
    env_steps: u64,
    cpu: f64,
    time: Instant,
}

/// The first moment after the warm-up, and the last.
fn observe(mut lines: watch::Receiver<ProgressLine>, warm: u64) -> Option<(RunMoment, RunMoment)> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().ok()?;
    runtime.block_on(async {
        let (mut first, mut last) = (None, None);
        while lines.changed().await.is_ok() {
            let env_steps = lines.borrow_and_update().env_steps;
            if env_steps >= warm {
                let now = RunMoment { env_steps, cpu: cpu_seconds(), time: Instant::now() };
                first = first.or(Some(now));
                last = Some(now);
            }
        }
        first.zip(last).filter(|(first, last)| last.env_steps > first.env_steps)
    })
}
