//! Gradients against finite differences, in double precision.

use engram_mdp::Seed;
use engram_policy::{CoreState, Inputs, Policy};
use tch::{Kind, Tensor};

use super::{CONTINUOUS, frames, memories, numbers, policy, random, some_state};

/// A loss to which every output and the last state contribute.
fn loss(policy: &Policy, inputs: &Inputs, state: &CoreState, target: &Tensor) -> Tensor {
    let (output, end) = policy.unroll(inputs, state);
    let log_prob = output.distribution.log_prob(&inputs.previous_action).sum(Kind::Double);
    let entropy = output.distribution.entropy().sum(Kind::Double);
    let outputs = (numbers(&output) - target).square().sum(Kind::Double);
    let ends = end.tensors().iter().map(|x| x.sum(Kind::Double));
    ends.fold(outputs + log_prob * 0.1 + entropy * 0.3, |total, x| total + x)
}

#[test]
fn gradients_of_every_parameter_equal_finite_differences() {
    for memory in memories(3) {
        let policy = policy(Kind::Double, memory, CONTINUOUS);
        let mut generator = Seed::new(6).generator();
        let inputs = frames(&mut generator, 5, 2, CONTINUOUS);
        let target = random(&mut generator, &[5, 2, 5]);
        let state = some_state(&policy, 2, Seed::new(7));
        let weights = policy.trainable();
        equal_finite_differences(&policy, &weights, || loss(&policy, &inputs, &state, &target));
    }
}

/// Checks the gradients of a loss of `policy` by each number in `weights`, which are some of its
/// own.
pub(super) fn equal_finite_differences(
    policy: &Policy,
    weights: &[(String, Tensor)],
    loss: impl Fn() -> Tensor,
) {
    let tensors: Vec<&Tensor> = weights.iter().map(|(_, tensor)| tensor).collect();
    let gradients = Tensor::run_backward(&[loss()], &tensors, false, false);
    for ((name, tensor), gradient) in weights.iter().zip(&gradients) {
        let flat = tensor.detach().view([-1]);
        for i in 0..flat.numel() as i64 {
            let step = 2e-6;
            let at = |offset: f64| {
                let _ = flat.get(i).g_add_scalar_(offset);
                let value = tch::no_grad(&loss).double_value(&[]);
                let _ = flat.get(i).g_sub_scalar_(offset);
                value
            };
            let slope = (at(step) - at(-step)) / (2.0 * step);
            let found = gradient.reshape([-1]).double_value(&[i]);
            let error = (found - slope).abs() / slope.abs().max(1.0);
            assert!(error < 1e-7, "{:?} {name}[{i}]: {found} {slope}", policy.config().memory);
        }
    }
}
