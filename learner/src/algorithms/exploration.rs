//! How often an ε-greedy policy acts at random.

/// ε falls on a line from 1 to a last value, and stays there.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LinearEpsilon {
    /// Env steps that the fall takes; 0 is a jump.
    pub steps: u64,
    /// ε from then on, 0..=1.
    pub last: f64,
}

impl LinearEpsilon {
    /// ε so many env steps after learning has started.
    pub fn at(self, env_steps: u64) -> f64 {
        let LinearEpsilon { steps, last } = self;
        assert!((0.0..=1.0).contains(&last), "ε is a probability, not {last}");
        if env_steps >= steps {
            return last;
        }
        1.0 + (last - 1.0) * (env_steps as f64 / steps as f64)
    }
}
