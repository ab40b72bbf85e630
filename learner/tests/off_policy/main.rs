//! Parts of learning from replayed experience, against slow transcriptions of the papers:
//! plain loops over plain numbers that know episodes and their ends, but no masks and no tensors.

#![allow(clippy::unwrap_used)]

mod sequences;

mod n_step;

mod q_learning;

mod categorical;

mod quantile;

mod sac_discrete;

mod value_rescaling;

mod target_network;

mod exploration;

use engram_learner::config::ErrorLoss;
use engram_learner::losses::{ValueLoss, masked_mean};
use engram_mdp::{Generator, Seed};
use rand::RngExt;
use tch::{Kind, Tensor};

use sequences::Sequences;

/// The kinds that everything is computed in, and how exactly.
const KINDS: [(Kind, f64); 2] = [(Kind::Double, 1e-12), (Kind::Float, 2e-5)];

/// Numbers in a grid of any shape, the last axis lying closest.
#[derive(Clone, Debug)]
struct Grid {
    shape: Vec<usize>,
    numbers: Vec<f64>,
}

impl Grid {
    /// Numbers of `range`, whatever stands for it.
    fn random(shape: &[usize], range: std::ops::Range<f64>, rng: &mut Generator) -> Self {
        Grid::of(shape, |_| rng.random_range(range.clone()))
    }

    /// The number that `f` says of each index.
    fn of(shape: &[usize], mut f: impl FnMut(&[usize]) -> f64) -> Self {
        let count: usize = shape.iter().product();
        let numbers = (0..count)
            .map(|cell| {
                let mut rest = cell;
                let mut index = vec![0; shape.len()];
                for (place, side) in index.iter_mut().zip(shape).rev() {
                    (*place, rest) = (rest % side, rest / side);
                }
                f(&index)
            })
            .collect();
        Grid { shape: shape.to_vec(), numbers }
    }

    /// The number at `index`.
    fn at(&self, index: &[usize]) -> f64 {
        self.row(index)[0]
    }

    /// The numbers whose index begins with `index`.
    fn row(&self, index: &[usize]) -> &[f64] {
        let length: usize = self.shape[index.len()..].iter().product();
        let place = index.iter().zip(&self.shape).fold(0, |place, (i, side)| place * side + i);
        &self.numbers[place * length..(place + 1) * length]
    }

    fn tensor(&self, kind: Kind) -> Tensor {
        let shape: Vec<i64> = self.shape.iter().map(|&side| side as i64).collect();
        Tensor::from_slice(&self.numbers).view(shape.as_slice()).to_kind(kind)
    }
}

fn rng(index: u64) -> Generator {
    Seed::new(index).derive("off-policy", 0).generator()
}

fn numbers(tensor: &Tensor) -> Vec<f64> {
    Vec::try_from(tensor.detach().flatten(0, -1).to_kind(Kind::Double)).unwrap()
}

fn scalar(tensor: &Tensor) -> f64 {
    assert_eq!(tensor.numel(), 1);
    numbers(tensor)[0]
}

fn assert_near(found: f64, expected: f64, tolerance: f64, what: &str) {
    let error = (found - expected).abs() / expected.abs().max(1.0);
    assert!(error < tolerance, "{what}: {found}, the paper says {expected}");
}

fn assert_all_near(found: &Tensor, expected: &[f64], tolerance: f64, what: &str) {
    let found = numbers(found);
    assert_eq!(found.len(), expected.len(), "{what}");
    for (cell, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert_near(*found, *expected, tolerance, &format!("{what} at {cell}"));
    }
}

/// The best of some numbers.
fn argmax(numbers: &[f64]) -> usize {
    (0..numbers.len()).max_by(|&i, &j| numbers[i].total_cmp(&numbers[j])).unwrap()
}

fn softmax(logits: &[f64]) -> Vec<f64> {
    let sum: f64 = logits.iter().map(|logit| logit.exp()).sum();
    logits.iter().map(|logit| logit.exp() / sum).collect()
}

/// δ's cost, by its definition.
fn error_loss(error: ErrorLoss, delta: f64) -> f64 {
    match error {
        ErrorLoss::Squared {} => delta * delta,
        ErrorLoss::Huber { threshold } if delta.abs() <= threshold => delta * delta / 2.0,
        ErrorLoss::Huber { threshold } => threshold * (delta.abs() - threshold / 2.0),
    }
}

/// Expected [`ValueLoss`], by the cost of each decision, its TD error and its value.
fn assert_value_loss(
    found: &ValueLoss,
    sequences: &Sequences,
    paper: impl Fn(usize, usize) -> [f64; 3],
    with_importance: bool,
    tolerance: f64,
) {
    let (mut sums, mut losses, mut td_errors) = ([0.0; 2], Vec::new(), Vec::new());
    for (t, b) in sequences.cells() {
        let acts = sequences.acts(t, b);
        let [loss, td_error, value] = if acts { paper(t, b) } else { [0.0; 3] };
        sums[0] += loss * if with_importance { sequences.importance.at(&[t, b]) } else { 1.0 };
        sums[1] += value;
        losses.push(loss);
        td_errors.push(td_error);
    }
    let decisions = sequences.decisions().max(1.0);
    assert_near(scalar(&found.loss), sums[0] / decisions, tolerance, "loss");
    assert_near(scalar(&found.mean_value), sums[1] / decisions, tolerance, "mean value");
    assert_all_near(&found.losses, &losses, tolerance, "loss");
    assert_all_near(&found.td_errors, &td_errors, tolerance, "TD error");
    let constants = [&found.losses, &found.td_errors, &found.mean_value];
    assert!(constants.iter().all(|constant| !constant.requires_grad()));
}

/// The gradient of the scalar `f` at `x` equals its central differences.
fn assert_gradient(x: &Grid, f: impl Fn(&Tensor) -> Tensor, what: &str) {
    const STEP: f64 = 1e-5;
    let input = x.tensor(Kind::Double).set_requires_grad(true);
    f(&input).backward();
    let gradient = numbers(&input.grad());
    assert!(gradient.iter().any(|&slope| slope.abs() > 1e-3), "{what}: nothing is differentiated");
    for (cell, slope) in gradient.into_iter().enumerate() {
        let moved = |by: f64| {
            let mut x = x.clone();
            x.numbers[cell] += by;
            scalar(&f(&x.tensor(Kind::Double)))
        };
        let difference = (moved(STEP) - moved(-STEP)) / (2.0 * STEP);
        assert_near(slope, difference, 1e-7, &format!("{what}: slope {cell}"));
    }
}

/// Nothing of what `f` makes of `x` is differentiated.
fn assert_constant(x: &Grid, f: impl Fn(&Tensor) -> Tensor, what: &str) {
    let input = x.tensor(Kind::Double).set_requires_grad(true);
    assert!(!f(&input).requires_grad(), "{what} is no constant");
}

#[test]
fn a_mean_counts_decisions_not_importance() {
    let values = Tensor::from_slice(&[1.0, 2.0, 4.0, 100.0]).view([2, 2]);
    let mask = Tensor::from_slice(&[1.0_f32, 1.0, 1.0, 0.0]).view([2, 2]);
    let importance = Tensor::from_slice(&[0.5_f32, 1.0, 0.25, 9.0]).view([2, 2]);
    assert_near(scalar(&masked_mean(&values, &mask, None)), 7.0 / 3.0, 1e-15, "mean");
    let weighted = scalar(&masked_mean(&values, &mask, Some(&importance)));
    assert_near(weighted, (0.5 + 2.0 + 1.0) / 3.0, 1e-15, "weighted mean");
    assert_eq!(scalar(&masked_mean(&values, &mask.zeros_like(), None)), 0.0);
}

#[test]
fn hubers_loss_is_half_a_square_and_then_a_line() {
    let errors = [-3.0, -0.5, -0.1, 0.0, 0.25, 0.5, 0.75, 100.0];
    let tensor = Tensor::from_slice(&errors);
    for threshold in [0.5, 1.0, 3.0] {
        for error in [ErrorLoss::Squared {}, ErrorLoss::Huber { threshold }] {
            let expected: Vec<f64> = errors.iter().map(|&e| error_loss(error, e)).collect();
            assert_all_near(&error.of(&tensor), &expected, 1e-14, "loss");
        }
        let tensor = tensor.copy().set_requires_grad(true);
        ErrorLoss::Huber { threshold }.of(&tensor).sum(Kind::Double).backward();
        let slopes: Vec<f64> = errors.iter().map(|e| e.clamp(-threshold, threshold)).collect();
        assert_all_near(&tensor.grad(), &slopes, 1e-14, "slope");
    }
}

#[test]
#[should_panic(expected = "the mask is [T, B]")]
fn a_mask_of_another_shape_is_a_bug() {
    let values = Grid::of(&[3, 2], |_| 1.0).tensor(Kind::Float);
    let _ = masked_mean(&values, &values.narrow(0, 0, 1), None);
}
