//! Memories of one size: the table in the guide, by which they are compared at as many parameters.

use std::path::Path;

use engram_mdp::{ActionSpec, Dtype, EnvSpec, ObservationSpec, Seed};
use engram_policy::{MemoryConfig, MemoryInput, Policy, PolicyConfig, TorsoConfig};
use tch::Device;

use super::configs;

/// Numbers that the memories in the table are fed, and parameters that they are to have.
const FED: usize = 70;
const PARAMETERS: f64 = 100_000.0;

/// The memory of `model` with another number at `key`.
fn resized(model: &PolicyConfig, key: &str, number: u64) -> MemoryConfig {
    let mut memory = serde_json::to_value(&model.memory).unwrap();
    assert!(memory[key].is_u64(), "{memory} has a number at {key}");
    memory[key] = number.into();
    serde_json::from_value(memory).unwrap()
}

/// Parameters of the memory alone.
fn parameters(model: &PolicyConfig, memory: MemoryConfig) -> usize {
    let inputs = vec![MemoryInput::Observation];
    let torso = TorsoConfig::Identity {};
    let alone = PolicyConfig { inputs, torso, embed: None, memory, skip: None, ..model.clone() };
    let spec = EnvSpec {
        name: "toy".into(),
        observation: ObservationSpec { dtype: Dtype::F32, shape: vec![FED] },
        action: ActionSpec::Discrete { count: 2 },
        frame_stack: 1,
        action_repeat: 1,
    };
    let policy = Policy::new(&alone, &spec, Seed::new(1), Device::Cpu).unwrap();
    let own = policy.weights().iter().filter(|(name, _)| name.starts_with("memory."));
    own.map(|(_, weight)| weight.numel()).sum()
}

#[test]
fn the_guides_sizes_have_as_many_parameters_as_it_says() {
    let guide = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/guide/configuration-seq.md");
    let guide = std::fs::read_to_string(guide).unwrap();
    let (_, section) = guide.split_once("## As many parameters").unwrap();
    let section = section.split("\n## ").next().unwrap();
    let models = configs::configs();
    let mut rows = 0;
    // | `preset` | `seq.memory.KEY` | number | parameters |
    for line in section.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<String> =
            line.split('|').map(|cell| cell.replace(['`', ','], "").trim().into()).collect();
        let [_, preset, key, number, count, _] = &cells[..] else { panic!("{line}") };
        let key = key.strip_prefix("seq.memory.").unwrap();
        let memory = resized(&models[preset.as_str()], key, number.parse().unwrap());
        let found = parameters(&models[preset.as_str()], memory);
        assert_eq!(found, count.parse::<usize>().unwrap(), "{line}");
        assert!((found as f64 / PARAMETERS - 1.0).abs() < 0.05, "{line}");
        rows += 1;
    }
    assert!(rows > 10, "only {rows} rows in the table");
}
