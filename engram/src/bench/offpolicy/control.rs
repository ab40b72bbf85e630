//! Updates of continuous control: SAC on single transitions, RESeL on whole episodes, in an environment
//! of Hopper's sizes.
//! `learner/comparisons/sac_plain_pytorch.py` makes the same in plain PyTorch.

use std::path::Path;

use anyhow::Result;
use engram_service::config::{ExperimentSelection, resolve};
use tch::Device;

use super::cases::{self, Case};
use super::episodes;
use crate::compute::Compute;
use crate::experiment::Experiment;

/// An algorithm and a network of it.
struct Workload {
    name: &'static str,
    rl: &'static str,
    seq: &'static str,
    /// Decisions of each episode in the replay.
    decisions: usize,
    /// Env steps of a batch, where whole episodes are learned from.
    batch_env_steps: Option<u64>,
    /// Updates of one turn: many where they are short, else those after which the policy has learned
    /// once.
    updates: u32,
}

const WORKLOADS: [Workload; 5] = [
    Workload {
        name: "mlp",
        rl: "sac",
        seq: "mlp-256",
        decisions: 1_000,
        batch_env_steps: None,
        updates: 50,
    },
    resel("gru", "resel/gru", 200, 1_999),
    resel("gru", "resel/gru", 1_000, 1_999),
    resel("mamba", "resel/mamba", 200, 399),
    resel("mamba", "resel/mamba", 1_000, 999),
];

/// Episodes in the replay.
const EPISODES: usize = 16;

const fn resel(name: &'static str, seq: &'static str, decisions: usize, steps: u64) -> Workload {
    Workload { name, rl: "resel", seq, decisions, batch_env_steps: Some(steps), updates: 2 }
}

impl Workload {
    fn case(&self, configs: &Path, device: Device) -> Result<Case> {
        let set = self.batch_env_steps.map(|steps| format!("rl.replay.batch_env_steps={steps}"));
        let experiment = Experiment::new(resolve(&ExperimentSelection {
            experiment: "hopper-sac".into(),
            env: None,
            rl: Some(self.rl.into()),
            seq: Some(self.seq.into()),
            set: set.into_iter().collect(),
            configs: configs.into(),
        })?)?;
        let episodes = episodes::made_up(&experiment.env.spec(), self.decisions, EPISODES);
        let of_turn = (episodes, self.updates);
        Case::new(self.name.into(), &experiment, &experiment.seq, of_turn, device)
    }
}

/// Measures and prints.
#[expect(clippy::print_stdout, reason = "this is the command's answer")]
pub(in crate::bench) fn run(configs: &Path, compute: Compute, seconds: f64) -> Result<()> {
    tch::set_num_threads(i32::try_from(compute.learner_threads)?);
    let device = compute.device.ready()?;
    let cases = WORKLOADS.iter().map(|workload| workload.case(configs, device));
    let mut cases = cases.collect::<Result<Vec<_>>>()?;
    let turns = cases::measure(&mut cases, seconds)?;
    println!(
        "SAC on single transitions (mlp), RESeL on whole episodes; {} threads, medians of {} turns, \
         ms per update\n",
        compute.learner_threads,
        turns[0].len()
    );
    cases::print(&cases, &turns);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transitions_and_whole_episodes_are_learned_from() {
        let configs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs");
        let episodes = Workload { decisions: 5, ..resel("gru", "resel/gru", 5, 9) };
        for (workload, shape) in [(&WORKLOADS[0], [1, 256]), (&episodes, [5, 2])] {
            let mut case = workload.case(&configs, Device::Cpu).unwrap();
            let before = case.policy.save(1);
            let times = case.turn().unwrap();
            assert_eq!(case.shape, shape);
            assert_ne!(case.policy.save(1), before, "a turn changes the policy");
            assert!(times.update() > std::time::Duration::ZERO);
        }
    }
}
