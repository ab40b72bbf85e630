//! Acting: from distributions to actions, by those who explore and those who do not.

mod discrete;
mod vectors;

use engram_mdp::{Actions, Generator};

use crate::distribution::Distribution;
use crate::exploration::Behavior;

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
    let (actions, log_probs) = match distribution.is_discrete() {
        true => discrete::act(distribution, behaviors, generators),
        false => vectors::act(distribution, behaviors, generators),
    };
    Chosen { actions, log_probs }
}

#[cfg(test)]
mod tests {
    use engram_mdp::Seed;
    use tch::{Device, Kind, Tensor};

    use super::*;
    use crate::exploration::{Choice, Exploration};

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
