//! QR-DQN.

use engram_learner::config::SelectionNetwork;
use engram_learner::losses::quantile::{
    QuantileInput, QuantileOptions, quantile_huber_loss, quantile_q_learning, quantile_targets,
};
use tch::{Kind, Tensor};

use crate::sequences::Sequences;
use crate::{
    Grid, KINDS, argmax, assert_all_near, assert_constant, assert_gradient, assert_near,
    assert_value_loss, numbers, rng, scalar,
};

fn mean(numbers: &[f64]) -> f64 {
    numbers.iter().sum::<f64>() / numbers.len() as f64
}

/// Eq. 10 and algorithm 1 of the paper.
fn quantile_loss(quantiles: &[f64], targets: &[f64], threshold: f64) -> f64 {
    let mut loss = 0.0;
    for (i, quantile) in quantiles.iter().enumerate() {
        let count = quantiles.len() as f64;
        let middle = (i as f64 / count + (i + 1) as f64 / count) / 2.0;
        for target in targets {
            let u = target - quantile;
            let cost = match threshold {
                0.0 => u.abs(),
                k if u.abs() <= k => 0.5 * u * u,
                k => k * (u.abs() - 0.5 * k),
            };
            let slope = if u < 0.0 { 1.0 - middle } else { middle };
            loss += slope * cost / targets.len() as f64;
        }
    }
    loss
}

struct Case {
    sequences: Sequences,
    online: Grid,
    target: Grid,
    n: usize,
}

impl Case {
    fn random(shape: [usize; 3], quantiles: usize, n: usize, seed: u64) -> Self {
        let mut rng = rng(seed);
        let values = [shape[0] + 1, shape[1], shape[2], quantiles];
        Case {
            sequences: Sequences::random(shape, 2.0, &mut rng),
            online: Grid::random(&values, -3.0..3.0, &mut rng),
            target: Grid::random(&values, -3.0..3.0, &mut rng),
            n,
        }
    }

    fn targets(&self, selection: SelectionNetwork, t: usize, b: usize) -> Vec<f64> {
        let outcome = self.sequences.outcome(t, b, self.n);
        let choosing = match selection {
            SelectionNetwork::Online => &self.online,
            SelectionNetwork::Target => &self.target,
        };
        let values: Vec<f64> =
            (0..self.online.shape[2]).map(|a| mean(choosing.row(&[outcome.end, b, a]))).collect();
        let next = self.target.row(&[outcome.end, b, argmax(&values)]);
        next.iter().map(|theta| outcome.rewards + outcome.discount * theta).collect()
    }

    fn paper(&self, options: QuantileOptions, t: usize, b: usize) -> [f64; 3] {
        let targets = self.targets(options.selection, t, b);
        let quantiles = self.online.row(&[t, b, self.sequences.action(t, b)]);
        let value = mean(quantiles);
        let loss = quantile_loss(quantiles, &targets, options.threshold);
        [loss, mean(&targets) - value, value]
    }
}

#[test]
fn losses_and_targets_equal_those_of_the_paper() {
    let cases = [
        Case::random([6, 20, 3], 7, 1, 0),
        Case::random([5, 15, 4], 4, 3, 1),
        Case::random([3, 9, 2], 1, 2, 2),
    ];
    for case in cases {
        for selection in [SelectionNetwork::Online, SelectionNetwork::Target] {
            for threshold in [0.0, 0.5, 1.0] {
                for (kind, tolerance) in KINDS {
                    let columns = case.sequences.columns(kind);
                    let [online, target] = [&case.online, &case.target].map(|q| q.tensor(kind));
                    let online = online.set_requires_grad(true);
                    let input = QuantileInput {
                        online: &online,
                        target: &target,
                        decisions: columns.decisions(true),
                        returns: &columns.returns(case.n),
                    };
                    let options = QuantileOptions { selection, threshold };
                    let found = quantile_q_learning(&input, options);
                    let paper = |t, b| case.paper(options, t, b);
                    assert_value_loss(&found, &case.sequences, paper, true, tolerance);
                    let targets = quantile_targets(&input, selection);
                    for (t, b) in case.sequences.cells().filter(|&(t, b)| case.sequences.acts(t, b))
                    {
                        let found = targets.get(t as i64).get(b as i64);
                        let expected = case.targets(selection, t, b);
                        assert_all_near(&found, &expected, tolerance, "target");
                    }
                }
            }
        }
    }
}

#[test]
fn the_gradient_is_that_of_the_online_quantiles_alone() {
    let case = Case::random([3, 2, 3], 4, 2, 3);
    let columns = case.sequences.columns(Kind::Double);
    let returns = columns.returns(2);
    let fixed = case.target.tensor(Kind::Double);
    for threshold in [0.0, 0.75] {
        let options = QuantileOptions { selection: SelectionNetwork::Online, threshold };
        let loss = |online: &Tensor, target: &Tensor| {
            let decisions = columns.decisions(true);
            let input = QuantileInput { online, target, decisions, returns: &returns };
            quantile_q_learning(&input, options).loss
        };
        assert_gradient(&case.online, |online| loss(online, &fixed), "online quantiles");
        assert_constant(&case.target, |target| loss(&fixed, target), "the loss, of the target's");
    }
}

#[test]
fn the_quantiles_of_the_targets_cost_least() {
    // Of four equally likely returns the middles of two shares are 1/4 and 3/4: anything between
    // the first two, and between the last two.
    let targets = Tensor::from_slice(&[1.0, 2.0, 5.0, 9.0]);
    let cost = |quantiles: [f64; 2]| {
        scalar(&quantile_huber_loss(&Tensor::from_slice(&quantiles), &targets, 0.0))
    };
    let least = cost([1.5, 7.0]);
    assert_near(cost([1.0, 9.0]), least, 1e-14, "cost of the ends");
    for worse in [[0.9, 7.0], [2.1, 7.0], [1.5, 4.9], [1.5, 9.1], [7.0, 1.5]] {
        assert!(cost(worse) > least + 1e-3, "{worse:?}");
    }
}

#[test]
fn quantiles_may_be_fewer_than_returns() {
    let (quantiles, targets) = ([0.5, 2.5, -1.0], [1.0, 2.0, 5.0, 9.0, 0.4]);
    for threshold in [0.0, 1.0] {
        let found = quantile_huber_loss(
            &Tensor::from_slice(&quantiles),
            &Tensor::from_slice(&targets),
            threshold,
        );
        assert_eq!(numbers(&found).len(), 1);
        assert_near(scalar(&found), quantile_loss(&quantiles, &targets, threshold), 1e-14, "loss");
    }
}
