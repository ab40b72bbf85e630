//! The observation before as an input of every memory layer, the observation's way around the memory,
//! and dense layers in a stack.

use engram_mdp::Seed;
use engram_policy::memory::dense::DenseConfig;
use engram_policy::memory::none::NoneConfig;
use engram_policy::memory::stack::StackConfig;
use engram_policy::{
    Activation, Batched, EmbedConfig, Initialization, MemoryConfig, MemoryInput, Policy,
    PolicyConfig, SkipConfig, TorsoConfig,
};
use tch::{Device, Kind, Tensor};

use super::gradients::equal_finite_differences;
use super::memories::{states_differ, walk};
use super::{
    CONTINUOUS, config, difference, frames, memories, numbers, random, real_time_memories,
    some_state, spec,
};

/// The tests' network with all inputs that there are, and a skip connection.
fn seeing_before(memory: MemoryConfig) -> PolicyConfig {
    let embed = EmbedConfig {
        observation: Some(4),
        previous_observation: Some(3),
        previous_action: None,
        previous_reward: None,
        activation: Activation::Tanh,
        init: Initialization::FAN_IN,
    };
    let mut config = config(memory);
    config.inputs.insert(1, MemoryInput::PreviousObservation);
    let skip = SkipConfig { observation: 2, init: Initialization::FAN_IN };
    PolicyConfig { embed: Some(embed), skip: Some(skip), ..config }
}

fn policy(kind: Kind, config: &PolicyConfig) -> Policy {
    tch::set_num_threads(1);
    Policy::of_kind(kind, config, &spec(CONTINUOUS), Seed::new(1), Device::Cpu).unwrap()
}

#[test]
fn the_memory_is_fed_the_observation_before_and_zeros_where_an_episode_begins() {
    let mut config = seeing_before(MemoryConfig::None(NoneConfig {}));
    (config.torso, config.embed, config.skip) = (TorsoConfig::Identity {}, None, None);
    config.inputs = vec![MemoryInput::Observation, MemoryInput::PreviousObservation];
    let policy = policy(Kind::Double, &config);
    let inputs = frames(&mut Seed::new(2).generator(), 6, 3, CONTINUOUS);
    let state = some_state(&policy, 3, Seed::new(3));
    let (fed, after) = policy.remember(&inputs, &state);
    assert_eq!(fed.size(), [6, 3, 6]);
    let seen = inputs.observation.to_kind(Kind::Double);
    assert_eq!(fed.narrow(-1, 0, 3), seen);
    let shifted = Tensor::cat(&[state.columns()[0].unsqueeze(0), seen.narrow(0, 0, 5)], 0);
    let kept = inputs.is_first.logical_not().to_kind(Kind::Double).unsqueeze(-1);
    assert_eq!(fed.narrow(-1, 3, 3), shifted * kept);
    assert!(inputs.is_first.any().int64_value(&[]) == 1, "an episode begins somewhere");
    assert_eq!(after.columns()[0], &seen.get(5));
    assert_eq!(policy.exported_state_width(), Some(3), "it travels with trajectories");
}

#[test]
fn stepping_equals_unrolling_for_every_memory_that_sees_the_observation_before() {
    for memory in memories(6) {
        let policy = policy(Kind::Double, &seeing_before(memory));
        let inputs = frames(&mut Seed::new(3).generator(), 7, 4, CONTINUOUS);
        let state = some_state(&policy, 4, Seed::new(4));
        let (stepped, after) = walk(&policy, &inputs, &state);
        let (unrolled, end) = policy.unroll(&inputs, &state);
        assert!(difference(&stepped, &numbers(&unrolled)) < 1e-9);
        assert!(states_differ(&after, &end) < 1e-9);
    }
}

#[test]
fn gradients_equal_finite_differences_below_every_memory() {
    for memory in memories(3) {
        let policy = policy(Kind::Double, &seeing_before(memory));
        let mut generator = Seed::new(6).generator();
        let inputs = frames(&mut generator, 5, 2, CONTINUOUS);
        let target = random(&mut generator, &[5, 2, 5]);
        let state = some_state(&policy, 2, Seed::new(7));
        let mut weights = policy.trainable();
        weights.retain(|(name, _)| !name.starts_with("memory."));
        let named = |part: &str| weights.iter().any(|(name, _)| name.starts_with(part));
        assert!(named("embed.previous_observation") && named("skip") && named("torso"));
        equal_finite_differences(&policy, &weights, || {
            let output = numbers(&policy.unroll(&inputs, &state).0);
            (output - &target).square().sum(Kind::Double)
        });
    }
}

/// Two unrolls of streams, the second from the first one's carry, have the gradient of one unroll of
/// all their frames, for the weights of a memory with RTRL.
#[test]
fn exact_gradients_reach_back_before_an_unroll_all_the_same() {
    for memory in real_time_memories(4) {
        let policy = policy(Kind::Double, &seeing_before(memory));
        let inputs = frames(&mut Seed::new(8).generator(), 7, 2, CONTINUOUS);
        let weights = policy.trainable();
        let of_memory: Vec<usize> =
            (0..weights.len()).filter(|&i| weights[i].0.starts_with("memory.")).collect();
        let loss = |output: Tensor, from: i64| {
            output.narrow(0, from, output.size()[0] - from).square().sum(Kind::Double)
        };
        let travelled = |state: &engram_policy::CoreState| match policy.exported_state_width() {
            Some(_) => state.flatten().to_kind(Kind::Double),
            None => Tensor::zeros([2, 0], (Kind::Float, Device::Cpu)),
        };
        let begin = policy.initial_state(2);
        let (first, second) = (inputs.narrow(0, 4), inputs.narrow(3, 4));
        let unrolled =
            policy.unroll_streams(&first, &travelled(&begin), policy.initial_carry(2)).unwrap();
        let carry = policy.next_carry(unrolled.context);
        let (_, middle) = policy.unroll(&inputs.narrow(0, 3), &begin);
        let unrolled = policy.unroll_streams(&second, &travelled(&middle), carry).unwrap();
        let (found, _) = policy.gradient(&loss(numbers(&unrolled.output), 0), unrolled.context);
        let tensors: Vec<&Tensor> = weights.iter().map(|(_, weight)| weight).collect();
        let whole = loss(numbers(&policy.unroll(&inputs, &begin).0), 3);
        let expected = Tensor::run_backward(&[whole], &tensors, false, false);
        for i in of_memory {
            let (name, _) = &weights[i];
            // The state travels in single precision.
            let error = difference(&found[i], &expected[i]);
            assert!(error < 1e-5, "{:?} {name}: {error}", policy.config().memory);
        }
    }
}

#[test]
fn heads_see_the_observation_beside_what_is_remembered() {
    let mut config = seeing_before(MemoryConfig::None(NoneConfig {}));
    config.torso = TorsoConfig::Identity {};
    let policy = policy(Kind::Double, &config);
    let inputs = frames(&mut Seed::new(2).generator(), 4, 3, CONTINUOUS);
    let (y, _) = policy.remember(&inputs, &policy.initial_state(3));
    let weight = |name: &str| policy.weights().iter().find(|(n, _)| n == name).unwrap().1.detach();
    let seen = inputs.observation.to_kind(Kind::Double);
    let expected = seen.matmul(&weight("skip.weight").tr()) + weight("skip.bias");
    let width = y.size()[2];
    assert!(difference(&y.narrow(-1, width - 2, 2), &expected) < 1e-12);
}

#[test]
fn dense_layers_are_linear_layers_and_activations() {
    let dense = DenseConfig {
        input_activation: Activation::Elu,
        hidden: vec![5, 2],
        activation: Activation::Tanh,
        init: Initialization::FAN_IN,
    };
    let layers = vec![MemoryConfig::Dense(dense)];
    let mut config = config(MemoryConfig::Stack(StackConfig { layers }));
    (config.torso, config.inputs) = (TorsoConfig::Identity {}, vec![MemoryInput::Observation]);
    let policy = policy(Kind::Double, &config);
    let inputs = frames(&mut Seed::new(2).generator(), 4, 3, CONTINUOUS);
    let before = inputs.observation.copy();
    let (y, _) = policy.remember(&inputs, &policy.initial_state(3));
    let weight = |name: &str| policy.weights().iter().find(|(n, _)| n == name).unwrap().1.detach();
    let layer = |x: &Tensor, i: i64| {
        let part = |part: &str| weight(&format!("memory.0.{i}.{part}"));
        (x.matmul(&part("weight").tr()) + part("bias")).tanh()
    };
    let x = before.to_kind(Kind::Double);
    let x = x.clamp_min(0.0) + x.clamp_max(0.0).exp() - 1.0;
    assert!(difference(&y, &layer(&layer(&x, 0), 1)) < 1e-12);
    assert_eq!(inputs.observation, before, "what came in is left alone");
}
