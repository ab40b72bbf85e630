//! Chance: the draws that a world asks for. Tests answer them as the package was answered.

use engram_mdp::Generator;
use rand::RngExt;

use crate::environments::control;

/// Source of everything random in a world.
pub(crate) trait Chance {
    /// A number from 0 to `count` - 1.
    fn below(&mut self, count: usize) -> usize;

    /// A number from 0 to 1, without 1.
    fn unit(&mut self) -> f64;

    /// A draw from the standard normal distribution.
    fn normal(&mut self) -> f64;

    /// A number from minus to plus `limit`.
    fn within(&mut self, limit: f64) -> f64 {
        2.0 * limit * self.unit() - limit
    }

    /// Puts cards into a random order (Fisher and Yates).
    fn shuffle(&mut self, cards: &mut [u8]) {
        for last in (1..cards.len()).rev() {
            cards.swap(last, self.below(last + 1));
        }
    }
}

impl Chance for Generator {
    fn below(&mut self, count: usize) -> usize {
        self.random_range(0..count as u32) as usize
    }

    fn unit(&mut self) -> f64 {
        self.random()
    }

    fn normal(&mut self) -> f64 {
        control::normal(self)
    }
}
