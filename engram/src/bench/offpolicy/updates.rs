//! Updates of deep Q-learning, from the replay to new target weights.

use std::time::{Duration, Instant};

use anyhow::Result;
use engram_learner::algorithms::{Phases, ReplayAlgorithm, ReplayBatch};
use engram_learner::replay::{Replay, TrajectoryShape};
use engram_mdp::{EnvSpec, Generator, Seed};
use engram_policy::memory::gpt2::Gpt2Config;
use engram_policy::memory::input_layer::InputLayer;
use engram_policy::{
    Batch, EmbedConfig, Initialization, MemoryConfig, Policy, PolicyConfig, Positions, TorsoConfig,
};
use engram_service::process::cpu_seconds;
use tch::{Device, Kind};

use super::episodes;
use crate::compute::Compute;
use crate::experiment::Experiment;

/// Episodes in the replay.
const EPISODES: usize = 256;

/// Measures and prints: every network on every maze.
#[expect(clippy::print_stdout, reason = "this is the command's answer")]
pub(super) fn run(mazes: &[Experiment], compute: Compute, seconds: f64) -> Result<()> {
    let device = compute.device.ready()?;
    let mut cases = Vec::new();
    for network in [SequenceModelKind::Lstm, SequenceModelKind::Gpt2] {
        for maze in mazes {
            cases.push(Case::new(network, maze, device)?);
        }
    }
    let started = Instant::now();
    let mut turns: Vec<Vec<Times>> = cases.iter().map(|_| Vec::new()).collect();
    for case in &mut cases {
        case.turn()?;
    }
    while turns[0].len() < 3 || started.elapsed().as_secs_f64() < seconds * cases.len() as f64 {
        for (case, turns) in cases.iter_mut().zip(&mut turns) {
            turns.push(case.turn()?);
        }
    }

    println!(
        "Q-learning on {} whole episodes of {} out of {EPISODES} in a replay; {} threads, medians \
         of {} updates, ms\n",
        cases[0].batch_size,
        cases[0].spec.name,
        compute.learner_threads,
        turns[0].len()
    );
    print(&cases, &turns);
    Ok(())
}

#[expect(clippy::print_stdout, reason = "this is the command's answer")]
fn print(cases: &[Case], turns: &[Vec<Times>]) {
    let columns = ["updates/s", "update", "CPU", "forward", "backward", "optimizer"];
    let columns = columns.iter().chain(&["sampling", "assembling", "share"]);
    let columns: String = columns.map(|column| format!("{column:>11}")).collect();
    println!("{:<8}{:>10}{:>5}{columns}", "network", "parameters", "T");
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
        let (name, parameters) = (case.network.name(), case.policy.parameter_count());
        let (rate, share) = (1e3 / update, 100.0 * (sampling + assembling) / update);
        println!(
            "{name:<8}{parameters:>10}{:>5}{rate:>11.1}{numbers}{share:>10.1}%",
            case.decisions
        );
    }
    println!(
        "update: forward (both networks, loss), backward and optimizer (with the target network); \
         CPU: its time on all\nthreads; share: of sampling and assembling, which a thread of its \
         own does during an update"
    );
}

/// The middle of some times, in milliseconds.
fn median(mut times: Vec<Duration>) -> f64 {
    times.sort_unstable();
    1e3 * times[times.len() / 2].as_secs_f64()
}

/// A sequence model of Memory-RL.
#[derive(Clone, Copy, Debug)]
enum SequenceModelKind {
    Lstm,
    Gpt2,
}

impl SequenceModelKind {
    fn name(self) -> &'static str {
        match self {
            SequenceModelKind::Lstm => "lstm",
            SequenceModelKind::Gpt2 => "gpt2",
        }
    }

    /// The experiment's own network is the LSTM; of GPT-2 one block that sees whole episodes.
    fn config(self, experiment: &Experiment) -> PolicyConfig {
        let seq = experiment.seq.clone();
        match self {
            SequenceModelKind::Lstm => seq,
            SequenceModelKind::Gpt2 => {
                let memory = MemoryConfig::Gpt2(Gpt2Config {
                    input: InputLayer::None,
                    width: 128,
                    heads: 1,
                    blocks: 1,
                    context_length: experiment.run.unroll_length as i64,
                    positions: Positions::Sine,
                    dropout: 0.0,
                });
                let activation = seq.head.activation;
                let embed = EmbedConfig {
                    previous_observation: None,
                    observation: None,
                    previous_action: Some(64),
                    previous_reward: None,
                    activation,
                    init: Initialization::FAN_IN,
                };
                PolicyConfig {
                    torso: TorsoConfig::Mlp {
                        hidden: vec![64],
                        activation,
                        init: Initialization::FAN_IN,
                    },
                    embed: Some(embed),
                    memory,
                    skip: None,
                    ..seq
                }
            }
        }
    }
}

/// A network that learns from a replay of episodes.
struct Case {
    network: SequenceModelKind,
    /// T.
    decisions: usize,
    batch_size: usize,
    spec: EnvSpec,
    device: Device,
    policy: Policy,
    algorithm: Box<dyn ReplayAlgorithm>,
    replay: Replay,
    generator: Generator,
}

/// Times of the parts of one turn.
#[derive(Clone, Copy, Debug)]
struct Times {
    sampling: Duration,
    assembling: Duration,
    phases: Phases,
    /// CPU time of the update, all threads together.
    cpu: Duration,
}

impl Times {
    fn update(&self) -> Duration {
        self.phases.forward + self.phases.backward + self.phases.optimizer
    }
}

impl Case {
    fn new(network: SequenceModelKind, experiment: &Experiment, device: Device) -> Result<Self> {
        let config = experiment.replay_settings()?;
        let rl = config.shared();
        let (seed, spec) = (Seed::new(experiment.run.seed), experiment.env.spec());
        let (seq, outputs) = (network.config(experiment), config.outputs());
        let policy = Policy::with_outputs(&outputs, Kind::Float, &seq, &spec, seed, device)?;
        let state_width = policy.exported_state_width().unwrap_or(0);
        let shape = TrajectoryShape { spec: spec.clone(), state_width };
        let mut replay = Replay::new(rl.replay, shape, None)?;
        for arrival in episodes::random(experiment, EPISODES)? {
            replay.insert(arrival.generation, &arrival.trajectory)?;
        }
        Ok(Case {
            network,
            decisions: replay.longest_episode(),
            batch_size: rl.batch_size,
            algorithm: config.start(&policy, seed),
            generator: seed.derive("bench", 4).generator(),
            spec,
            device,
            policy,
            replay,
        })
    }

    /// One update, as the replayer and the learner make it between them.
    fn turn(&mut self) -> Result<Times> {
        let started = Instant::now();
        let sample = self.replay.sample(self.batch_size, &mut self.generator)?;
        let sampled = Instant::now();
        let batch = Batch::from_trajectories(&sample.rows, &self.spec, self.device)?;
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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn both_networks_learn_from_whole_episodes() {
        let configs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs");
        let maze = super::super::maze(&configs, 4).unwrap();
        for (network, parameters) in
            [(SequenceModelKind::Lstm, 191_156), (SequenceModelKind::Gpt2, 298_884)]
        {
            let mut case = Case::new(network, &maze, Device::Cpu).unwrap();
            assert_eq!((case.decisions, case.batch_size), (5, 64));
            assert_eq!(case.policy.parameter_count(), parameters);
            let before = case.policy.save(1);
            let times = case.turn().unwrap();
            assert_ne!(case.policy.save(1), before, "an update changes weights");
            assert!(times.update() > Duration::ZERO && times.sampling > Duration::ZERO);
        }
    }
}
