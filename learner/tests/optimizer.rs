//! The optimizers against PyTorch's rules, transcribed in `optimizer_golden.py`.

use engram_learner::algorithms::optimizer::{Optimizer, clipped, global_norm};
use engram_learner::algorithms::state_dict::StateError;
use engram_learner::config::{OptimizerConfig, Schedule};
use tch::{Device, Kind, Tensor, no_grad};

const LEARNING_RATE: f64 = 0.01;

const RMSPROP: OptimizerConfig =
    OptimizerConfig::Rmsprop { alpha: 0.99, epsilon: 0.01, momentum: 0.0 };

const RMSPROP_MOMENTUM: OptimizerConfig =
    OptimizerConfig::Rmsprop { alpha: 0.99, epsilon: 0.01, momentum: 0.9 };

const ADAM: OptimizerConfig = OptimizerConfig::adam(1e-3);

fn weight(numbers: &[f64], kind: Kind) -> Tensor {
    Tensor::from_slice(numbers).to_kind(kind).set_requires_grad(true)
}

/// Two weights of one number each, as the golden script has them.
fn two_weights(kind: Kind) -> Vec<(String, Tensor)> {
    let named = |name: &str, number| (name.into(), weight(&[number], kind));
    vec![named("a", 0.5), named("b", -1.0)]
}

/// The golden script's gradient at step `k`, as one vector.
fn gradient(k: i32, kind: Kind) -> Tensor {
    let of = |i: f64| (f64::from(k) + 2.0 * i).sin() / (1.0 + i);
    Tensor::from_slice(&[of(0.0), of(1.0)]).to_kind(kind)
}

fn numbers(weights: &[(String, Tensor)]) -> Vec<f64> {
    weights.iter().map(|(_, w)| w.double_value(&[0])).collect()
}

#[test]
fn five_steps_equal_the_goldens_of_pytorchs_rules() {
    let goldens = [
        (RMSPROP, [0.4334154845698782, -0.9177370699264449]),
        (RMSPROP_MOMENTUM, [0.016816105708383117, -0.7232286164934083]),
        (ADAM, [0.4697117306221119, -0.9851147481986555]),
    ];
    for (config, golden) in goldens {
        for (kind, tolerance) in [(Kind::Double, 1e-14), (Kind::Float, 1e-6)] {
            let weights = two_weights(kind);
            let mut optimizer = Optimizer::new(&config, &weights);
            for k in 1..=5 {
                optimizer.step(&weights, &gradient(k, kind), LEARNING_RATE);
            }
            for (found, expected) in numbers(&weights).into_iter().zip(golden) {
                assert!((found - expected).abs() < tolerance, "{config:?}: {found}, {expected}");
            }
        }
    }
}

#[test]
fn a_saved_state_continues_bit_for_bit() {
    for config in [RMSPROP, RMSPROP_MOMENTUM, ADAM] {
        let straight = two_weights(Kind::Float);
        let mut optimizer = Optimizer::new(&config, &straight);
        for k in 1..=3 {
            optimizer.step(&straight, &gradient(k, Kind::Float), LEARNING_RATE);
        }
        let state = optimizer.state();
        let resumed: Vec<(String, Tensor)> = straight
            .iter()
            .map(|(name, w)| (name.clone(), w.detach().copy().set_requires_grad(true)))
            .collect();
        let mut other = Optimizer::new(&config, &resumed);
        other.step(&two_weights(Kind::Float), &gradient(9, Kind::Float), LEARNING_RATE);
        other.load_state(&state).expect("the state of the same optimizer");
        for k in 4..=6 {
            optimizer.step(&straight, &gradient(k, Kind::Float), LEARNING_RATE);
            other.step(&resumed, &gradient(k, Kind::Float), LEARNING_RATE);
        }
        assert_eq!(numbers(&straight), numbers(&resumed), "{config:?}");
        let both = optimizer.state().into_iter().zip(other.state());
        for ((name, one), (_, two)) in both {
            assert_eq!(one, two, "{name}");
        }
    }
}

#[test]
fn a_state_that_does_not_fit_is_refused_and_changes_nothing() {
    let weights = two_weights(Kind::Float);
    let mut optimizer = Optimizer::new(&ADAM, &weights);
    optimizer.step(&weights, &gradient(1, Kind::Float), LEARNING_RATE);
    let before = optimizer.state();

    let of_rmsprop = Optimizer::new(&RMSPROP, &weights).state();
    let name = "mean.a".to_string();
    assert_eq!(optimizer.load_state(&of_rmsprop), Err(StateError::Missing { name }));

    let mut reshaped = Optimizer::new(&ADAM, &weights).state();
    reshaped[3].1 = Tensor::zeros([7], (Kind::Float, Device::Cpu));
    let error = optimizer.load_state(&reshaped).expect_err("of another shape").to_string();
    assert!(error.contains("`square.b`") && error.contains("[7]"), "{error}");

    for ((name, one), (_, two)) in before.into_iter().zip(optimizer.state()) {
        assert_eq!(one, two, "{name}");
    }
}

#[test]
fn the_gradient_of_all_weights_is_one_vector_with_zeros_for_unused_ones() {
    let weights = vec![
        ("used".to_string(), weight(&[1.0, 2.0, 3.0, 4.0], Kind::Double)),
        ("unused".to_string(), weight(&[5.0], Kind::Double)),
        ("scalar".to_string(), weight(&[3.0], Kind::Double)),
    ];
    let optimizer = Optimizer::new(&RMSPROP, &weights);
    let loss = weights[0].1.square().sum(Kind::Double) * weights[2].1.get(0);
    let gradient = optimizer.gradient(&loss, &weights);
    assert_eq!(gradient, Tensor::from_slice(&[6.0, 12.0, 18.0, 24.0, 0.0, 30.0]));
}

#[test]
fn a_clipped_gradient_has_the_allowed_length_and_the_old_direction() {
    let gradient = Tensor::from_slice(&[3.0_f32, 4.0]);
    let norm = global_norm(&gradient).double_value(&[]);
    assert_eq!(norm, 5.0);
    assert_eq!(clipped(gradient.copy(), norm, 5.0), gradient);
    assert_eq!(clipped(gradient.copy(), norm, f64::INFINITY), gradient);
    let error = clipped(gradient, norm, 0.5) - Tensor::from_slice(&[0.3_f32, 0.4]);
    assert!(error.abs().max().double_value(&[]) < 1e-7);
}

#[test]
fn the_length_of_a_huge_gradient_does_not_overflow() {
    let gradient = Tensor::from_slice(&[3e30_f32, 4e30]);
    let norm = global_norm(&gradient).double_value(&[]);
    assert!((norm / 5e30 - 1.0).abs() < 1e-6, "{norm}");
}

#[test]
fn a_linear_schedule_ends_at_zero_and_stays_there() {
    let factors = [0.0, 0.25, 1.0, 1.5].map(|progress| Schedule::Linear.factor(progress));
    assert_eq!(factors, [1.0, 0.75, 0.0, 0.0]);
    assert_eq!(Schedule::Constant.factor(0.75), 1.0);
}

#[test]
fn a_step_leaves_weights_trainable_and_in_place() {
    let weights = two_weights(Kind::Float);
    let alias = weights[0].1.shallow_clone();
    Optimizer::new(&ADAM, &weights).step(&weights, &gradient(1, Kind::Float), LEARNING_RATE);
    assert_ne!(alias.double_value(&[0]), 0.5);
    assert!(weights[0].1.requires_grad());
    no_grad(|| assert!(!weights[0].1.square().requires_grad()));
}
