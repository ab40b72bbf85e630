//! Policies, frames and what they say of them, for Python to compute again:
//!
//! ```text
//! cargo run -p engram-policy --example policies_for_python FOLDER
//! python3 policy/python/check.py FOLDER
//! ```
//!
//! One of every example of every layer, and every sequence model of `configs/seq`. Each becomes
//! `NAME.safetensors`, as a learner would write it, and `NAME.json`: T moments of B environments.

#![allow(clippy::print_stdout, clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::Path;

use engram_mdp::{ActionSpec, Dtype, EnvSpec, ObservationSpec, Seed};
use engram_policy::{Distribution, Inputs, Policy, PolicyConfig, TorsoConfig};
use serde_json::json;
use tch::{Device, Kind, Tensor};

const TIME: i64 = 20;
const BATCH: i64 = 3;
const DISCRETE: ActionSpec = ActionSpec::Discrete { count: 4 };
const CONTINUOUS: ActionSpec = ActionSpec::Continuous { dimensions: 2 };

fn main() {
    let folder = std::env::args().nth(1).expect("a folder to write to");
    std::fs::create_dir_all(&folder).unwrap();
    let all = policies();
    for (name, (config, action)) in &all {
        let policy = Policy::new(config, &spec(config, *action), Seed::new(1), Device::Cpu);
        let policy = policy.unwrap_or_else(|error| panic!("{name}: {error}"));
        let path = Path::new(&folder).join(name);
        std::fs::write(path.with_extension("safetensors"), policy.save(0)).unwrap();
        let said = serde_json::to_vec(&say(&policy)).unwrap();
        std::fs::write(path.with_extension("json"), said).unwrap();
    }
    println!("{} policies in {folder}", all.len());
}

fn policies() -> BTreeMap<String, (PolicyConfig, ActionSpec)> {
    let mut policies = BTreeMap::new();
    collect(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs/seq"), "", &mut policies);
    policies
}

/// Policies of the files of a folder and of those below it, whose names the folder's name precedes.
fn collect(
    folder: &Path,
    prefix: &str,
    policies: &mut BTreeMap<String, (PolicyConfig, ActionSpec)>,
) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = format!("{prefix}{}", path.file_stem().unwrap().to_string_lossy());
        if path.is_dir() {
            collect(&path, &format!("{name}-"), policies);
            continue;
        }
        let config: PolicyConfig =
            toml::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        let config = PolicyConfig { torso: config.torso.in_single_precision(), ..config };
        for (i, memory) in config.memory.examples(6).into_iter().enumerate() {
            let example = PolicyConfig { memory, ..config.clone() };
            policies.insert(format!("{name}-{i}"), (example, CONTINUOUS));
        }
        policies.insert(name, (config, DISCRETE));
    }
}

fn spec(config: &PolicyConfig, action: ActionSpec) -> EnvSpec {
    let (observation, frame_stack) = match config.torso {
        TorsoConfig::Cnn { .. } | TorsoConfig::ImpalaResnet { .. } => {
            let side = config.torso.least_side().max(5);
            (ObservationSpec { dtype: Dtype::U8, shape: vec![3, side, side + 1] }, 2)
        }
        _ => (ObservationSpec { dtype: Dtype::F32, shape: vec![6] }, 1),
    };
    EnvSpec { name: "toy".into(), observation, action, frame_stack, action_repeat: 1 }
}

/// Frames of several episodes, and what a policy says of them, step by step.
fn say(policy: &Policy) -> serde_json::Value {
    let spec = policy.spec();
    let begins = |t: i64, b: i64| t == 0 || (t + 3 * b) % 7 == 0;
    let mut state = policy.initial_state(BATCH);
    let moments = (0..TIME).map(|t| {
        let first: Vec<bool> = (0..BATCH).map(|b| begins(t, b)).collect();
        let kept: Vec<f32> = first.iter().map(|&first| f32::from(!first)).collect();
        let kept = Tensor::from_slice(&kept);
        let shape: Vec<i64> = spec.observation.shape.iter().map(|&side| side as i64).collect();
        let waves = waves(t, &[vec![BATCH], shape].concat());
        let observation = match spec.observation.dtype {
            Dtype::F32 => waves,
            Dtype::U8 => ((waves + 1.0) * 127.0).to_kind(Kind::Uint8),
        };
        let action = match spec.action {
            ActionSpec::Discrete { count } => {
                let action = (waves_of(t) + 1.0) * (count as f64 / 2.0) * &kept;
                action.to_kind(Kind::Int64).clamp(0, count as i64 - 1)
            }
            ActionSpec::Continuous { dimensions } => {
                crate::waves(t + 1, &[BATCH, dimensions as i64]) * kept.unsqueeze(1)
            }
        };
        let reward = waves_of(t + 2) * 2.0 * kept;
        let copies = [&observation, &action, &reward].map(|tensor| tensor.copy());
        let [o, a, r] = copies;
        let (output, next) = policy.step(&Inputs::new(o, a, r, first.clone()), &state);
        state = next;
        let said = match &output.distribution {
            Distribution::Gaussian { mean, .. } => mean,
            Distribution::Categorical { logits } => logits,
            Distribution::Greedy { values } => values,
            Distribution::Deterministic { raw } => raw,
        };
        json!({
            "observation": numbers(&observation),
            "previous_action": numbers(&action),
            "previous_reward": numbers(&reward),
            "first": first,
            "policy": numbers(said),
            "value": numbers(output.value()),
        })
    });
    serde_json::Value::Array(moments.collect())
}

fn waves_of(t: i64) -> Tensor {
    waves(t, &[BATCH])
}

/// Numbers within ±1.
fn waves(t: i64, shape: &[i64]) -> Tensor {
    let count: i64 = shape.iter().product();
    let numbers: Vec<f32> = (0..count).map(|i| (1.3 * t as f32 + 0.7 * i as f32).sin()).collect();
    Tensor::from_slice(&numbers).view(shape)
}

fn numbers(tensor: &Tensor) -> Vec<f64> {
    Vec::try_from(tensor.detach().to_kind(Kind::Double).flatten(0, -1)).unwrap()
}
