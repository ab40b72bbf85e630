//! Exploration: how actors that train depart from their policy.
//!
//! It is set by the learner, travels with the weights, and is applied where actions are chosen:
//! an actor knows nothing of it. With probability ε an action is uniformly random; else it is drawn
//! from the policy, or is its likeliest one. A policy that is certain of its action, a vector, has
//! nothing to draw: Gaussian noise is added to it (Lillicrap et al. 2016,
//! <https://arxiv.org/abs/1509.02971>; Fujimoto et al. 2018, <https://arxiv.org/abs/1802.09477>).

use engram_mdp::Generator;
use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

use crate::distribution::{Distribution, MARGIN};
use crate::random;

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

    /// Draws as the policy says.
    const POLICY: Behavior = Behavior { choice: Choice::Sample, epsilon: 0.0, action_noise: 0.0 };
}

/// Noise for B rows that are to act.
#[derive(Debug)]
pub struct Noise {
    /// Noise for the distribution's sample, `[B]` or `[B, A]`.
    pub sample: Tensor,
    /// Uniform in `[0, 1)`, f32 `[B]`: whether an action is random, and which one. Needed where a
    /// behavior has an ε above zero.
    pub random: Option<Tensor>,
}

impl Noise {
    /// For rows that act like `behaviors` and draw from generators of their own: so many rows
    /// each, in order. What a generator's rows get does not depend on the others.
    pub fn by_rows(
        distribution: &Distribution,
        behaviors: &[Behavior],
        mut generators: Vec<(Generator, i64)>,
    ) -> Self {
        let sample = distribution.noise_by_rows(&mut generators);
        let random = needs_random(behaviors).then(|| {
            let of =
                |(generator, rows): &mut (Generator, i64)| random::uniform(generator, &[*rows]);
            let parts: Vec<Tensor> = generators.iter_mut().map(of).collect();
            Tensor::cat(&parts, 0).to_device(sample.device())
        });
        Noise { sample, random }
    }
}

/// True if some row may act at random.
fn needs_random(behaviors: &[Behavior]) -> bool {
    behaviors.iter().any(|behavior| behavior.epsilon > 0.0)
}

/// Chooses an action for each of B rows: i64 `[B]` or `[B, A]`, and its log-probability `[B]`
/// under the row's behavior. Of a policy that is certain of its action it is that of the policy: 0.
pub fn act(distribution: &Distribution, behaviors: &[Behavior], noise: &Noise) -> (Tensor, Tensor) {
    let drawn = distribution.sample(&noise.sample);
    assert_eq!(drawn.size()[0], behaviors.len() as i64, "one behavior per row");
    if behaviors.iter().all(|behavior| *behavior == Behavior::POLICY) {
        let log_probs = distribution.log_prob(&drawn);
        return (drawn, log_probs);
    }
    let device = drawn.device();
    let greedy: Vec<bool> = behaviors.iter().map(|b| b.choice == Choice::Greedy).collect();
    let greedy = Tensor::from_slice(&greedy).to_device(device);
    let wide = if drawn.dim() == 2 { greedy.unsqueeze(1) } else { greedy.shallow_clone() };
    let mode = distribution.mode();
    let chosen = with_action_noise(mode.where_self(&wide, &drawn), distribution, behaviors, noise);
    let Some(random) = noise.random.as_ref().filter(|_| needs_random(behaviors)) else {
        assert!(!needs_random(behaviors), "random actions need noise");
        return with_log_probs(distribution, chosen, &mode, &greedy, None);
    };
    let epsilon: Vec<f32> = behaviors.iter().map(|b| b.epsilon as f32).collect();
    let epsilon = Tensor::from_slice(&epsilon).to_device(device);
    let width = *distribution.numbers().size().last().expect("[B, A]");
    let is_random = random.lt_tensor(&epsilon);
    let (chosen, count) = match distribution.is_discrete() {
        true => {
            // Below ε it is also uniform in [0, ε): one number says whether and which.
            let among = (random / epsilon.clamp_min(f64::from(f32::MIN_POSITIVE)) * width as f64)
                .clamp(0.0, (width - 1) as f64)
                .floor()
                .to_kind(Kind::Int64);
            (among.where_self(&is_random, &chosen), width as f64)
        }
        false => {
            let anywhere = uniform_vectors(&noise.sample);
            // The volume of [-1, 1]^A.
            (anywhere.where_self(&is_random.unsqueeze(1), &chosen), 2.0_f64.powf(width as f64))
        }
    };
    with_log_probs(distribution, chosen, &mode, &greedy, Some((&epsilon, count)))
}

/// `chosen`, and noise where the policy is certain.
fn with_action_noise(
    chosen: Tensor,
    distribution: &Distribution,
    behaviors: &[Behavior],
    noise: &Noise,
) -> Tensor {
    if !matches!(distribution, Distribution::Deterministic { .. }) {
        return chosen;
    }
    let std: Vec<f32> = behaviors.iter().map(|behavior| behavior.action_noise as f32).collect();
    let std = Tensor::from_slice(&std).to_kind(chosen.kind()).to_device(chosen.device());
    (chosen + std.unsqueeze(1) * &noise.sample).clamp(MARGIN - 1.0, 1.0 - MARGIN)
}

/// Vectors uniform in `[-1, 1]^A` from standard normal ones: each number's share of the normal
/// distribution that lies below it.
fn uniform_vectors(normal: &Tensor) -> Tensor {
    (normal * std::f64::consts::FRAC_1_SQRT_2).erf().clamp(MARGIN - 1.0, 1.0 - MARGIN)
}

/// The log-probabilities of actions under a mixture: 1 − ε of what is chosen, ε of any of `count`, or
/// of anywhere in a volume of `count`.
fn with_log_probs(
    distribution: &Distribution,
    chosen: Tensor,
    mode: &Tensor,
    greedy: &Tensor,
    epsilon: Option<(&Tensor, f64)>,
) -> (Tensor, Tensor) {
    let drawn = distribution.log_prob(&chosen);
    let log_probs = match distribution.is_discrete() {
        true => {
            let certain = chosen.eq_tensor(mode).to_kind(drawn.kind()).log();
            certain.where_self(greedy, &drawn)
        }
        // The density of the policy there, also where its mode was taken.
        false => drawn,
    };
    let Some((epsilon, count)) = epsilon else { return (chosen, log_probs) };
    let epsilon = epsilon.to_kind(log_probs.kind());
    let by_chance: Tensor = &epsilon / count;
    let mixed = ((-epsilon + 1.0) * log_probs.exp() + by_chance).log();
    (chosen, mixed)
}

#[cfg(test)]
mod tests {
    use engram_mdp::Seed;
    use tch::Device;

    use super::*;

    fn noise(distribution: &Distribution, seed: u64) -> Noise {
        let mut generator = Seed::new(seed).generator();
        let sample = distribution.noise(&mut generator);
        let rows = sample.size()[0];
        let random = random::uniform(&mut generator, &[rows]);
        Noise { sample, random: Some(random) }
    }

    fn behavior(choice: Choice, epsilon: f64) -> Behavior {
        Behavior { choice, epsilon, action_noise: 0.0 }
    }

    fn shares(actions: &Tensor, count: i64) -> Vec<f64> {
        let share = |a| actions.eq(a).to_kind(Kind::Double).mean(Kind::Double).double_value(&[]);
        (0..count).map(share).collect()
    }

    #[test]
    fn random_actions_are_as_frequent_as_epsilon_says_and_spread_evenly() {
        const ROWS: i64 = 40_000;
        let values = Tensor::from_slice(&[0.0f32, 3.0, 1.0, 2.0]).expand([ROWS, 4], false);
        let distribution = Distribution::Greedy { values };
        let behaviors = vec![behavior(Choice::Greedy, 0.2); ROWS as usize];
        let (actions, log_probs) = act(&distribution, &behaviors, &noise(&distribution, 1));
        for (action, share) in shares(&actions, 4).into_iter().enumerate() {
            let expected: f64 = if action == 1 { 0.85 } else { 0.05 };
            assert!((share - expected).abs() < 0.006, "action {action}: {share}");
            let row = actions.eq(action as i64).to_kind(Kind::Int64).argmax(0, false);
            let found = log_probs.double_value(&[row.int64_value(&[])]);
            assert!((found - expected.ln()).abs() < 1e-5, "action {action}: {found}");
        }
    }

    #[test]
    fn rows_act_each_in_their_own_way() {
        let logits = Tensor::from_slice(&[0.0f32, 1.0]).expand([20_000, 2], false);
        let distribution = Distribution::Categorical { logits };
        let behaviors: Vec<Behavior> = (0..20_000)
            .map(|row| match row % 4 {
                0 => behavior(Choice::Sample, 0.0),
                1 => behavior(Choice::Greedy, 0.0),
                2 => behavior(Choice::Sample, 1.0),
                _ => behavior(Choice::Sample, 0.5),
            })
            .collect();
        let (actions, log_probs) = act(&distribution, &behaviors, &noise(&distribution, 2));
        let likely = 1.0 / (1.0 + (-1.0f64).exp());
        let expected = [likely, 1.0, 0.5, 0.5 * likely + 0.25];
        for (kind, expected) in expected.into_iter().enumerate() {
            let rows =
                Tensor::arange_start_step(kind as i64, 20_000, 4, (Kind::Int64, Device::Cpu));
            let share = shares(&actions.index_select(0, &rows), 2)[1];
            assert!((share - expected).abs() < 0.02, "kind {kind}: {share}, not {expected}");
            let ones = actions.index_select(0, &rows).eq(1).to_kind(Kind::Int64).argmax(0, false);
            let found = log_probs.double_value(&[4 * ones.int64_value(&[]) + kind as i64]);
            assert!((found - expected.ln()).abs() < 1e-5, "kind {kind}: {found}");
        }
    }

    #[test]
    fn a_policy_that_does_not_explore_is_the_policy() {
        let logits = Tensor::from_slice(&[0.3f32, 1.0, -1.0, 0.2]).view([2, 2]);
        let distribution = Distribution::Categorical { logits };
        let Noise { sample, .. } = noise(&distribution, 3);
        let behaviors = [Exploration::NONE.of_rank(5); 2];
        let (actions, log_probs) =
            act(&distribution, &behaviors, &Noise { sample: sample.shallow_clone(), random: None });
        assert_eq!(actions, distribution.sample(&sample));
        assert_eq!(log_probs, distribution.log_prob(&actions));
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
        let (actions, log_probs) = act(&distribution, &behaviors, &noise(&distribution, 4));
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
        let (actions, log_probs) =
            act(&distribution, &vec![trains; ROWS as usize], &noise(&distribution, 5));
        let std = actions.std(true).double_value(&[]);
        let mean = actions.mean(Kind::Double).double_value(&[]);
        assert!((std - 0.1).abs() < 0.002 && (mean - 0.3_f64.tanh()).abs() < 0.003, "{mean} {std}");
        assert_eq!(log_probs.abs().max().double_value(&[]), 0.0);
        let behaviors = vec![Behavior::EVALUATION; ROWS as usize];
        let (actions, _) = act(&distribution, &behaviors, &noise(&distribution, 6));
        assert_eq!(actions, distribution.mode());
    }
}
