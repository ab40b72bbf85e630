//! Time of IMPALA's deep ResNet on a CPU: seconds, medians of several runs.
//!
//! ```text
//! cargo run --release -p engram-policy --example resnet_update [THREADS [REPEATS [BF16]]]
//! python3 policy/comparisons/resnet_plain_pytorch.py
//! ```
//!
//! An update is forward and backward of T = 20, B = 32 frames of 4 × 84 × 84 through the ResNet,
//! an LSTM of 256 cells and a V-trace loss, without the optimizer; a step acts for one to 256
//! environments. The script does the same in plain PyTorch.

#![allow(clippy::print_stdout, clippy::unwrap_used)]

use std::time::Instant;

use engram_mdp::{
    ActionSpec, Actions, Dtype, EnvSpec, Frames, ObservationSpec, Observations, Seed, StepType,
    StreamId, Trajectory,
};
use engram_policy::memory::lstm::LstmConfig;
use engram_policy::{
    Activation, Batch, Distribution, HeadConfig, HeadInit, Initialization, Inputs, MemoryConfig,
    MemoryInput, Policy, PolicyConfig, PolicyOutput, TorsoConfig,
};
use rand::RngExt;
use tch::{Device, Kind, Tensor};

const TIME: usize = 20;
const BATCH: usize = 32;
const IMAGE: [usize; 3] = [4, 84, 84];
const ACTIONS: usize = 6;
const CELLS: i64 = 256;

#[allow(unsafe_code)] // glibc's only door to its allocator.
fn main() {
    // Engram's processes use an allocator that keeps big blocks; this makes one of glibc's.
    unsafe {
        libc::mallopt(libc::M_MMAP_MAX, 0);
        libc::mallopt(libc::M_TRIM_THRESHOLD, i32::MAX);
        libc::mallopt(libc::M_TOP_PAD, 1 << 30);
    }
    let argument = |n, default| std::env::args().nth(n).map_or(default, |x| x.parse().unwrap());
    let (threads, repeats) = (argument(1, 2), argument(2, 5));
    tch::set_num_threads(threads as i32);
    let policy = policy(argument(3, 0) > 0);
    let trajectories: Vec<Trajectory> = (0..BATCH as u32).map(trajectory).collect();
    let assemble = || Batch::from_trajectories(&trajectories, policy.spec(), Device::Cpu).unwrap();
    let batch = assemble();
    print!("Engram: update {:.3} s", median(repeats, || update(&policy, &batch)));
    print!(", its batch {:.1} ms", 1e3 * median(repeats, || drop(assemble())));
    for rows in [1, 32, 256] {
        let frames = Frames::first(policy.spec(), rows);
        let inputs = Inputs::from_frames(&frames, policy.spec(), Device::Cpu);
        let state = policy.initial_state(rows as i64);
        let seconds = median(repeats, || drop(policy.step(&inputs, &state)));
        print!(", step of {rows}: {:.2} ms", 1e3 * seconds);
    }
    println!();
}

fn policy(bf16: bool) -> Policy {
    let config = PolicyConfig {
        inputs: vec![MemoryInput::Observation, MemoryInput::ClippedPreviousReward],
        torso: TorsoConfig::ImpalaResnet {
            channels: vec![16, 32, 32],
            features: 256,
            init: Initialization::FAN_IN,
            bf16,
        },
        embed: None,
        memory: MemoryConfig::Lstm(LstmConfig {
            hidden: CELLS,
            layers: 1,
            forget_bias: 0.0,
            init: Initialization::FAN_IN,
            bf16: false,
        }),
        skip: None,
        head: HeadConfig {
            hidden: vec![],
            activation: Activation::Relu,
            action: None,
            init: HeadInit::FAN_IN,
        },
    };
    let spec = EnvSpec {
        name: "noise".into(),
        observation: ObservationSpec { dtype: Dtype::U8, shape: IMAGE.to_vec() },
        action: ActionSpec::Discrete { count: ACTIONS },
        frame_stack: 1,
        action_repeat: 4,
    };
    Policy::new(&config, &spec, Seed::new(1), Device::Cpu).unwrap()
}

/// An unroll without the beginning of an episode: plain PyTorch's LSTM knows none.
fn trajectory(env_index: u32) -> Trajectory {
    let mut random = Seed::new(u64::from(env_index)).generator();
    let pixels = (TIME + 1) * IMAGE.iter().product::<usize>();
    Trajectory {
        stream: StreamId { actor: 0, env_index },
        sequence: 0,
        frames: Frames {
            observations: Observations::U8((0..pixels).map(|_| random.random()).collect()),
            previous_actions: Actions::Discrete(
                (0..=TIME).map(|_| random.random_range(0..ACTIONS as i32)).collect(),
            ),
            previous_rewards: (0..=TIME).map(|_| random.random_range(-2.0..2.0)).collect(),
            step_types: vec![StepType::Mid; TIME + 1],
        },
        log_probs: vec![-1.8; TIME],
        policy_versions: vec![1; TIME],
        core_state: vec![0.0; 2 * CELLS as usize],
    }
}

fn update(policy: &Policy, batch: &Batch) {
    let state = policy.core_state(&batch.core_state).unwrap();
    let (output, _) = policy.unroll(&batch.inputs, &state);
    let loss = vtrace_loss(&output, batch);
    let named = policy.trainable();
    let weights: Vec<&Tensor> = named.iter().map(|(_, weight)| weight).collect();
    Tensor::run_backward(&[loss], &weights, false, false);
}

/// V-trace, Espeholt et al. 2018, eq. 1, with ρ̄ = c̄ = 1, as in the script.
fn vtrace_loss(output: &PolicyOutput, batch: &Batch) -> Tensor {
    let Distribution::Categorical { logits } = &output.distribution else { panic!("logits") };
    let time = TIME as i64;
    let log_probs = logits.narrow(0, 0, time).log_softmax(-1, Kind::Float);
    let taken = log_probs.gather(2, &batch.actions.unsqueeze(2), false).squeeze_dim(2);
    let value = output.value().narrow(0, 0, time);
    let (targets, advantages) = tch::no_grad(|| {
        let rho = (&taken - &batch.behavior_log_probs).exp().clamp_max(1.0);
        let last = output.value().narrow(0, time, 1);
        let errors = &rho * (&batch.rewards + output.value().narrow(0, 1, time) * 0.99 - &value);
        let mut trace = Tensor::zeros([BATCH as i64], (Kind::Float, Device::Cpu));
        let mut traces = Vec::with_capacity(TIME);
        for t in (0..time).rev() {
            trace = errors.get(t) + rho.get(t) * trace * 0.99;
            traces.push(trace.shallow_clone());
        }
        traces.reverse();
        let targets = &value + Tensor::stack(&traces, 0);
        let next = Tensor::cat(&[targets.narrow(0, 1, time - 1), last], 0);
        let advantages = rho * (&batch.rewards + next * 0.99 - &value);
        (targets, advantages)
    });
    let entropy = -(log_probs.exp() * &log_probs).sum_dim_intlist(-1, false, None);
    let squares = (targets - value).square();
    (-taken * advantages + squares * 0.25 - entropy * 0.01).sum(Kind::Float)
}

/// Seconds.
fn median(repeats: usize, mut run: impl FnMut()) -> f64 {
    run();
    let mut seconds: Vec<f64> = (0..repeats)
        .map(|_| {
            let start = Instant::now();
            run();
            start.elapsed().as_secs_f64()
        })
        .collect();
    seconds.sort_by(f64::total_cmp);
    seconds[repeats / 2]
}
