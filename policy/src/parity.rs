//! Parity of devices: everything that a policy computes, so that an accelerator can be compared
//! with the CPU.
//!
//! `engram check` and the tests make the same comparison: [`compute`] on two devices, and
//! [`largest_error`] between what came out.

use engram_mdp::{ActionSpec, Dtype, EnvSpec, Generator, ObservationSpec, Seed};
use rand::RngExt;
use tch::{Device, Kind, Tensor, no_grad};

use crate::config::{PolicyConfig, TorsoConfig};
use crate::distribution::Distribution;
use crate::error::PolicyError;
use crate::inputs::Inputs;
use crate::policy::{Policy, PolicyOutput};
use crate::state::{Batched, CoreState};

const UNROLL: i64 = 7;
const BATCH: i64 = 5;
/// Share of frames that begin an episode.
const FIRST: f64 = 0.3;
/// Numbers that are seen where images are not.
const NUMBERS: usize = 3;
/// Side of an image, at the least.
const SIDE: usize = 5;

/// A small environment that a configuration is for: one of images if it looks at images.
pub fn spec(config: &PolicyConfig, action: ActionSpec) -> EnvSpec {
    let observation = match config.torso {
        TorsoConfig::Cnn { .. } | TorsoConfig::ImpalaResnet { .. } => {
            let side = config.torso.least_side().max(SIDE);
            ObservationSpec { dtype: Dtype::U8, shape: vec![3, side, side] }
        }
        _ => ObservationSpec { dtype: Dtype::F32, shape: vec![NUMBERS] },
    };
    EnvSpec { name: "parity".into(), observation, action, frame_stack: 1, action_repeat: 1 }
}

/// Numbers of a new policy: of two unrolls, the second one with what the first one left, outputs,
/// gradients and what is carried on; then of a step of acting. Tensors on the CPU, in double
/// precision, each with its name. The same seeds on every device.
pub fn compute(
    config: &PolicyConfig,
    action: ActionSpec,
    kind: Kind,
    device: Device,
) -> Result<Vec<(String, Tensor)>, PolicyError> {
    let (seed, spec) = (Seed::new(1), spec(config, action));
    let mut policy = Policy::of_kind(kind, config, &spec, seed, device)?;
    policy.set_dropout(Some(Seed::new(2)));
    let inputs = frames(&spec, 2 * UNROLL + 1, device);
    let (mut state, mut carry) = (policy.initial_state(BATCH), policy.initial_carry(BATCH));
    let mut found: Vec<(String, Tensor)> = vec![];
    for unroll in 0..2 {
        let frames = inputs.narrow(unroll * UNROLL, UNROLL + 1);
        let travelled = match policy.exported_state_width() {
            Some(_) => flat(&state),
            None => Tensor::zeros([BATCH, 0], (Kind::Float, device)),
        };
        let unrolled = policy.unroll_streams(&frames, &travelled, carry)?;
        let outputs = numbers(&unrolled.output);
        let weights = Tensor::arange(outputs.numel() as i64, (kind, device)).sin();
        let loss = (outputs.square() * weights.view_as(&outputs)).sum(kind);
        let gradients;
        (gradients, carry) = policy.gradient(&loss, unrolled.context);
        let names = policy.trainable().into_iter().map(|(name, _)| format!("gradient of {name}"));
        found.push((format!("outputs of unroll {unroll}"), outputs));
        found.extend(names.zip(gradients).filter(|(_, gradient)| gradient.defined()));
        let taken = inputs.narrow(unroll * UNROLL, UNROLL);
        state = no_grad(|| policy.unroll(&taken, &state).1);
    }
    let (output, state) = policy.step(&moment(&inputs, 2 * UNROLL), &state);
    found.push(("outputs of a step".into(), numbers(&output)));
    found.extend(carry.columns().into_iter().map(|x| ("carry".into(), x.copy())));
    found.extend(state.columns().into_iter().map(|x| ("state".into(), x.copy())));
    found.retain(|(_, x)| x.numel() > 0);
    let on_host = |x: Tensor| x.detach().to_device(Device::Cpu).to_kind(Kind::Double);
    Ok(found.into_iter().map(|(name, x)| (name, on_host(x))).collect())
}

/// The largest error between what two devices computed, relative to the largest number of the
/// tensor that has it, or to 1 if that is larger; and this tensor's name. What is not a number, or
/// of another shape, is off by infinity.
pub fn largest_error(here: &[(String, Tensor)], there: &[(String, Tensor)]) -> (String, f64) {
    if here.len() != there.len() {
        return ("number of tensors".into(), f64::INFINITY);
    }
    let errors = here.iter().zip(there).map(|((name, here), (_, there))| {
        if here.size() != there.size() {
            return (name.clone(), f64::INFINITY);
        }
        let off = (here - there).abs().max().double_value(&[]);
        let error = off / here.abs().max().double_value(&[]).max(1.0);
        (name.clone(), if error.is_finite() { error } else { f64::INFINITY })
    });
    errors.max_by(|a, b| a.1.total_cmp(&b.1)).unwrap_or_default()
}

/// Everything an output says, `[.., n]`.
pub fn numbers(output: &PolicyOutput) -> Tensor {
    let policy = match &output.distribution {
        Distribution::Categorical { logits } => logits.shallow_clone(),
        Distribution::Greedy { values } => return values.shallow_clone(),
        Distribution::Gaussian { mean, log_std } => Tensor::cat(&[mean, log_std], -1),
        Distribution::Deterministic { raw } => raw.shallow_clone(),
    };
    Tensor::cat(&[policy, output.value().unsqueeze(-1)], -1)
}

/// All numbers of a state, without the rounding that makes them travel.
fn flat(state: &CoreState) -> Tensor {
    let columns = state.columns();
    let parts: Vec<_> = columns.into_iter().map(|x| x.reshape([state.batch(), -1])).collect();
    Tensor::cat(&parts, 1)
}

/// Random frames `[T, B]`.
fn frames(spec: &EnvSpec, time: i64, device: Device) -> Inputs {
    let generator = &mut Seed::new(3).generator();
    let first: Vec<bool> = (0..time * BATCH).map(|_| generator.random_bool(FIRST)).collect();
    let kept: Vec<f32> = first.iter().map(|&first| f32::from(!first)).collect();
    let kept = Tensor::from_slice(&kept).view([time, BATCH]);
    let previous_action = match spec.action {
        ActionSpec::Discrete { count } => {
            let uniform = random(generator, &[time, BATCH]).abs() * (count as f64) * &kept;
            uniform.floor().to_kind(Kind::Int64).clamp_max(count as i64 - 1)
        }
        ActionSpec::Continuous { dimensions } => {
            random(generator, &[time, BATCH, dimensions as i64]) * kept.unsqueeze(-1)
        }
    };
    let sides = spec.observation.shape.iter().map(|&side| side as i64);
    let seen = random(generator, &[time, BATCH].into_iter().chain(sides).collect::<Vec<_>>());
    let observation = match spec.observation.dtype {
        Dtype::F32 => seen,
        Dtype::U8 => (seen.abs() * 255.0).to_kind(Kind::Uint8),
    };
    let previous_reward = random(generator, &[time, BATCH]) * kept;
    let there = |tensor: Tensor| tensor.to_device(device);
    Inputs::new(there(observation), there(previous_action), there(previous_reward), first)
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

/// Random numbers, f32, so that they mean the same to policies of any kind.
fn random(generator: &mut Generator, shape: &[i64]) -> Tensor {
    let numbers: Vec<f32> =
        (0..shape.iter().product()).map(|_| generator.random_range(-1.0..1.0)).collect();
    Tensor::from_slice(&numbers).view(shape)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(numbers: &[f64]) -> Vec<(String, Tensor)> {
        vec![("one".into(), Tensor::from_slice(&[1.0])), ("x".into(), Tensor::from_slice(numbers))]
    }

    #[test]
    fn the_largest_error_is_named_and_relative_to_the_tensor_that_has_it() {
        let (name, error) = largest_error(&found(&[10.0, 0.0]), &found(&[10.0, 1.0]));
        assert_eq!((name.as_str(), error), ("x", 0.1));
        assert_eq!(largest_error(&found(&[2.0]), &found(&[2.0])).1, 0.0);
        for other in [found(&[f64::NAN]), found(&[2.0, 2.0]), vec![]] {
            assert_eq!(largest_error(&found(&[2.0]), &other).1, f64::INFINITY);
        }
    }
}
