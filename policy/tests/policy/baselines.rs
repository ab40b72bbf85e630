//! IndRNN, minGRU and minLSTM against their papers' equations, number by number, and their
//! sensitivities against the definition, step by step; in double precision.

use engram_mdp::Seed;
use engram_policy::memory::candidate::Candidate;
use engram_policy::memory::indrnn::IndrnnConfig;
use engram_policy::memory::mingru::MingruConfig;
use engram_policy::memory::minlstm::MinlstmConfig;
use engram_policy::{Activation, Batched, Gradient, Inputs, MemoryConfig, Policy};
use tch::{Device, Kind, Tensor};

use super::goldens::transparent;
use super::rtrl::{BATCH, UNROLL, UNROLLS, by_unrolls, life, oracle, policy as exact, relative};
use super::{DISCRETE, policy};

const CANDIDATES: [Candidate; 3] = [Candidate::Linear, Candidate::Positive, Candidate::Tanh];
const ACTIVATIONS: [Activation; 4] =
    [Activation::Relu, Activation::Tanh, Activation::Elu, Activation::Identity];

fn indrnn(hidden: i64, activation: Activation) -> MemoryConfig {
    let (horizon, gradient) = (8, Gradient::Rtrl);
    MemoryConfig::Indrnn(IndrnnConfig { hidden, activation, horizon, gradient })
}

fn mingru(hidden: i64, candidate: Candidate) -> MemoryConfig {
    let (forget_bias, feed_forward, gradient) = (0.5, false, Gradient::Rtrl);
    MemoryConfig::Mingru(MingruConfig { hidden, candidate, forget_bias, feed_forward, gradient })
}

fn minlstm(hidden: i64, candidate: Candidate) -> MemoryConfig {
    let (forget_bias, feed_forward, gradient) = (0.5, false, Gradient::Rtrl);
    MemoryConfig::Minlstm(MinlstmConfig { hidden, candidate, forget_bias, feed_forward, gradient })
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// An activation and its derivative.
fn activated(activation: Activation, x: f64) -> (f64, f64) {
    match activation {
        Activation::Relu => (x.max(0.0), if x > 0.0 { 1.0 } else { 0.0 }),
        Activation::Tanh => (x.tanh(), 1.0 - x.tanh().powi(2)),
        Activation::Elu if x > 0.0 => (x, 1.0),
        Activation::Elu => (x.exp() - 1.0, x.exp()),
        Activation::Identity => (x, 1.0),
    }
}

/// A candidate and its derivative.
fn proposed(candidate: Candidate, x: f64) -> (f64, f64) {
    match candidate {
        Candidate::Tanh => (x.tanh(), 1.0 - x.tanh().powi(2)),
        Candidate::Linear => (x, 1.0),
        Candidate::Positive if x >= 0.0 => (x + 0.5, 1.0),
        Candidate::Positive => (sigmoid(x), sigmoid(x) * (1.0 - sigmoid(x))),
    }
}

/// A cell's next number, its derivative by each map of the inputs, that by the number before, and
/// that by the weight that this is multiplied with.
struct Cell {
    next: f64,
    by_maps: Vec<f64>,
    by_before: f64,
    by_weight: f64,
}

/// One step of a cell, from what its maps make of the inputs, its recurrent weight and its number.
fn step(memory: &MemoryConfig, maps: &[f64], u: f64, before: f64) -> Cell {
    match memory {
        MemoryConfig::Indrnn(config) => {
            let (next, slope) = activated(config.activation, maps[0] + u * before);
            let by_weight = slope * before;
            Cell { next, by_maps: vec![slope], by_before: slope * u, by_weight }
        }
        MemoryConfig::Mingru(config) => {
            let ((v, slope), z) = (proposed(config.candidate, maps[0]), sigmoid(-maps[1]));
            let by_maps = vec![z * slope, (before - v) * z * (1.0 - z)];
            Cell { next: (1.0 - z) * before + z * v, by_maps, by_before: 1.0 - z, by_weight: 0.0 }
        }
        MemoryConfig::Minlstm(config) => {
            let (v, slope) = proposed(config.candidate, maps[0]);
            let (f, i) = (sigmoid(maps[1]), sigmoid(maps[2]));
            let sum = f + i;
            let next = (f * before + i * v) / sum;
            let by_f = (before - next) / sum * f * (1.0 - f);
            let by_i = (v - next) / sum * i * (1.0 - i);
            let by_maps = vec![i / sum * slope, by_f, by_i];
            Cell { next, by_maps, by_before: f / sum, by_weight: 0.0 }
        }
        other => panic!("{other:?} is not of these"),
    }
}

fn row(tensor: &Tensor) -> Vec<f64> {
    Vec::try_from(tensor.reshape([-1])).unwrap()
}

/// All h_t, `[T, B, N]`, and the sensitivities of the last one: to each map's weights and bias,
/// `[B, D + 1, M N]`, and to u, `[B, 1, N]`.
fn walked(policy: &Policy, inputs: &Inputs, time: i64) -> [Tensor; 3] {
    let memory = &policy.config().memory;
    let (x, kept, weight) = oracle(policy, inputs);
    let (part, recurrent) = match memory {
        MemoryConfig::Indrnn(_) => ("input", row(&weight("recurrent_weight"))),
        _ => ("recurrence", vec![]),
    };
    let rows = [weight(&format!("{part}.weight")), weight(&format!("{part}.bias")).unsqueeze(1)];
    let rows = Tensor::cat(&rows, 1);
    let (hidden, width) = (policy.exported_state_width().unwrap() as i64, rows.size()[1]);
    let maps = rows.size()[0] / hidden;
    let zeros = |shape: &[i64]| Tensor::zeros(shape, (Kind::Double, Device::Cpu));
    let (all, to_maps) = (zeros(&[time, BATCH, hidden]), zeros(&[BATCH, width, maps * hidden]));
    let to_weight = zeros(&[BATCH, 1, hidden]);
    for (b, n) in (0..BATCH).flat_map(|b| (0..hidden).map(move |n| (b, n))) {
        let (mut h, mut s_u) = (0.0, 0.0);
        let mut s = vec![vec![0.0; width as usize]; maps as usize];
        let u = recurrent.get(n as usize).copied().unwrap_or(0.0);
        for t in 0..time {
            let x = row(&x.get(t).get(b));
            let kept = kept.double_value(&[t, b, 0]);
            let argument = |map: i64| {
                let weights = row(&rows.get(map * hidden + n));
                weights.iter().zip(&x).map(|(w, x)| w * x).sum::<f64>()
            };
            let arguments: Vec<f64> = (0..maps).map(argument).collect();
            let cell = step(memory, &arguments, u, kept * h);
            let by_before = kept * cell.by_before;
            for (s, by_map) in s.iter_mut().zip(cell.by_maps) {
                s.iter_mut().zip(&x).for_each(|(s, x)| *s = by_before * *s + by_map * x);
            }
            s_u = by_before * s_u + cell.by_weight;
            h = cell.next;
            let _ = all.get(t).get(b).get(n).fill_(h);
        }
        for (map, s) in s.into_iter().enumerate() {
            let column = to_maps.get(b).select(1, map as i64 * hidden + n);
            column.shallow_clone().copy_(&Tensor::from_slice(&s));
        }
        let _ = to_weight.get(b).get(0).get(n).fill_(s_u);
    }
    [all, to_maps, to_weight]
}

fn layers(hidden: i64) -> Vec<MemoryConfig> {
    let mut layers: Vec<_> = ACTIVATIONS.map(|activation| indrnn(hidden, activation)).into();
    layers.extend(CANDIDATES.map(|candidate| mingru(hidden, candidate)));
    layers.extend(CANDIDATES.map(|candidate| minlstm(hidden, candidate)));
    layers
}

#[test]
fn outputs_and_sensitivities_follow_the_equations() {
    let time = UNROLLS * UNROLL;
    for (memory, seed) in
        layers(4).into_iter().flat_map(|memory| [0, 1].map(|s| (memory.clone(), s)))
    {
        let (policy, inputs) = (exact(memory.clone()), life(seed));
        let [cells, to_maps, to_weight] = walked(&policy, &inputs, time);
        let (_, carry) = by_unrolls(&policy, &inputs);
        let columns = carry.columns();
        let off = relative(columns[0], &to_maps);
        assert!(off < 1e-9, "{memory:?}: sensitivities off by {off}");
        if let Some(found) = columns.get(1) {
            let off = relative(found, &to_weight);
            assert!(off < 1e-9, "{memory:?}: sensitivities to u off by {off}");
        }
        for length in [1, 5, time] {
            let inputs = super::moments(&inputs, 0, length);
            let (_, state) = policy.unroll(&inputs, &policy.initial_state(BATCH));
            let off = relative(&state.tensors()[0], &cells.get(length - 1));
            assert!(off < 1e-9, "{memory:?}: cells off by {off} after {length}");
        }
    }
}

#[test]
fn what_these_layers_say_is_their_state() {
    for memory in layers(4) {
        // The logits are the memory's four numbers.
        let policy = transparent(memory.clone());
        let inputs = super::frames(&mut Seed::new(5).generator(), 6, 3, DISCRETE);
        let (output, state) = policy.unroll(&inputs, &policy.initial_state(3));
        let said = super::numbers(&output).get(-1).narrow(-1, 0, 4);
        assert!(super::difference(&said, &state.tensors()[0]) < 1e-12, "{memory:?}");
    }
}

#[test]
fn parameters_are_as_many_as_the_equations_say() {
    // Torso 3 -> 5, then 5 + 4 actions + 1 reward = 10 inputs, 6 cells, 4 logits and a value.
    let around = 3 * 5 + 5 + (6 + 1) * (4 + 1);
    let counts = [
        (indrnn(6, Activation::Relu), 6 * (10 + 1) + 6),
        (mingru(6, Candidate::Linear), 2 * 6 * (10 + 1)),
        (minlstm(6, Candidate::Linear), 3 * 6 * (10 + 1)),
    ];
    for (memory, count) in counts {
        assert_eq!(policy(Kind::Float, memory, DISCRETE).parameter_count(), around + count);
    }
}

#[test]
fn minimal_layers_keep_as_much_of_a_cell_as_the_forget_bias_says() {
    for memory in [mingru(64, Candidate::Linear), minlstm(64, Candidate::Linear)] {
        let policy = exact(memory.clone());
        let named = policy.trainable();
        let (_, bias) = named.iter().find(|(name, _)| name == "memory.recurrence.bias").unwrap();
        let bias = row(&bias.detach());
        // Without inputs, what a cell keeps of 1 rather than of 0.
        let cells = (0..64).map(|n| {
            let arguments: Vec<f64> = bias.iter().copied().skip(n).step_by(64).collect();
            step(&memory, &arguments, 0.0, 1.0).next - step(&memory, &arguments, 0.0, 0.0).next
        });
        let kept = cells.sum::<f64>() / 64.0;
        assert!((kept - sigmoid(0.5)).abs() < 0.03, "{memory:?}: {kept}");
    }
}

#[test]
fn an_indrnns_recurrent_weights_start_between_zero_and_a_doubling_in_the_horizon() {
    let weights = || {
        let policy = policy(Kind::Double, indrnn(4096, Activation::Relu), DISCRETE);
        let named = policy.trainable();
        let found = named.into_iter().find(|(name, _)| name == "memory.recurrent_weight");
        (policy, found.unwrap().1)
    };
    let (policy, u) = weights();
    let grown = u.detach().pow_tensor_scalar(8);
    assert!(u.min().double_value(&[]) > 0.0 && grown.max().double_value(&[]) <= 2.0 + 1e-9);
    assert!(grown.max().double_value(&[]) > 1.98);
    let mean = u.mean(Kind::Double).double_value(&[]);
    assert!((mean - 2f64.powf(1.0 / 8.0) / 2.0).abs() < 0.02, "{mean}");

    // An update may have moved them out of it.
    let inside = u.detach().copy();
    tch::no_grad(|| {
        let _ = u.get(0).fill_(3.0);
        let _ = u.get(1).fill_(-3.0);
    });
    policy.constrain();
    let bound = 2f64.powf(1.0 / 8.0);
    let found = row(&u.detach().narrow(0, 0, 2));
    assert!((found[0] - bound).abs() < 1e-12 && (found[1] + bound).abs() < 1e-12, "{found:?}");
    assert_eq!(u.detach().narrow(0, 2, 4094), inside.narrow(0, 2, 4094));
}
