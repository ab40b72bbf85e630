//! Exploration: how actors that train depart from their policy.
//!
//! It is set by the learner, travels with the weights, and is applied where actions are chosen:
//! an actor knows nothing of it. With probability ε an action is uniformly random; else it is drawn
//! from the policy, or is its likeliest one. A policy that is certain of its action, a vector, has
//! nothing to draw: Gaussian noise is added to it (Lillicrap et al. 2016,
//! <https://arxiv.org/abs/1509.02971>; Fujimoto et al. 2018, <https://arxiv.org/abs/1802.09477>).

mod discrete;
mod vectors;

use engram_mdp::{Actions, Generator};
use serde::{Deserialize, Serialize};

use crate::distribution::Distribution;

/// Exploration with some weights.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exploration {
    /// Choice of an action that is not random.
    pub choice: Choice,
    /// ε, the probability that an action is uniformly random; of rank 0, where actors differ.
    pub epsilon: f64,
    /// Differences between actors, if there are any.
    pub spread: Option<EpsilonSpread>,
    /// Standard deviation of what is added to the action of a policy that is certain of it.
    #[serde(default)]
    pub action_noise: f64,
}

/// Choice of an action.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Choice {
    /// Drawn from the policy.
    Sample,
    /// The policy's likeliest.
    Greedy,
}

/// An ε of its own for each actor: that of rank i of N has `ε^(1 + α i / (N − 1))`, Horgan et al.
/// 2018, <https://arxiv.org/abs/1803.00933>.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EpsilonSpread {
    /// N; ranks beyond explore like the last one.
    pub actors: u32,
    /// α.
    pub exponent: f64,
}

/// Behavior of one row of a batch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Behavior {
    /// Choice of an action that is not random.
    pub choice: Choice,
    /// The probability that it is uniformly random.
    pub epsilon: f64,
    /// Standard deviation of what is added to the action of a policy that is certain of it.
    pub action_noise: f64,
}

impl Exploration {
    /// The policy as it is: actions are drawn from it.
    pub const NONE: Exploration =
        Exploration { choice: Choice::Sample, epsilon: 0.0, spread: None, action_noise: 0.0 };

    /// Behavior of the actor of this rank.
    pub fn of_rank(&self, rank: u32) -> Behavior {
        let Exploration { choice, epsilon, spread, action_noise } = *self;
        let power = match spread {
            Some(EpsilonSpread { actors, exponent }) if actors > 1 => {
                let place = f64::from(rank.min(actors - 1)) / f64::from(actors - 1);
                1.0 + exponent * place
            }
            _ => 1.0,
        };
        Behavior { choice, epsilon: epsilon.powf(power), action_noise }
    }
}

impl Behavior {
    /// Behavior of actors that evaluate.
    pub const EVALUATION: Behavior =
        Behavior { choice: Choice::Greedy, epsilon: 0.0, action_noise: 0.0 };
}

/// Actions of B rows, on the host.
#[derive(Debug, PartialEq)]
pub struct Chosen {
    /// One for each row.
    pub actions: Actions,
    /// The log-probability, or density, of each under the row's behavior. Of a policy that is
    /// certain of its vector it is that of the policy: 0.
    pub log_probs: Vec<f32>,
}

/// Chooses an action for each of B rows, which draw from generators of their own: so many rows each,
/// in order. What a generator's rows get does not depend on the others.
pub fn act(
    distribution: &Distribution,
    behaviors: &[Behavior],
    generators: &mut [(Generator, usize)],
) -> Chosen {
    let rows: usize = generators.iter().map(|(_, rows)| rows).sum();
    assert_eq!(rows, behaviors.len(), "one behavior and one generator per row");
    match distribution.is_discrete() {
        true => discrete::act(distribution, behaviors, generators),
        false => vectors::act(distribution, behaviors, generators),
    }
}

/// True if some row may act at random.
fn needs_random(behaviors: &[Behavior]) -> bool {
    behaviors.iter().any(|behavior| behavior.epsilon > 0.0)
}

#[cfg(test)]
mod tests {
    use engram_mdp::Seed;
    use tch::{Device, Kind, Tensor};

    use super::*;

    fn behavior(choice: Choice, epsilon: f64) -> Behavior {
        Behavior { choice, epsilon, action_noise: 0.0 }
    }

    /// By one generator.
    fn chosen(distribution: &Distribution, behaviors: &[Behavior], seed: u64) -> Chosen {
        act(distribution, behaviors, &mut [(Seed::new(seed).generator(), behaviors.len())])
    }

    /// Numbered actions, and the log-probability of each.
    fn numbered(chosen: Chosen) -> Vec<(i32, f32)> {
        let Actions::Discrete(actions) = chosen.actions else { panic!("numbered actions") };
        actions.into_iter().zip(chosen.log_probs).collect()
    }

    /// Vectors `[B, A]` and log-densities `[B]`.
    fn vectors(chosen: Chosen) -> (Tensor, Tensor) {
        let Actions::Continuous(actions) = chosen.actions else { panic!("vectors") };
        let rows = chosen.log_probs.len() as i64;
        (Tensor::from_slice(&actions).view([rows, -1]), Tensor::from_slice(&chosen.log_probs))
    }

    /// The share of each action, and the log-probability that it was said to have.
    fn shares(chosen: &[(i32, f32)], count: i32) -> Vec<(f64, Option<f32>)> {
        let of = |action| chosen.iter().filter(move |(a, _)| *a == action);
        let share = |action| of(action).count() as f64 / chosen.len() as f64;
        (0..count).map(|action| (share(action), of(action).next().map(|&(_, log)| log))).collect()
    }

    #[test]
    fn random_actions_are_as_frequent_as_epsilon_says_and_spread_evenly() {
        const ROWS: i64 = 40_000;
        let values = Tensor::from_slice(&[0.0f32, 3.0, 1.0, 2.0]).expand([ROWS, 4], false);
        let behaviors = vec![behavior(Choice::Greedy, 0.2); ROWS as usize];
        let chosen = numbered(chosen(&Distribution::Greedy { values }, &behaviors, 1));
        for (action, (share, log_prob)) in shares(&chosen, 4).into_iter().enumerate() {
            let expected: f64 = if action == 1 { 0.85 } else { 0.05 };
            assert!((share - expected).abs() < 0.006, "action {action}: {share}");
            let said = f64::from(log_prob.unwrap());
            assert!((said - expected.ln()).abs() < 1e-5, "action {action}: {said}");
        }
    }

    #[test]
    fn rows_act_each_in_their_own_way() {
        let logits = Tensor::from_slice(&[0.0f32, 1.0]).expand([20_000, 2], false);
        let ways = [
            behavior(Choice::Sample, 0.0),
            behavior(Choice::Greedy, 0.0),
            behavior(Choice::Sample, 1.0),
            behavior(Choice::Sample, 0.5),
        ];
        let behaviors: Vec<Behavior> = (0..20_000).map(|row| ways[row % 4]).collect();
        let chosen = numbered(chosen(&Distribution::Categorical { logits }, &behaviors, 2));
        let likely = 1.0 / (1.0 + (-1.0f64).exp());
        for (way, expected) in [likely, 1.0, 0.5, 0.5 * likely + 0.25].into_iter().enumerate() {
            let rows: Vec<(i32, f32)> = chosen.iter().copied().skip(way).step_by(4).collect();
            let (share, log_prob) = shares(&rows, 2)[1];
            assert!((share - expected).abs() < 0.02, "way {way}: {share}, not {expected}");
            let said = f64::from(log_prob.unwrap());
            assert!((said - expected.ln()).abs() < 1e-5, "way {way}: {said}");
        }
    }

    #[test]
    fn a_policy_that_does_not_explore_is_the_policy() {
        let numbers = Seed::new(3).generator();
        let logits = crate::random::normal(&mut numbers.clone(), &[500, 7]) * 3.0;
        let distributions = [
            Distribution::Categorical { logits: logits.copy() },
            Distribution::Greedy { values: logits },
        ];
        for distribution in distributions {
            let noise = distribution.noise(&mut Seed::new(4).generator());
            let expected = distribution.sample(&noise);
            let log_probs = distribution.log_prob(&expected);
            let chosen = numbered(chosen(&distribution, &[Exploration::NONE.of_rank(5); 500], 4));
            for (row, (action, log_prob)) in chosen.into_iter().enumerate() {
                assert_eq!(i64::from(action), expected.int64_value(&[row as i64]), "row {row}");
                let off = f64::from(log_prob) - log_probs.double_value(&[row as i64]);
                assert!(off.abs() < 1e-5, "row {row} is off by {off}");
            }
        }
    }

    #[test]
    fn rows_of_a_generator_do_not_depend_on_the_others() {
        let logits = Tensor::zeros([6, 9], (Kind::Float, Device::Cpu));
        let distribution = Distribution::Categorical { logits };
        let behaviors = [behavior(Choice::Sample, 0.5); 6];
        let of = |seeds: [(u64, usize); 2]| {
            let mut generators = seeds.map(|(seed, rows)| (Seed::new(seed).generator(), rows));
            numbered(act(&distribution, &behaviors, &mut generators))
        };
        assert_eq!(of([(1, 4), (2, 2)])[..4], of([(1, 4), (3, 2)])[..4]);
        assert_eq!(of([(1, 4), (2, 2)])[4..], of([(2, 2), (1, 4)])[..2]);
    }

    #[test]
    fn numbers_that_are_none_choose_the_first_action() {
        let logits = Tensor::full([1, 3], f64::NAN, (Kind::Float, Device::Cpu));
        for choice in [Choice::Sample, Choice::Greedy] {
            let distribution = Distribution::Categorical { logits: logits.copy() };
            let (action, _) = numbered(chosen(&distribution, &[behavior(choice, 0.0)], 1))[0];
            assert_eq!(action, 0);
        }
    }

    #[test]
    fn actors_differ_by_their_rank() {
        let exploration = Exploration {
            choice: Choice::Greedy,
            epsilon: 0.4,
            spread: Some(EpsilonSpread { actors: 8, exponent: 7.0 }),
            action_noise: 0.0,
        };
        let of = |rank| exploration.of_rank(rank).epsilon;
        assert!((of(0) - 0.4).abs() < 1e-12 && (of(7) - 0.4f64.powi(8)).abs() < 1e-12);
        assert!((of(3) - 0.4f64.powf(4.0)).abs() < 1e-12);
        assert_eq!(of(100), of(7));
        assert_eq!(Exploration { spread: None, ..exploration }.of_rank(3).epsilon, 0.4);
    }

    #[test]
    fn random_vectors_are_spread_evenly_and_have_the_density_of_the_mixture() {
        const ROWS: i64 = 40_000;
        let mean = Tensor::full([ROWS, 2], 0.4, (Kind::Float, Device::Cpu));
        let log_std = Tensor::full([ROWS, 2], -3.0, (Kind::Float, Device::Cpu));
        let distribution = Distribution::Gaussian { mean, log_std };
        let behaviors = vec![behavior(Choice::Sample, 1.0); ROWS as usize];
        let (actions, log_probs) = vectors(chosen(&distribution, &behaviors, 4));
        for edge in [-0.5, 0.0, 0.5] {
            let below = actions.lt(edge).to_kind(Kind::Double).mean(Kind::Double);
            let expected = (edge + 1.0) / 2.0;
            assert!((below.double_value(&[]) - expected).abs() < 0.006, "below {edge}: {below}");
        }
        let density = (0.25_f64).ln();
        assert!((log_probs.min().double_value(&[]) - density).abs() < 1e-5);
        assert!((log_probs.max().double_value(&[]) - density).abs() < 1e-5);
    }

    #[test]
    fn noise_is_added_to_certain_actions_of_actors_that_train_alone() {
        const ROWS: i64 = 20_000;
        let raw = Tensor::full([ROWS, 1], 0.3, (Kind::Float, Device::Cpu));
        let distribution = Distribution::Deterministic { raw };
        let trains = Behavior { choice: Choice::Greedy, epsilon: 0.0, action_noise: 0.1 };
        let (actions, log_probs) = vectors(chosen(&distribution, &vec![trains; ROWS as usize], 5));
        let std = actions.std(true).double_value(&[]);
        let mean = actions.mean(Kind::Double).double_value(&[]);
        assert!((std - 0.1).abs() < 0.002 && (mean - 0.3_f64.tanh()).abs() < 0.003, "{mean} {std}");
        assert_eq!(log_probs.abs().max().double_value(&[]), 0.0);
        let behaviors = vec![Behavior::EVALUATION; ROWS as usize];
        let (actions, _) = vectors(chosen(&distribution, &behaviors, 6));
        assert_eq!(actions, distribution.mode());
    }
}
