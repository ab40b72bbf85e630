//! The programs of a run on this machine, with more and more actors, over each transport.
//!
//! Where processes outnumber cores, env steps per second say how the cores are shared; what an env
//! step costs each role is measured in CPU seconds, and holds on any machine.

use std::time::Instant;

use anyhow::Result;
use engram_service::Shutdown;

use super::programs::{Fleet, Role, Transport};
use crate::experiment::Experiment;
use crate::system::Compute;

/// Keys that are set in the experiment, before those of the command line: an actor shall not be a
/// machine's worth of worlds.
pub(super) const SET: [&str; 1] = ["run.envs_per_actor=64"];

/// Seconds that everything runs before it is measured.
const WARM_UP: f64 = 2.0;

/// Env steps and CPU seconds up to a moment.
#[derive(Clone, Copy, Debug)]
struct Moment {
    time: Instant,
    learned: f64,
    acted: f64,
    /// Of the learner, the inference server, and all actors.
    cpu: [f64; 3],
}

/// What one combination came to.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Rates {
    learned: f64,
    acted: f64,
    /// Microseconds of CPU per env step learned from, by role as above.
    micros: [f64; 3],
}

/// Measures every combination, and prints a table.
#[expect(clippy::print_stdout, reason = "this is the command's answer")]
pub(super) fn run(
    experiment: &Experiment,
    transports: &[Transport],
    actors: &[u32],
    compute: Compute,
    seconds: f64,
    shutdown: &Shutdown,
) -> Result<()> {
    println!(
        "{}: {}, {} environments per actor, unroll {}, batch of {}; {seconds} s each; {} cores\n",
        experiment.env.spec(),
        experiment.resolved.parts().seq,
        experiment.run.envs_per_actor,
        experiment.run.unroll_length,
        experiment.rl.batch_size(),
        std::thread::available_parallelism()?
    );
    println!(
        "{:<16} {:>6} {:>12} {:>12} {:>6} {:>10} {:>10} {:>10} {:>10}",
        "", "", "env steps/s", "", "", "µs of CPU", "per env", "step", ""
    );
    println!(
        "{:<16} {:>6} {:>12} {:>12} {:>6} {:>10} {:>10} {:>10} {:>10}",
        "transport", "actors", "learned", "acted", "ratio", "learner", "inference", "actors", "all"
    );
    let mut first = None;
    for &transport in transports {
        for &count in actors {
            let rates = measure(experiment, transport, count, compute, seconds, shutdown)?;
            let one = *first.get_or_insert(rates.learned);
            let [learner, inference, acting] = rates.micros;
            println!(
                "{:<16} {count:>6} {:>12.0} {:>12.0} {:>6.2} {learner:>10.2} {inference:>10.2} \
                 {acting:>10.2} {:>10.2}",
                transport.name(),
                rates.learned,
                rates.acted,
                rates.learned / one,
                learner + inference + acting
            );
        }
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
) -> Result<Rates> {
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

fn moment(fleet: &Fleet) -> Moment {
    let cpu = "process_cpu_seconds_total";
    Moment {
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

fn rates(from: Moment, to: Moment) -> Rates {
    let seconds = (to.time - from.time).as_secs_f64();
    let learned = to.learned - from.learned;
    let spent = |role: usize| (to.cpu[role] - from.cpu[role]) * 1e6 / learned;
    Rates {
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
        let from = Moment { time, learned: 1000.0, acted: 2000.0, cpu: [1.0, 2.0, 3.0] };
        let later = time + Duration::from_secs(2);
        let to = Moment { time: later, learned: 5000.0, acted: 6200.0, cpu: [1.5, 2.0, 3.2] };
        let rates = rates(from, to);
        assert_eq!((rates.learned, rates.acted), (2000.0, 2100.0));
        let expected = [125.0, 0.0, 50.0];
        assert!(rates.micros.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6), "{rates:?}");
    }
}
