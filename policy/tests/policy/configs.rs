//! Every part in `configs/seq/` is complete and makes a policy.

use std::path::Path;

use engram_mdp::{Actions, Dtype, EnvSpec, Frames, ObservationSpec, Seed};
use engram_policy::{Inputs, MemoryConfig, Policy, PolicyConfig, TorsoConfig};
use tch::Device;

use super::DISCRETE;

#[test]
fn every_sequence_model_in_configs_loads_and_acts() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs/seq");
    let mut names = vec![];
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("# "), "{path:?} opens with a comment that says what it is");
        let config: PolicyConfig =
            toml::from_str(&text).unwrap_or_else(|error| panic!("{path:?}: {error}"));
        let observation = match config.torso {
            TorsoConfig::Cnn { .. } | TorsoConfig::ImpalaResnet { .. } => {
                ObservationSpec { dtype: Dtype::U8, shape: vec![3, 5, 5] }
            }
            _ => ObservationSpec { dtype: Dtype::F32, shape: vec![6] },
        };
        let (name, action) = ("toy".into(), DISCRETE);
        let spec = EnvSpec { name, observation, action, action_repeat: 1 };
        let policy = Policy::new(&config, &spec, Seed::new(1), Device::Cpu).unwrap();
        // What attention and state spaces carry stays at home, see `Memory::exports_state`.
        let travels = !matches!(
            config.memory,
            MemoryConfig::None {}
                | MemoryConfig::Cgpt { .. }
                | MemoryConfig::Gpt2 { .. }
                | MemoryConfig::Mamba { .. }
        );
        assert_eq!(policy.exported_state_width().is_some(), travels);
        let frames = Frames::first(&spec, 7);
        assert_eq!(frames.previous_actions, Actions::Discrete(vec![0; 7]));
        let inputs = Inputs::from_frames(&frames, &spec, Device::Cpu);
        let (output, state) = policy.step(&inputs, &policy.initial_state(7));
        assert_eq!((output.value().size(), state.batch()), (vec![7], 7));
        names.push(path.file_stem().unwrap().to_string_lossy().into_owned());
    }
    assert!(names.len() > 12 && names.contains(&"lstm".to_owned()), "{names:?}");
}
