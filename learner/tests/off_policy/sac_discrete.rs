//! SAC-Discrete.

use engram_learner::config::ErrorLoss;
use engram_learner::losses::n_step::NStepReturns;
use engram_learner::losses::sac_discrete::{
    ActionProbabilities, actor_loss, critic_loss, soft_targets, target_entropy, temperature_loss,
};
use tch::{Kind, Tensor};

use crate::sequences::{Columns, Sequences};
use crate::{
    Grid, KINDS, assert_all_near, assert_constant, assert_gradient, assert_near, error_loss,
    numbers, rng, scalar, softmax,
};

const ALPHA: f64 = 0.3;

struct Case {
    sequences: Sequences,
    logits: Grid,
    critics: [Grid; 2],
    targets: [Grid; 2],
    n: usize,
}

/// π, and log π where it is at least 1e−8.
fn policy(logits: &[f64]) -> Vec<(f64, f64)> {
    softmax(logits).into_iter().map(|p| (p, p.max(1e-8).ln())).collect()
}

impl Case {
    fn random(shape: [usize; 3], spread: f64, n: usize, seed: u64) -> Self {
        let mut rng = rng(seed);
        let frames = [shape[0] + 1, shape[1], shape[2]];
        let sequences = Sequences::random(shape, 2.0, &mut rng);
        let mut values = || Grid::random(&frames, -3.0..3.0, &mut rng);
        let (critics, targets) = ([values(), values()], [values(), values()]);
        Case {
            sequences,
            logits: Grid::random(&frames, -spread..spread, &mut rng),
            critics,
            targets,
            n,
        }
    }

    /// V'(h), by the two target critics.
    fn soft_value(&self, frame: usize, b: usize) -> f64 {
        let [first, second] = &self.targets;
        policy(self.logits.row(&[frame, b]))
            .into_iter()
            .enumerate()
            .map(|(a, (p, log_p))| {
                let least = first.at(&[frame, b, a]).min(second.at(&[frame, b, a]));
                p * (least - ALPHA * log_p)
            })
            .sum()
    }

    fn target(&self, t: usize, b: usize) -> f64 {
        let outcome = self.sequences.outcome(t, b, self.n);
        outcome.rewards + outcome.discount * self.soft_value(outcome.end, b)
    }

    /// The mean over decisions of what `f` says of each, times its importance.
    fn mean(&self, with_importance: bool, f: impl Fn(usize, usize) -> f64) -> f64 {
        let weight = |t, b| match with_importance {
            true => self.sequences.importance.at(&[t, b]),
            false => 1.0,
        };
        let acting = self.sequences.cells().filter(|&(t, b)| self.sequences.acts(t, b));
        acting.map(|(t, b)| weight(t, b) * f(t, b)).sum::<f64>() / self.sequences.decisions()
    }

    fn found_targets(&self, logits: &Tensor, returns: &NStepReturns) -> Tensor {
        let critics = self.targets.each_ref().map(|critic| critic.tensor(logits.kind()));
        let policy = ActionProbabilities::from_logits(logits);
        soft_targets(&policy, [&critics[0], &critics[1]], &Tensor::from(ALPHA), returns)
    }
}

fn cases() -> [Case; 3] {
    [
        Case::random([7, 20, 4], 2.0, 1, 0),
        Case::random([6, 15, 3], 4.0, 3, 1),
        // Probabilities far below 1e−8, too.
        Case::random([5, 15, 2], 20.0, 2, 2),
    ]
}

#[test]
fn targets_are_soft_values() {
    for case in cases() {
        for (kind, tolerance) in KINDS {
            let returns = case.sequences.columns(kind).returns(case.n);
            let found = case.found_targets(&case.logits.tensor(kind), &returns);
            assert_eq!(found.kind(), kind);
            let found = numbers(&found);
            for (cell, (t, b)) in case.sequences.cells().enumerate() {
                let expected = if case.sequences.acts(t, b) { case.target(t, b) } else { 0.0 };
                assert_near(found[cell], expected, tolerance, "target");
            }
        }
    }
}

#[test]
fn the_critics_are_compared_with_one_target() {
    let huber = ErrorLoss::Huber { threshold: 0.75 };
    for case in cases() {
        for (error, factor, with_importance) in [
            (ErrorLoss::Squared {}, 0.5, false),
            (huber, 1.0, true),
            (ErrorLoss::Squared {}, 1.0, true),
        ] {
            for (kind, tolerance) in KINDS {
                let columns = case.sequences.columns(kind);
                let targets =
                    case.found_targets(&case.logits.tensor(kind), &columns.returns(case.n));
                let critics = case.critics.each_ref().map(|critic| critic.tensor(kind));
                let decisions = columns.decisions(with_importance);
                let both = [&critics[0], &critics[1]];
                let found = critic_loss(both, &targets, &decisions, error, factor);
                let value = |critic: usize, t: usize, b: usize| {
                    case.critics[critic].at(&[t, b, case.sequences.action(t, b)])
                };
                let deltas = |t, b| [0, 1].map(|critic| case.target(t, b) - value(critic, t, b));
                let loss = case.mean(with_importance, |t, b| {
                    factor * deltas(t, b).map(|delta| error_loss(error, delta)).iter().sum::<f64>()
                });
                assert_near(scalar(&found.loss), loss, tolerance, "loss");
                let mean = case.mean(false, |t, b| (value(0, t, b) + value(1, t, b)) / 2.0);
                assert_near(scalar(&found.mean_value), mean, tolerance, "mean value");
                let errors: Vec<f64> = (case.sequences.cells())
                    .map(|(t, b)| match case.sequences.acts(t, b) {
                        true => deltas(t, b).map(f64::abs).iter().sum::<f64>() / 2.0,
                        false => 0.0,
                    })
                    .collect();
                assert_all_near(&found.td_errors, &errors, tolerance, "TD error");
            }
        }
    }
}

#[test]
fn the_actor_loss_and_entropy_are_sums_over_actions() {
    for case in cases() {
        for with_importance in [false, true] {
            for (kind, tolerance) in KINDS {
                let columns = case.sequences.columns(kind);
                let importance = with_importance.then_some(&columns.importance);
                let critics = case.critics.each_ref().map(|critic| critic.tensor(kind));
                let probabilities = ActionProbabilities::from_logits(&case.logits.tensor(kind));
                let both = [&critics[0], &critics[1]];
                let alpha = Tensor::from(ALPHA);
                let found = actor_loss(&probabilities, both, &alpha, &columns.mask, importance);
                assert_eq!(found.loss.kind(), kind);
                let loss = case.mean(with_importance, |t, b| {
                    let cost = |(a, (p, log_p)): (usize, (f64, f64))| {
                        let [first, second] = case.critics.each_ref().map(|q| q.at(&[t, b, a]));
                        p * (ALPHA * log_p - first.min(second))
                    };
                    policy(case.logits.row(&[t, b])).into_iter().enumerate().map(cost).sum()
                });
                assert_near(scalar(&found.loss), loss, tolerance, "loss");
                let entropy = case.mean(false, |t, b| {
                    policy(case.logits.row(&[t, b])).into_iter().map(|(p, log_p)| -p * log_p).sum()
                });
                assert_near(scalar(&found.entropy), entropy, tolerance, "entropy");
            }
        }
    }
}

/// Tensors of a small case, and its returns.
fn small() -> (Case, Columns, NStepReturns) {
    let case = Case::random([4, 3, 3], 2.0, 2, 3);
    let columns = case.sequences.columns(Kind::Double);
    let returns = columns.returns(case.n);
    (case, columns, returns)
}

#[test]
fn the_critics_gradient_is_that_of_their_values_alone() {
    let (case, columns, returns) = small();
    let targets = case.found_targets(&case.logits.tensor(Kind::Double), &returns);
    let [first, second] = case.critics.each_ref().map(|critic| critic.tensor(Kind::Double));
    for error in [ErrorLoss::Squared {}, ErrorLoss::Huber { threshold: 0.75 }] {
        let decisions = columns.decisions(true);
        let loss =
            |critics: [&Tensor; 2]| critic_loss(critics, &targets, &decisions, error, 0.5).loss;
        assert_gradient(&case.critics[0], |q| loss([q, &second]), "first critic");
        assert_gradient(&case.critics[1], |q| loss([&first, q]), "second critic");
    }
    let logits = |logits: &Tensor| case.found_targets(logits, &returns);
    assert_constant(&case.logits, logits, "a target");
    let target = Grid { shape: vec![4, 3], numbers: numbers(&targets) };
    let decisions = columns.decisions(false);
    let loss = |targets: &Tensor| {
        critic_loss([&first, &second], targets, &decisions, ErrorLoss::Squared {}, 1.0).loss
    };
    assert_constant(&target, loss, "the loss, of its targets");
}

#[test]
fn the_actors_gradient_is_that_of_the_policy_and_of_critics_that_are_not_detached() {
    let (case, columns, _) = small();
    let [first, second] = case.critics.each_ref().map(|critic| critic.tensor(Kind::Double));
    let fixed = case.logits.tensor(Kind::Double);
    let loss = |logits: &Tensor, critics: [&Tensor; 2], alpha: &Tensor| {
        let policy = ActionProbabilities::from_logits(logits);
        actor_loss(&policy, critics, alpha, &columns.mask, Some(&columns.importance))
    };
    let alpha = Tensor::from(ALPHA);
    assert_gradient(&case.logits, |x| loss(x, [&first, &second], &alpha).loss, "logits");
    assert_gradient(&case.critics[0], |q| loss(&fixed, [q, &second], &alpha).loss, "a critic");
    let temperature = Grid { shape: vec![1], numbers: vec![ALPHA] };
    let of_alpha = |alpha: &Tensor| loss(&fixed, [&first, &second], alpha).loss;
    assert_constant(&temperature, of_alpha, "the loss, of the temperature");
    let entropy = |x: &Tensor| loss(x, [&first, &second], &alpha).entropy;
    assert_constant(&case.logits, entropy, "the entropy");
}

#[test]
fn a_certain_policy_has_finite_log_probs_and_gradients() {
    for kind in [Kind::Double, Kind::Float] {
        let logits = Tensor::from_slice(&[0.0, 500.0, -500.0]).to_kind(kind);
        let logits = logits.set_requires_grad(true);
        let policy = ActionProbabilities::from_logits(&logits);
        assert_all_near(&policy.probs, &[0.0, 1.0, 0.0], 1e-12, "π");
        let floor = 1e-8_f64.ln();
        assert_all_near(&policy.log_probs, &[floor, 0.0, floor], 1e-6, "log π");
        assert_near(scalar(&policy.entropy()), 0.0, 1e-12, "entropy");
        policy.entropy().backward();
        assert!(numbers(&logits.grad()).iter().all(|slope| slope.is_finite()));
    }
}

#[test]
fn the_target_entropy_is_a_share_of_a_uniform_policys() {
    assert_near(target_entropy(0.7, 4), 0.7 * 4.0_f64.ln(), 1e-15, "target");
    let uniform = ActionProbabilities::from_logits(&Tensor::from_slice(&[0.5; 6]));
    assert_near(scalar(&uniform.entropy()), target_entropy(1.0, 6), 1e-14, "entropy");
}

#[test]
fn the_temperature_falls_while_the_entropy_is_above_its_target() {
    for (entropy, slope_is) in [(1.2, 1.0), (0.4, -1.0)] {
        let log_alpha = Grid { shape: vec![1], numbers: vec![-1.5] };
        let entropy = Tensor::from(entropy).set_requires_grad(true);
        let loss = |x: &Tensor| temperature_loss(x, &entropy, 0.9);
        let alpha = (-1.5_f64).exp();
        let expected = alpha * (scalar(&entropy) - 0.9);
        assert_near(scalar(&loss(&log_alpha.tensor(Kind::Double))), expected, 1e-15, "loss");
        assert!(expected * slope_is > 0.0);
        assert_gradient(&log_alpha, loss, "log α");
        assert!(!loss(&log_alpha.tensor(Kind::Double)).requires_grad());
    }
}

#[test]
#[should_panic(expected = "critics are [T + 1, B, A]")]
fn critics_without_the_last_frame_are_a_bug() {
    let (case, columns, returns) = small();
    let critic = case.critics[0].tensor(Kind::Double).narrow(0, 0, 4);
    let targets = case.found_targets(&case.logits.tensor(Kind::Double), &returns);
    let decisions = columns.decisions(false);
    critic_loss([&critic, &critic], &targets, &decisions, ErrorLoss::Squared {}, 1.0);
}
