//! Layers against numbers that `tests/goldens.py` and the scripts in `tests/goldens/` computed from
//! the papers' equations.

use engram_mdp::{ActionSpec, Dtype, EnvSpec, ObservationSpec, Seed};
use engram_policy::memory::elstm::ElstmConfig;
use engram_policy::memory::gilr_lstm::GilrLstmConfig;
use engram_policy::memory::lru::LruConfig;
use engram_policy::memory::lstm::LstmConfig;
use engram_policy::{
    Activation, Batched, Distribution, Gradient, HeadConfig, HeadInit, Initialization, Inputs,
    MemoryConfig, MemoryInput, Policy, PolicyConfig, TorsoConfig,
};
use tch::{Device, Kind, Tensor};

use super::{DISCRETE, difference, frames_with, gilr, lru, policy};

pub(super) const DOUBLE: (Kind, Device) = (Kind::Double, Device::Cpu);

const GOLDENS: &str = include_str!("../goldens.json");
const LINEAR: &str = include_str!("../goldens/linear.json");

/// The numbers of `goldens.py`'s `wave`.
pub(super) fn wave(k: i64, shape: &[i64]) -> Tensor {
    let count: i64 = shape.iter().product();
    let numbers: Vec<f64> =
        (0..count).map(|i| 0.6 * (1.0 + k as f64 + 0.37 * i as f64).sin()).collect();
    Tensor::from_slice(&numbers).view(shape)
}

/// Inputs of 3 numbers straight into the memory, 4 cells straight into the logits.
pub(super) fn transparent(memory: MemoryConfig) -> Policy {
    let config = PolicyConfig {
        inputs: vec![MemoryInput::Observation],
        torso: TorsoConfig::Identity {},
        embed: None,
        memory,
        skip: None,
        head: HeadConfig {
            hidden: vec![],
            activation: Activation::Relu,
            action: None,
            init: HeadInit::FAN_IN,
        },
    };
    let spec = EnvSpec {
        name: "golden".into(),
        observation: ObservationSpec { dtype: Dtype::F32, shape: vec![3] },
        action: ActionSpec::Discrete { count: 4 },
        frame_stack: 1,
        action_repeat: 1,
    };
    let policy = Policy::of_kind(Kind::Double, &config, &spec, Seed::new(0), Device::Cpu).unwrap();
    tch::no_grad(|| {
        let mut memory = 0;
        for (name, mut tensor) in policy.trainable() {
            let values = match name.as_str() {
                "policy.0.weight" => Tensor::eye(4, DOUBLE),
                name if name.starts_with("memory.") => {
                    memory += 1;
                    wave(memory - 1, &tensor.size())
                }
                _ => tensor.zeros_like(),
            };
            tensor.copy_(&values);
        }
    });
    policy
}

/// Golden numbers of layer `name`.
pub(super) fn golden(goldens: &str, name: &str, key: &str, shape: &[i64]) -> Tensor {
    let goldens: serde_json::Value = serde_json::from_str(goldens).unwrap();
    let mut flat = vec![];
    let mut stack = vec![&goldens[name][key]];
    while let Some(value) = stack.pop() {
        match value.as_array() {
            Some(values) => stack.extend(values.iter().rev()),
            None => flat.push(value.as_f64().unwrap()),
        }
    }
    Tensor::from_slice(&flat).view(shape)
}

pub(super) fn check(goldens: &str, name: &str, memory: MemoryConfig) {
    let policy = transparent(memory);
    let first = [[0, 1], [0, 0], [1, 0], [0, 1], [0, 1]].concat();
    // Doubles where a policy in use has floats: the goldens' inputs are no floats.
    let inputs = Inputs::new(
        wave(50, &[5, 2, 3]),
        Tensor::zeros([5, 2], (Kind::Int64, Device::Cpu)),
        Tensor::zeros([5, 2], DOUBLE),
        first.iter().map(|&first| first == 1).collect(),
    );
    let state = policy.initial_state(1);
    let width = state.width() as i64;
    let (output, end) = policy.unroll(&inputs, &state.unflatten(&wave(60, &[2, width])).unwrap());
    let Distribution::Categorical { logits } = output.distribution else { panic!("logits") };
    assert!(difference(&logits, &golden(goldens, name, "outputs", &[5, 2, 4])) < 1e-12);
    let end: Vec<Tensor> = end.tensors().iter().map(|tensor| tensor.flatten(1, -1)).collect();
    let expected = golden(goldens, name, "state", &[2, width]);
    assert!(difference(&Tensor::cat(&end, 1), &expected) < 1e-12);
}

#[test]
fn the_lstm_computes_its_equations() {
    check(
        GOLDENS,
        "lstm",
        MemoryConfig::Lstm(LstmConfig {
            hidden: 4,
            layers: 1,
            forget_bias: 0.0,
            init: Initialization::FAN_IN,
            bf16: false,
        }),
    );
    check(
        GOLDENS,
        "lstm_2",
        MemoryConfig::Lstm(LstmConfig {
            hidden: 4,
            layers: 2,
            forget_bias: 0.0,
            init: Initialization::FAN_IN,
            bf16: false,
        }),
    );
}

#[test]
fn the_elstm_computes_its_equations() {
    let memory =
        MemoryConfig::Elstm(ElstmConfig { hidden: 4, gradient: Gradient::Tbptt, forget_bias: 0.0 });
    check(GOLDENS, "elstm", memory);
}

#[test]
fn linear_recurrences_compute_their_equations() {
    for (feed_forward, ending) in [(false, ""), (true, "_feed_forward")] {
        for gradient in [Gradient::Tbptt, Gradient::Rtrl] {
            check(LINEAR, &format!("lru{ending}"), lru(4, feed_forward, gradient));
            check(LINEAR, &format!("gilr{ending}"), gilr(4, feed_forward, gradient));
        }
        let memory =
            MemoryConfig::GilrLstm(GilrLstmConfig { hidden: 4, forget_bias: 0.5, feed_forward });
        check(LINEAR, &format!("gilr_lstm{ending}"), memory);
    }
}

#[test]
fn the_lstm_equals_libtorchs_own_on_the_two_sides_of_a_reset() {
    let policy = transparent(MemoryConfig::Lstm(LstmConfig {
        hidden: 4,
        layers: 2,
        forget_bias: 0.0,
        init: Initialization::FAN_IN,
        bf16: false,
    }));
    let weights: Vec<Tensor> = policy
        .trainable()
        .into_iter()
        .filter(|(name, _)| name.starts_with("memory."))
        .map(|(_, tensor)| tensor)
        .collect();
    let first = (0..9).map(|t| t == 0 || t == 4).collect();
    let inputs = frames_with(&mut Seed::new(3).generator(), 9, 1, DISCRETE, first);
    let (output, _) = policy.unroll(&inputs, &policy.initial_state(1));
    let Distribution::Categorical { logits } = output.distribution else { panic!("logits") };
    let zeros = Tensor::zeros([2, 1, 4], DOUBLE);
    let own = |start, length| {
        let x = inputs.observation.narrow(0, start, length).to_kind(Kind::Double);
        x.lstm(
            &[&zeros, &zeros],
            &weights.iter().collect::<Vec<_>>(),
            true,
            2,
            0.0,
            false,
            false,
            false,
        )
        .0
    };
    let expected = Tensor::cat(&[own(0, 4), own(4, 5)], 0);
    assert!(difference(&logits, &expected) < 1e-12);
}

#[test]
fn parameters_are_as_many_as_the_equations_say() {
    // Torso 3 -> 5, then 5 + 4 actions + 1 reward = 10 inputs, 6 cells, 4 logits and a value.
    let (torso, heads) = (3 * 5 + 5, |hidden: usize| (hidden + 1) * (4 + 1));
    let embedding = 6 * (10 + 1);
    // 6 wide: queries, keys, values and output; the feed-forward layer of 24; two norms.
    let block = |norm: usize| 4 * 6 * (6 + 1) + 24 * (6 + 1) + 6 * (24 + 1) + 2 * norm;
    let cgpt = |norm, blocks: usize| embedding + blocks * block(norm) + norm + 6 * (6 + 1);
    let feed_forward = 2 * 6 * (6 + 1) + 2 * 6;
    let lru = 3 * 6 + 2 * 6 * (10 + 1) + 2 * 6 * 6 + 6 * (10 + 1);
    let gilr = 2 * 6 * (10 + 1) + 6 * (6 + 1);
    // 6 wide, 12 channels, one number that makes Δ, 2 of state; norms stand outside.
    let mixer = |taps: usize| {
        24 * 6 + 12 * (taps + 1) + (1 + 2 + 2) * 12 + 12 * (1 + 1) + 2 * 12 + 12 + 6 * 12
    };
    let counts = [
        torso + heads(10),
        torso + heads(6) + 4 * 6 * (10 + 6 + 2),
        torso + heads(6) + 4 * 6 * (10 + 6 + 2) + 4 * 6 * (6 + 6 + 2),
        torso + heads(6) + 2 * 6 * (10 + 1 + 1) + 6 * (10 + 6 + 1),
        torso + heads(6) + lru,
        torso + heads(6) + lru + feed_forward,
        torso + heads(6) + gilr,
        torso + heads(6) + gilr + feed_forward,
        torso + heads(6) + gilr + 4 * 6 * (6 + 1),
        torso + heads(6) + gilr + 4 * 6 * (6 + 1) + feed_forward,
        torso + heads(6) + 4 * 7 * (10 + 7 + 2) + 2 * 6 * (7 + 1 + 1) + 6 * (7 + 6 + 1),
        torso + heads(6) + cgpt(12, 2),
        torso + heads(6) + cgpt(6, 2),
        torso + heads(6) + cgpt(6, 2),
        torso + heads(6) + embedding + block(12) + 12,
        torso + heads(6) + embedding + block(12) + 12 + 3 * 6,
        torso + heads(6) + cgpt(12, 2) + 4 * 6 * (6 + 6 + 2),
        torso + heads(6) + embedding + 6 + 6,
        torso + heads(6) + embedding + 3 * 6 + 6 + 2 * 6 * (6 + 1) + 12,
        torso + heads(6) + 3 * 6 * (10 + 6 + 2),
        torso + heads(6) + 3 * 6 * (10 + 6 + 2) + 3 * 6 * (6 + 6 + 2),
        torso + heads(6) + 7 * (10 + 1) + 2 * 6 * (7 + 1) + 6 * (6 + 1),
        torso + heads(6) + embedding + 2 * mixer(3) + 3 * 6 + 6 * 6,
        torso + heads(6) + embedding + 2 * mixer(1) + 4 * 6 + feed_forward,
        torso + heads(6) + embedding + 2 * mixer(2) + 2 * 6 + feed_forward + 3 * 6 * (6 + 6 + 2),
    ];
    assert_eq!(super::stated_memories(6).len(), counts.len());
    for (memory, count) in super::stated_memories(6).into_iter().zip(counts) {
        assert_eq!(policy(Kind::Float, memory, DISCRETE).parameter_count(), count);
    }
}

#[test]
fn the_elstms_parameters_start_where_its_authors_start_them() {
    let memory = MemoryConfig::Elstm(ElstmConfig {
        hidden: 512,
        gradient: Gradient::Tbptt,
        forget_bias: 2.0,
    });
    let named = policy(Kind::Float, memory, DISCRETE).trainable();
    let tensor = |name: &str| {
        let (_, tensor) = named.iter().find(|(n, _)| n == name).unwrap();
        tensor.to_kind(Kind::Double)
    };
    let moments =
        |x: &Tensor| (x.mean(Kind::Double).double_value(&[]), x.std(false).double_value(&[]));
    let (mean, std) = moments(&tensor("memory.input_weight"));
    assert!(mean.abs() < 0.005 && (std - 0.1).abs() < 0.005);
    let bias = tensor("memory.bias");
    let (mean, std) = moments(&bias.narrow(0, 0, 512));
    assert!(mean.abs() < 0.02 && (std - 0.1).abs() < 0.01);
    let (mean, std) = moments(&bias.narrow(0, 512, 512));
    assert!((mean - 2.0).abs() < 0.02 && (std - 0.1).abs() < 0.01);
    let bound = 1.0 / (512.0f64 + 10.0).sqrt();
    let largest = tensor("memory.output_gate.weight").abs().max().double_value(&[]);
    assert!(largest <= bound && largest > 0.99 * bound);
}

#[test]
fn the_lrus_cells_start_on_their_ring_at_the_size_of_their_inputs() {
    let radius = [0.4, 0.99];
    let (feed_forward, gradient) = (false, Gradient::Rtrl);
    let memory = MemoryConfig::Lru(LruConfig { hidden: 2048, radius, feed_forward, gradient });
    let named = policy(Kind::Float, memory, DISCRETE).trainable();
    let tensor = |name: &str| {
        let (_, tensor) = named.iter().find(|(n, _)| n == name).unwrap();
        tensor.detach().to_kind(Kind::Double)
    };
    let mean = |x: &Tensor| x.mean(Kind::Double).double_value(&[]);
    let size = (-tensor("memory.decay").exp()).exp();
    assert!(size.min().double_value(&[]) >= 0.4 && size.max().double_value(&[]) < 0.99 + 1e-6);
    // Uniform in area.
    assert!((mean(&size.square()) - (0.16 + 0.9801) / 2.0).abs() < 0.02);
    let angle = tensor("memory.turn").exp();
    assert!((mean(&angle.cos()).powi(2) + mean(&angle.sin()).powi(2)).sqrt() < 0.05);
    let scale = tensor("memory.scale").exp();
    assert!(difference(&scale.square(), &(1.0 - size.square())) < 1e-5);
    assert_eq!(tensor("memory.input.bias").abs().max().double_value(&[]), 0.0);
}

#[test]
fn forget_gates_start_where_they_are_told() {
    let bias = |memory, name: &str| {
        let named = policy(Kind::Float, memory, DISCRETE).trainable();
        let (_, tensor) = named.into_iter().find(|(n, _)| n == name).unwrap();
        Vec::<f32>::try_from(tensor.detach()).unwrap()
    };
    let expected = [0.0, 0.0, 0.0, 0.5, 0.5, 0.5];
    assert_eq!(bias(gilr(3, true, Gradient::Tbptt), "memory.recurrence.bias"), expected);
    let memory =
        MemoryConfig::GilrLstm(GilrLstmConfig { hidden: 3, forget_bias: 0.5, feed_forward: true });
    assert_eq!(bias(memory.clone(), "memory.recurrence.bias"), expected);
    let gates = bias(memory, "memory.gates.bias");
    assert_eq!(gates, [[0.5; 3], [0.0; 3], [0.0; 3], [0.0; 3]].concat());
}
