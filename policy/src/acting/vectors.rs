//! Vectors of actions.

use engram_mdp::{Actions, Generator};
use tch::{Kind, Tensor};

use crate::distribution::{Distribution, MARGIN};
use crate::exploration::{Behavior, Choice, needs_random};
use crate::random;

/// Chooses for rows of a distribution over vectors: vectors and their log-densities.
pub(super) fn act(
    distribution: &Distribution,
    behaviors: &[Behavior],
    generators: &mut [(Generator, usize)],
) -> (Actions, Vec<f32>) {
    let numbers = distribution.numbers();
    let (device, kind) = (numbers.device(), numbers.kind());
    let width = numbers.size()[1];
    // [B, A]
    let normal = drawn(generators, |generator, rows| {
        random::normal(generator, &[rows, width]).to_kind(kind).to_device(device)
    });
    let column = |of: fn(&Behavior) -> f64| {
        let numbers: Vec<f32> = behaviors.iter().map(|behavior| of(behavior) as f32).collect();
        Tensor::from_slice(&numbers).to_kind(kind).to_device(device).unsqueeze(1)
    };
    let mut action = distribution.sample(&normal);
    if behaviors.iter().any(|behavior| behavior.choice == Choice::Greedy) {
        let greedy = column(|behavior| f64::from(u8::from(behavior.choice == Choice::Greedy)));
        action = distribution.mode().where_self(&greedy.gt(0.5), &action);
    }
    if matches!(distribution, Distribution::Deterministic { .. }) {
        let noise = column(|behavior| behavior.action_noise) * &normal;
        action = (action + noise).clamp(MARGIN - 1.0, 1.0 - MARGIN);
    }
    let log_prob = match needs_random(behaviors) {
        true => {
            let epsilon = column(|behavior| behavior.epsilon);
            let random = drawn(generators, |generator, rows| {
                random::uniform(generator, &[rows, 1]).to_kind(kind).to_device(device)
            });
            action = uniform_vectors(&normal).where_self(&random.lt_tensor(&epsilon), &action);
            // Under a mixture with what is anywhere in the volume of [-1, 1]^A.
            let epsilon = epsilon.squeeze_dim(1);
            let by_chance: Tensor = &epsilon / 2.0_f64.powf(width as f64);
            let by_policy: Tensor = (1.0 - epsilon) * distribution.log_prob(&action).exp();
            (by_policy + by_chance).log()
        }
        false => distribution.log_prob(&action),
    };
    on_host(&action, &log_prob)
}

/// Numbers that are drawn for the rows of each generator, one after the other.
fn drawn(
    generators: &mut [(Generator, usize)],
    mut draw: impl FnMut(&mut Generator, i64) -> Tensor,
) -> Tensor {
    let parts: Vec<Tensor> =
        generators.iter_mut().map(|(generator, rows)| draw(generator, *rows as i64)).collect();
    Tensor::cat(&parts, 0)
}

/// Vectors uniform in `[-1, 1]^A` from standard normal ones: each number's share of the normal
/// distribution that lies below it.
fn uniform_vectors(normal: &Tensor) -> Tensor {
    (normal * std::f64::consts::FRAC_1_SQRT_2).erf().clamp(MARGIN - 1.0, 1.0 - MARGIN)
}

/// Vectors `[B, A]` and log-densities `[B]` in one transfer from the device.
fn on_host(action: &Tensor, log_prob: &Tensor) -> (Actions, Vec<f32>) {
    let width = action.size()[1] as usize;
    let packed = Tensor::cat(&[action, &log_prob.unsqueeze(1)], 1).to_kind(Kind::Float).view(-1);
    let packed = Vec::<f32>::try_from(packed).expect("floats, one row after another");
    let rows = packed.chunks_exact(width + 1);
    (
        Actions::Continuous(rows.clone().flat_map(|row| &row[..width]).copied().collect()),
        rows.map(|row| row[width]).collect(),
    )
}
