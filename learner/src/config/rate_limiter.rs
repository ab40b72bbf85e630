//! Rate limiter settings: updates per env step.

use serde::{Deserialize, Serialize};

use crate::config::OutOfRange;

/// Updates per env step, and when they start.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RateLimiterConfig {
    /// ρ, updates per env step; 0.25 is one update for every four env steps.
    pub updates_per_env_step: f64,
    /// Data that must have been inserted before the first update.
    pub learning_starts: LearningStarts,
    /// The most env steps that may wait for their updates. At least those of one trajectory and
    /// one update.
    pub slack_env_steps: u64,
}

/// When the warm-up ends. Either way at least one episode must be complete, for otherwise there
/// is nothing to sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LearningStarts {
    /// After so many env steps.
    EnvSteps(u64),
    /// After so many complete episodes.
    Episodes(u64),
}

impl RateLimiterConfig {
    /// Checks every range that does not depend on the unroll length.
    pub fn validate(&self) -> Result<(), OutOfRange> {
        let ratio = self.updates_per_env_step;
        if !(ratio > 0.0 && ratio <= 1e6) {
            let range = "above 0 and at most 1000000";
            let found = ratio.to_string();
            return Err(OutOfRange { key: "rate_limiter.updates_per_env_step", found, range });
        }
        let (LearningStarts::EnvSteps(least) | LearningStarts::Episodes(least)) =
            self.learning_starts;
        if least == 0 {
            let (found, range) = ("0".into(), "at least 1");
            return Err(OutOfRange { key: "rate_limiter.learning_starts", found, range });
        }
        Ok(())
    }
}
