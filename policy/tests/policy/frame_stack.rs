//! Stacked observations: a policy that stacks what it is sent equals one that is shown stacks.

use engram_mdp::{Dtype, EnvSpec, ObservationSpec, Seed};
use engram_policy::memory::none::NoneConfig;
use engram_policy::{Batched, CoreState, Inputs, MemoryConfig, Policy};
use tch::{Device, Kind, Tensor};

use super::memories::walk;
use super::rtrl::{BATCH, UNROLL, UNROLLS, life};
use super::{DISCRETE, config, difference, memories, moments, numbers, spec};

const FRAMES: i64 = 3;

fn policies(memory: &MemoryConfig) -> [Policy; 2] {
    let stacking = EnvSpec { frame_stack: FRAMES as u32, ..spec(DISCRETE) };
    let observation = stacking.stacked_observation();
    let shown = EnvSpec { observation, frame_stack: 1, ..stacking.clone() };
    [stacking, shown].map(|spec| {
        let config = config(memory.clone());
        Policy::of_kind(Kind::Double, &config, &spec, Seed::new(1), Device::Cpu).unwrap()
    })
}

/// The frames with stacks for observations, put together number by number.
fn stacked(inputs: &Inputs) -> Inputs {
    let &[time, batch, width] = inputs.observation.size().as_slice() else { panic!("[T, B, O]") };
    let first = |t: i64, b: i64| inputs.resets().at(t as usize)[b as usize];
    let mut all: Vec<f64> = vec![];
    for (t, b) in (0..time).flat_map(|t| (0..batch).map(move |b| (t, b))) {
        let begin = (0..=t).rev().find(|&t| first(t, b));
        for back in (0..FRAMES).rev() {
            let from = (t - back).max(begin.unwrap_or(i64::MIN));
            let number = |i| match from < 0 {
                true => 0.0,
                false => inputs.observation.double_value(&[from, b, i]),
            };
            all.extend((0..width).map(number));
        }
    }
    let observation = Tensor::from_slice(&all).to_kind(Kind::Float);
    Inputs::new(
        observation.view([time, batch, FRAMES * width]),
        inputs.previous_action.shallow_clone(),
        inputs.previous_reward.shallow_clone(),
        (0..time as usize).flat_map(|t| inputs.resets().at(t).to_vec()).collect(),
    )
}

fn every_layer(check: impl Fn(&Policy, &Inputs, &Tensor)) {
    for memory in memories(6).into_iter().chain([MemoryConfig::None(NoneConfig {})]) {
        let [stacking, shown] = policies(&memory);
        let inputs = life(2);
        let (expected, _) = shown.unroll(&stacked(&inputs), &shown.initial_state(BATCH));
        check(&stacking, &inputs, &numbers(&expected));
    }
}

#[test]
fn acting_and_unrolling_see_stacks() {
    every_layer(|policy, inputs, expected| {
        let state = policy.initial_state(BATCH);
        let (stepped, after) = walk(policy, inputs, &state);
        assert!(difference(&stepped, expected) < 1e-9);
        let (unrolled, end) = policy.unroll(inputs, &state);
        assert!(difference(&numbers(&unrolled), expected) < 1e-9);
        let last = |state: &CoreState| state.tensors().last().unwrap().copy();
        assert_eq!(last(&after), last(&end));
    });
}

#[test]
fn unrolls_of_streams_go_on_with_the_observations_before_them() {
    every_layer(|policy, inputs, expected| {
        let mut carry = policy.initial_carry(BATCH);
        let width = policy.exported_state_width();
        for number in 0..UNROLLS {
            let start = number * UNROLL;
            let state = match start {
                0 => policy.initial_state(BATCH),
                _ => walk(policy, &moments(inputs, 0, start), &policy.initial_state(BATCH)).1,
            };
            let flat = match width {
                Some(_) => state.flatten(),
                None => Tensor::zeros([BATCH, 0], (Kind::Float, Device::Cpu)),
            };
            let frames = moments(inputs, start, UNROLL + 1);
            let unrolled = policy.unroll_streams(&frames, &flat, carry).unwrap();
            let expected = expected.narrow(0, start, UNROLL + 1);
            assert!(difference(&numbers(&unrolled.output), &expected) < 1e-5);
            carry = policy.next_carry(unrolled.context);
        }
    });
}

#[test]
fn a_sequence_out_of_a_replay_begins_behind_its_burn_in() {
    every_layer(|policy, inputs, expected| {
        let start = UNROLL;
        let state = policy.burn_in(&moments(inputs, 0, start), &policy.initial_state(BATCH));
        let length = inputs.leading()[0] - start;
        let (output, _) = policy.unroll(&moments(inputs, start, length), &state);
        assert!(difference(&numbers(&output), &expected.narrow(0, start, length)) < 1e-9);
    });
}

#[test]
fn pictures_travel_as_a_third_of_their_bytes() {
    let observation = ObservationSpec { dtype: Dtype::U8, shape: vec![1, 4, 5] };
    let spec = EnvSpec { observation, frame_stack: 4, ..spec(DISCRETE) };
    let config = config(MemoryConfig::None(NoneConfig {}));
    let policy = Policy::new(&config, &spec, Seed::new(1), Device::Cpu).unwrap();
    assert_eq!(policy.exported_state_width(), Some(3 * 20 / 3));
    assert_eq!(policy.initial_state(1).tensors()[0].kind(), Kind::Uint8);
}
