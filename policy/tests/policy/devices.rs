//! A policy on an accelerator, beside the same one on the CPU, in double
//! precision.

use engram_mdp::{ActionSpec, Dtype, EnvSpec, Seed};
use engram_policy::{Batched, Inputs, Policy, PolicyConfig};
use tch::{Device, Kind, Tensor, no_grad};

use super::configs::{self, configs};
use super::rtrl::flat;
use super::{
    CONTINUOUS, DISCRETE, config, difference, frames, memories, moment, moments, numbers, random,
    real_time_memories,
};

const UNROLL: i64 = 7;
const BATCH: i64 = 5;

/// Random frames of an environment, which sees three numbers or an image.
fn frames_of(spec: &EnvSpec, time: i64, device: Device) -> Inputs {
    let mut generator = Seed::new(3).generator();
    let inputs = frames(&mut generator, time, BATCH, spec.action);
    let observation = match spec.observation.dtype {
        Dtype::F32 => inputs.observation.shallow_clone(),
        Dtype::U8 => {
            let sides = spec.observation.shape.iter().map(|&side| side as i64);
            let shape: Vec<i64> = [time, BATCH].into_iter().chain(sides).collect();
            (random(&mut generator, &shape).abs() * 255.0).to_kind(Kind::Uint8)
        }
    };
    let first = (0..time).flat_map(|t| inputs.resets().at(t as usize).to_vec());
    Inputs::new(
        observation.to_device(device),
        inputs.previous_action.to_device(device),
        inputs.previous_reward.to_device(device),
        first.collect(),
    )
}

/// Everything that a policy computes: of two unrolls, the second one with what the first one left,
/// outputs, gradients and what is carried on; then a step of acting.
fn computed(config: &PolicyConfig, action: ActionSpec, device: Device) -> Vec<(String, Tensor)> {
    let (seed, spec) = (Seed::new(1), configs::spec(config, action));
    let mut policy = Policy::of_kind(Kind::Double, config, &spec, seed, device).unwrap();
    policy.set_dropout(Some(Seed::new(2)));
    let inputs = frames_of(&spec, 2 * UNROLL + 1, device);
    let (mut state, mut carry) = (policy.initial_state(BATCH), policy.initial_carry(BATCH));
    let mut found: Vec<(String, Tensor)> = vec![];
    for unroll in 0..2 {
        let frames = moments(&inputs, unroll * UNROLL, UNROLL + 1);
        let travelled = match policy.exported_state_width() {
            Some(_) => flat(&state),
            None => Tensor::zeros([BATCH, 0], (Kind::Float, device)),
        };
        let unrolled = policy.unroll_streams(&frames, &travelled, carry).unwrap();
        let outputs = numbers(&unrolled.output);
        let weights = Tensor::arange(outputs.numel() as i64, (Kind::Double, device)).sin();
        let loss = (outputs.square() * weights.view_as(&outputs)).sum(Kind::Double);
        let gradients;
        (gradients, carry) = policy.gradient(&loss, unrolled.context);
        let names = policy.trainable().into_iter().map(|(name, _)| format!("gradient of {name}"));
        found.push((format!("outputs of unroll {unroll}"), outputs));
        found.extend(names.zip(gradients).filter(|(_, gradient)| gradient.defined()));
        let taken = moments(&inputs, unroll * UNROLL, UNROLL);
        state = no_grad(|| policy.unroll(&taken, &state).1);
    }
    let (output, state) = policy.step(&moment(&inputs, 2 * UNROLL), &state);
    found.push(("outputs of a step".into(), numbers(&output)));
    found.extend(carry.columns().into_iter().map(|x| ("carry".into(), x.copy())));
    found.extend(state.columns().into_iter().map(|x| ("state".into(), x.copy())));
    found.retain(|(_, x)| x.numel() > 0);
    let on_host = |x: Tensor| x.detach().to_device(Device::Cpu).to_kind(Kind::Double);
    found.into_iter().map(|(name, x)| (name, on_host(x))).collect()
}

#[test]
#[ignore = "needs an accelerator: cargo xtask test -- --ignored"]
fn an_accelerator_computes_what_the_cpu_does() {
    let cuda = engram_policy::Device::Cuda(0).ready().unwrap();
    let layers = memories(6).into_iter().chain(real_time_memories(6)).map(config);
    for config in configs().into_values().chain(layers) {
        for action in [DISCRETE, CONTINUOUS] {
            let here = computed(&config, action, Device::Cpu);
            let there = computed(&config, action, cuda);
            assert_eq!(here.len(), there.len());
            for ((name, here), (_, there)) in here.iter().zip(&there) {
                let error = difference(here, there) / here.abs().max().double_value(&[]).max(1.0);
                assert!(error < 1e-9, "{config} on {action:?}, {name}: off by {error}");
            }
        }
    }
}
