//! Rate limiter settings: updates per env step.

use serde::{Deserialize, Serialize};

use crate::config::OutOfRange;

/// Updates per env step, and when they start.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub struct RateLimiterConfig {
    /// ρ, updates per env step; 0.25 is one update for every four env steps.
    pub updates_per_env_step: f64,
    /// Data that must have been inserted before the first update.
    pub learning_starts: LearningStarts,
    /// Distance at which updates follow env steps.
    pub pace: Pace,
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

/// Distance at which updates follow env steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// Side by side: acting and learning go on at once, and neither waits for the other's bursts.
    Slack {
        /// The most env steps that may wait for their updates. At least those of one trajectory and
        /// one update.
        env_steps: u64,
    },
    /// In turns: an episode of n env steps has its ⌈ρ n⌉ updates before another one begins, those of
    /// the warm-up ⌊ρ n⌋ for all of them at once.
    Turns,
}

/// The same as in a file, where one of the last two is given.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    updates_per_env_step: f64,
    learning_starts: LearningStarts,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    slack_env_steps: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    turns: Option<Turns>,
}

/// Unit by which actors and learner take turns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Turns {
    Episodes,
}

impl TryFrom<Written> for RateLimiterConfig {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        let Written { updates_per_env_step, learning_starts, slack_env_steps, turns } = written;
        let pace = match (slack_env_steps, turns) {
            (Some(env_steps), None) => Pace::Slack { env_steps },
            (None, Some(Turns::Episodes)) => Pace::Turns,
            (None, None) => {
                return Err("rl.rate_limiter.slack_env_steps is missing: set it, or turns = \
                            \"episodes\" in its place"
                    .into());
            }
            (Some(env_steps), Some(Turns::Episodes)) => {
                return Err(format!(
                    "rl.rate_limiter.slack_env_steps is {env_steps} beside turns = \"episodes\", \
                     which leaves no slack: leave one of them out"
                ));
            }
        };
        Ok(RateLimiterConfig { updates_per_env_step, learning_starts, pace })
    }
}

impl From<RateLimiterConfig> for Written {
    fn from(config: RateLimiterConfig) -> Self {
        let RateLimiterConfig { updates_per_env_step, learning_starts, pace } = config;
        let (slack_env_steps, turns) = match pace {
            Pace::Slack { env_steps } => (Some(env_steps), None),
            Pace::Turns => (None, Some(Turns::Episodes)),
        };
        Written { updates_per_env_step, learning_starts, slack_env_steps, turns }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pace: &str) -> Result<RateLimiterConfig, String> {
        let text =
            format!("updates_per_env_step = 0.25\nlearning_starts = {{ episodes = 9 }}\n{pace}");
        toml::from_str(&text).map_err(|error| error.message().to_owned())
    }

    #[test]
    fn a_pace_is_written_as_a_slack_or_as_turns_and_never_both() {
        for (text, pace) in [
            ("slack_env_steps = 70\n", Pace::Slack { env_steps: 70 }),
            ("turns = \"episodes\"\n", Pace::Turns),
        ] {
            let config = read(text).unwrap();
            assert_eq!(config.pace, pace);
            assert!(toml::to_string(&config).unwrap().contains(text.trim_end()));
        }
        let message = read("").unwrap_err();
        assert!(
            message.contains("slack_env_steps is missing") && message.contains("turns"),
            "{message}"
        );
        let message = read("slack_env_steps = 70\nturns = \"episodes\"").unwrap_err();
        assert!(message.contains("slack_env_steps is 70 beside turns"), "{message}");
        let message = read("turns = \"steps\"").unwrap_err();
        assert!(message.contains("`steps`") && message.contains("`episodes`"), "{message}");
        assert!(read("slack = 70").unwrap_err().contains("`slack_env_steps`"));
    }
}
