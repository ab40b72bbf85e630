//! Properties of every memory layer.

use engram_mdp::{ActionSpec, Seed};
use engram_policy::memory::cgpt::CgptConfig;
use engram_policy::memory::gpt2::Gpt2Config;
use engram_policy::memory::lstm::LstmConfig;
use engram_policy::memory::mamba::MambaConfig;
use engram_policy::{
    Batched, CoreState, Initialization, Inputs, MemoryConfig, Policy, PolicyConfig, TorsoConfig,
};
use rand::RngExt;
use tch::{Device, Kind, Tensor};

use super::{
    CONTINUOUS, DISCRETE, config, difference, frames, frames_with, memories, moment, moments,
    numbers, policy, random, some_state, spec, stated_memories,
};

pub(super) fn states_differ(a: &CoreState, b: &CoreState) -> f64 {
    let pairs = a.tensors().iter().zip(b.tensors());
    pairs.map(|(a, b)| difference(a, b)).fold(0.0, f64::max)
}

/// Steps through `inputs`; outputs `[T, B, n]` and the state after them.
pub(super) fn walk(policy: &Policy, inputs: &Inputs, state: &CoreState) -> (Tensor, CoreState) {
    let mut state = state.shallow_clone();
    let outputs: Vec<Tensor> = (0..inputs.leading()[0])
        .map(|t| {
            let (output, next) = policy.step(&moment(inputs, t), &state);
            state = next;
            numbers(&output)
        })
        .collect();
    (Tensor::stack(&outputs, 0), state)
}

fn all_layers(kind: Kind, check: impl Fn(&Policy, ActionSpec, Seed)) {
    for action in [DISCRETE, CONTINUOUS] {
        for (i, memory) in memories(6).into_iter().enumerate() {
            let policy = policy(kind, memory, action);
            for case in 0..12 {
                check(&policy, action, Seed::new(case).derive("layer", i as u64));
            }
        }
    }
}

#[test]
fn stepping_equals_unrolling_and_unrolling_in_two_parts() {
    all_layers(Kind::Double, |policy, action, seed| {
        let mut generator = seed.generator();
        let (time, batch) = (generator.random_range(2..9), generator.random_range(1..6));
        let inputs = frames(&mut generator, time, batch, action);
        let state = some_state(policy, batch, seed);
        let (stepped, after_steps) = walk(policy, &inputs, &state);
        let (unrolled, after_unroll) = policy.unroll(&inputs, &state);
        assert!(difference(&stepped, &numbers(&unrolled)) < 1e-9);
        assert!(states_differ(&after_steps, &after_unroll) < 1e-9);

        let cut = generator.random_range(1..time);
        let (before, between) = policy.unroll(&moments(&inputs, 0, cut), &state);
        let (after, end) = policy.unroll(&moments(&inputs, cut, time - cut), &between);
        let parts = Tensor::cat(&[numbers(&before), numbers(&after)], 0);
        assert!(difference(&parts, &stepped) < 1e-9);
        assert!(states_differ(&end, &after_steps) < 1e-9);
    });
}

#[test]
fn two_episodes_in_one_unroll_equal_the_two_run_apart() {
    all_layers(Kind::Double, |policy, action, seed| {
        let mut generator = seed.generator();
        let (time, begin) = (8, generator.random_range(1..8));
        let first = (0..time).map(|t| t == 0 || t == begin).collect();
        let inputs = frames_with(&mut generator, time, 1, action, first);
        let (packed, end) = policy.unroll(&inputs, &some_state(policy, 1, seed));
        let alone = |start, length| {
            policy.unroll(&moments(&inputs, start, length), &policy.initial_state(1))
        };
        let (one, _) = alone(0, begin);
        let (two, end_of_two) = alone(begin, time - begin);
        let apart = Tensor::cat(&[numbers(&one), numbers(&two)], 0);
        assert!(difference(&numbers(&packed), &apart) < 1e-9);
        assert!(states_differ(&end, &end_of_two) < 1e-9);
    });
}

#[test]
fn environments_of_a_batch_do_not_see_one_another() {
    all_layers(Kind::Double, |policy, action, seed| {
        let mut generator = seed.generator();
        let inputs = frames(&mut generator, 6, 4, action);
        let state = some_state(policy, 4, seed);
        let (together, _) = policy.unroll(&inputs, &state);
        let row = generator.random_range(0..4);
        let cut = |tensor: &Tensor| tensor.narrow(1, row, 1);
        let alone = Inputs::new(
            cut(&inputs.observation),
            cut(&inputs.previous_action),
            cut(&inputs.previous_reward),
            (0..6).map(|t| inputs.resets().at(t)[row as usize]).collect(),
        );
        let (alone, _) = policy.unroll(&alone, &state.index_select(&Tensor::from_slice(&[row])));
        assert!(difference(&cut(&numbers(&together)), &numbers(&alone)) < 1e-9);
    });
}

#[test]
fn single_precision_steps_unrolls_and_agrees_with_double() {
    // A batch of 32 steps through the fused kernels, one of 3 through plain cells.
    for batch in [3, 32] {
        for memory in memories(16) {
            let single = policy(Kind::Float, memory.clone(), DISCRETE);
            let double = policy(Kind::Double, memory, DISCRETE);
            let seed = Seed::new(9);
            let inputs = frames(&mut seed.generator(), 20, batch, DISCRETE);
            let (stepped, after) = walk(&single, &inputs, &some_state(&single, batch, seed));
            let (unrolled, end) = single.unroll(&inputs, &some_state(&single, batch, seed));
            assert!(difference(&stepped, &numbers(&unrolled)) < 1e-5);
            assert!(states_differ(&after, &end) < 1e-5);
            let (exact, _) = double.unroll(&inputs, &some_state(&double, batch, seed));
            let stepped = stepped.to_kind(Kind::Double);
            assert!(difference(&stepped, &numbers(&exact)) < 1e-5);
        }
    }
}

#[test]
fn nothing_of_an_episode_reaches_the_next_one_not_even_a_rounding() {
    for kind in [Kind::Float, Kind::Double] {
        for memory in memories(16) {
            let policy = policy(kind, memory, DISCRETE);
            let seed = Seed::new(4);
            let mut generator = seed.generator();
            // All rows begin anew at moment 5; what came before differs wildly.
            let first: Vec<bool> = (0..10 * 32).map(|row| row / 32 == 5).collect();
            let inputs = frames_with(&mut generator, 10, 32, DISCRETE, first);
            let (quiet, _) = policy.unroll(&inputs, &policy.initial_state(32));
            let _ = inputs.observation.narrow(0, 0, 5).g_mul_scalar_(50.0);
            let (loud, _) = policy.unroll(&inputs, &some_state(&policy, 32, seed));
            let later = |output| numbers(&output).narrow(0, 5, 5);
            assert_eq!(later(quiet), later(loud));
        }
    }
}

/// Clear and hold steps once saw the features of the batch's first row, which outweighed them
/// beyond 1e4: training alone carried states across resets.
#[test]
fn inputs_of_any_size_keep_episodes_apart() {
    for kind in [Kind::Float, Kind::Double] {
        for memory in memories(16) {
            let identity = PolicyConfig { torso: TorsoConfig::Identity {}, ..config(memory) };
            let (spec, seed) = (spec(DISCRETE), Seed::new(1));
            let policy = Policy::of_kind(kind, &identity, &spec, seed, Device::Cpu).unwrap();
            let unroll = |begins: fn(usize) -> bool| {
                let first = (0..6 * 4).map(begins).collect();
                let inputs = frames_with(&mut Seed::new(4).generator(), 6, 4, DISCRETE, first);
                let _ = inputs.observation.narrow(0, 0, 3).g_mul_scalar_(1e6);
                let (output, end) = policy.unroll(&inputs, &policy.initial_state(4));
                (numbers(&output).narrow(0, 3, 3), end, moments(&inputs, 3, 3))
            };
            // Rows 0 and 1 begin anew at moment 3; rows 2 and 3 are held at the end.
            let (output, end, later) = unroll(|row| row / 4 == 3 && row % 4 < 2);
            let (anew, anew_end) = policy.unroll(&later, &policy.initial_state(4));
            let (through, through_end, _) = unroll(|_| false);
            let label = format!("{kind:?} {:?}", policy.config().memory);
            for (rows, expected, expected_end) in
                [([0, 1], numbers(&anew), anew_end), ([2, 3], through, through_end)]
            {
                let rows = Tensor::from_slice(&rows);
                let of = |tensor: &Tensor| tensor.index_select(1, &rows);
                let largest = of(&expected).abs().max().double_value(&[]);
                let off = difference(&of(&output), &of(&expected)) / (1.0 + largest);
                assert!(off < 1e-5, "{label}: {off}");
                let state = |state: &CoreState| state.index_select(&rows).flatten();
                let largest = state(&expected_end).abs().sum(Kind::Double).double_value(&[]);
                let off = difference(&state(&end), &state(&expected_end)) / (1.0 + largest);
                assert!(off < 1e-5, "{label}: states {off}");
            }
        }
    }
}

#[test]
fn no_gradient_crosses_the_beginning_of_an_episode() {
    for memory in memories(16) {
        let policy = policy(Kind::Float, memory, CONTINUOUS);
        let mut generator = Seed::new(4).generator();
        let first: Vec<bool> = (0..6 * 4).map(|row| row / 4 == 3).collect();
        let mut inputs = frames_with(&mut generator, 6, 4, CONTINUOUS, first);
        inputs.observation = inputs.observation.set_requires_grad(true);
        let (output, _) = policy.unroll(&inputs, &policy.initial_state(4));
        let loss = numbers(&output).narrow(0, 3, 3).square().sum(Kind::Float);
        let gradient = &Tensor::run_backward(&[loss], &[&inputs.observation], false, false)[0];
        assert_eq!(gradient.narrow(0, 0, 3).abs().max().double_value(&[]), 0.0);
        assert!(gradient.narrow(0, 3, 3).abs().min().double_value(&[]) > 0.0);
    }
}

#[test]
fn acting_records_no_gradients() {
    for memory in memories(6) {
        let policy = policy(Kind::Float, memory, DISCRETE);
        let inputs = moment(&frames(&mut Seed::new(1).generator(), 1, 3, DISCRETE), 0);
        let (output, state) = policy.step(&inputs, &policy.initial_state(3));
        assert!(!numbers(&output).requires_grad());
        assert!(state.tensors().iter().all(|tensor| !tensor.requires_grad()));
    }
}

/// The same layer with a state that travels, if it has the choice.
fn exporting(memory: MemoryConfig) -> Option<MemoryConfig> {
    let export_state = true;
    match memory {
        MemoryConfig::Mamba(layer) => {
            Some(MemoryConfig::Mamba(MambaConfig { export_state, ..layer }))
        }
        MemoryConfig::Cgpt(layer) => Some(MemoryConfig::Cgpt(CgptConfig { export_state, ..layer })),
        MemoryConfig::Gpt2(layer) => Some(MemoryConfig::Gpt2(Gpt2Config { export_state, ..layer })),
        _ => None,
    }
}

#[test]
fn large_states_travel_when_they_are_asked_to_and_go_on_as_if_they_had_not() {
    let exporting: Vec<_> = memories(6).into_iter().filter_map(exporting).collect();
    assert!(exporting.len() > 5);
    for memory in exporting {
        let policy = policy(Kind::Float, memory, DISCRETE);
        let state = some_state(&policy, 5, Seed::new(3));
        assert_eq!(policy.exported_state_width(), Some(state.width()));
        let arrived = policy.core_state(&state.flatten()).unwrap();
        let inputs = frames(&mut Seed::new(4).generator(), 6, 5, DISCRETE);
        let [here, there] = [&state, &arrived].map(|state| policy.unroll(&inputs, state));
        assert_eq!(numbers(&here.0), numbers(&there.0));
        assert_eq!(here.1.flatten(), there.1.flatten());
    }
}

#[test]
fn exported_states_come_back_from_their_flat_form() {
    let mut widths = vec![None, Some(12), Some(24), Some(6)];
    widths.extend([12, 12, 6, 6, 12, 12].map(Some)); // LRU, GILR, GILR-LSTM
    widths.push(Some(20));
    widths.extend([None; 6]); // Attention, alone and in a stack.
    widths.extend([None, Some(2 * 6)]); // Convolutions.
    widths.extend([6, 12].map(Some)); // GRU.
    widths.push(Some(6)); // GILR above a dense layer.
    widths.extend([None; 3]); // Mamba, alone and in a stack.
    assert_eq!(stated_memories(6).len(), widths.len());
    for (memory, width) in stated_memories(6).into_iter().zip(widths) {
        assert_eq!(policy(Kind::Float, memory, DISCRETE).exported_state_width(), width);
    }
    for memory in memories(6) {
        let policy = policy(Kind::Float, memory, DISCRETE);
        let width = policy.exported_state_width();
        let flat = random(&mut Seed::new(2).generator(), &[5, width.unwrap_or(0) as i64]);
        let state = policy.core_state(&flat).unwrap();
        let expected = if width.is_some() { flat } else { policy.initial_state(5).flatten() };
        assert_eq!((state.batch(), state.flatten()), (5, expected));
        let wrong = random(&mut Seed::new(2).generator(), &[5, 7]);
        assert!(policy.core_state(&wrong).unwrap_err().to_string().contains("7 numbers"));
    }
}

#[test]
fn an_lstm_unrolls_in_bfloat16_nearly_as_it_does_in_single_precision() {
    let unrolled = |bf16| {
        let (hidden, layers, forget_bias, init) = (32, 2, 2.0, Initialization::FAN_IN);
        let lstm = MemoryConfig::Lstm(LstmConfig { hidden, layers, forget_bias, init, bf16 });
        let policy = policy(Kind::Float, lstm, DISCRETE);
        let inputs = frames(&mut Seed::new(5).generator(), 24, 6, DISCRETE);
        let (y, after) = policy.remember(&inputs, &some_state(&policy, 6, Seed::new(6)));
        let memory = |(name, weight): &(String, Tensor)| {
            name.starts_with("memory").then(|| weight.shallow_clone())
        };
        let weights: Vec<Tensor> = policy.trainable().iter().filter_map(memory).collect();
        let gradients =
            Tensor::run_backward(&[y.square().sum(Kind::Float)], &weights, false, false);
        assert!(!gradients.is_empty());
        let states = after.tensors().iter().map(Tensor::shallow_clone);
        std::iter::once(y).chain(states).chain(gradients).collect::<Vec<Tensor>>()
    };
    for (whole, half) in unrolled(false).iter().zip(&unrolled(true)) {
        assert_eq!(half.kind(), Kind::Float);
        let difference = ((whole - half).norm() / whole.norm()).double_value(&[]);
        assert!(difference < 0.05, "{difference}");
        #[cfg(target_arch = "x86_64")]
        assert_eq!(difference > 0.0, is_x86_feature_detected!("avx512bf16"));
    }
}
