//! Cases: networks that learn from a replay of episodes, timed in turns.

use std::time::{Duration, Instant};

use anyhow::Result;
use engram_learner::algorithms::{Phases, ReplayAlgorithm, ReplayBatch};
use engram_learner::replay::{Replay, TrajectoryShape};
use engram_learner::rpc::queue::Arrival;
use engram_mdp::{EnvSpec, Generator, Seed};
use engram_policy::{Batch, Policy, PolicyConfig};
use engram_service::process::cpu_seconds;
use tch::{Device, Kind};

use crate::experiment::Experiment;

/// A network that learns from a replay of episodes.
pub(super) struct Case {
    name: String,
    /// Updates of one turn, whose times are shared evenly among them.
    updates: u32,
    /// Decisions of a row and rows of a batch, of the latest one.
    pub(super) shape: [usize; 2],
    pub(super) batch_size: usize,
    pub(super) spec: EnvSpec,
    device: Device,
    pub(super) policy: Policy,
    algorithm: Box<dyn ReplayAlgorithm>,
    replay: Replay,
    generator: Generator,
}

/// Times of the parts of one update.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Times {
    pub(super) sampling: Duration,
    assembling: Duration,
    phases: Phases,
    /// CPU time of the update, all threads together.
    cpu: Duration,
}

impl Times {
    /// Forward pass, backward pass and steps.
    pub(super) fn update(&self) -> Duration {
        self.phases.forward + self.phases.backward + self.phases.optimizer
    }

    fn plus(self, other: Times) -> Times {
        Times {
            sampling: self.sampling + other.sampling,
            assembling: self.assembling + other.assembling,
            phases: Phases {
                forward: self.phases.forward + other.phases.forward,
                backward: self.phases.backward + other.phases.backward,
                optimizer: self.phases.optimizer + other.phases.optimizer,
            },
            cpu: self.cpu + other.cpu,
        }
    }

    fn share(self, of: u32) -> Times {
        Times {
            sampling: self.sampling / of,
            assembling: self.assembling / of,
            phases: Phases {
                forward: self.phases.forward / of,
                backward: self.phases.backward / of,
                optimizer: self.phases.optimizer / of,
            },
            cpu: self.cpu / of,
        }
    }
}

impl Case {
    /// The algorithm of `experiment` and a network of `seq` on `episodes` of its environment, which
    /// makes so many `updates` in one turn.
    pub(super) fn new(
        name: String,
        experiment: &Experiment,
        seq: &PolicyConfig,
        (episodes, updates): (Vec<Arrival>, u32),
        device: Device,
    ) -> Result<Self> {
        let config = experiment.replay_settings()?;
        let rl = config.shared();
        let (seed, spec) = (Seed::new(experiment.run.seed), experiment.env.spec());
        let outputs = config.outputs();
        let policy = Policy::with_outputs(&outputs, Kind::Float, seq, &spec, seed, device)?;
        let state_width = episodes.first().map_or(0, |x| x.trajectory.core_state.len());
        let shape = TrajectoryShape { spec: spec.clone(), state_width };
        let mut replay = Replay::new(rl.replay, shape, None)?;
        for arrival in episodes {
            replay.insert(arrival.generation, &arrival.trajectory)?;
        }
        Ok(Case {
            name,
            updates,
            shape: [0, 0],
            batch_size: rl.batch_size,
            algorithm: config.start(&policy, seed),
            generator: seed.derive("bench", 4).generator(),
            spec,
            device,
            policy,
            replay,
        })
    }

    /// One turn, as the replayer and the learner make its updates between them.
    pub(super) fn turn(&mut self) -> Result<Times> {
        let mut sum = Times::default();
        for _ in 0..self.updates {
            sum = sum.plus(self.update()?);
        }
        Ok(sum.share(self.updates))
    }

    fn update(&mut self) -> Result<Times> {
        let started = Instant::now();
        let sample = self.replay.sample(self.batch_size, &mut self.generator)?;
        let sampled = Instant::now();
        let batch = Batch::from_trajectories(&sample.rows, &self.spec, self.device)?;
        self.shape = [batch.unroll_length() as usize, batch.batch() as usize];
        let replayed = ReplayBatch::new(batch, &sample, 0);
        let assembled = Instant::now();
        let before = cpu_seconds();
        let (stats, _) = self.algorithm.update(&self.policy, &replayed)?;
        Ok(Times {
            sampling: sampled - started,
            assembling: assembled - sampled,
            phases: stats.phases,
            cpu: Duration::from_secs_f64((cpu_seconds() - before).max(0.0)),
        })
    }
}

/// Times of the turns of each case, which take them one after another, so that what else happens on
/// the machine strikes all alike; so many `seconds` for each case, or three turns.
pub(super) fn measure(cases: &mut [Case], seconds: f64) -> Result<Vec<Vec<Times>>> {
    let started = Instant::now();
    let mut turns: Vec<Vec<Times>> = cases.iter().map(|_| Vec::new()).collect();
    for case in &mut *cases {
        case.turn()?;
    }
    let long = seconds * cases.len() as f64;
    while turns[0].len() < 3 || started.elapsed().as_secs_f64() < long {
        for (case, turns) in cases.iter_mut().zip(&mut turns) {
            turns.push(case.turn()?);
        }
    }
    Ok(turns)
}

/// A line for each case: medians of its turns.
#[expect(clippy::print_stdout, reason = "this is the command's answer")]
pub(super) fn print(cases: &[Case], turns: &[Vec<Times>]) {
    let columns = ["updates/s", "update", "CPU", "forward", "backward", "optimizer"];
    let columns = columns.iter().chain(&["sampling", "assembling", "share"]);
    let columns: String = columns.map(|column| format!("{column:>11}")).collect();
    println!("{:<8}{:>10}{:>5}{:>5}{columns}", "network", "parameters", "T", "rows");
    for (case, turns) in cases.iter().zip(turns) {
        let median = |part: fn(&Times) -> Duration| median(turns.iter().map(part).collect());
        let update = median(Times::update);
        let (sampling, assembling) = (median(|t| t.sampling), median(|t| t.assembling));
        let numbers = [
            update,
            median(|t| t.cpu),
            median(|t| t.phases.forward),
            median(|t| t.phases.backward),
            median(|t| t.phases.optimizer),
            sampling,
            assembling,
        ];
        let numbers: String = numbers.iter().map(|number| format!("{number:>11.2}")).collect();
        let (name, parameters) = (&case.name, case.policy.parameter_count());
        let (rate, share) = (1e3 / update, 100.0 * (sampling + assembling) / update);
        let [time, rows] = case.shape;
        println!("{name:<8}{parameters:>10}{time:>5}{rows:>5}{rate:>11.1}{numbers}{share:>10.1}%");
    }
    println!(
        "update: forward (all networks, losses), backward and optimizer (with the target network); \
         CPU: its time on all\nthreads; share: of sampling and assembling, which a thread of its \
         own does during an update"
    );
}

/// Milliseconds of an update, the median of the turns.
pub(super) fn median_update(turns: &[Times]) -> f64 {
    median(turns.iter().map(Times::update).collect())
}

/// The middle of some times, in milliseconds.
fn median(mut times: Vec<Duration>) -> f64 {
    times.sort_unstable();
    1e3 * times[times.len() / 2].as_secs_f64()
}
