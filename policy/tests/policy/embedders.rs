//! Embedders in front of every memory layer: what they compute, their gradients, and their weights
//! by name.

use engram_mdp::Seed;
use engram_policy::memory::none::NoneConfig;
use engram_policy::{
    Activation, EmbedConfig, Initialization, MemoryConfig, MemoryInput, Policy, PolicyConfig,
    TorsoConfig,
};
use safetensors::SafeTensors;
use tch::{Device, Kind, Tensor};

use super::gradients::equal_finite_differences;
use super::memories::{states_differ, walk};
use super::{
    CONTINUOUS, DISCRETE, config, difference, frames, memories, numbers, random, some_state, spec,
};

/// The tests' network with an embedder for each input.
fn embedded(memory: MemoryConfig) -> PolicyConfig {
    let embed = EmbedConfig {
        previous_observation: None,
        observation: Some(4),
        previous_action: Some(3),
        previous_reward: Some(2),
        activation: Activation::Elu,
        init: Initialization::FAN_IN,
    };
    PolicyConfig { embed: Some(embed), ..config(memory) }
}

fn policy(kind: Kind, config: &PolicyConfig, seed: u64) -> Policy {
    tch::set_num_threads(1);
    Policy::of_kind(kind, config, &spec(CONTINUOUS), Seed::new(seed), Device::Cpu).unwrap()
}

fn none() -> MemoryConfig {
    MemoryConfig::None(NoneConfig {})
}

fn weight(policy: &Policy, name: &str) -> Tensor {
    policy.weights().iter().find(|(n, _)| n == name).unwrap().1.detach()
}

#[test]
fn the_memory_is_fed_what_a_linear_layer_and_its_activation_make_of_each_input() {
    for activation in [Activation::Relu, Activation::Tanh, Activation::Elu, Activation::Identity] {
        let of = |x: Tensor| match activation {
            Activation::Relu => x.clamp_min(0.0),
            Activation::Tanh => x.tanh(),
            Activation::Elu => x.clamp_min(0.0) + x.clamp_max(0.0).exp() - 1.0,
            Activation::Identity => x,
        };
        let mut config = embedded(none());
        config.torso = TorsoConfig::Identity {};
        config.embed.as_mut().unwrap().activation = activation;
        config.inputs[2] = MemoryInput::ClippedPreviousReward;
        let policy = policy(Kind::Double, &config, 1);
        let inputs = frames(&mut Seed::new(2).generator(), 5, 3, CONTINUOUS);
        let _ = inputs.previous_reward.shallow_clone().g_mul_scalar_(3.0);
        let (fed, _) = policy.remember(&inputs, &policy.initial_state(3));
        let embed = |name: &str, x: Tensor| {
            let part = |part: &str| weight(&policy, &format!("embed.{name}.{part}"));
            of(x.to_kind(Kind::Double).matmul(&part("weight").tr()) + part("bias"))
        };
        let expected = Tensor::cat(
            &[
                embed("observation", inputs.observation.shallow_clone()),
                embed("previous_action", inputs.previous_action.shallow_clone()),
                embed("previous_reward", inputs.previous_reward.clamp(-1.0, 1.0).unsqueeze(-1)),
            ],
            -1,
        );
        assert_eq!(fed.size(), [5, 3, 9]);
        assert!(difference(&fed, &expected) < 1e-12, "{activation:?}");
    }
}

#[test]
fn an_input_without_a_width_goes_in_as_it_is() {
    let mut config = embedded(none());
    config.torso = TorsoConfig::Identity {};
    let embed = config.embed.as_mut().unwrap();
    (embed.observation, embed.previous_reward) = (None, None);
    let policy = policy(Kind::Double, &config, 1);
    let inputs = frames(&mut Seed::new(2).generator(), 5, 3, CONTINUOUS);
    let (fed, _) = policy.remember(&inputs, &policy.initial_state(3));
    assert_eq!(fed.size(), [5, 3, 3 + 3 + 1]);
    let double = |x: &Tensor| x.to_kind(Kind::Double);
    assert_eq!(fed.narrow(-1, 0, 3), double(&inputs.observation));
    assert_eq!(fed.narrow(-1, 6, 1), double(&inputs.previous_reward.unsqueeze(-1)));
}

#[test]
fn stepping_equals_unrolling_behind_embedders() {
    for memory in memories(6) {
        let policy = policy(Kind::Double, &embedded(memory), 1);
        let inputs = frames(&mut Seed::new(3).generator(), 7, 4, CONTINUOUS);
        let state = some_state(&policy, 4, Seed::new(4));
        let (stepped, after) = walk(&policy, &inputs, &state);
        let (unrolled, end) = policy.unroll(&inputs, &state);
        assert!(difference(&stepped, &numbers(&unrolled)) < 1e-9);
        assert!(states_differ(&after, &end) < 1e-9);
    }
}

#[test]
fn gradients_of_embedders_equal_finite_differences_below_every_memory() {
    for memory in memories(3) {
        let policy = policy(Kind::Double, &embedded(memory), 1);
        let mut generator = Seed::new(6).generator();
        let inputs = frames(&mut generator, 5, 2, CONTINUOUS);
        let target = random(&mut generator, &[5, 2, 5]);
        let state = some_state(&policy, 2, Seed::new(7));
        let mut embedders = policy.trainable();
        embedders.retain(|(name, _)| name.starts_with("embed."));
        assert_eq!(embedders.len(), 6, "{embedders:?}");
        equal_finite_differences(&policy, &embedders, || {
            let output = numbers(&policy.unroll(&inputs, &state).0);
            (output - &target).square().sum(Kind::Double)
        });
    }
}

#[test]
fn embedders_start_as_their_init_says() {
    let mut config = embedded(none());
    config.embed.as_mut().unwrap().init = Initialization::Orthogonal { gain: 2.0, bias: 0.5 };
    let policy = policy(Kind::Double, &config, 1);
    let (rows, bias) =
        (weight(&policy, "embed.observation.weight"), weight(&policy, "embed.observation.bias"));
    assert_eq!(rows.size(), [4, 5]);
    let eye = Tensor::eye(4, (Kind::Double, Device::Cpu)) * 4.0;
    assert!(difference(&rows.matmul(&rows.tr()), &eye) < 1e-5);
    assert_eq!(bias, bias.full_like(0.5));
}

#[test]
fn embedders_are_saved_loaded_moved_and_frozen_by_name() {
    let parts = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
    let fresh = |seed| policy(Kind::Float, &embedded(memories(6).swap_remove(1)), seed);
    let (donor, mut other) = (fresh(1), fresh(2));
    let bytes = donor.save(3);
    assert_eq!(Policy::from_weights(&bytes, Device::Cpu).unwrap().save(3), bytes);
    let file = SafeTensors::deserialize(&bytes).unwrap();
    assert_eq!(file.tensor("embed.previous_reward.weight").unwrap().shape(), [2, 1]);

    let taken = other.init_from(&bytes, &parts(&["embed.previous_action"])).unwrap();
    assert_eq!((taken.tensors, taken.numbers), (2, 3 * 2 + 3));
    let same = |name: &str| weight(&donor, name) == weight(&other, name);
    assert!(same("embed.previous_action.bias") && !same("embed.observation.bias"));

    other.freeze(&parts(&["embed"])).unwrap();
    assert!(other.trainable().iter().all(|(name, _)| !name.starts_with("embed.")));
    let message = other.freeze(&parts(&["embed.action"])).unwrap_err().to_string();
    assert!(message.contains("embed, embed.observation, embed.previous_action"), "{message}");
    assert_eq!(other.load(&bytes).unwrap(), 3, "frozen parts are loaded as ever");
}

#[test]
fn a_file_with_other_embedders_is_refused_with_both_networks_and_one_without_is_as_before() {
    let lstm = memories(6).swap_remove(1);
    let [with, without] = [embedded(lstm.clone()), config(lstm)];
    let fresh = |config: &PolicyConfig| policy(Kind::Float, config, 1);
    for (mine, foreign) in [(&with, &without), (&without, &with)] {
        let mut policy = fresh(mine);
        let before = policy.save(0);
        let message = policy.load(&fresh(foreign).save(5)).unwrap_err().to_string();
        assert!(message.contains("another network"), "{message}");
        assert!(message.contains("\"embed\":{\"observation\":4"), "{message}");
        assert_eq!(policy.save(0), before, "the policy stays as it was");
    }
    // Files from before there were embedders say nothing about them.
    let bytes = fresh(&without).save(0);
    let (_, metadata) = SafeTensors::read_metadata(&bytes).unwrap();
    let about = &metadata.metadata().as_ref().unwrap()["engram"];
    assert!(!about.contains("embed"), "{about}");
}

#[test]
fn discrete_actions_are_embedded_one_hot_and_the_first_one_of_an_episode_as_zeros() {
    let mut config = embedded(none());
    config.embed.as_mut().unwrap().activation = Activation::Identity;
    let policy =
        Policy::of_kind(Kind::Double, &config, &spec(DISCRETE), Seed::new(1), Device::Cpu).unwrap();
    let inputs = frames(&mut Seed::new(2).generator(), 6, 3, DISCRETE);
    let (fed, _) = policy.remember(&inputs, &policy.initial_state(3));
    let (columns, bias) = (
        weight(&policy, "embed.previous_action.weight").tr(),
        weight(&policy, "embed.previous_action.bias"),
    );
    let rows = columns.index_select(0, &inputs.previous_action.view([-1])).view([6, 3, 3]);
    let kept = inputs.is_first.logical_not().to_kind(Kind::Double).unsqueeze(-1);
    assert!(difference(&fed.narrow(-1, 4, 3), &(rows * kept + bias)) < 1e-12);
}
