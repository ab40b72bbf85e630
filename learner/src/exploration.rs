//! How often an ε-greedy policy acts at random.

/// ε falls on a line from 1 to a last value, and stays there.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LinearEpsilon {
    /// Env steps before it begins to fall: all at random.
    pub warm_up: u64,
    /// Env steps that the fall takes; 0 is a jump.
    pub steps: u64,
    /// ε from then on, 0..=1.
    pub last: f64,
}

impl LinearEpsilon {
    /// ε after `env_steps` decisions.
    pub fn at(self, env_steps: u64) -> f64 {
        let LinearEpsilon { warm_up, steps, last } = self;
        assert!((0.0..=1.0).contains(&last), "ε is a probability, not {last}");
        let fallen = env_steps.saturating_sub(warm_up);
        if fallen >= steps && env_steps >= warm_up {
            return last;
        }
        1.0 + (last - 1.0) * (fallen as f64 / steps.max(1) as f64)
    }
}
