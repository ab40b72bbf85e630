//! Real-time recurrent learning against backpropagation through whole lives, against finite
//! differences, and against its own definition, step by step; in double precision.

use engram_mdp::{ActionSpec, Dtype, EnvSpec, ObservationSpec, Seed};
use engram_policy::memory::candidate::Candidate;
use engram_policy::memory::elstm::ElstmConfig;
use engram_policy::{
    Activation, Batched, Carry, Gradient, HeadConfig, HeadInit, Inputs, MemoryConfig, MemoryInput,
    Policy, PolicyConfig, TorsoConfig,
};
use rand::RngExt;
use tch::{Device, Kind, Tensor};

use super::{DISCRETE, difference, frames_with, gilr, lru, moments, numbers, real_time_memories};

/// A policy all of whose weights have an exact gradient: nothing learns below the memory.
pub(super) fn policy(memory: MemoryConfig) -> Policy {
    let config = PolicyConfig {
        inputs: vec![MemoryInput::Observation, MemoryInput::PreviousReward],
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
        name: "toy".into(),
        observation: ObservationSpec { dtype: Dtype::F32, shape: vec![3] },
        action: ActionSpec::Discrete { count: 4 },
        frame_stack: 1,
        action_repeat: 1,
    };
    Policy::of_kind(Kind::Double, &config, &spec, Seed::new(1), Device::Cpu).unwrap()
}

/// Three unrolls of 4 steps and the frame after them, for 5 environments: without any reset, with
/// one exactly on the first border, with one inside the second unroll, with random ones, and with
/// one in the frame that the unrolls share at the end.
pub(super) const UNROLL: i64 = 4;
pub(super) const UNROLLS: i64 = 3;
pub(super) const BATCH: i64 = 5;

pub(super) fn life(seed: u64) -> Inputs {
    let mut generator = Seed::new(seed).generator();
    let time = UNROLLS * UNROLL + 1;
    let mut first = vec![false; (time * BATCH) as usize];
    let mut begin = |t: i64, b: i64| first[(t * BATCH + b) as usize] = true;
    (0..BATCH).filter(|b| b % 2 == 0).for_each(|b| begin(0, b));
    begin(UNROLL, 1);
    begin(UNROLL + 2, 2);
    (1..time).filter(|_| generator.random_bool(0.3)).for_each(|t| begin(t, 3));
    begin(time - 1, 4);
    frames_with(&mut generator, time, BATCH, DISCRETE, first)
}

/// Each decision counts differently; the frame after the last one does not.
fn loss(outputs: &Tensor, first: i64) -> Tensor {
    let time = outputs.size()[0];
    let weights = Tensor::arange(outputs.numel() as i64, (Kind::Double, Device::Cpu)) * 0.7;
    let weights = (weights + first as f64).sin().view_as(outputs);
    (outputs.square() * weights).narrow(0, 0, time).sum(Kind::Double)
}

/// All numbers of a state, without rounding.
pub(super) fn flat(state: &impl Batched) -> Tensor {
    let parts: Vec<_> =
        state.columns().into_iter().map(|x| x.reshape([state.batch(), -1])).collect();
    Tensor::cat(&parts, 1)
}

/// The gradients of all weights: those of every unroll by itself, which are given what the last
/// one left, added up; and what is left at the end.
pub(super) fn by_unrolls(policy: &Policy, inputs: &Inputs) -> (Vec<Tensor>, Carry) {
    let weights = policy.trainable();
    let mut sums: Vec<Tensor> = weights.iter().map(|(_, weight)| weight.zeros_like()).collect();
    let mut state = policy.initial_state(BATCH);
    let mut carry = policy.initial_carry(BATCH);
    for unroll in 0..UNROLLS {
        let start = unroll * UNROLL;
        let frames = moments(inputs, start, UNROLL + 1);
        let unrolled = policy.unroll_streams(&frames, &flat(&state), carry).unwrap();
        let outputs = numbers(&unrolled.output).narrow(0, 0, UNROLL);
        let gradients;
        (gradients, carry) = policy.gradient(&loss(&outputs, start), unrolled.context);
        sums.iter_mut().zip(&gradients).for_each(|(sum, gradient)| *sum += gradient);
        let walked = tch::no_grad(|| policy.unroll(&moments(inputs, start, UNROLL), &state).1);
        state = walked;
    }
    (sums, carry)
}

/// The loss of the whole life, whose graph reaches back to its beginning.
fn whole_loss(policy: &Policy, inputs: &Inputs) -> Tensor {
    let steps = moments(inputs, 0, UNROLLS * UNROLL);
    let (output, _) = policy.unroll(&steps, &policy.initial_state(BATCH));
    let outputs = numbers(&output);
    let part = |unroll| loss(&outputs.narrow(0, unroll * UNROLL, UNROLL), unroll * UNROLL);
    (0..UNROLLS).map(part).reduce(|sum, part| sum + part).unwrap()
}

pub(super) fn relative(found: &Tensor, expected: &Tensor) -> f64 {
    difference(found, expected) / expected.abs().max().double_value(&[]).max(1e-3)
}

#[test]
fn unrolls_add_up_to_backpropagation_through_the_whole_life() {
    for memory in real_time_memories(6) {
        for seed in 0..5 {
            let (policy, inputs) = (policy(memory.clone()), life(seed));
            let weights = policy.trainable();
            let tensors: Vec<&Tensor> = weights.iter().map(|(_, weight)| weight).collect();
            let whole =
                Tensor::run_backward(&[whole_loss(&policy, &inputs)], &tensors, false, false);
            let (sums, _) = by_unrolls(&policy, &inputs);
            for (((name, _), sum), whole) in weights.iter().zip(&sums).zip(&whole) {
                let error = relative(sum, whole);
                assert!(error < 1e-9, "{memory:?} {name}: off by {error}");
            }
        }
    }
}

#[test]
fn truncated_gradients_differ_from_it() {
    for memory in real_time_memories(6) {
        let truncated = memory.with_gradient(Gradient::Tbptt).unwrap();
        let inputs = life(1);
        let [exact, truncated] = [memory, truncated].map(|memory| {
            let (sums, _) = by_unrolls(&policy(memory), &inputs);
            Tensor::cat(&sums.iter().map(|sum| sum.view([-1])).collect::<Vec<_>>(), 0)
        });
        assert!(relative(&truncated, &exact) > 1e-3, "the life is no test of memory");
    }
}

/// True if the layer's function has a kink, which differences would straddle somewhere.
fn has_a_kink(memory: &MemoryConfig) -> bool {
    match memory {
        MemoryConfig::Indrnn(layer) => layer.activation != Activation::Tanh,
        MemoryConfig::Mingru(layer) => layer.candidate == Candidate::Positive,
        MemoryConfig::Minlstm(layer) => layer.candidate == Candidate::Positive,
        _ => false,
    }
}

#[test]
fn unrolls_add_up_to_finite_differences() {
    for memory in real_time_memories(3).into_iter().filter(|memory| !has_a_kink(memory)) {
        let (policy, inputs) = (policy(memory.clone()), life(2));
        let (sums, _) = by_unrolls(&policy, &inputs);
        for ((name, weight), sum) in policy.trainable().iter().zip(&sums) {
            let flat = weight.detach().view([-1]);
            for i in 0..flat.numel() as i64 {
                let at = |offset: f64| {
                    let _ = flat.get(i).g_add_scalar_(offset);
                    let value = tch::no_grad(|| whole_loss(&policy, &inputs)).double_value(&[]);
                    let _ = flat.get(i).g_sub_scalar_(offset);
                    value
                };
                // Central differences of sixth order: the LRU's turns bend much.
                let h = 5e-4;
                let between = |steps: f64| at(steps * h) - at(-steps * h);
                let slope = (45.0 * between(1.0) - 9.0 * between(2.0) + between(3.0)) / (60.0 * h);
                let found = sum.reshape([-1]).double_value(&[i]);
                let error = (found - slope).abs() / slope.abs().max(1.0);
                assert!(error < 1e-9, "{memory:?} {name}[{i}]: {found} {slope}");
            }
        }
    }
}

#[test]
fn unrolling_streams_computes_what_unrolling_does() {
    for memory in real_time_memories(6).into_iter().chain(super::memories(6)) {
        let (policy, inputs) = (policy(memory.clone()), life(3));
        let (state, carry) = (policy.initial_state(BATCH), policy.initial_carry(BATCH));
        let (expected, _) = policy.unroll(&inputs, &state);
        let core_state = match policy.exported_state_width() {
            Some(_) => flat(&state),
            None => Tensor::zeros([BATCH, 0], (Kind::Double, Device::Cpu)),
        };
        let width = carry.width();
        let found = policy.unroll_streams(&inputs, &core_state, carry).unwrap();
        let error = difference(&numbers(&found.output), &numbers(&expected));
        assert!(error < 1e-12, "{memory:?}: {error}");
        let after = policy.next_carry(found.context);
        assert_eq!(after.width(), width);
        assert!(after.columns().iter().all(|tensor| !tensor.requires_grad()));
    }
}

/// The eLSTM's sensitivities by their definition: eq. 8 to 12 of Irie et al. 2023, one step after
/// another for every weight. `[B, N, D]` twice, then `[B, N]` four times: Z, F, w_z, w_f, b_z, b_f.
fn elstm_recursion(policy: &Policy, inputs: &Inputs, time: i64) -> [Tensor; 6] {
    let named = policy.trainable();
    let weight = |name: &str| {
        let found = named.iter().find(|(n, _)| n == &format!("memory.{name}"));
        found.unwrap().1.detach()
    };
    let hidden = weight("recurrent_weight").size()[1];
    let halves = |x: Tensor| (x.narrow(0, 0, hidden), x.narrow(0, hidden, hidden));
    let (z_weight, f_weight) = halves(weight("input_weight"));
    let (z_bias, f_bias) = halves(weight("bias"));
    let (w_z, w_f) = (weight("recurrent_weight").get(0), weight("recurrent_weight").get(1));
    let double = |x: &Tensor| x.to_kind(Kind::Double);
    let rewards = double(&inputs.previous_reward).unsqueeze(-1);
    let x = Tensor::cat(&[double(&inputs.observation), rewards], 2);
    let zeros = |shape: &[i64]| Tensor::zeros(shape, (Kind::Double, Device::Cpu));
    let inputs_width = x.size()[2];
    let mut c = zeros(&[BATCH, hidden]);
    let matrix = || zeros(&[BATCH, hidden, inputs_width]);
    let vector = || zeros(&[BATCH, hidden]);
    let mut s = [matrix(), matrix(), vector(), vector(), vector(), vector()];
    for t in 0..time {
        let kept: Vec<f64> =
            inputs.resets().at(t as usize).iter().map(|&first| f64::from(!first)).collect();
        let kept = Tensor::from_slice(&kept).unsqueeze(1);
        c *= &kept;
        s = s.map(|x| if x.dim() == 3 { x * kept.unsqueeze(-1) } else { x * &kept });
        let x = x.get(t);
        let z = (x.matmul(&z_weight.tr()) + &w_z * &c + &z_bias).tanh();
        let f = (x.matmul(&f_weight.tr()) + &w_f * &c + &f_bias).sigmoid();
        let z_hat = (1.0 - &f) * (1.0 - z.square());
        let f_hat = (&c - &z) * &f * (1.0 - &f);
        let a = &f + &z_hat * &w_z + &f_hat * &w_f;
        let outer = |e: &Tensor| e.unsqueeze(2) * x.unsqueeze(1);
        let [s_z, s_f, s_wz, s_wf, s_bz, s_bf] = s;
        s = [
            a.unsqueeze(2) * s_z + outer(&z_hat),
            a.unsqueeze(2) * s_f + outer(&f_hat),
            &a * s_wz + &z_hat * &c,
            &a * s_wf + &f_hat * &c,
            &a * s_bz + &z_hat,
            &a * s_bf + &f_hat,
        ];
        c = &f * &c + (1.0 - &f) * z;
    }
    s
}

#[test]
fn the_elstms_sensitivities_follow_their_recursion() {
    for seed in 0..5 {
        let memory = MemoryConfig::Elstm(ElstmConfig {
            hidden: 6,
            gradient: Gradient::Rtrl,
            forget_bias: 0.5,
        });
        let (policy, inputs) = (policy(memory), life(seed));
        let (_, carry) = by_unrolls(&policy, &inputs);
        let [to_inputs, to_recurrence] = carry.columns()[..] else { panic!("two tensors") };
        let [z, f, w_z, w_f, b_z, b_f] = elstm_recursion(&policy, &inputs, UNROLLS * UNROLL);
        let rows = |first, s: &Tensor, b: &Tensor| {
            let expected = Tensor::cat(&[s, &b.unsqueeze(2)], 2).transpose(1, 2);
            assert!(relative(&to_inputs.narrow(2, first, 6), &expected) < 1e-9);
        };
        rows(0, &z, &b_z);
        rows(6, &f, &b_f);
        assert!(relative(to_recurrence, &Tensor::stack(&[w_z, w_f], 1)) < 1e-9);
    }
}

/// Inputs of the memory, `[T, B, D + 1]` with a one behind, and 0 where an episode begins,
/// `[T, B, 1]`; and the memory's weights.
pub(super) fn oracle(
    policy: &Policy,
    inputs: &Inputs,
) -> (Tensor, Tensor, impl Fn(&str) -> Tensor) {
    let named = policy.trainable();
    let weight = move |name: &str| {
        let found = named.iter().find(|(n, _)| n == &format!("memory.{name}"));
        found.unwrap().1.detach()
    };
    let double = |x: &Tensor| x.to_kind(Kind::Double);
    let rewards = double(&inputs.previous_reward).unsqueeze(-1);
    let x = Tensor::cat(&[double(&inputs.observation), rewards.ones_like(), rewards], 2);
    let x = x.index_select(2, &Tensor::from_slice(&[0i64, 1, 2, 4, 3]));
    let time = x.size()[0] as usize;
    let first = (0..time).flat_map(|t| inputs.resets().at(t).to_vec());
    let kept: Vec<f64> = first.map(|first| f64::from(!first)).collect();
    (x, Tensor::from_slice(&kept).view([-1, BATCH, 1]), weight)
}

/// The GILR's sensitivities by their definition, one step after another: V and F with their
/// biases, `[B, N, D + 1]` each.
fn gilr_recursion(policy: &Policy, inputs: &Inputs, time: i64) -> [Tensor; 2] {
    let (x, kept, weight) = oracle(policy, inputs);
    let rows =
        Tensor::cat(&[weight("recurrence.weight"), weight("recurrence.bias").unsqueeze(1)], 1);
    let hidden = rows.size()[0] / 2;
    let mut h = Tensor::zeros([BATCH, hidden], (Kind::Double, Device::Cpu));
    let zeros = || Tensor::zeros([BATCH, hidden, x.size()[2]], (Kind::Double, Device::Cpu));
    let mut s = [zeros(), zeros()];
    for t in 0..time {
        let (x, kept) = (x.get(t), kept.get(t));
        h *= &kept;
        let arguments = x.matmul(&rows.tr());
        let v = arguments.narrow(1, 0, hidden).tanh();
        let f = arguments.narrow(1, hidden, hidden).sigmoid();
        // h = f h' + (1 − f) v, by v's argument, by f's, and by h'.
        let by_v = (1.0 - &f) * (1.0 - v.square());
        let by_f = (&h - &v) * &f * (1.0 - &f);
        let by_h = (&f * kept).unsqueeze(2);
        let outer = |e: &Tensor| e.unsqueeze(2) * x.unsqueeze(1);
        let [to_v, to_f] = s;
        s = [&by_h * to_v + outer(&by_v), &by_h * to_f + outer(&by_f)];
        h = &f * &h + (1.0 - f) * v;
    }
    s
}

#[test]
fn the_gilrs_sensitivities_follow_their_recursion() {
    for seed in 0..5 {
        let (policy, inputs) = (policy(gilr(6, false, Gradient::Rtrl)), life(seed));
        let (_, carry) = by_unrolls(&policy, &inputs);
        let [found] = carry.columns()[..] else { panic!("one tensor") };
        let expected = Tensor::cat(&gilr_recursion(&policy, &inputs, UNROLLS * UNROLL), 1);
        let expected = expected.transpose(1, 2);
        assert!(relative(found, &expected) < 1e-9);
    }
}

/// One step of the LRU from s_t, in real numbers: both parts, each `[B, N]`.
fn turned(rate: [&Tensor; 2], s: [&Tensor; 2]) -> [Tensor; 2] {
    let ([a, b], [re, im]) = (rate, s);
    [a * re - b * im, b * re + a * im]
}

/// The LRU's sensitivities by their definition, one step after another: `∂s/∂ Re(γ W)` with the
/// bias, both parts, `[B, N, D + 1]` each; `∂s/∂λ`, both parts, `[B, N]` each.
fn lru_recursion(policy: &Policy, inputs: &Inputs, time: i64) -> [Tensor; 4] {
    let (x, kept, weight) = oracle(policy, inputs);
    let rows = Tensor::cat(&[weight("input.weight"), weight("input.bias").unsqueeze(1)], 1);
    let hidden = rows.size()[0] / 2;
    let part =
        |part| rows.view([hidden, 2, -1]).select(1, part) * weight("scale").exp().unsqueeze(1);
    let (size, angle) = ((-weight("decay").exp()).exp(), weight("turn").exp());
    let (a, b) = (&size * angle.cos(), size * angle.sin());
    let rate = [&a, &b];
    let columns = [&a.unsqueeze(1), &b.unsqueeze(1)];
    let zeros = |shape: &[i64]| Tensor::zeros(shape, (Kind::Double, Device::Cpu));
    let matrix = || zeros(&[BATCH, hidden, x.size()[2]]);
    let vector = || zeros(&[BATCH, hidden]);
    let (mut s, mut to_rows) = ([vector(), vector()], [matrix(), matrix()]);
    let mut to_rate = [vector(), vector()];
    for t in 0..time {
        let (x, kept) = (x.get(t), kept.get(t));
        s = s.map(|part| part * &kept);
        to_rows = to_rows.map(|part| part * kept.unsqueeze(2));
        to_rate = to_rate.map(|part| part * &kept);
        to_rows = turned(columns, to_rows.each_ref());
        to_rows[0] += x.unsqueeze(1);
        to_rate = turned(rate, to_rate.each_ref());
        to_rate.iter_mut().zip(&s).for_each(|(to_rate, s)| *to_rate += s);
        s = turned(rate, s.each_ref());
        s[0] += x.matmul(&part(0).tr());
        s[1] += x.matmul(&part(1).tr());
    }
    let ([a, b], [c, d]) = (to_rows, to_rate);
    [a, b, c, d]
}

#[test]
fn the_lrus_sensitivities_follow_their_recursion() {
    for seed in 0..5 {
        let (policy, inputs) = (policy(lru(6, false, Gradient::Rtrl)), life(seed));
        let (_, carry) = by_unrolls(&policy, &inputs);
        let [to_input, to_rate] = carry.columns()[..] else { panic!("two tensors") };
        let [re, im, rate_re, rate_im] = lru_recursion(&policy, &inputs, UNROLLS * UNROLL);
        let expected = Tensor::stack(&[re, im], 2).flatten(1, 2).transpose(1, 2);
        assert!(relative(to_input, &expected) < 1e-9);
        let expected = Tensor::stack(&[rate_re, rate_im], 2).flatten(1, 2);
        assert!(relative(to_rate, &expected) < 1e-9);
    }
}
