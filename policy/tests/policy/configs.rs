//! Every part in `configs/seq/` is complete and makes a policy, and every memory layer has one.

use std::collections::BTreeMap;
use std::path::Path;

use engram_mdp::{ActionSpec, Actions, Dtype, EnvSpec, Frames, ObservationSpec, Seed};
use engram_policy::{
    Batched, Inputs, MemoryConfig, Outputs, Policy, PolicyConfig, Returns, parity,
};
use tch::{Device, Kind, Tensor};

use super::{DISCRETE, difference};

/// All sequence models of `configs/seq`, by name: a file in a folder has the folder's in front.
pub(super) fn configs() -> BTreeMap<String, PolicyConfig> {
    let mut configs = BTreeMap::new();
    read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs/seq"), "", &mut configs);
    configs
}

fn read(folder: &Path, prefix: &str, configs: &mut BTreeMap<String, PolicyConfig>) {
    for path in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        let name = format!("{prefix}{}", path.file_stem().unwrap().to_string_lossy());
        if path.is_dir() {
            read(&path, &format!("{name}/"), configs);
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("# "), "{path:?} opens with a comment that says what it is");
        let config = toml::from_str(&text).unwrap_or_else(|error| panic!("{path:?}: {error}"));
        configs.insert(name, config);
    }
}

/// One configuration of every kind of layer among them, by the kind's name.
pub(super) fn memories() -> BTreeMap<String, MemoryConfig> {
    let by_name = |memory: MemoryConfig| {
        let name = serde_json::to_value(&memory).unwrap()["name"].as_str().unwrap().to_owned();
        (name, memory)
    };
    let with_layers = |config: PolicyConfig| {
        let inside = match &config.memory {
            MemoryConfig::Stack(stack) => stack.layers.clone(),
            _ => vec![],
        };
        std::iter::once(config.memory).chain(inside)
    };
    configs().into_values().flat_map(with_layers).map(by_name).collect()
}

#[test]
fn every_sequence_model_in_configs_loads_and_acts() {
    let configs = configs();
    for (name, config) in &configs {
        let spec = parity::spec(config, DISCRETE);
        let policy = Policy::new(config, &spec, Seed::new(1), Device::Cpu).unwrap();
        if let Some(width) = policy.exported_state_width() {
            assert!(width > 0 && width == policy.initial_state(1).width(), "{name}");
        }
        let frames = Frames::first(&spec, 7);
        assert_eq!(frames.previous_actions, Actions::Discrete(vec![0; 7]));
        let inputs = Inputs::from_frames(&frames, &spec, Device::Cpu);
        let (output, state) = policy.step(&inputs, &policy.initial_state(7));
        assert_eq!((output.value().size(), state.batch()), (vec![7], 7));
    }
    assert!(configs.len() > 12 && configs.contains_key("lstm"), "{:?}", configs.keys());
}

fn parameters(
    name: &str,
    observation: ObservationSpec,
    actions: usize,
    outputs: &Outputs,
) -> usize {
    let config = configs().remove(name).unwrap_or_else(|| panic!("configs/seq has no {name}"));
    let action = ActionSpec::Discrete { count: actions };
    let spec =
        EnvSpec { name: "toy".into(), observation, action, frame_stack: 1, action_repeat: 1 };
    let policy =
        Policy::with_outputs(outputs, Kind::Float, &config, &spec, Seed::new(1), Device::Cpu);
    policy.unwrap().parameter_count()
}

fn image(shape: [usize; 3]) -> ObservationSpec {
    ObservationSpec { dtype: Dtype::U8, shape: shape.to_vec() }
}

/// Counted from its sources, twni2016/Memory-RL c9b8b39: the network that learns, without targets.
#[test]
fn memory_rls_networks_have_as_many_parameters_as_the_originals() {
    let returns = Returns::Expected {};
    let q_learning = Outputs::ActionValues { critics: 1, returns };
    let maze = || ObservationSpec { dtype: Dtype::F32, shape: vec![2] };
    for (name, count) in [
        ("memory-rl/lstm", 191_156),
        ("memory-rl/gpt", 298_884),
        ("memory-rl/gpt-2-layers", 497_156),
    ] {
        assert_eq!(parameters(name, maze(), 4, &q_learning), count, "{name}");
    }
    let sac = Outputs::ActorAndActionValues { critics: 2, returns };
    for (name, count) in [
        ("memory-rl/cnn-lstm", 432_424),
        ("memory-rl/cnn-lstm-2-layers", 564_520),
        ("memory-rl/cnn-gpt", 414_660),
        ("memory-rl/cnn-gpt-2-layers", 535_960),
    ] {
        assert_eq!(parameters(name, image([3, 5, 5]), 4, &sac), count, "{name}");
    }
}

/// Counted from its sources, IDSIA/rtrl-elstm b56cade.
#[test]
fn r2acs_networks_have_as_many_parameters_as_the_originals() {
    for (name, shape, actions, count) in [
        ("resnet-elstm-rtrl", [3, 64, 64], 15, 890_448),
        ("resnet-elstm-rtrl", [4, 84, 84], 6, 1_355_223),
        ("resnet-elstm-512-rtrl", [3, 72, 96], 9, 1_647_178),
        ("resnet-elstm-512-tbptt", [3, 72, 96], 9, 1_647_178),
        ("resnet-feedforward", [3, 72, 96], 9, 985_172),
    ] {
        let found = parameters(name, image(shape), actions, &Outputs::ActorCritic {});
        assert_eq!(found, count, "{name} with {shape:?}");
    }
}

/// Counted from its sources, FanmingL/Recurrent-Offpolicy-RL 2f0c012: the whole context encoder.
#[test]
fn resels_memories_have_as_many_parameters_as_the_originals() {
    let memory = |name: &str| {
        let mut config = configs().remove(name).unwrap();
        let observation = ObservationSpec { dtype: Dtype::F32, shape: vec![9] };
        let action = ActionSpec::Continuous { dimensions: 3 };
        let spec =
            EnvSpec { name: "toy".into(), observation, action, frame_stack: 1, action_repeat: 1 };
        config.head.hidden.clear();
        let policy = Policy::new(&config, &spec, Seed::new(1), Device::Cpu).unwrap();
        let parts = policy.weights().iter().filter(|(name, _)| name.starts_with("memory."));
        parts.map(|(_, weight)| weight.numel()).sum::<usize>()
    };
    // Layers before and behind it, of which the latter has 128 cells.
    let around = |inputs: usize, width: usize| (inputs * 128 + 1) * width + (width + 1) * 128;
    assert_eq!(memory("resel/mamba"), around(3, 256) + 645_888);
    let block = 4 * (512 * 512 + 512) + 2 * 512 * 2048 + 2048 + 512 + 4 * 512;
    assert_eq!(memory("resel/gpt"), around(4, 512) + 4 * block + 2 * 512 + 513 * 512);
    assert_eq!(memory("resel/gru"), around(3, 256) + 3 * 256 * (256 + 256 + 2));
}

#[test]
fn memory_rls_networks_start_as_the_originals_do() {
    let spec = |observation| {
        let action = ActionSpec::Discrete { count: 4 };
        EnvSpec { name: "toy".into(), observation, action, frame_stack: 1, action_repeat: 1 }
    };
    let sac = Outputs::ActorAndActionValues { critics: 2, returns: Returns::Expected {} };
    let start = |name: &str, observation| {
        let config = configs().remove(name).unwrap();
        let (spec, seed) = (spec(observation), Seed::new(1));
        Policy::with_outputs(&sac, Kind::Float, &config, &spec, seed, Device::Cpu).unwrap()
    };
    let maze = ObservationSpec { dtype: Dtype::F32, shape: vec![2] };
    for (name, observation) in [
        ("memory-rl/lstm", maze.clone()),
        ("memory-rl/cnn-lstm-2-layers", image([3, 5, 5])),
        ("memory-rl/gpt", maze),
        ("memory-rl/cnn-gpt-2-layers", image([3, 5, 5])),
    ] {
        for (weight, tensor) in start(name, observation).weights() {
            let (weight, tensor) = (weight.as_str(), tensor.detach().to_kind(Kind::Double));
            let largest = tensor.abs().max().double_value(&[]);
            let label = format!("{name} {weight}: {largest}");
            let recurrent = weight.starts_with("memory.weight_");
            let head = ["policy.", "action_values."].iter().any(|part| weight.starts_with(part));
            let last = weight.contains(".2.") && head;
            match weight {
                // Orthonormal columns: there are four gates for each cell or input.
                _ if recurrent => {
                    let eye = Tensor::eye(tensor.size()[1], (Kind::Double, Device::Cpu));
                    assert!(difference(&tensor.tr().matmul(&tensor), &eye) < 1e-5, "{label}");
                }
                _ if last => {
                    let bound = if weight.starts_with("policy.") { 1e-3 } else { 3e-3 };
                    let few = weight.ends_with(".bias");
                    assert!(largest <= bound && (few || largest > 0.9 * bound), "{label}");
                }
                _ if head && weight.ends_with(".bias") => {
                    assert!((tensor - 0.1).abs().max().double_value(&[]) < 1e-8, "{label}");
                }
                _ if head => {
                    let bound = 1.0 / 256f64.sqrt();
                    assert!(largest <= bound && largest > 0.99 * bound, "{label}");
                }
                _ if weight.starts_with("memory.") && weight.ends_with("bias") => {
                    assert!(largest == 0.0, "{label}");
                }
                _ if weight.starts_with("memory.bias_") => assert!(largest == 0.0, "{label}"),
                _ if weight.starts_with("memory.blocks.") && !weight.contains("norm") => {
                    let spread = tensor.std(true).double_value(&[]);
                    assert!((spread - 0.02).abs() < 1e-3, "{label}, {spread}");
                }
                _ => {}
            }
        }
    }
}

#[test]
fn every_memory_layer_has_a_configuration() {
    // Of names that do not exist, serde's message lists those that do.
    let unknown = serde_json::from_str::<MemoryConfig>(r#"{"name": "?"}"#);
    let message = unknown.unwrap_err().to_string();
    let layers: Vec<&str> = message.split('`').skip(3).step_by(2).collect();
    assert!(layers.len() > 10 && layers.contains(&"lstm"), "{message}");
    let found = memories();
    for layer in layers {
        assert!(found.contains_key(layer), "no file of configs/seq has memory.name = {layer:?}");
    }
}
