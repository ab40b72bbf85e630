//! Every part in `configs/seq/` is complete and makes a policy, and every memory layer has one.

use std::collections::BTreeMap;
use std::path::Path;

use engram_mdp::{ActionSpec, Actions, Dtype, EnvSpec, Frames, ObservationSpec, Seed};
use engram_policy::{Batched, Inputs, MemoryConfig, Policy, PolicyConfig, TorsoConfig};
use tch::Device;

use super::DISCRETE;

/// All sequence models of `configs/seq`, by name.
pub(super) fn configs() -> BTreeMap<String, PolicyConfig> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs/seq");
    let read = |entry: std::io::Result<std::fs::DirEntry>| {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("# "), "{path:?} opens with a comment that says what it is");
        let config = toml::from_str(&text).unwrap_or_else(|error| panic!("{path:?}: {error}"));
        (path.file_stem().unwrap().to_string_lossy().into_owned(), config)
    };
    std::fs::read_dir(folder).unwrap().map(read).collect()
}

/// A small environment that a configuration is for: one of images if it looks at images.
pub(super) fn spec(config: &PolicyConfig, action: ActionSpec) -> EnvSpec {
    let observation = match config.torso {
        TorsoConfig::Cnn { .. } | TorsoConfig::ImpalaResnet { .. } => {
            ObservationSpec { dtype: Dtype::U8, shape: vec![3, 5, 5] }
        }
        _ => ObservationSpec { dtype: Dtype::F32, shape: vec![3] },
    };
    EnvSpec { name: "toy".into(), observation, action, action_repeat: 1 }
}

/// One configuration of every kind of layer among them, by the kind's name.
pub(super) fn memories() -> BTreeMap<String, MemoryConfig> {
    let by_name = |memory: MemoryConfig| {
        let name = serde_json::to_value(&memory).unwrap()["name"].as_str().unwrap().to_owned();
        (name, memory)
    };
    configs().into_values().map(|config| by_name(config.memory)).collect()
}

#[test]
fn every_sequence_model_in_configs_loads_and_acts() {
    let configs = configs();
    for (name, config) in &configs {
        let spec = spec(config, DISCRETE);
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
