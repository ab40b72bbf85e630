//! Gravity of an episode: the same always, or that of one of many worlds.
//!
//! In a random world gravity is `strength × 1.5^u`, with `u` uniform within plus or minus
//! `log_range`; it is not observed (Rakelly et al. 2019, <https://arxiv.org/abs/1903.08254>). The
//! worlds are drawn once, from a seed of their own, so that those kept for tests are never trained
//! on.

use engram_mdp::{Generator, Seed};
use rand::RngExt;
use serde::Deserialize;

use crate::error::{ParameterError, within};
use crate::tasks::{Split, TaskSet};

/// Base of the law of random gravity.
const BASE: f32 = 1.5;

/// Gravity of an episode, in meters per square second.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "name", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Gravity {
    /// The same in all episodes.
    Fixed {
        /// Its strength; 9.8 on earth.
        strength: f32,
    },
    /// That of a world which is drawn for every episode.
    Random {
        /// Its strength in the middle of the range.
        strength: f32,
        /// Powers of 1.5 by which it is stronger or weaker, at most.
        log_range: f32,
        /// The number of worlds.
        tasks: u32,
        /// The number of worlds that belong to the training split; the others to the test split.
        train_tasks: u32,
        /// The worlds from which episodes are drawn.
        split: Split,
        /// The seed from which the worlds are drawn.
        task_seed: u64,
    },
}

/// The strengths that gravity may have.
pub(super) struct Gravities(Vec<f32>);

impl Gravity {
    pub(super) fn validate(&self) -> Result<(), ParameterError> {
        match self {
            Gravity::Fixed { strength } => within("gravity.strength", *strength, 0.1..=100.0),
            Gravity::Random { strength, log_range, tasks, train_tasks, .. } => {
                within("gravity.strength", *strength, 0.1..=100.0)?;
                within("gravity.log_range", *log_range, 0.0..=5.0)?;
                within("gravity.tasks", *tasks, 2..=1_000_000)?;
                within("gravity.train_tasks", *train_tasks, 1..=*tasks - 1)
            }
        }
    }

    /// All strengths from which an episode's is drawn.
    pub(super) fn draw(&self) -> Gravities {
        match *self {
            Gravity::Fixed { strength } => Gravities(vec![strength]),
            Gravity::Random { strength, log_range, tasks, train_tasks, split, task_seed } => {
                let set = TaskSet { tasks, train_tasks, split, seed: Seed::new(task_seed) };
                let draw = |generator: &mut Generator| {
                    strength * BASE.powf(generator.random_range(-log_range..=log_range))
                };
                Gravities(set.draw(draw))
            }
        }
    }
}

impl Gravities {
    /// The strength of one episode.
    pub(super) fn one(&self, generator: &mut Generator) -> f32 {
        match self.0[..] {
            [only] => only,
            ref several => several[generator.random_range(0..several.len())],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn random(split: Split, task_seed: u64) -> Vec<f32> {
        let (strength, log_range, tasks, train_tasks) = (9.81, 3.0, 120, 100);
        Gravity::Random { strength, log_range, tasks, train_tasks, split, task_seed }.draw().0
    }

    #[test]
    fn worlds_are_drawn_once_and_split_without_overlap() {
        let (train, test) = (random(Split::Train, 0), random(Split::Test, 0));
        assert_eq!((train.len(), test.len()), (100, 20));
        assert!(test.iter().all(|strength| !train.contains(strength)));
        assert_eq!(train, random(Split::Train, 0), "they depend on their seed alone");
        assert_ne!(train, random(Split::Train, 1));
    }

    #[test]
    fn the_range_is_that_of_the_law() {
        let factors: Vec<f32> =
            (0..20).flat_map(|seed| random(Split::Train, seed)).map(|g| g / 9.81).collect();
        // 1.5^-3 to 1.5^3; half of the worlds are lighter than the middle.
        assert!(factors.iter().all(|factor| (0.296..=3.375).contains(factor)));
        assert!(factors.iter().any(|f| *f < 0.32) && factors.iter().any(|f| *f > 3.2));
        let light = factors.iter().filter(|factor| **factor < 1.0).count();
        assert!((900..1100).contains(&light), "{light} of 2000 are lighter");
    }
}
