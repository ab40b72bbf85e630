//! Cost of a killed program: each is killed as by `kill -9` during a run, and started again at
//! once, as a supervisor would. Measured are the time that the others wait, and what is lost.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use engram_analysis::statistics::median;
use engram_service::Shutdown;

use super::programs::{Fleet, Role, Transport};
use crate::compute::Compute;
use crate::experiment::Experiment;

/// Keys that are set in the experiment, before those of the command line: checkpoints often enough
/// that their interval does not hide everything else.
pub(super) const SET: [&str; 2] = ["run.envs_per_actor=64", "run.checkpoint_seconds=5.0"];

const ACTORS: u32 = 2;

/// Seconds of undisturbed running before every kill.
const STEADY: f64 = 3.0;

/// Looks at what is under way, whose mean is compared.
const SAMPLES: u32 = 40;

const LEARNED: &str = "engram_learner_env_steps_total";
const ACTED: &str = "engram_env_steps_total";

/// Program that is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Victim {
    Learner,
    InferenceServer,
    Actor,
    All,
}

impl Victim {
    const EVERY: [Victim; 4] =
        [Victim::Learner, Victim::InferenceServer, Victim::Actor, Victim::All];

    fn name(self) -> &'static str {
        match self {
            Victim::Learner => "learner",
            Victim::InferenceServer => "inference server",
            Victim::Actor => "one of 2 actors",
            Victim::All => "all of them",
        }
    }

    fn roles(self) -> Vec<Role> {
        let actors = (0..ACTORS).map(Role::Actor);
        match self {
            Victim::Learner => vec![Role::Learner],
            Victim::InferenceServer => vec![Role::InferenceServer],
            Victim::Actor => vec![Role::Actor(0)],
            Victim::All => {
                [Role::Learner, Role::InferenceServer].into_iter().chain(actors).collect()
            }
        }
    }

    fn takes(self, victim: Victim) -> bool {
        self == victim || self == Victim::All
    }
}

/// Cost of one kill: seconds since it, and env steps.
#[derive(Clone, Copy, Debug, PartialEq)]
struct KillCost {
    /// Until whoever was killed is there again: a server says that it serves, an actor has
    /// registered with the learner.
    serving: f64,
    /// Until environments are stepped again by all actors.
    acting: f64,
    /// Until the learner has made an update of what came after that.
    learning: f64,
    /// Until the inference server has weights of such an update.
    weights: f64,
    /// Env steps of updates that were made after the last checkpoint, and are gone.
    rolled_back: f64,
    /// Env steps that were acted and never learned from.
    unlearned: f64,
}

/// Kills every kind of program `repetitions` times, and prints the medians.
#[expect(clippy::print_stdout, reason = "this is the command's answer")]
pub(super) fn run(
    experiment: &Experiment,
    repetitions: u32,
    compute: Compute,
    shutdown: &Shutdown,
) -> Result<()> {
    println!(
        "{}: {}, {ACTORS} actors of {} environments, unroll {}, batch of {}, a checkpoint every \
         {} s; medians of {repetitions}; {} cores\n",
        experiment.env.spec(),
        experiment.resolved.parts().seq,
        experiment.run.envs_per_actor,
        experiment.run.unroll_length,
        experiment.rl.algorithm().batch_size(),
        experiment.run.checkpoint_seconds,
        std::thread::available_parallelism()?
    );
    let mut trial = Trial::start(experiment, compute, shutdown)?;
    let steady = trial.rate(STEADY)?;
    println!("undisturbed: {steady:.0} env steps/s\n");
    println!("{:<17} {:>41} {:>25}", "", "seconds until", "env steps lost");
    println!(
        "{:<17} {:>9} {:>9} {:>9} {:>11} {:>12} {:>12}",
        "killed", "serving", "acting", "update", "new weights", "rolled back", "not learned"
    );
    for victim in Victim::EVERY {
        let costs: Vec<KillCost> =
            (0..repetitions).map(|_| trial.kill(victim)).collect::<Result<_>>()?;
        let of = |get: fn(&KillCost) -> f64| {
            let values: Vec<f64> = costs.iter().map(get).collect();
            median(&values).expect("there is at least one repetition")
        };
        println!(
            "{:<17} {:>9.2} {:>9.2} {:>9.2} {:>11.2} {:>12.0} {:>12.0}",
            victim.name(),
            of(|cost| cost.serving),
            of(|cost| cost.acting),
            of(|cost| cost.learning),
            of(|cost| cost.weights),
            of(|cost| cost.rolled_back),
            of(|cost| cost.unlearned)
        );
    }
    Ok(())
}

/// A run, and what its counters had come to when their programs were killed.
struct Trial {
    fleet: Fleet,
    /// Env steps learned from when the present learner started.
    learned_before: f64,
    /// Env steps acted by actors that are gone.
    acted_before: f64,
}

impl Trial {
    fn start(experiment: &Experiment, compute: Compute, shutdown: &Shutdown) -> Result<Self> {
        let fleet = Fleet::start(experiment, Transport::Tcp, ACTORS, compute, shutdown)?;
        let mut trial = Trial { fleet, learned_before: 0.0, acted_before: 0.0 };
        trial.fleet.wait("learning", |fleet| Ok(fleet.metric(Role::Learner, LEARNED) > 0.0))?;
        trial.fleet.run_for(STEADY)?;
        Ok(trial)
    }

    fn learned(&self) -> f64 {
        self.learned_before + self.fleet.metric(Role::Learner, LEARNED)
    }

    fn acted(&self) -> f64 {
        self.acted_before + self.fleet.of_actors(ACTED)
    }

    /// Env steps learned per second.
    fn rate(&mut self, seconds: f64) -> Result<f64> {
        let (from, start) = (self.learned(), Instant::now());
        self.fleet.run_for(seconds)?;
        Ok((self.learned() - from) / start.elapsed().as_secs_f64())
    }

    /// Env steps acted that no weights have in them: those under way, on average, and those lost.
    fn apart(&mut self) -> Result<f64> {
        let mut sum = 0.0;
        for _ in 0..SAMPLES {
            self.fleet.run_for(STEADY / f64::from(SAMPLES))?;
            let learned = self.learned();
            sum += self.acted() - learned;
        }
        Ok(sum / f64::from(SAMPLES))
    }

    fn kill(&mut self, victim: Victim) -> Result<KillCost> {
        // The learner must have something to come back to.
        self.fleet.wait("a checkpoint", |fleet| {
            let saved = "engram_checkpoint_last_success_timestamp_seconds";
            Ok(fleet.metric(Role::Learner, saved) > 0.0)
        })?;
        let apart = self.apart()?;
        let (learned, acted) = (self.learned(), self.acted());
        let survivors =
            if victim == Victim::Actor { self.fleet.metric(Role::Actor(1), ACTED) } else { 0.0 };
        let start = Instant::now();
        for role in victim.roles() {
            self.fleet.replace(role)?;
        }
        self.come_back(victim)?;
        let serving = start.elapsed();
        if victim.takes(Victim::Learner) {
            self.learned_before = resumed_at(&self.fleet.log(Role::Learner))?;
        }
        if victim.takes(Victim::Actor) {
            self.acted_before = acted - survivors;
        }
        let (acting, learning, weights) = self.go_on()?;
        let rolled_back = match victim.takes(Victim::Learner) {
            true => learned - self.learned_before,
            false => 0.0,
        };
        let lost = self.apart()? - apart;
        Ok(KillCost {
            serving: serving.as_secs_f64(),
            acting: (serving + acting).as_secs_f64(),
            learning: (serving + learning).as_secs_f64(),
            weights: (serving + weights).as_secs_f64(),
            rolled_back,
            unlearned: lost - rolled_back,
        })
    }

    /// Until whoever was killed is there again.
    fn come_back(&mut self, victim: Victim) -> Result<()> {
        for server in [Role::Learner, Role::InferenceServer] {
            if victim.roles().contains(&server) {
                self.fleet.wait("serving again", |fleet| fleet.serves(server))?;
            }
        }
        for actor in victim.roles() {
            if matches!(actor, Role::Actor(_)) {
                let registered = "registered with the learner";
                self.fleet.wait(registered, |fleet| Ok(fleet.log(actor).contains(registered)))?;
            }
        }
        Ok(())
    }

    /// From then until every actor steps its environments, the learner learns from that, and
    /// weights of it are there.
    fn go_on(&mut self) -> Result<(Duration, Duration, Duration)> {
        let all = |fleet: &Fleet| -> Vec<f64> {
            (0..ACTORS).map(|actor| fleet.metric(Role::Actor(actor), ACTED)).collect()
        };
        let start = Instant::now();
        let before = all(&self.fleet);
        self.fleet.wait("acting again", |fleet| {
            Ok(all(fleet).iter().zip(&before).all(|(now, before)| now > before))
        })?;
        let acting = start.elapsed();
        let updates = "engram_learner_updates_total";
        let before = self.fleet.metric(Role::Learner, updates);
        self.fleet.wait("an update", |fleet| Ok(fleet.metric(Role::Learner, updates) > before))?;
        let learning = start.elapsed();
        let received = "engram_weights_received_total";
        let before = self.fleet.metric(Role::InferenceServer, received);
        self.fleet.wait("new weights", |fleet| {
            Ok(fleet.metric(Role::InferenceServer, received) > before)
        })?;
        Ok((acting, learning, start.elapsed()))
    }
}

/// The env steps of the checkpoint that a learner went on from, by its log.
fn resumed_at(log: &str) -> Result<f64> {
    let line = log.lines().find(|line| line.contains("the run goes on"));
    let number = line.and_then(|line| line.split("env_steps=").nth(1)?.split_whitespace().next());
    let number = number.context("the learner did not say where it went on")?;
    number.parse().with_context(|| format!("`{number}` is no number of env steps"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_learner_says_where_it_goes_on() {
        let log = "INFO starting\nINFO the run goes on checkpoint=/x/7 env_steps=40960\nINFO bye\n";
        assert_eq!(resumed_at(log).unwrap(), 40960.0);
        assert!(resumed_at("INFO a new run begins env_steps=1").is_err());
    }

    #[test]
    fn all_of_them_is_every_other_victim() {
        let all = Victim::All.roles();
        for victim in Victim::EVERY {
            assert!(Victim::All.takes(victim));
            assert!(victim.roles().iter().all(|role| all.contains(role)));
        }
        assert!(!Victim::Learner.takes(Victim::Actor));
    }
}
