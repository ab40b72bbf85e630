//! Chance: the draws that a world asks for. Tests answer them as another program was answered.

use std::f64::consts::TAU;

use engram_mdp::Generator;
use rand::RngExt;

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

    /// Puts numbers into a random order (Fisher and Yates).
    fn shuffle(&mut self, numbers: &mut [u8]) {
        for last in (1..numbers.len()).rev() {
            numbers.swap(last, self.below(last + 1));
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
        normal(self)
    }
}

/// A draw from the standard normal distribution (Box & Muller 1958).
pub(crate) fn normal(generator: &mut Generator) -> f64 {
    let radius = (-2.0 * (1.0 - generator.random_range(0.0..1.0_f64)).ln()).sqrt();
    radius * generator.random_range(0.0..TAU).cos()
}

#[cfg(test)]
mod tests {
    use engram_mdp::Seed;

    use super::*;

    const DRAWS: u32 = 40_000;

    #[test]
    fn whole_numbers_are_equally_frequent() {
        let mut generator = Seed::new(8).generator();
        let mut counts = [0_u32; 10];
        (0..DRAWS).for_each(|_| counts[generator.below(10)] += 1);
        // 4000 expected, with a standard deviation of 60.
        assert!(counts.iter().all(|count| (3700..4300).contains(count)), "{counts:?}");
    }

    #[test]
    fn draws_have_the_means_and_variances_of_their_distributions() {
        let mut generator = Seed::new(9).generator();
        let mut moments = |draw: fn(&mut Generator) -> f64| {
            let numbers: Vec<f64> = (0..DRAWS).map(|_| draw(&mut generator)).collect();
            let mean = numbers.iter().sum::<f64>() / f64::from(DRAWS);
            let square = numbers.iter().map(|x| (x - mean).powi(2)).sum::<f64>();
            (mean, square / f64::from(DRAWS))
        };
        let near = |(mean, variance): (f64, f64), expected: (f64, f64)| {
            (mean - expected.0).abs() < 0.03 && (variance - expected.1).abs() < 0.05
        };
        assert!(near(moments(Chance::normal), (0.0, 1.0)));
        assert!(near(moments(Chance::unit), (0.5, 1.0 / 12.0)));
        assert!(near(moments(|chance| chance.within(1.5)), (0.0, 0.75)));
    }
}
