//! Weights that describe themselves.

use engram_mdp::{EnvSpec, Seed};
use engram_policy::memory::lstm::LstmConfig;
use engram_policy::{Initialization, MemoryConfig, Policy, PolicyConfig, PolicyError};
use safetensors::SafeTensors;
use tch::{Device, Kind};

use super::{CONTINUOUS, DISCRETE, config, frames, memories, numbers, policy, spec};

fn fresh(config: &PolicyConfig, spec: &EnvSpec, seed: u64) -> Policy {
    Policy::new(config, spec, Seed::new(seed), Device::Cpu).unwrap()
}

fn lstm() -> PolicyConfig {
    config(MemoryConfig::Lstm(LstmConfig {
        hidden: 6,
        layers: 1,
        forget_bias: 0.0,
        init: Initialization::FAN_IN,
        bf16: false,
    }))
}

#[test]
fn weights_come_back_bit_by_bit() {
    for action in [DISCRETE, CONTINUOUS] {
        for memory in memories(6) {
            let saved = policy(Kind::Float, memory, action);
            let bytes = saved.save(41);
            assert_eq!(bytes, saved.save(41), "equal policies give equal bytes");
            let read = Policy::from_weights(&bytes, Device::Cpu).unwrap();
            assert_eq!((read.config(), read.spec()), (saved.config(), saved.spec()));
            assert_eq!(read.save(41), bytes);
            let mut other = fresh(saved.config(), saved.spec(), 77);
            assert_ne!(other.save(41), bytes);
            assert_eq!(other.load(&bytes).unwrap(), 41);
            assert_eq!(other.save(41), bytes);
            let inputs = frames(&mut Seed::new(1).generator(), 3, 2, action);
            let outputs = [&saved, &other]
                .map(|policy| numbers(&policy.unroll(&inputs, &policy.initial_state(2)).0));
            assert_eq!(outputs[0], outputs[1]);
        }
    }
}

#[test]
fn loading_changes_the_tensors_that_an_optimizer_holds() {
    let mut policy = fresh(&lstm(), &spec(DISCRETE), 1);
    let held = policy.trainable();
    policy.load(&fresh(&lstm(), &spec(DISCRETE), 2).save(3)).unwrap();
    for ((_, held), (_, now)) in held.iter().zip(policy.trainable()) {
        assert_eq!(held.data_ptr(), now.data_ptr());
        assert!(now.requires_grad());
    }
}

#[test]
fn the_metadata_tells_any_reader_what_the_weights_are() {
    let policy = fresh(&lstm(), &spec(DISCRETE), 1);
    let bytes = policy.save(12);
    let (_, metadata) = SafeTensors::read_metadata(&bytes).unwrap();
    let about = &metadata.metadata().as_ref().unwrap()["engram"];
    let about: serde_json::Value = serde_json::from_str(about).unwrap();
    assert_eq!(about["version"], 12);
    assert_eq!(about["config"]["memory"]["name"], "lstm");
    assert_eq!(about["spec"]["name"], "toy");
    let file = SafeTensors::deserialize(&bytes).unwrap();
    assert_eq!(file.tensor("memory.weight_hh_l0").unwrap().shape(), [24, 6]);
    assert_eq!(file.len(), policy.trainable().len());
}

#[test]
fn weights_of_another_environment_are_refused_with_both_in_the_message() {
    let mut policy = fresh(&lstm(), &spec(DISCRETE), 1);
    let before = policy.save(0);
    let error = policy.load(&fresh(&lstm(), &spec(CONTINUOUS), 1).save(5)).unwrap_err();
    assert!(matches!(error, PolicyError::OtherSpec { .. }));
    let message = error.to_string();
    assert!(message.contains("4 discrete actions"), "{message}");
    assert!(message.contains("2-dimensional continuous actions"), "{message}");
    assert_eq!(policy.save(0), before, "the policy stays as it was");
}

#[test]
fn weights_of_another_network_are_refused_with_both_networks_in_the_message() {
    let mut policy = fresh(&lstm(), &spec(DISCRETE), 1);
    let wider = config(MemoryConfig::Lstm(LstmConfig {
        hidden: 7,
        layers: 1,
        forget_bias: 0.0,
        init: Initialization::FAN_IN,
        bf16: false,
    }));
    let message = policy.load(&fresh(&wider, &spec(DISCRETE), 1).save(5)).unwrap_err().to_string();
    assert!(message.contains("\"hidden\":6") && message.contains("\"hidden\":7"), "{message}");
}

#[test]
fn torn_and_foreign_bytes_are_refused_and_change_nothing() {
    let mut policy = fresh(&lstm(), &spec(DISCRETE), 1);
    let before = policy.save(0);
    let good = fresh(&lstm(), &spec(DISCRETE), 2).save(5);
    for torn in [&good[..good.len() - 1], &good[..40], &[][..], &b"no weights at all"[..]] {
        assert!(policy.load(torn).is_err());
        assert!(Policy::from_weights(torn, Device::Cpu).is_err());
    }
    let unsaid = safetensors::serialize::<&str, safetensors::tensor::TensorView<'_>, _>([], None);
    let message = policy.load(&unsaid.unwrap()).unwrap_err().to_string();
    assert!(message.contains("do not describe themselves"), "{message}");
    assert_eq!(policy.save(0), before);
}

#[test]
fn tensors_that_belie_their_description_are_refused_by_name() {
    let mut policy = fresh(&lstm(), &spec(DISCRETE), 1);
    let before = policy.save(0);
    let bytes = policy.save(1);
    let (_, metadata) = SafeTensors::read_metadata(&bytes).unwrap();
    let about = metadata.metadata().clone();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let mut tensors = file.tensors();
    tensors.retain(|(name, _)| name != "value.0.bias");
    let message = policy.load(&safetensors::serialize(tensors.clone(), about.clone()).unwrap());
    let message = message.unwrap_err().to_string();
    assert!(message.contains("`value.0.bias` is not there"), "{message}");
    let other = file.tensor("policy.0.bias").unwrap();
    tensors.push(("value.0.bias".into(), other));
    let message = policy.load(&safetensors::serialize(tensors, about).unwrap());
    let message = message.unwrap_err().to_string();
    assert!(message.contains("[4]") && message.contains("[1]"), "{message}");
    assert_eq!(policy.save(0), before);
}

/// Weights that say of themselves that their layers are as wide as can be: a network like that
/// takes more memory than most machines have.
#[test]
fn a_description_of_a_huge_network_costs_nothing() {
    for memory in memories(6) {
        let bytes = policy(Kind::Float, memory, DISCRETE).save(1);
        let (_, metadata) = SafeTensors::read_metadata(&bytes).unwrap();
        let mut about = metadata.metadata().clone().unwrap();
        let huge = |text: &String| {
            let wide = |key| text.replace(&format!("\"{key}\":6"), &format!("\"{key}\":61440"));
            ["hidden", "width"].map(wide).into_iter().find(|wide| wide != text)
        };
        let Some(huge) = huge(&about["engram"]) else { continue };
        about.insert("engram".into(), huge);
        let tensors = SafeTensors::deserialize(&bytes).unwrap().tensors();
        let bytes = safetensors::serialize(tensors, Some(about)).unwrap();
        let refused = Policy::from_weights(&bytes, Device::Cpu);
        assert!(matches!(refused, Err(PolicyError::Tensor { .. })), "{:?}", refused.err());
    }
}

#[test]
fn a_seed_decides_the_weights_whatever_else_the_process_draws() {
    let one = fresh(&lstm(), &spec(DISCRETE), 5).save(0);
    tch::manual_seed(1);
    let _ = tch::Tensor::rand([10], (Kind::Float, Device::Cpu));
    assert_eq!(fresh(&lstm(), &spec(DISCRETE), 5).save(0), one);
    assert_ne!(fresh(&lstm(), &spec(DISCRETE), 6).save(0), one);
}

#[test]
fn a_policy_can_move_to_another_thread() {
    let policy = fresh(&lstm(), &spec(DISCRETE), 5);
    let count = policy.parameter_count();
    assert_eq!(std::thread::spawn(move || policy.parameter_count()).join().unwrap(), count);
}
