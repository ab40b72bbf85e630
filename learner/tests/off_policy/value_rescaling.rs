//! Value rescaling.

use engram_learner::losses::value_rescaling::ValueRescaling;
use tch::{Kind, Tensor};

use crate::{Grid, assert_all_near, assert_gradient, numbers};

const RETURNS: [f64; 9] = [-1e6, -37.5, -1.0, -1e-3, 0.0, 1e-3, 0.5, 12.0, 1e6];

#[test]
fn both_equal_their_formulas() {
    for epsilon in [1e-3, 1e-2, 0.1] {
        let rescaling = ValueRescaling { epsilon };
        let h = |x: &f64| x.signum() * ((x.abs() + 1.0).sqrt() - 1.0) + epsilon * x;
        let found = rescaling.apply(&Tensor::from_slice(&RETURNS));
        assert_all_near(&found, &RETURNS.each_ref().map(h), 1e-12, "h");
        let inverse = |y: &f64| {
            let root = (1.0 + 4.0 * epsilon * (y.abs() + 1.0 + epsilon)).sqrt();
            y.signum() * (((root - 1.0) / (2.0 * epsilon)).powi(2) - 1.0)
        };
        let found = rescaling.invert(&Tensor::from_slice(&RETURNS));
        assert_all_near(&found, &RETURNS.each_ref().map(inverse), 1e-12, "h⁻¹");
    }
}

#[test]
fn each_undoes_the_other_to_the_last_digits_of_single_precision() {
    for epsilon in [0.0, 1e-3, 1e-2] {
        let rescaling = ValueRescaling { epsilon };
        for (kind, tolerance) in [(Kind::Double, 1e-14), (Kind::Float, 1e-6)] {
            let there: Tensor = Tensor::from_slice(&RETURNS).to_kind(kind);
            for back in [
                rescaling.invert(&rescaling.apply(&there)),
                rescaling.apply(&rescaling.invert(&there)),
            ] {
                assert_eq!(back.kind(), kind);
                for (found, expected) in numbers(&back).into_iter().zip(numbers(&there)) {
                    // Relative to the number itself, however small.
                    let error = (found - expected).abs();
                    assert!(error <= tolerance * expected.abs(), "{expected} became {found}");
                }
            }
        }
    }
}

#[test]
fn both_have_gradients_at_zero_and_beside() {
    let x = Grid { shape: vec![4], numbers: vec![-3.0, -0.2, 0.7, 40.0] };
    let rescaling = ValueRescaling { epsilon: 0.01 };
    assert_gradient(&x, |x| rescaling.apply(x).sum(Kind::Double), "h");
    // Large numbers have large squares, and differences of them few digits.
    let x = Grid { shape: vec![3], numbers: vec![-3.0, -0.2, 0.7] };
    assert_gradient(&x, |x| rescaling.invert(x).sum(Kind::Double), "h⁻¹");
    let zero = Tensor::from_slice(&[0.0]).set_requires_grad(true);
    rescaling.apply(&zero).backward();
    assert_eq!(numbers(&zero.grad()), [0.51]);
}
