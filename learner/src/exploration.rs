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

/// The constant ε of actor `index` of `actors`: `ε_i = ε^(1 + α i / (N − 1))`, from ε for the first
/// to ε^(1 + α) for the last. A lone actor has ε. Horgan et al. 2018, section 4.1,
/// <https://arxiv.org/abs/1803.00933>, where ε = 0.4 and α = 7.
pub fn actor_epsilon(base: f64, alpha: f64, index: usize, actors: usize) -> f64 {
    assert!((0.0..=1.0).contains(&base), "ε is a probability, not {base}");
    assert!(index < actors, "actor {index} is one of 0..{actors}");
    let place = if actors > 1 { index as f64 / (actors - 1) as f64 } else { 0.0 };
    base.powf(1.0 + alpha * place)
}
