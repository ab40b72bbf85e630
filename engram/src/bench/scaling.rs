//! The programs of a run on this machine, with more and more actors, over each transport.
//!
//! If processes outnumber cores, env steps per second only say how the cores are shared. The cost
//! of an env step to each role is measured in CPU seconds, and holds on any machine.

use std::time::Instant;

use anyhow::Result;
use engram_analysis::statistics::median;
use engram_service::Shutdown;

use super::programs::{Fleet, Role, Transport};
use crate::compute::Compute;
use crate::experiment::Experiment;

/// Keys that are set in the experiment, before those of the command line: an actor shall not be a
/// machine's worth of environments.
pub(super) const SET: [&str; 1] = ["run.envs_per_actor=64"];

/// Numbers of actors where none are given.
pub(super) const ACTORS: [u32; 4] = [1, 2, 4, 8];

/// Seconds that everything runs before it is measured.
const WARM_UP: f64 = 2.0;

/// Env steps and CPU seconds up to a moment.
#[derive(Clone, Copy, Debug)]
struct FleetMoment {
    time: Instant,
    learned: f64,
    acted: f64,
    /// CPU seconds of the learner, the inference server, and all actors.
    cpu: [f64; 3],
}

/// Result of one combination.
#[derive(Clone, Copy, Debug, PartialEq)]
struct FleetRates {
    learned: f64,
    acted: f64,
    /// Microseconds of CPU per env step learned from, by role as above.
    micros: [f64; 3],
}

/// Combinations to measure.
#[derive(Clone, Copy, Debug)]
pub(super) struct ScalingSettings<'a> {
    /// Numbers of actors.
    pub(super) actors: &'a [u32],
    pub(super) transports: &'a [Transport],
    /// Rounds over all combinations. Medians are shown, so that what else the machine does at one
    /// moment hits none of them alone.
    pub(super) rounds: u32,
    /// Seconds of each.
    pub(super) seconds: f64,
}

/// Measures every combination, and prints a table.
#[expect(clippy::print_stdout, reason = "this is the command's answer")]
pub(super) fn run(
    experiment: &Experiment,
    settings: ScalingSettings<'_>,
    compute: Compute,
    shutdown: &Shutdown,
) -> Result<()> {
    let ScalingSettings { actors, transports, rounds, seconds } = settings;
    println!(
        "{}: {}, {} environments per actor, unroll {}, batch of {}; medians of {rounds} times \
         {seconds} s; {} cores\n",
        experiment.env.spec(),
        experiment.resolved.parts().seq,
        experiment.run.envs_per_actor,
        experiment.run.unroll_length,
        experiment.rl.algorithm().batch_size(),
        std::thread::available_parallelism()?
    );
    let combinations: Vec<(Transport, u32)> =
        transports.iter().flat_map(|&t| actors.iter().map(move |&n| (t, n))).collect();
    let mut measured = vec![Vec::new(); combinations.len()];
    for _ in 0..rounds {
        for (&(transport, actors), rates) in combinations.iter().zip(&mut measured) {
            rates.push(measure(experiment, transport, actors, compute, seconds, shutdown)?);
        }
    }
    println!("{:<23} {:>25} {:>6} {:>43}", "", "env steps/s", "", "µs of CPU per env step");
    println!(
        "{:<16} {:>6} {:>12} {:>12} {:>6} {:>10} {:>10} {:>10} {:>10}",
        "transport", "actors", "learned", "acted", "ratio", "learner", "inference", "actors", "all"
    );
    let of = |rates: &[FleetRates], get: fn(&FleetRates) -> f64| {
        let values: Vec<f64> = rates.iter().map(get).collect();
        median(&values).expect("there is at least one round")
    };
    let one = of(&measured[0], |rates| rates.learned);
    for ((transport, actors), rates) in combinations.iter().zip(&measured) {
        let learned = of(rates, |rates| rates.learned);
        println!(
            "{:<16} {actors:>6} {learned:>12.0} {:>12.0} {:>6.2} {:>10.2} {:>10.2} {:>10.2} \
             {:>10.2}",
            transport.name(),
            of(rates, |rates| rates.acted),
            learned / one,
            of(rates, |rates| rates.micros[0]),
            of(rates, |rates| rates.micros[1]),
            of(rates, |rates| rates.micros[2]),
            of(rates, |rates| rates.micros.iter().sum())
        );
    }
    Ok(())
}

fn measure(
    experiment: &Experiment,
    transport: Transport,
    actors: u32,
    compute: Compute,
    seconds: f64,
    shutdown: &Shutdown,
) -> Result<FleetRates> {
    let mut fleet = Fleet::start(experiment, transport, actors, compute, shutdown)?;
    fleet.wait("actors registered and learned from", |fleet| {
        let learner = fleet.page(Role::Learner);
        let all_here = learner.sum("engram_actors") == f64::from(actors);
        Ok(all_here && learner.sum("engram_learner_updates_total") >= 1.0)
    })?;
    fleet.run_for(WARM_UP)?;
    let from = moment(&fleet);
    fleet.run_for(seconds)?;
    Ok(rates(from, moment(&fleet)))
}

fn moment(fleet: &Fleet) -> FleetMoment {
    let cpu = "process_cpu_seconds_total";
    FleetMoment {
        time: Instant::now(),
        learned: fleet.metric(Role::Learner, "engram_learner_env_steps_total"),
        acted: fleet.of_actors("engram_env_steps_total"),
        cpu: [
            fleet.metric(Role::Learner, cpu),
            fleet.metric(Role::InferenceServer, cpu),
            fleet.of_actors(cpu),
        ],
    }
}

fn rates(from: FleetMoment, to: FleetMoment) -> FleetRates {
    let seconds = (to.time - from.time).as_secs_f64();
    let learned = to.learned - from.learned;
    let spent = |role: usize| (to.cpu[role] - from.cpu[role]) * 1e6 / learned;
    FleetRates {
        learned: learned / seconds,
        acted: (to.acted - from.acted) / seconds,
        micros: [spent(0), spent(1), spent(2)],
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn rates_are_what_was_added_between_two_moments() {
        let time = Instant::now();
        let from = FleetMoment { time, learned: 1000.0, acted: 2000.0, cpu: [1.0, 2.0, 3.0] };
        let later = time + Duration::from_secs(2);
        let to = FleetMoment { time: later, learned: 5000.0, acted: 6200.0, cpu: [1.5, 2.0, 3.2] };
        let rates = rates(from, to);
        assert_eq!((rates.learned, rates.acted), (2000.0, 2100.0));
        let expected = [125.0, 0.0, 50.0];
        assert!(rates.micros.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6), "{rates:?}");
    }
}
