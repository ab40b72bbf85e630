//! Exploration: how actors that train depart from their policy.
//!
//! It is set by the learner, travels with the weights, and is applied where actions are chosen:
//! an actor knows nothing of it. With probability ε an action is uniformly random; else it is drawn
//! from the policy, or is its likeliest one. A policy that is certain of its action, a vector, has
//! nothing to draw: Gaussian noise is added to it (Lillicrap et al. 2016,
//! <https://arxiv.org/abs/1509.02971>; Fujimoto et al. 2018, <https://arxiv.org/abs/1802.09477>).

use serde::{Deserialize, Serialize};

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

/// True if some row may act at random.
pub(crate) fn needs_random(behaviors: &[Behavior]) -> bool {
    behaviors.iter().any(|behavior| behavior.epsilon > 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
