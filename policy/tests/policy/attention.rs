//! Attention and convolution: numbers of PyTorch's modules, long episodes, dropout and bfloat16.

use engram_mdp::Seed;
use engram_policy::memory::cgpt::CgptConfig;
use engram_policy::memory::conv1d::Conv1dConfig;
use engram_policy::memory::gpt2::Gpt2Config;
use engram_policy::memory::input_layer::InputLayer;
use engram_policy::memory::lstm::LstmConfig;
use engram_policy::memory::stack::StackConfig;
use engram_policy::{
    Distribution, Initialization, Inputs, MemoryConfig, Norm, Policy, PolicyConfig, Positions,
};
use tch::{Device, Kind, Tensor};

use super::goldens::{DOUBLE, check, golden, transparent, wave};
use super::memories::{states_differ, walk};
use super::{
    DISCRETE, cgpt, config, difference, frames, frames_with, gpt2, moment, moments, numbers,
    policy, spec,
};

const GOLDENS: &str = include_str!("../goldens/attention.json");

/// Frames of one episode that starts with the first of them.
fn one_episode(time: i64, batch: i64, seed: u64) -> Inputs {
    let first = (0..time * batch).map(|row| row < batch).collect();
    frames_with(&mut Seed::new(seed).generator(), time, batch, DISCRETE, first)
}

/// Attention starts from nothing: not every state is one.
fn check_attention(name: &str, memory: MemoryConfig) {
    let policy = transparent(memory);
    let first = (0..12).flat_map(|t| [t == 5, [0, 1, 9].contains(&t)]).collect();
    let inputs = Inputs::new(
        wave(50, &[12, 2, 3]),
        Tensor::zeros([12, 2], (Kind::Int64, DOUBLE.1)),
        Tensor::zeros([12, 2], DOUBLE),
        first,
    );
    let (output, _) = policy.unroll(&inputs, &policy.initial_state(2));
    let Distribution::Categorical { logits } = output.distribution else { panic!("logits") };
    let error = difference(&logits, &golden(GOLDENS, name, "outputs", &[12, 2, 4]));
    assert!(error < 1e-12, "{name} is off by {error}");
}

#[test]
fn cgpt_computes_its_equations() {
    let cgpt = |norm| {
        MemoryConfig::Cgpt(CgptConfig {
            input: InputLayer::Linear,
            width: 4,
            heads: 2,
            blocks: 2,
            context_length: 4,
            norm,
            bf16: false,
            export_state: false,
        })
    };
    check_attention("cgpt_layer", cgpt(Norm::Layer));
    check_attention("cgpt_rms", cgpt(Norm::Rms));
}

#[test]
fn gpt2_computes_its_equations() {
    let gpt2 = |positions| {
        MemoryConfig::Gpt2(Gpt2Config {
            input: InputLayer::Linear,
            width: 4,
            heads: 2,
            blocks: 2,
            context_length: 4,
            positions,
            dropout: 0.0,
            export_state: false,
        })
    };
    check_attention("gpt2_sine", gpt2(Positions::Sine));
    check_attention("gpt2_learned", gpt2(Positions::Learned));
}

/// The tests' network has 10 features: 5 of the torso, 4 actions, the reward.
fn gpt2_behind(input: InputLayer, width: i64) -> PolicyConfig {
    let mut memory = gpt2(width, 4, Positions::Sine);
    let MemoryConfig::Gpt2(gpt2) = &mut memory else { unreachable!() };
    gpt2.input = input;
    config(memory)
}

#[test]
fn without_an_input_layer_the_features_are_the_stream() {
    let [with, without] = [InputLayer::Linear, InputLayer::None].map(|input| {
        let config = gpt2_behind(input, 10);
        Policy::of_kind(Kind::Double, &config, &spec(DISCRETE), Seed::new(1), Device::Cpu).unwrap()
    });
    assert_eq!(with.parameter_count() - without.parameter_count(), 10 * 10 + 10);
    tch::no_grad(|| {
        for (name, weight) in with.weights() {
            let mut weight = weight.shallow_clone();
            match (name.as_str(), without.weights().iter().find(|(other, _)| other == name)) {
                ("memory.input.weight", None) => weight.copy_(&Tensor::eye(10, DOUBLE)),
                ("memory.input.bias", None) => drop(weight.zero_()),
                (_, Some((_, other))) => weight.copy_(other),
                (name, None) => panic!("{name} is missing"),
            }
        }
    });
    let inputs = frames(&mut Seed::new(2).generator(), 9, 3, DISCRETE);
    let said = [&with, &without].map(|policy| walk(policy, &inputs, &policy.initial_state(3)).0);
    assert!(difference(&said[0], &said[1]) < 1e-12);
    let unrolled = numbers(&without.unroll(&inputs, &without.initial_state(3)).0);
    assert!(difference(&said[1], &unrolled) < 1e-9);
}

#[test]
fn without_an_input_layer_features_of_another_width_are_refused_with_both() {
    let lstm = MemoryConfig::Lstm(LstmConfig {
        hidden: 7,
        layers: 1,
        forget_bias: 0.0,
        init: Initialization::FAN_IN,
        bf16: false,
    });
    let alone = gpt2_behind(InputLayer::None, 12);
    let stacked = StackConfig { layers: vec![lstm, alone.memory.clone()] };
    for (config, features) in [(alone, 10), (config(MemoryConfig::Stack(stacked)), 7)] {
        let made = Policy::new(&config, &spec(DISCRETE), Seed::new(1), Device::Cpu);
        let message = made.err().unwrap().to_string();
        let said =
            format!("`memory.input` of the sequence model is \"none\" with {features} features");
        assert!(message.contains(&said) && message.contains("memory.width, 12"), "{message}");
    }
}

#[test]
fn the_convolution_computes_its_equations() {
    let conv1d = |kernel, feed_forward| {
        MemoryConfig::Conv1d(Conv1dConfig { hidden: 4, kernel, feed_forward })
    };
    check(GOLDENS, "conv1d", conv1d(3, false));
    check(GOLDENS, "conv1d_feed_forward", conv1d(4, true));
}

/// Attention layers whose context is much shorter than the episodes below.
fn short_sighted() -> [MemoryConfig; 3] {
    [cgpt(6, 5, Norm::Layer), gpt2(6, 5, Positions::Sine), gpt2(6, 5, Positions::Learned)]
}

#[test]
fn an_episode_that_outgrows_the_context_steps_and_unrolls_alike() {
    for memory in short_sighted() {
        let policy = policy(Kind::Double, memory, DISCRETE);
        let inputs = one_episode(150, 2, 5);
        let (stepped, after_steps) = walk(&policy, &inputs, &policy.initial_state(2));
        let (unrolled, after_unroll) = policy.unroll(&inputs, &policy.initial_state(2));
        assert!(difference(&stepped, &numbers(&unrolled)) < 1e-9);
        assert!(states_differ(&after_steps, &after_unroll) < 1e-9);
        // Parts shorter and longer than the context, and than what attention takes at a time.
        let (mut state, mut start, mut parts) = (policy.initial_state(2), 0, vec![]);
        for length in [2, 3, 70, 1, 74] {
            let (output, after) = policy.unroll(&moments(&inputs, start, length), &state);
            parts.push(numbers(&output));
            (state, start) = (after, start + length);
        }
        assert!(difference(&Tensor::cat(&parts, 0), &stepped) < 1e-9);
        assert!(states_differ(&state, &after_steps) < 1e-9);
    }
}

#[test]
fn a_block_sees_as_far_as_the_context_and_no_farther() {
    for memory in short_sighted() {
        // Each of the blocks sees 4 frames behind what it is given.
        let farthest = match memory {
            MemoryConfig::Cgpt(CgptConfig { blocks, .. })
            | MemoryConfig::Gpt2(Gpt2Config { blocks, .. }) => 4 * blocks,
            _ => panic!("no attention"),
        };
        let policy = policy(Kind::Double, memory, DISCRETE);
        let mut inputs = one_episode(40, 1, 6);
        inputs.observation = inputs.observation.set_requires_grad(true);
        let (output, _) = policy.unroll(&inputs, &policy.initial_state(1));
        let seen = numbers(&output).get(30).sum(Kind::Double);
        let gradient = &Tensor::run_backward(&[seen], &[&inputs.observation], false, false)[0];
        let seen = gradient.abs().sum_dim_intlist(&[1i64, 2][..], false, None).gt(0.0);
        let seen = Vec::<bool>::try_from(seen).unwrap();
        assert!((0..40).all(|t| seen[t as usize] == (30 - farthest..=30).contains(&t)));
    }
}

#[test]
fn dropout_is_drawn_from_its_seed_while_unrolling_and_never_acts() {
    for positions in [Positions::Sine, Positions::Learned] {
        let mut policy = policy(Kind::Float, gpt2(12, 4, positions), DISCRETE);
        let inputs = one_episode(20, 3, 7);
        let unroll = |policy: &Policy| numbers(&policy.unroll(&inputs, &policy.initial_state(3)).0);
        let acted = |policy: &Policy| {
            numbers(&policy.step(&moment(&inputs, 0), &policy.initial_state(3)).0)
        };
        let (still, acts) = (unroll(&policy), acted(&policy));
        assert_eq!(unroll(&policy), still);

        policy.set_dropout(Some(Seed::new(1)));
        let dropped = [unroll(&policy), unroll(&policy)];
        assert!(difference(&dropped[0], &still) > 1e-3);
        assert_ne!(dropped[0], dropped[1], "every unroll has masks of its own");
        assert_eq!(acted(&policy), acts);
        policy.set_dropout(Some(Seed::new(1)));
        assert_eq!([unroll(&policy), unroll(&policy)], dropped);
        policy.set_dropout(Some(Seed::new(2)));
        assert_ne!(unroll(&policy), dropped[0]);
        policy.set_dropout(None);
        assert_eq!(unroll(&policy), still);
    }
}

#[test]
fn bfloat16_trains_nearly_the_same_and_acts_exactly_the_same() {
    let memory = |bf16| {
        MemoryConfig::Cgpt(CgptConfig {
            input: InputLayer::Linear,
            width: 24,
            heads: 3,
            blocks: 2,
            context_length: 8,
            norm: Norm::Layer,
            bf16,
            export_state: false,
        })
    };
    let both = |kind| [true, false].map(|bf16| policy(kind, memory(bf16), DISCRETE));
    let inputs = one_episode(30, 4, 8);
    let trained = |policy: &Policy| {
        let outputs = numbers(&policy.unroll(&inputs, &policy.initial_state(4)).0);
        let named = policy.trainable();
        let weights: Vec<&Tensor> = named.iter().map(|(_, weight)| weight).collect();
        let loss = outputs.square().mean(outputs.kind());
        let gradients = Tensor::run_backward(&[loss], &weights, false, false);
        let flat: Vec<Tensor> = gradients.iter().map(|gradient| gradient.view([-1])).collect();
        (outputs.detach(), Tensor::cat(&flat, 0))
    };
    let [(half, half_gradient), (full, full_gradient)] = both(Kind::Float).each_ref().map(trained);
    let close = |a: &Tensor, b: &Tensor| difference(a, b) / b.abs().max().double_value(&[]);
    assert!((1e-6..2e-2).contains(&close(&half, &full)));
    assert!(close(&half_gradient, &full_gradient) < 5e-2);

    let acted =
        |policy: &Policy| numbers(&policy.step(&moment(&inputs, 0), &policy.initial_state(4)).0);
    let [half, full] = both(Kind::Float).each_ref().map(acted);
    assert_eq!(half, full);
    let [half, full] = both(Kind::Double).each_ref().map(trained);
    assert_eq!(half, full, "double precision has been asked for");
}
