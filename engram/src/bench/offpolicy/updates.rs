//! Updates of deep Q-learning, from the replay to new target weights.

use anyhow::Result;
use engram_policy::memory::gpt2::Gpt2Config;
use engram_policy::memory::input_layer::InputLayer;
use engram_policy::{
    EmbedConfig, Initialization, MemoryConfig, PolicyConfig, Positions, TorsoConfig,
};
use tch::Device;

use super::cases::{self, Case};
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
    for network in SequenceModelKind::ALL {
        for maze in mazes {
            cases.push(network.case(maze, device)?);
        }
    }
    let turns = cases::measure(&mut cases, seconds)?;
    println!(
        "Q-learning on {} whole episodes of {} out of {EPISODES} in a replay; {} threads, medians \
         of {} updates, ms\n",
        cases[0].batch_size,
        cases[0].spec.name,
        compute.learner_threads,
        turns[0].len()
    );
    cases::print(&cases, &turns);
    Ok(())
}

/// Milliseconds of an update of every network on one maze.
pub(super) fn times(
    maze: &Experiment,
    device: Device,
    seconds: f64,
) -> Result<Vec<(&'static str, f64)>> {
    let networks = SequenceModelKind::ALL;
    let cases = networks.map(|network| network.case(maze, device));
    let mut cases = cases.into_iter().collect::<Result<Vec<_>>>()?;
    let turns = cases::measure(&mut cases, seconds)?;
    let times = turns.iter().map(|turns| cases::median_update(turns));
    Ok(networks.iter().map(|network| network.name()).zip(times).collect())
}

/// A sequence model of Memory-RL.
#[derive(Clone, Copy, Debug)]
enum SequenceModelKind {
    Lstm,
    /// The same, in bfloat16 where the device has it.
    LstmBf16,
    Gpt2,
}

impl SequenceModelKind {
    const ALL: [Self; 3] =
        [SequenceModelKind::Lstm, SequenceModelKind::LstmBf16, SequenceModelKind::Gpt2];

    fn name(self) -> &'static str {
        match self {
            SequenceModelKind::Lstm => "lstm",
            SequenceModelKind::LstmBf16 => "lstm bf16",
            SequenceModelKind::Gpt2 => "gpt2",
        }
    }

    fn case(self, maze: &Experiment, device: Device) -> Result<Case> {
        let episodes = episodes::random(maze, EPISODES)?;
        Case::new(self.name().into(), maze, &self.config(maze), (episodes, 1), device)
    }

    /// The experiment's own network is the LSTM; of GPT-2 one block that sees whole episodes.
    fn config(self, experiment: &Experiment) -> PolicyConfig {
        let mut seq = experiment.seq.clone();
        match self {
            SequenceModelKind::Lstm => seq,
            SequenceModelKind::LstmBf16 => {
                if let MemoryConfig::Lstm(lstm) = &mut seq.memory {
                    lstm.bf16 = true;
                }
                seq
            }
            SequenceModelKind::Gpt2 => {
                let memory = MemoryConfig::Gpt2(Gpt2Config {
                    input: InputLayer::None,
                    width: 128,
                    heads: 1,
                    blocks: 1,
                    context_length: experiment.run.unroll_length as i64,
                    positions: Positions::Sine,
                    dropout: 0.0,
                    export_state: false,
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
                        norm: None,
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

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use super::*;

    #[test]
    fn every_network_learns_from_whole_episodes() {
        let configs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs");
        let maze = super::super::maze(&configs, 4).unwrap();
        for (network, parameters) in
            SequenceModelKind::ALL.into_iter().zip([191_156, 191_156, 298_884])
        {
            let mut case = network.case(&maze, Device::Cpu).unwrap();
            assert_eq!(case.policy.parameter_count(), parameters);
            let before = case.policy.save(1);
            let times = case.turn().unwrap();
            assert_ne!(case.policy.save(1), before, "an update changes weights");
            assert_eq!(case.shape, [5, 64]);
            assert!(times.update() > Duration::ZERO && times.sampling > Duration::ZERO);
        }
    }
}
