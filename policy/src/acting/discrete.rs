//! Numbered actions, chosen on the host: a row has a handful of numbers, and each of the dozen tensor
//! operations that it would take costs more than all of them. A test holds it against those of
//! [`Distribution`], which tests of learning use.

use engram_mdp::{Actions, Generator};
use rand::RngExt;
use tch::{Device, Kind};

use crate::distribution::Distribution;
use crate::exploration::{Behavior, Choice, needs_random};

/// Chooses for rows of a distribution over numbered actions: actions and their log-probabilities.
pub(super) fn act(
    distribution: &Distribution,
    behaviors: &[Behavior],
    generators: &mut [(Generator, usize)],
) -> (Actions, Vec<f32>) {
    let certain = matches!(distribution, Distribution::Greedy { .. });
    let (_, count) = distribution.numbers().size2().expect("numbers have shape [B, A]");
    let numbers = distribution.numbers().to_device(Device::Cpu).to_kind(Kind::Float).reshape(-1);
    let numbers = Vec::<f32>::try_from(numbers).expect("floats, one row after another");
    let mut rows = numbers.chunks_exact(count as usize).zip(behaviors);
    let explores = needs_random(behaviors);
    let mut actions = Vec::with_capacity(behaviors.len());
    let mut log_probs = Vec::with_capacity(behaviors.len());
    for (generator, held) in generators {
        let mut uniform = || (0..*held).map(|_| generator.random()).collect::<Vec<f32>>();
        let samples = uniform();
        let random = if explores { uniform() } else { vec![1.0; *held] };
        // The rows stand last: what is first is asked once more than there are pairs.
        for ((sample, random), (row, behavior)) in samples.into_iter().zip(random).zip(&mut rows) {
            let choice = if certain { Choice::Greedy } else { behavior.choice };
            let policy = Row { numbers: row, choice };
            let (action, log_prob) = policy.act(behavior.epsilon, sample.into(), random.into());
            actions.push(action as i32);
            log_probs.push(log_prob as f32);
        }
    }
    (Actions::Discrete(actions), log_probs)
}

/// A policy where it was asked once.
#[derive(Clone, Copy)]
struct Row<'a> {
    /// Values of the actions, or unnormalized log-probabilities.
    numbers: &'a [f32],
    choice: Choice,
}

impl Row<'_> {
    /// An action and its log-probability; `sample` and `random` are uniform in `[0, 1)`.
    fn act(self, epsilon: f64, sample: f64, random: f64) -> (usize, f64) {
        let count = self.numbers.len();
        let action = match random < epsilon {
            // Below ε it is also uniform in [0, ε): one number says whether and which.
            true => ((random / epsilon * count as f64) as usize).min(count - 1),
            false => self.pick(sample),
        };
        let log_prob = self.log_prob(action);
        match epsilon > 0.0 {
            true => {
                let by_chance = epsilon / count as f64;
                (action, ((1.0 - epsilon) * log_prob.exp() + by_chance).ln())
            }
            false => (action, log_prob),
        }
    }

    fn pick(self, sample: f64) -> usize {
        match self.choice {
            Choice::Greedy => self.first_greatest(),
            // The first action whose cumulative probability exceeds the noise.
            Choice::Sample => {
                let threshold = sample * self.total();
                let mut cumulative = 0.0;
                let below = self.odds().take_while(|odds| {
                    cumulative += odds;
                    cumulative <= threshold
                });
                below.count().min(self.numbers.len() - 1)
            }
        }
    }

    fn log_prob(self, action: usize) -> f64 {
        match self.choice {
            Choice::Greedy if action == self.first_greatest() => 0.0,
            Choice::Greedy => f64::NEG_INFINITY,
            Choice::Sample => f64::from(self.numbers[action] - self.greatest()) - self.total().ln(),
        }
    }

    fn greatest(self) -> f32 {
        self.numbers.iter().copied().fold(f32::NEG_INFINITY, f32::max)
    }

    fn first_greatest(self) -> usize {
        let greatest = self.greatest();
        self.numbers.iter().position(|&number| number == greatest).unwrap_or(0)
    }

    /// Probabilities of the actions, each divided by that of the likeliest.
    fn odds(&self) -> impl Iterator<Item = f64> {
        let greatest = self.greatest();
        self.numbers.iter().map(move |number| f64::from(number - greatest).exp())
    }

    fn total(self) -> f64 {
        self.odds().sum()
    }
}
