//! The policy crate through its public door: every memory layer steps and unrolls alike, computes
//! what its paper says, has the right gradients, and survives its own weights file.

#![allow(clippy::unwrap_used)]

mod attention;
mod baselines;
mod carries;
mod configs;
mod devices;
mod embedders;
mod frame_stack;
mod goldens;
mod gradients;
mod heads;
mod memories;
mod parts;
mod previous;
mod rtrl;
mod sizes;
mod state_space;
mod torso;
mod weights;

use engram_mdp::{ActionSpec, Dtype, EnvSpec, Generator, ObservationSpec, Seed};
use engram_policy::memory::cgpt::CgptConfig;
use engram_policy::memory::conv1d::Conv1dConfig;
use engram_policy::memory::dense::DenseConfig;
use engram_policy::memory::elstm::ElstmConfig;
use engram_policy::memory::gilr::GilrConfig;
use engram_policy::memory::gilr_lstm::GilrLstmConfig;
use engram_policy::memory::gpt2::Gpt2Config;
use engram_policy::memory::gru::GruConfig;
use engram_policy::memory::input_layer::InputLayer;
use engram_policy::memory::lru::LruConfig;
use engram_policy::memory::lstm::LstmConfig;
use engram_policy::memory::mamba::MambaConfig;
use engram_policy::memory::none::NoneConfig;
use engram_policy::memory::stack::StackConfig;
use engram_policy::parity::numbers;
use engram_policy::{
    Activation, CoreState, Gradient, HeadConfig, HeadInit, Initialization, Inputs, MemoryConfig,
    MemoryInput, Norm, Policy, PolicyConfig, Positions, TorsoConfig,
};
use rand::RngExt;
use tch::{Device, Kind, Tensor};

/// Layers for what holds for every layer, `hidden` wide: those whose numbers tests state, then the
/// examples of every kind that a file of `configs/seq` has.
fn memories(hidden: i64) -> Vec<MemoryConfig> {
    let mut memories = stated_memories(hidden);
    for kind in configs::memories().into_values() {
        for example in kind.examples(hidden) {
            if !memories.contains(&example) {
                memories.push(example);
            }
        }
    }
    memories
}

/// Layers whose state widths and numbers of parameters tests state, in this order. A new layer
/// states its own beside its code. `hidden` cells.
fn stated_memories(hidden: i64) -> Vec<MemoryConfig> {
    vec![
        MemoryConfig::None(NoneConfig {}),
        MemoryConfig::Lstm(LstmConfig {
            hidden,
            layers: 1,
            forget_bias: 0.0,
            init: Initialization::FAN_IN,
            bf16: false,
        }),
        MemoryConfig::Lstm(LstmConfig {
            hidden,
            layers: 2,
            forget_bias: 0.0,
            init: Initialization::FAN_IN,
            bf16: false,
        }),
        MemoryConfig::Elstm(ElstmConfig { hidden, gradient: Gradient::Tbptt, forget_bias: 0.5 }),
        lru(hidden, false, Gradient::Tbptt),
        lru(hidden, true, Gradient::Rtrl),
        gilr(hidden, false, Gradient::Tbptt),
        gilr(hidden, true, Gradient::Rtrl),
        MemoryConfig::GilrLstm(GilrLstmConfig { hidden, forget_bias: 0.5, feed_forward: false }),
        MemoryConfig::GilrLstm(GilrLstmConfig { hidden, forget_bias: 0.5, feed_forward: true }),
        MemoryConfig::Stack(StackConfig {
            layers: vec![
                MemoryConfig::Lstm(LstmConfig {
                    hidden: hidden + 1,
                    layers: 1,
                    forget_bias: 0.0,
                    init: Initialization::FAN_IN,
                    bf16: false,
                }),
                MemoryConfig::None(NoneConfig {}),
                MemoryConfig::Elstm(ElstmConfig {
                    hidden,
                    gradient: Gradient::Rtrl,
                    forget_bias: 0.5,
                }),
            ],
        }),
        cgpt(hidden, 4, Norm::Layer),
        cgpt(hidden, 3, Norm::Rms),
        cgpt(hidden, 1, Norm::Rms),
        gpt2(hidden, 4, Positions::Sine),
        gpt2(hidden, 3, Positions::Learned),
        MemoryConfig::Stack(StackConfig {
            layers: vec![
                cgpt(hidden, 3, Norm::Layer),
                MemoryConfig::Lstm(LstmConfig {
                    hidden,
                    layers: 1,
                    forget_bias: 0.0,
                    init: Initialization::FAN_IN,
                    bf16: false,
                }),
            ],
        }),
        MemoryConfig::Conv1d(Conv1dConfig { hidden, kernel: 1, feed_forward: false }),
        MemoryConfig::Conv1d(Conv1dConfig { hidden, kernel: 3, feed_forward: true }),
        MemoryConfig::Gru(GruConfig {
            hidden,
            layers: 1,
            forget_bias: 0.0,
            init: Initialization::FAN_IN,
        }),
        MemoryConfig::Gru(GruConfig {
            hidden,
            layers: 2,
            forget_bias: 0.0,
            init: Initialization::FAN_IN,
        }),
        MemoryConfig::Stack(StackConfig {
            layers: vec![
                MemoryConfig::Dense(DenseConfig {
                    input_activation: Activation::Elu,
                    hidden: vec![hidden + 1],
                    activation: Activation::Tanh,
                    init: Initialization::FAN_IN,
                }),
                gilr(hidden, false, Gradient::Rtrl),
            ],
        }),
        mamba(hidden, 3, Norm::Rms, false),
        mamba(hidden, 1, Norm::Layer, true),
        MemoryConfig::Stack(StackConfig {
            layers: vec![
                mamba(hidden, 2, Norm::Rms, true),
                MemoryConfig::Gru(GruConfig {
                    hidden,
                    layers: 1,
                    forget_bias: 0.0,
                    init: Initialization::FAN_IN,
                }),
            ],
        }),
    ]
}

/// As many heads as can share `width` evenly, of 3 and 2.
fn heads(width: i64) -> i64 {
    if width % 3 == 0 { 3 } else { 2 }
}

fn cgpt(width: i64, context_length: i64, norm: Norm) -> MemoryConfig {
    MemoryConfig::Cgpt(CgptConfig {
        input: InputLayer::Linear,
        width,
        heads: heads(width),
        blocks: 2,
        context_length,
        norm,
        bf16: false,
        export_state: false,
    })
}

fn gpt2(width: i64, context_length: i64, positions: Positions) -> MemoryConfig {
    MemoryConfig::Gpt2(Gpt2Config {
        input: InputLayer::Linear,
        width,
        heads: heads(width),
        blocks: 1,
        context_length,
        positions,
        dropout: 0.2,
        export_state: false,
    })
}

fn mamba(width: i64, conv: i64, norm: Norm, feed_forward: bool) -> MemoryConfig {
    let (state, blocks, selection_scale) = (2, 2, 1.0);
    MemoryConfig::Mamba(MambaConfig {
        input: InputLayer::Linear,
        width,
        state,
        conv,
        blocks,
        selection_scale,
        norm,
        feed_forward,
        export_state: false,
    })
}

/// Every layer that offers RTRL, with it, alone. `hidden` cells.
fn real_time_memories(hidden: i64) -> Vec<MemoryConfig> {
    let mut found = vec![];
    for memory in memories(hidden) {
        let memory = memory.with_gradient(Gradient::Rtrl);
        found.extend(memory.filter(|memory| !found.contains(memory)));
    }
    found
}

fn lru(hidden: i64, feed_forward: bool, gradient: Gradient) -> MemoryConfig {
    MemoryConfig::Lru(LruConfig { hidden, radius: [0.5, 0.9], feed_forward, gradient })
}

fn gilr(hidden: i64, feed_forward: bool, gradient: Gradient) -> MemoryConfig {
    MemoryConfig::Gilr(GilrConfig { hidden, forget_bias: 0.5, feed_forward, gradient })
}

fn config(memory: MemoryConfig) -> PolicyConfig {
    PolicyConfig {
        inputs: vec![
            MemoryInput::Observation,
            MemoryInput::PreviousAction,
            MemoryInput::PreviousReward,
        ],
        torso: TorsoConfig::Mlp {
            hidden: vec![5],
            activation: Activation::Tanh,
            init: Initialization::FAN_IN,
            norm: None,
        },
        embed: None,
        memory,
        skip: None,
        head: HeadConfig {
            hidden: vec![],
            activation: Activation::Relu,
            action: None,
            init: HeadInit::FAN_IN,
        },
    }
}

fn spec(action: ActionSpec) -> EnvSpec {
    EnvSpec {
        name: "toy".into(),
        observation: ObservationSpec { dtype: Dtype::F32, shape: vec![3] },
        action,
        frame_stack: 1,
        action_repeat: 1,
    }
}

const DISCRETE: ActionSpec = ActionSpec::Discrete { count: 4 };
const CONTINUOUS: ActionSpec = ActionSpec::Continuous { dimensions: 2 };

fn policy(kind: Kind, memory: MemoryConfig, action: ActionSpec) -> Policy {
    // Tests run beside one another: more threads would only wait for each other.
    tch::set_num_threads(1);
    Policy::of_kind(kind, &config(memory), &spec(action), Seed::new(1), Device::Cpu).unwrap()
}

/// Random numbers, f32, so that they mean the same to policies of any kind.
fn random(generator: &mut Generator, shape: &[i64]) -> Tensor {
    let numbers: Vec<f32> =
        (0..shape.iter().product()).map(|_| generator.random_range(-1.0..1.0)).collect();
    Tensor::from_slice(&numbers).view(shape)
}

/// Random frames `[T, B]` of which about every third is a First one.
fn frames(generator: &mut Generator, time: i64, batch: i64, action: ActionSpec) -> Inputs {
    let first: Vec<bool> = (0..time * batch).map(|_| generator.random_bool(0.3)).collect();
    frames_with(generator, time, batch, action, first)
}

fn frames_with(
    generator: &mut Generator,
    time: i64,
    batch: i64,
    action: ActionSpec,
    first: Vec<bool>,
) -> Inputs {
    let kept: Vec<f32> = first.iter().map(|&first| f32::from(!first)).collect();
    let kept = Tensor::from_slice(&kept).view([time, batch]);
    let previous_action = match action {
        ActionSpec::Discrete { count } => {
            let uniform = random(generator, &[time, batch]).abs() * (count as f64) * &kept;
            uniform.floor().to_kind(Kind::Int64).clamp_max(count as i64 - 1)
        }
        ActionSpec::Continuous { dimensions } => {
            random(generator, &[time, batch, dimensions as i64]) * kept.unsqueeze(-1)
        }
    };
    Inputs::new(
        random(generator, &[time, batch, 3]),
        previous_action,
        random(generator, &[time, batch]) * kept,
        first,
    )
}

/// A state that no episode begins with: what some random frames leave behind.
fn some_state(policy: &Policy, batch: i64, seed: Seed) -> CoreState {
    let (generator, action) = (&mut seed.derive("state", 0).generator(), policy.spec().action);
    let before = frames(generator, 4, batch, action);
    tch::no_grad(|| policy.unroll(&before, &policy.initial_state(batch)).1)
}

/// Frames `start..start + length` of `inputs` `[T, B]`.
fn moments(inputs: &Inputs, start: i64, length: i64) -> Inputs {
    let cut = |tensor: &Tensor| tensor.narrow(0, start, length);
    let first = start as usize..(start + length) as usize;
    Inputs::new(
        cut(&inputs.observation),
        cut(&inputs.previous_action),
        cut(&inputs.previous_reward),
        first.flat_map(|t| inputs.resets().at(t).to_vec()).collect(),
    )
}

/// Frame `t` of `inputs` `[T, B]`, as `[B]`.
fn moment(inputs: &Inputs, t: i64) -> Inputs {
    Inputs::new(
        inputs.observation.get(t),
        inputs.previous_action.get(t),
        inputs.previous_reward.get(t),
        inputs.resets().at(t as usize).to_vec(),
    )
}

/// The largest difference between two tensors of one shape.
fn difference(a: &Tensor, b: &Tensor) -> f64 {
    assert_eq!(a.size(), b.size());
    if a.numel() == 0 { 0.0 } else { (a - b).abs().max().double_value(&[]) }
}
