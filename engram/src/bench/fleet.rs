//! Many actors on this machine: the real learner and inference server as programs, and in this
//! process the real actors, hundreds of them as tasks of one thread.
//!
//! Worlds and policy are cheap, so that what a fleet costs shows: registrations, streams, memory, the
//! age of what is learned from. Then the fleet is mistreated: all actors at once are killed and come
//! back, and half of them are replaced again and again, with calm in between to compare with.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use engram_actor::{
    ActorConfig, ActorError, ActorMode, ActorSummary, MAX_UNACKNOWLEDGED, Timeouts,
};
use engram_analysis::statistics::median;
use engram_mdp::Seed;
use engram_service::{Address, Shutdown, process};
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;

use super::programs::{Fleet, Role, Transport};
use crate::compute::Compute;
use crate::experiment::Experiment;

/// Keys that are set in the experiment, before those of the command line.
pub(super) const SET: [&str; 2] = ["run.envs_per_actor=32", "run.checkpoint_seconds=5"];

/// Numbers of actors where none are given.
pub(super) const ACTORS: [u32; 3] = [10, 100, 1000];

/// Seconds that everything runs before it is measured.
const WARM_UP: f64 = 2.0;

/// Times that half of the fleet is replaced.
const REPLACEMENTS: u32 = 3;

/// Files that a process may have open: each actor has four connections.
const FILES_PER_ACTOR: u64 = 4;

/// Actors as tasks.
struct Actors {
    runtime: Runtime,
    experiment: Experiment,
    learner: Address,
    inference: Address,
    running: Vec<JoinHandle<Result<ActorSummary, ActorError>>>,
}

/// Numbers of the learner at one moment.
#[derive(Clone, Copy, Debug)]
struct FleetMoment {
    time: Instant,
    env_steps: f64,
    lags: f64,
    trajectories: f64,
    stale: f64,
}

/// Rates between two moments.
#[derive(Clone, Copy, Debug, PartialEq)]
struct FleetRates {
    env_steps: f64,
    lag: f64,
    stale: f64,
}

/// Measures every number of actors, and prints a table.
#[expect(clippy::print_stdout, reason = "this is the command's answer")]
pub(super) fn run(
    experiment: &Experiment,
    actors: &[u32],
    compute: Compute,
    seconds: f64,
    shutdown: &Shutdown,
) -> Result<()> {
    let most = actors.iter().max().copied().unwrap_or(0);
    check_files(FILES_PER_ACTOR * u64::from(most) + 256)?;
    println!(
        "{}: {}, {} environments per actor, unroll {}, batch of {}, lag {}; {} cores\n",
        experiment.env.spec(),
        experiment.resolved.parts().seq,
        experiment.run.envs_per_actor,
        experiment.run.unroll_length,
        experiment.rl.algorithm().batch_size(),
        experiment.run.policy_lag,
        std::thread::available_parallelism()?
    );
    println!(
        "{:>7} {:>10} {:>11} {:>6} {:>7} {:>9} {:>9} {:>10} {:>9} {:>9}",
        "", "registered", "calm", "", "", "learner", "server", "killed and", "churn", "learner"
    );
    println!(
        "{:>7} {:>10} {:>11} {:>6} {:>7} {:>9} {:>9} {:>10} {:>9} {:>9}",
        "actors", "s", "env steps/s", "lag", "stale", "MB", "MB", "back, s", "/ calm", "then, MB"
    );
    for &count in actors {
        measure(experiment, count, compute, seconds, shutdown)
            .with_context(|| format!("{count} actors"))?;
    }
    Ok(())
}

#[expect(clippy::print_stdout, reason = "this is a row of the command's answer")]
fn measure(
    experiment: &Experiment,
    count: u32,
    compute: Compute,
    seconds: f64,
    shutdown: &Shutdown,
) -> Result<()> {
    let mut fleet = Fleet::start(experiment, Transport::Unix, 0, compute, shutdown)?;
    fleet.wait("the learner serves", |fleet| fleet.serves(Role::Learner))?;
    let mut actors = Actors::new(experiment, &fleet)?;
    // With the first one everything is there that the others need.
    actors.start(1);
    learns(&mut fleet)?;
    let start = Instant::now();
    actors.start(count - 1);
    all_here(&mut fleet, count)?;
    let registered = start.elapsed();
    fleet.run_for(WARM_UP)?;

    let calm = rates(&mut fleet, seconds)?;
    let resident = |fleet: &Fleet, role| fleet.metric(role, "process_resident_memory_bytes") / 1e6;
    let (learner, server) =
        (resident(&fleet, Role::Learner), resident(&fleet, Role::InferenceServer));

    let start = Instant::now();
    actors.kill(count as usize);
    all_here(&mut fleet, 0)?;
    actors.start(count);
    all_here(&mut fleet, count)?;
    learns(&mut fleet)?;
    let back = start.elapsed();

    let mut ratios = Vec::new();
    for _ in 0..REPLACEMENTS {
        actors.check()?;
        let calm = rates(&mut fleet, seconds)?;
        let from = moment(&fleet);
        let half = count / 2;
        actors.kill(half as usize);
        actors.start(half);
        fleet.run_for(seconds)?;
        ratios.push(between(from, moment(&fleet)).env_steps / calm.env_steps);
    }
    let churn = median(&ratios).expect("there is at least one replacement");
    println!(
        "{count:>7} {:>10.2} {:>11.0} {:>6.2} {:>6.1}% {learner:>9.0} {server:>9.0} {:>10.2} \
         {:>9.2} {:>9.0}",
        registered.as_secs_f64(),
        calm.env_steps,
        calm.lag,
        100.0 * calm.stale,
        back.as_secs_f64(),
        churn,
        resident(&fleet, Role::Learner),
    );
    actors.check()
}

fn all_here(fleet: &mut Fleet, count: u32) -> Result<Duration> {
    fleet.wait("all actors registered", |fleet| {
        Ok(fleet.metric(Role::Learner, "engram_actors") == f64::from(count))
    })
}

/// Waits until the learner learns from something new.
fn learns(fleet: &mut Fleet) -> Result<Duration> {
    let updates = |fleet: &Fleet| fleet.metric(Role::Learner, "engram_learner_updates_total");
    let before = updates(fleet);
    fleet.wait("an update", |fleet| Ok(updates(fleet) > before))
}

fn rates(fleet: &mut Fleet, seconds: f64) -> Result<FleetRates> {
    let from = moment(fleet);
    fleet.run_for(seconds)?;
    Ok(between(from, moment(fleet)))
}

fn moment(fleet: &Fleet) -> FleetMoment {
    let page = fleet.page(Role::Learner);
    FleetMoment {
        time: Instant::now(),
        env_steps: page.sum("engram_learner_env_steps_total"),
        lags: page.sum("engram_policy_lag_sum"),
        trajectories: page.sum("engram_policy_lag_count"),
        stale: page.sum("engram_trajectories_dropped_total"),
    }
}

fn between(from: FleetMoment, to: FleetMoment) -> FleetRates {
    let learned = to.trajectories - from.trajectories;
    let stale = to.stale - from.stale;
    FleetRates {
        env_steps: (to.env_steps - from.env_steps) / (to.time - from.time).as_secs_f64(),
        lag: (to.lags - from.lags) / learned,
        stale: stale / (learned + stale),
    }
}

impl Actors {
    fn new(experiment: &Experiment, fleet: &Fleet) -> Result<Self> {
        Ok(Actors {
            runtime: Builder::new_multi_thread().worker_threads(1).enable_all().build()?,
            experiment: experiment.clone(),
            learner: fleet.address(Role::Learner)?,
            inference: fleet.address(Role::InferenceServer)?,
            running: Vec::new(),
        })
    }

    /// Starts so many more, at once. The learner numbers them.
    fn start(&mut self, count: u32) {
        let Experiment { run, env, .. } = &self.experiment;
        for _ in 0..count {
            let config = ActorConfig {
                actor: None,
                instance: process::any_number(),
                run_id: None,
                env: env.clone(),
                envs: run.envs_per_actor,
                seed: Seed::new(run.seed),
                inference: vec![self.inference.clone()],
                mode: ActorMode::Train {
                    learner: self.learner.clone(),
                    unroll_length: run.unroll_length,
                    max_unacknowledged: MAX_UNACKNOWLEDGED,
                    stagger_steps: run.stagger_steps,
                },
                timeouts: Timeouts::STANDARD,
            };
            self.running.push(self.runtime.spawn(engram_actor::run(config, Shutdown::new())));
        }
    }

    /// Kills the oldest so many: their connections break.
    fn kill(&mut self, count: usize) {
        for actor in self.running.drain(..count) {
            actor.abort();
        }
    }

    /// An error if one has ended by itself.
    fn check(&mut self) -> Result<()> {
        let Some(ended) = self.running.iter().position(JoinHandle::is_finished) else {
            return Ok(());
        };
        let summary = self.runtime.block_on(self.running.swap_remove(ended))??;
        bail!("an actor has left: {:?}", summary.reason)
    }
}

/// An error if so many connections are more than this process may open.
fn check_files(wanted: u64) -> Result<()> {
    let allowed = process::open_as_many_files_as_allowed();
    ensure!(
        allowed >= wanted,
        "this process may open {allowed} files, but needs {wanted}: raise the hard limit (ulimit -Hn), \
         or name fewer --actors"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_of_what_was_learned_from_in_between() {
        let time = Instant::now();
        let from =
            FleetMoment { time, env_steps: 100.0, lags: 4.0, trajectories: 10.0, stale: 1.0 };
        let later = time + Duration::from_secs(2);
        let to = FleetMoment {
            time: later,
            env_steps: 500.0,
            lags: 34.0,
            trajectories: 40.0,
            stale: 11.0,
        };
        let expected = FleetRates { env_steps: 200.0, lag: 1.0, stale: 0.25 };
        assert_eq!(between(from, to), expected);
    }
}
