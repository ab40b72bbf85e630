//! What layers cost, on one thread: `cargo bench -p engram-policy`.
//!
//! First whole policies, an update's forward and backward pass and one step of acting; then the
//! LSTM's unroll against the ways that it does not take. T = 32, B = 64, 69 inputs, 128 cells;
//! every environment begins one episode somewhere inside, as on a task of 32 frames.

use std::hint::black_box;

use divan::Bencher;
use engram_mdp::{ActionSpec, Dtype, EnvSpec, ObservationSpec, Seed};
use engram_policy::{
    Activation, Gradient, HeadConfig, Inputs, MemoryConfig, MemoryInput, Policy, PolicyConfig,
    TorsoConfig,
};
use tch::{Device, Kind, Tensor};

const TIME: i64 = 32;
const BATCH: i64 = 64;
const HIDDEN: i64 = 128;
const FLOAT: (Kind, Device) = (Kind::Float, Device::Cpu);

#[allow(unsafe_code)] // glibc's only door to its allocator.
fn main() {
    // The settings of every Engram process: big blocks are kept, not returned to the kernel.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, 1 << 30);
        libc::mallopt(libc::M_TRIM_THRESHOLD, i32::MAX);
        libc::mallopt(libc::M_TOP_PAD, 256 << 20);
    }
    tch::set_num_threads(1);
    divan::main();
}

fn memory(name: &str) -> MemoryConfig {
    match name {
        "none" => MemoryConfig::None {},
        "lstm" => MemoryConfig::Lstm { hidden: HIDDEN, layers: 1, forget_bias: 0.0 },
        _ => MemoryConfig::Elstm { hidden: HIDDEN, gradient: Gradient::Tbptt, forget_bias: 2.0 },
    }
}

fn policy(name: &str) -> Policy {
    let config = PolicyConfig {
        inputs: vec![
            MemoryInput::Observation,
            MemoryInput::PreviousAction,
            MemoryInput::PreviousReward,
        ],
        torso: TorsoConfig::Mlp { hidden: vec![64], activation: Activation::Relu },
        memory: memory(name),
        head: HeadConfig { hidden: vec![], activation: Activation::Relu },
    };
    let spec = EnvSpec {
        name: "bench".into(),
        observation: ObservationSpec { dtype: Dtype::F32, shape: vec![6] },
        action: ActionSpec::Discrete { count: 4 },
        action_repeat: 1,
    };
    Policy::new(&config, &spec, Seed::new(1), Device::Cpu).expect("a good configuration")
}

/// Whether environment b begins an episode at moment t.
fn begins(t: i64, b: i64) -> bool {
    t == (b * 7) % TIME
}

fn frames(leading: &[i64], first: Vec<bool>) -> Inputs {
    let observation = [leading, &[6]].concat();
    Inputs::new(
        Tensor::rand(observation.as_slice(), FLOAT),
        Tensor::zeros(leading, (Kind::Int64, Device::Cpu)),
        Tensor::zeros(leading, FLOAT),
        first,
    )
}

fn unroll_frames() -> Inputs {
    frames(&[TIME, BATCH], (0..TIME * BATCH).map(|row| begins(row / BATCH, row % BATCH)).collect())
}

#[divan::bench(args = ["none", "lstm", "elstm"])]
fn unroll_forward_and_backward(bencher: Bencher<'_, '_>, name: &str) {
    let (policy, inputs) = (policy(name), unroll_frames());
    let named = policy.trainable();
    let tensors: Vec<&Tensor> = named.iter().map(|(_, tensor)| tensor).collect();
    let actions = Tensor::zeros([TIME, BATCH], (Kind::Int64, Device::Cpu));
    bencher.bench_local(|| {
        let (output, _) = policy.unroll(&inputs, &policy.initial_state(BATCH));
        let d = &output.distribution;
        let loss = (d.log_prob(&actions) + d.entropy() + output.value()).sum(Kind::Float);
        Tensor::run_backward(&[loss], &tensors, false, false)
    });
}

#[divan::bench(args = ["none", "lstm", "elstm"])]
fn unroll_forward(bencher: Bencher<'_, '_>, name: &str) {
    let (policy, inputs) = (policy(name), unroll_frames());
    bencher.bench_local(|| tch::no_grad(|| policy.unroll(&inputs, &policy.initial_state(BATCH)).0));
}

#[divan::bench(args = [1, 8, 32, 128, 256], consts = [0, 1, 2])]
fn step<const LAYER: usize>(bencher: Bencher<'_, '_>, batch: i64) {
    let policy = policy(["none", "lstm", "elstm"][LAYER]);
    let inputs = frames(&[batch], (0..batch).map(|b| b == 0).collect());
    let state = policy.initial_state(batch);
    let mut generator = Seed::new(1).generator();
    bencher.bench_local(|| {
        let (output, state) = policy.step(&inputs, &state);
        let action = output.distribution.sample(&output.distribution.noise(&mut generator));
        (output.distribution.log_prob(&action), state)
    });
}

/// Ways to unroll an LSTM with resets, forward and backward.
mod lstm_ways {
    use super::*;

    struct Setting {
        x: Tensor,
        weights: [Tensor; 4],
        output_gradient: Tensor,
    }

    fn setting() -> Setting {
        let parameter =
            |shape: &[i64]| (Tensor::rand(shape, FLOAT) * 0.17 - 0.085).set_requires_grad(true);
        Setting {
            x: Tensor::randn([TIME, BATCH, 69], FLOAT).set_requires_grad(true),
            weights: [
                parameter(&[4 * HIDDEN, 69]),
                parameter(&[4 * HIDDEN, HIDDEN]),
                parameter(&[4 * HIDDEN]),
                parameter(&[4 * HIDDEN]),
            ],
            output_gradient: Tensor::randn([TIME, BATCH, HIDDEN], FLOAT),
        }
    }

    fn run(bencher: Bencher<'_, '_>, unroll: impl Fn(&Setting) -> Tensor) {
        let setting = setting();
        let [a, b, c, d] = &setting.weights;
        bencher.bench_local(|| {
            let loss = (unroll(&setting) * &setting.output_gradient).sum(Kind::Float);
            Tensor::run_backward(&[loss], &[&setting.x, a, b, c, d], false, false)
        });
    }

    fn fused(
        x: &Tensor,
        h: &Tensor,
        c: &Tensor,
        weights: &[Tensor; 4],
    ) -> (Tensor, Tensor, Tensor) {
        let weights: Vec<&Tensor> = weights.iter().collect();
        x.lstm(&[h, c], &weights, true, 1, 0.0, true, false, false)
    }

    fn zeros(batch: i64) -> Tensor {
        Tensor::zeros([1, batch, HIDDEN], FLOAT)
    }

    /// `[B, 1]` for each moment: 0 where an episode begins.
    fn kept() -> Vec<Tensor> {
        let row = |t| (0..BATCH).map(|b| f32::from(!begins(t, b))).collect::<Vec<_>>();
        (0..TIME).map(|t| Tensor::from_slice(&row(t)).unsqueeze(1)).collect()
    }

    /// The floor: no resets at all.
    #[divan::bench]
    fn fused_without_resets(bencher: Bencher<'_, '_>) {
        run(bencher, |s| fused(&s.x, &zeros(BATCH), &zeros(BATCH), &s.weights).0);
    }

    /// What the policy does, without its torso and heads: see `Resets::spread`.
    #[divan::bench]
    fn fused_over_spread_sequences(bencher: Bencher<'_, '_>) {
        let longer = TIME + 1;
        let rows =
            Tensor::arange(longer * BATCH, (Kind::Int64, Device::Cpu)).clamp_max(TIME * BATCH - 1);
        let control = Tensor::zeros([longer, BATCH, 2], FLOAT);
        let columns = Tensor::zeros([4 * HIDDEN, 2], FLOAT);
        let back = Tensor::arange(TIME * BATCH, (Kind::Int64, Device::Cpu));
        run(bencher, |s| {
            let x = s.x.view([-1, 69]).index_select(0, &rows).view([longer, BATCH, 69]);
            let [w, v, b, d] = s.weights.each_ref().map(Tensor::shallow_clone);
            let weights = [Tensor::cat(&[&w, &columns], 1), v, b, d];
            let x = Tensor::cat(&[&x, &control], 2);
            let y = fused(&x, &zeros(BATCH), &zeros(BATCH), &weights).0;
            y.view([-1, HIDDEN]).index_select(0, &back).view([TIME, BATCH, HIDDEN])
        });
    }

    /// The fused kernel between the moments at which any environment begins an episode.
    #[divan::bench]
    fn fused_cut_where_any_row_begins(bencher: Bencher<'_, '_>) {
        let kept = kept();
        run(bencher, |s| {
            let (mut h, mut c) = (zeros(BATCH), zeros(BATCH));
            let mut outputs = Vec::new();
            let mut start = 0;
            while start < TIME {
                let next = (start + 1..TIME).find(|&t| (0..BATCH).any(|b| begins(t, b)));
                let end = next.unwrap_or(TIME);
                (h, c) = (h * &kept[start as usize], c * &kept[start as usize]);
                let y;
                (y, h, c) = fused(&s.x.narrow(0, start, end - start), &h, &c, &s.weights);
                outputs.push(y);
                start = end;
            }
            Tensor::cat(&outputs, 0)
        });
    }

    /// Every row cut at its own beginnings, the pieces sorted by length and packed.
    #[divan::bench]
    fn packed_by_rows(bencher: Bencher<'_, '_>) {
        let mut pieces: Vec<(i64, i64, i64)> = (0..BATCH)
            .flat_map(|b| {
                let cut = (0..TIME).find(|&t| begins(t, b)).expect("every row begins once");
                [(b, 0, cut), (b, cut, TIME - cut)]
            })
            .filter(|(_, _, length)| *length > 0)
            .collect();
        pieces.sort_by_key(|(_, _, length)| -length);
        let mut source = vec![];
        let mut sizes = vec![];
        for step in 0..TIME {
            let active = pieces.iter().filter(|(_, _, length)| *length > step);
            source.extend(active.map(|(b, start, _)| (start + step) * BATCH + b));
            sizes.push(pieces.iter().filter(|(_, _, length)| *length > step).count() as i64);
        }
        sizes.retain(|&size| size > 0);
        let source = Tensor::from_slice(&source);
        let back = source.argsort(0, false);
        let (sizes, count) = (Tensor::from_slice(&sizes), pieces.len() as i64);
        run(bencher, |s| {
            let x = s.x.view([-1, 69]).index_select(0, &source);
            let state = zeros(count);
            let (state, weights) = ([&state, &state], s.weights.each_ref());
            let y = Tensor::lstm_data(&x, &sizes, &state, &weights, true, 1, 0.0, true, false).0;
            y.index_select(0, &back).view([TIME, BATCH, HIDDEN])
        });
    }

    /// One product for all inputs, then a loop of plain operations with masks.
    #[divan::bench]
    fn loop_over_steps(bencher: Bencher<'_, '_>) {
        let kept = kept();
        run(bencher, |s| {
            let [w, v, b, d] = s.weights.each_ref();
            let inputs = s.x.linear(w, Some(&(b + d))).unbind(0);
            let v = v.tr();
            let (mut h, mut c) = (zeros(BATCH).squeeze_dim(0), zeros(BATCH).squeeze_dim(0));
            let mut outputs = Vec::new();
            for (x, kept) in inputs.iter().zip(&kept) {
                (h, c) = (h * kept, c * kept);
                let gates = x.addmm(&h, &v).chunk(4, 1);
                c = (gates[1].sigmoid() * c).addcmul(&gates[0].sigmoid(), &gates[2].tanh());
                h = gates[3].sigmoid() * c.tanh();
                outputs.push(h.shallow_clone());
            }
            black_box(Tensor::stack(&outputs, 0))
        });
    }
}
