//! C51.

use engram_learner::config::SelectionNetwork;
use engram_learner::losses::categorical::{
    CategoricalInput, Support, categorical_q_learning, categorical_targets,
};
use rand::RngExt;
use tch::{Kind, Tensor};

use crate::sequences::Sequences;
use crate::{
    Grid, KINDS, argmax, assert_all_near, assert_constant, assert_gradient, assert_near,
    assert_value_loss, numbers, rng, softmax,
};

/// Algorithm 1 of the paper, for one distribution.
fn project(support: Support, probs: &[f64], reward: f64, discount: f64) -> Vec<f64> {
    let atoms = probs.len();
    let spacing = (support.greatest - support.least) / (atoms - 1) as f64;
    let mut projected = vec![0.0; atoms];
    for (atom, prob) in probs.iter().enumerate() {
        let moved = reward + discount * (support.least + atom as f64 * spacing);
        let place = (moved.clamp(support.least, support.greatest) - support.least) / spacing;
        let (lower, upper) = (place.floor(), place.ceil());
        if lower == upper {
            projected[lower as usize] += prob;
        } else {
            projected[lower as usize] += prob * (upper - place);
            projected[(upper as usize).min(atoms - 1)] += prob * (place - lower);
        }
    }
    projected
}

fn mean(support: Support, probs: &[f64]) -> f64 {
    let spacing = (support.greatest - support.least) / (probs.len() - 1) as f64;
    probs.iter().enumerate().map(|(i, p)| p * (support.least + i as f64 * spacing)).sum()
}

struct Case {
    support: Support,
    sequences: Sequences,
    online: Grid,
    target: Grid,
    n: usize,
}

impl Case {
    fn random(shape: [usize; 3], support: Support, n: usize, seed: u64) -> Self {
        let mut rng = rng(seed);
        let logits = [shape[0] + 1, shape[1], shape[2], support.atoms as usize];
        // Rewards reach beyond the support on both sides.
        let reward = 1.5 * support.greatest.abs().max(support.least.abs());
        Case {
            support,
            sequences: Sequences::random(shape, reward, &mut rng),
            online: Grid::random(&logits, -2.0..2.0, &mut rng),
            target: Grid::random(&logits, -2.0..2.0, &mut rng),
            n,
        }
    }

    /// The target distribution, the cross-entropy to it, the difference of means, and the value.
    fn paper(&self, selection: SelectionNetwork, t: usize, b: usize) -> (Vec<f64>, [f64; 3]) {
        let outcome = self.sequences.outcome(t, b, self.n);
        let choosing = match selection {
            SelectionNetwork::Online => &self.online,
            SelectionNetwork::Target => &self.target,
        };
        let actions = self.online.shape[2];
        let values: Vec<f64> = (0..actions)
            .map(|a| mean(self.support, &softmax(choosing.row(&[outcome.end, b, a]))))
            .collect();
        let next = softmax(self.target.row(&[outcome.end, b, argmax(&values)]));
        let target = project(self.support, &next, outcome.rewards, outcome.discount);
        let taken = softmax(self.online.row(&[t, b, self.sequences.action(t, b)]));
        let loss = target.iter().zip(&taken).map(|(m, p)| -m * p.ln()).sum();
        let value = mean(self.support, &taken);
        let td_error = mean(self.support, &target) - value;
        (target, [loss, td_error, value])
    }
}

const SUPPORT: Support = Support { least: -2.0, greatest: 5.0, atoms: 11 };

#[test]
fn losses_and_targets_equal_those_of_the_paper() {
    let other = Support { least: -1.0, greatest: 1.0, atoms: 2 };
    let cases = [
        Case::random([6, 20, 3], SUPPORT, 1, 0),
        Case::random([5, 15, 4], SUPPORT, 3, 1),
        Case::random([4, 10, 2], other, 2, 2),
    ];
    for case in cases {
        for selection in [SelectionNetwork::Online, SelectionNetwork::Target] {
            for (kind, tolerance) in KINDS {
                let columns = case.sequences.columns(kind);
                let [online, target] = [&case.online, &case.target].map(|q| q.tensor(kind));
                let online = online.set_requires_grad(true);
                let input = CategoricalInput {
                    online: &online,
                    target: &target,
                    decisions: columns.decisions(true),
                    returns: &columns.returns(case.n),
                };
                let found = categorical_q_learning(&input, case.support, selection);
                let paper = |t, b| case.paper(selection, t, b).1;
                assert_value_loss(&found, &case.sequences, paper, true, tolerance);
                let targets = categorical_targets(&input, case.support, selection);
                for (t, b) in case.sequences.cells().filter(|&(t, b)| case.sequences.acts(t, b)) {
                    let found = targets.get(t as i64).get(b as i64);
                    let expected = case.paper(selection, t, b).0;
                    assert_all_near(&found, &expected, tolerance, "probability");
                }
            }
        }
    }
}

#[test]
fn double_and_plain_choose_with_different_networks() {
    let case = Case::random([6, 20, 3], SUPPORT, 1, 0);
    let differs = case.sequences.cells().filter(|&(t, b)| {
        let [online, target] =
            [SelectionNetwork::Online, SelectionNetwork::Target].map(|s| case.paper(s, t, b).1[0]);
        case.sequences.acts(t, b) && online != target
    });
    assert!(differs.count() > 10);
}

#[test]
fn the_gradient_is_that_of_the_online_logits_alone() {
    let case = Case::random([3, 2, 3], Support { atoms: 5, ..SUPPORT }, 2, 3);
    let columns = case.sequences.columns(Kind::Double);
    let returns = columns.returns(2);
    let fixed = case.target.tensor(Kind::Double);
    let loss = |online: &Tensor, target: &Tensor| {
        let decisions = columns.decisions(true);
        let input = CategoricalInput { online, target, decisions, returns: &returns };
        categorical_q_learning(&input, case.support, SelectionNetwork::Online).loss
    };
    assert_gradient(&case.online, |online| loss(online, &fixed), "online logits");
    assert_constant(&case.target, |target| loss(&fixed, target), "the loss, of target logits");
}

/// One distribution, projected.
fn projected(support: Support, probs: &[f64], reward: f64, discount: f64, kind: Kind) -> Vec<f64> {
    let scalar = |x: f64| Tensor::from(x).to_kind(kind);
    let probs = Tensor::from_slice(probs).to_kind(kind);
    numbers(&support.project(&probs, &scalar(reward), &scalar(discount)))
}

#[test]
fn an_atom_that_is_hit_exactly_gets_everything() {
    let support = Support { least: -2.0, greatest: 2.0, atoms: 5 };
    let probs = [0.5, 0.0, 0.25, 0.125, 0.125];
    for kind in [Kind::Double, Kind::Float] {
        let of = |reward, discount| projected(support, &probs, reward, discount, kind);
        assert_eq!(of(0.0, 1.0), probs);
        assert_eq!(of(1.0, 1.0), [0.0, 0.5, 0.0, 0.25, 0.25]);
        assert_eq!(of(-1.0, 1.0), [0.5, 0.25, 0.125, 0.125, 0.0]);
        // Without a bootstrap all of it is where the reward is.
        assert_eq!(of(-2.0, 0.0), [1.0, 0.0, 0.0, 0.0, 0.0]);
        assert_eq!(of(1.0, 0.0), [0.0, 0.0, 0.0, 1.0, 0.0]);
        assert_eq!(of(2.0, 0.0), [0.0, 0.0, 0.0, 0.0, 1.0]);
        assert_eq!(of(0.25, 0.0), [0.0, 0.0, 0.75, 0.25, 0.0]);
    }
}

#[test]
fn what_lies_beyond_the_support_is_moved_to_its_end() {
    let support = Support { least: -2.0, greatest: 2.0, atoms: 5 };
    let probs = [0.5, 0.0, 0.25, 0.125, 0.125];
    for kind in [Kind::Double, Kind::Float] {
        let of = |reward, discount| projected(support, &probs, reward, discount, kind);
        assert_eq!(of(1e30, 1.0), [0.0, 0.0, 0.0, 0.0, 1.0]);
        assert_eq!(of(-1e30, 0.5), [1.0, 0.0, 0.0, 0.0, 0.0]);
        assert_eq!(of(3.0, 1.0), [0.0, 0.0, 0.0, 0.5, 0.5]);
    }
}

#[test]
fn a_projection_is_a_distribution_and_keeps_the_mean_inside_the_support() {
    let mut rng = rng(4);
    let support = Support { least: -10.0, greatest: 10.0, atoms: 51 };
    for _ in 0..300 {
        let logits: Vec<f64> = (0..51).map(|_| rng.random_range(-5.0..5.0)).collect();
        let (reward, discount) = (rng.random_range(-0.2..0.2), rng.random_range(0.0..0.98));
        let probs = softmax(&logits);
        let found = projected(support, &probs, reward, discount, Kind::Double);
        assert!(found.iter().all(|&p| p >= 0.0));
        assert_near(found.iter().sum(), 1.0, 1e-14, "sum");
        let expected = reward + discount * mean(support, &probs);
        assert_near(mean(support, &found), expected, 1e-13, "mean");
    }
}

#[test]
fn logits_of_any_size_cost_a_finite_amount() {
    let case = Case::random([3, 2, 2], SUPPORT, 1, 5);
    let columns = case.sequences.columns(Kind::Float);
    let logits = (case.online.tensor(Kind::Float) * 1e4).set_requires_grad(true);
    let input = CategoricalInput {
        online: &logits,
        target: &(case.target.tensor(Kind::Float) * 1e4),
        decisions: columns.decisions(false),
        returns: &columns.returns(1),
    };
    let found = categorical_q_learning(&input, SUPPORT, SelectionNetwork::Online);
    found.loss.backward();
    assert!(numbers(&found.loss)[0].is_finite());
    assert!(numbers(&logits.grad()).iter().all(|slope| slope.is_finite()));
}

#[test]
#[should_panic(expected = "the last axis of a distribution is that of the atoms")]
fn another_number_of_atoms_is_a_bug() {
    let _ = SUPPORT.mean(&Tensor::from_slice(&[0.5, 0.5]));
}

#[test]
#[should_panic(expected = "two atoms at least, in order")]
fn a_support_of_no_width_is_a_bug() {
    let support = Support { least: 1.0, greatest: 1.0, atoms: 2 };
    let _ = support.mean(&Tensor::from_slice(&[0.5, 0.5]));
}
