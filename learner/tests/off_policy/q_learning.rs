//! Q-learning.

use engram_learner::config::{ErrorLoss, SelectionNetwork};
use engram_learner::losses::q_learning::{QLearningInput, QLearningOptions, q_learning, q_targets};
use engram_learner::losses::value_rescaling::ValueRescaling;
use tch::{Kind, Tensor};

use crate::sequences::{Columns, Sequences};
use crate::{
    Grid, KINDS, argmax, assert_constant, assert_gradient, assert_value_loss, error_loss, numbers,
    rng, scalar,
};

const PLAIN: QLearningOptions = QLearningOptions {
    selection: SelectionNetwork::Target,
    error: ErrorLoss::Squared {},
    rescaling: None,
};

const DOUBLE: QLearningOptions = QLearningOptions { selection: SelectionNetwork::Online, ..PLAIN };

/// Sequences and what two networks say of them.
struct Case {
    sequences: Sequences,
    online: Grid,
    target: Grid,
    n: usize,
}

impl Case {
    fn random([length, batch, actions]: [usize; 3], n: usize, seed: u64) -> Self {
        let mut rng = rng(seed);
        let shape = [length + 1, batch, actions];
        Case {
            sequences: Sequences::random([length, batch, actions], 2.0, &mut rng),
            online: Grid::random(&shape, -3.0..3.0, &mut rng),
            target: Grid::random(&shape, -3.0..3.0, &mut rng),
            n,
        }
    }

    /// y_t by the paper.
    fn target(&self, options: QLearningOptions, t: usize, b: usize) -> f64 {
        let outcome = self.sequences.outcome(t, b, self.n);
        let next = [outcome.end, b];
        let choosing = match options.selection {
            SelectionNetwork::Online => &self.online,
            SelectionNetwork::Target => &self.target,
        };
        let value = self.target.row(&next)[argmax(choosing.row(&next))];
        match options.rescaling {
            None => outcome.rewards + outcome.discount * value,
            Some(ValueRescaling { epsilon }) => {
                let returns = outcome.rewards + outcome.discount * inverse(value, epsilon);
                returns.signum() * ((returns.abs() + 1.0).sqrt() - 1.0) + epsilon * returns
            }
        }
    }
}

/// h⁻¹ as it stands in the paper.
fn inverse(x: f64, epsilon: f64) -> f64 {
    let root = (1.0 + 4.0 * epsilon * (x.abs() + 1.0 + epsilon)).sqrt();
    x.signum() * (((root - 1.0) / (2.0 * epsilon)).powi(2) - 1.0)
}

fn input<'a>(
    [online, target]: [&'a Tensor; 2],
    columns: &'a Columns,
    returns: &'a engram_learner::losses::n_step::NStepReturns,
    with_importance: bool,
) -> QLearningInput<'a> {
    QLearningInput { online, target, decisions: columns.decisions(with_importance), returns }
}

#[test]
fn losses_and_errors_equal_those_of_the_paper() {
    let huber = ErrorLoss::Huber { threshold: 0.75 };
    let rescaling = Some(ValueRescaling { epsilon: 0.01 });
    let every = [
        PLAIN,
        DOUBLE,
        QLearningOptions { error: huber, ..DOUBLE },
        QLearningOptions { rescaling, ..DOUBLE },
        QLearningOptions { error: huber, rescaling, ..PLAIN },
    ];
    for (seed, (shape, n)) in
        [([9, 40, 4], 1), ([7, 30, 3], 3), ([1, 8, 2], 1), ([5, 1, 6], 2)].into_iter().enumerate()
    {
        let case = Case::random(shape, n, seed as u64);
        for options in every {
            for (with_importance, (kind, tolerance)) in
                [(false, KINDS[0]), (true, KINDS[0]), (true, KINDS[1])]
            {
                let columns = case.sequences.columns(kind);
                let [online, target] = [&case.online, &case.target].map(|q| q.tensor(kind));
                let online = online.set_requires_grad(true);
                let returns = columns.returns(n);
                let found = q_learning(
                    &input([&online, &target], &columns, &returns, with_importance),
                    options,
                );
                assert_eq!(found.loss.kind(), kind);
                let paper = |t: usize, b: usize| {
                    let value = case.online.at(&[t, b, case.sequences.action(t, b)]);
                    let delta = case.target(options, t, b) - value;
                    [error_loss(options.error, delta), delta, value]
                };
                assert_value_loss(&found, &case.sequences, paper, with_importance, tolerance);
            }
        }
    }
}

#[test]
fn double_and_plain_choose_with_different_networks() {
    let case = Case::random([9, 40, 4], 1, 0);
    let differs = case.sequences.cells().filter(|&(t, b)| {
        case.sequences.acts(t, b) && case.target(DOUBLE, t, b) != case.target(PLAIN, t, b)
    });
    assert!(differs.count() > 50);
}

#[test]
fn the_gradient_is_that_of_the_values_alone() {
    let case = Case::random([4, 3, 3], 2, 5);
    let columns = case.sequences.columns(Kind::Double);
    let returns = columns.returns(2);
    let fixed = case.target.tensor(Kind::Double);
    let rescaling = Some(ValueRescaling { epsilon: 0.01 });
    for error in [ErrorLoss::Squared {}, ErrorLoss::Huber { threshold: 0.75 }] {
        let options = QLearningOptions { error, rescaling, ..DOUBLE };
        let loss = |online: &Tensor| {
            q_learning(&input([online, &fixed], &columns, &returns, true), options).loss
        };
        assert_gradient(&case.online, loss, "online values");
        let loss = |target: &Tensor| {
            q_learning(&input([&fixed, target], &columns, &returns, true), options).loss
        };
        assert_constant(&case.target, loss, "the loss, of target values");
    }
    let targets =
        |online: &Tensor| q_targets(&input([online, online], &columns, &returns, false), DOUBLE);
    assert_constant(&case.online, targets, "a target");
}

#[test]
fn sequences_without_a_decision_cost_nothing() {
    let case = Case::random([3, 2, 2], 1, 6);
    let mut columns = case.sequences.columns(Kind::Double);
    columns.mask = columns.mask.zeros_like();
    let returns = columns.returns(1);
    let online = case.online.tensor(Kind::Double).set_requires_grad(true);
    let found = q_learning(&input([&online, &online], &columns, &returns, false), DOUBLE);
    found.loss.backward();
    assert_eq!(scalar(&found.loss), 0.0);
    assert!(numbers(&online.grad()).iter().all(|&slope| slope == 0.0));
    assert!(numbers(&found.td_errors).iter().all(|&error| error == 0.0));
}

#[test]
#[should_panic(expected = "the network's output is [4, 2, A, …], not [3, 2, 2]")]
fn values_without_the_last_frame_are_a_bug() {
    let case = Case::random([3, 2, 2], 1, 7);
    let columns = case.sequences.columns(Kind::Double);
    let online = case.online.tensor(Kind::Double).narrow(0, 0, 3);
    q_learning(&input([&online, &online], &columns, &columns.returns(1), false), DOUBLE);
}
