//! Parts of a trained policy in another: loaded, and frozen.

use engram_mdp::{EnvSpec, Seed};
use engram_policy::memory::elstm::ElstmConfig;
use engram_policy::{
    Batched, Gradient, Inputs, Loaded, MemoryConfig, Policy, PolicyConfig, PolicyError, TorsoConfig,
};
use safetensors::SafeTensors;
use tch::{Device, Kind, Tensor};

use super::{CONTINUOUS, DISCRETE, config, difference, frames, numbers, real_time_memories, spec};

fn elstm(gradient: Gradient) -> PolicyConfig {
    config(MemoryConfig::Elstm(ElstmConfig { hidden: 6, gradient, forget_bias: 0.5 }))
}

fn fresh(config: &PolicyConfig, spec: &EnvSpec, seed: u64) -> Policy {
    Policy::new(config, spec, Seed::new(seed), Device::Cpu).unwrap()
}

fn parts(names: &[&str]) -> Vec<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

/// The names of the tensors in which two weights files of one network differ.
fn changed(before: &[u8], after: &[u8]) -> Vec<String> {
    let before = SafeTensors::deserialize(before).unwrap();
    let after = SafeTensors::deserialize(after).unwrap();
    let differs =
        |name: &&str| before.tensor(name).unwrap().data() != after.tensor(name).unwrap().data();
    let mut names: Vec<String> =
        before.names().into_iter().filter(differs).map(str::to_owned).collect();
    names.sort();
    names
}

#[test]
fn named_parts_come_from_another_policy_and_all_else_stays() {
    // Another environment, another way to compute gradients: equal below `torso` and `memory`.
    let other = elstm(Gradient::Tbptt);
    let donor = EnvSpec { name: "donor".into(), ..spec(DISCRETE) };
    let donor = fresh(&other, &donor, 2);
    let mut policy = fresh(&elstm(Gradient::Rtrl), &spec(DISCRETE), 1);
    let before = policy.save(0);
    let loaded = policy.init_from(&donor.save(9), &parts(&["torso", "memory.output_gate"]));
    // 3 -> 5 and its bias; 5 + 4 + 1 inputs and 6 cells -> 6, and its bias.
    assert_eq!(loaded.unwrap(), Loaded { tensors: 4, numbers: 20 + 16 * 6 + 6 });
    let names =
        ["memory.output_gate.bias", "memory.output_gate.weight", "torso.0.bias", "torso.0.weight"];
    assert_eq!(changed(&before, &policy.save(0)), names);
    let rest = ["memory.bias", "memory.input_weight", "memory.recurrent_weight"];
    let heads = ["policy.0.weight", "policy.0.bias", "value.0.weight", "value.0.bias"];
    let mut different = changed(&donor.save(0), &policy.save(0));
    different.retain(|name| !rest.contains(&name.as_str()) && !heads.contains(&name.as_str()));
    assert!(different.is_empty(), "{different:?} should be the donor's");
}

#[test]
fn parts_of_another_shape_are_refused_with_both_shapes_and_change_nothing() {
    let donor = fresh(&elstm(Gradient::Rtrl), &spec(CONTINUOUS), 2).save(0);
    let mut policy = fresh(&elstm(Gradient::Rtrl), &spec(DISCRETE), 1);
    let before = policy.save(0);
    let refuse = |policy: &mut Policy, donor: &[u8], names: &[&str]| {
        let error = policy.init_from(donor, &parts(names)).unwrap_err();
        assert!(matches!(error, PolicyError::Tensor { .. }));
        error.to_string()
    };
    // Four actions one-hot against two numbers: 10 and 8 inputs.
    let message = refuse(&mut policy, &donor, &["torso", "memory.input_weight"]);
    assert!(message.contains("`memory.input_weight`"), "{message}");
    assert!(message.contains("[12, 8]") && message.contains("[12, 10]"), "{message}");
    // A tensor that only one side has, whichever it is.
    let message = refuse(&mut policy, &donor, &["torso", "policy.0.bias", "policy"]);
    assert!(message.contains("`policy.log_std` is there"), "{message}");
    let mut deeper = elstm(Gradient::Rtrl);
    deeper.torso = TorsoConfig::Identity {};
    let donor = fresh(&deeper, &spec(DISCRETE), 2).save(0);
    let message = refuse(&mut policy, &donor, &["value", "torso"]);
    assert!(message.contains("`torso.0.weight` is not there"), "{message}");
    assert_eq!(policy.save(0), before, "the policy stays as it was");
}

#[test]
fn parts_that_name_nothing_are_refused_with_those_there_are() {
    let mut policy = fresh(&elstm(Gradient::Rtrl), &spec(DISCRETE), 1);
    let bytes = policy.save(0);
    for part in ["memory.output", "torso.", "", "critic"] {
        let names = parts(&["torso", part]);
        for error in
            [policy.init_from(&bytes, &names).unwrap_err(), policy.freeze(&names).unwrap_err()]
        {
            let message = error.to_string();
            assert!(message.contains(&format!("`{part}`")), "{message}");
            let known = "memory, memory.output_gate, policy, policy.0, torso, torso.0, value";
            assert!(message.contains(known), "{message}");
        }
    }
    assert_eq!(policy.trainable().len(), 11, "nothing is frozen");
}

/// One step of gradient descent.
fn update(policy: &Policy, inputs: &Inputs) -> Vec<String> {
    let batch = inputs.leading()[1];
    let width = policy.exported_state_width().unwrap_or(0) as i64;
    let flat = Tensor::zeros([batch, width], (Kind::Float, Device::Cpu));
    let unrolled = policy.unroll_streams(inputs, &flat, policy.initial_carry(batch)).unwrap();
    let learning = policy.trainable();
    let loss = numbers(&unrolled.output).square().sum(Kind::Float);
    let (gradients, _) = policy.gradient(&loss, unrolled.context);
    tch::no_grad(|| {
        for ((_, weight), gradient) in learning.iter().zip(&gradients) {
            let _ = weight.shallow_clone().g_sub_(&(gradient * 0.1));
        }
    });
    learning.into_iter().map(|(name, _)| name).collect()
}

#[test]
fn frozen_parts_keep_their_values_while_the_others_learn() {
    for memory in real_time_memories(6) {
        for frozen in ["torso", "memory", "value"] {
            let mut policy = fresh(&config(memory.clone()), &spec(DISCRETE), 1);
            let all = policy.trainable();
            policy.freeze(&parts(&[frozen])).unwrap();
            let before = policy.save(0);
            let inputs = frames(&mut Seed::new(2).generator(), 5, 3, DISCRETE);
            let mut learned = update(&policy, &inputs);
            learned.sort();
            assert_eq!(changed(&before, &policy.save(0)), learned, "{frozen} frozen");
            let below = |name: &str| name == frozen || name.starts_with(&format!("{frozen}."));
            assert!(learned.len() < all.len() && learned.iter().all(|name| !below(name)));
            for (name, weight) in &all {
                assert_eq!(weight.requires_grad(), !below(name), "{name}");
                assert!(!weight.grad().defined());
            }
        }
    }
}

#[test]
fn a_frozen_parts_weights_are_saved_and_loaded_as_ever() {
    let mut policy = fresh(&elstm(Gradient::Rtrl), &spec(DISCRETE), 1);
    policy.freeze(&parts(&["torso", "memory"])).unwrap();
    let bytes = fresh(&elstm(Gradient::Rtrl), &spec(DISCRETE), 2).save(7);
    assert_eq!(policy.load(&bytes).unwrap(), 7);
    assert_eq!(policy.save(7), bytes);
    assert_eq!(policy.trainable().len(), 4, "loading thaws nothing");
    let count = fresh(&elstm(Gradient::Rtrl), &spec(DISCRETE), 2).parameter_count();
    assert_eq!(policy.parameter_count(), count);
}

#[test]
fn freezing_one_part_leaves_the_gradients_of_the_others_as_they_were() {
    for frozen in ["torso", "memory"] {
        let [free, mut held] = [(); 2].map(|()| fresh(&elstm(Gradient::Rtrl), &spec(DISCRETE), 1));
        held.freeze(&parts(&[frozen])).unwrap();
        let inputs = frames(&mut Seed::new(3).generator(), 5, 3, DISCRETE);
        let mut generator = Seed::new(4).generator();
        let carry = free.initial_carry(3);
        let noise = super::random(&mut generator, &[3, carry.width() as i64]);
        let state = super::random(&mut generator, &[3, 6]);
        let gradients = [&free, &held].map(|policy| {
            // Of its own: an unroll uses up what it is given.
            let carry = policy.initial_carry(1).unflatten(&noise.copy()).unwrap();
            let unrolled = policy.unroll_streams(&inputs, &state, carry).unwrap();
            let loss = numbers(&unrolled.output).square().sum(Kind::Float);
            let (gradients, _) = policy.gradient(&loss, unrolled.context);
            let named = held.trainable();
            let weights = policy.trainable().into_iter().zip(gradients);
            weights
                .filter(|((name, _), _)| named.iter().any(|(n, _)| n == name))
                .map(|(_, gradient)| gradient)
                .collect::<Vec<Tensor>>()
        });
        for (free, held) in gradients[0].iter().zip(&gradients[1]) {
            assert!(difference(free, held) < 1e-5, "{frozen} frozen");
        }
    }
}
