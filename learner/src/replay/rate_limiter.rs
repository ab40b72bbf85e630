//! Rate limiter: holds updates per env step at the configured ratio, whichever side is faster.
//!
//! The idea is that of the rate limiters of Reverb (Cassirer et al. 2021,
//! <https://arxiv.org/abs/2102.04736>). With E env steps since the warm-up, U updates and the
//! ratio ρ, at every moment
//!
//! ```text
//! 0  ≤  E − U / ρ  ≤  slack            in env steps: what updates still owe
//! ```
//!
//! An update waits until it is owed, and env steps wait while more than the slack is owed. So U
//! never exceeds ρ · E and falls short of it by no more than ρ · slack. Before the warm-up has
//! ended nothing updates and nothing is held back; what was inserted by then is not counted, so
//! that the first updates are no burst.
//!
//! Both sides wait only where `E − (U + 1) / ρ < 0` and `E + n − U / ρ > slack`, that is where
//! `slack < n + 1 / ρ`: a slack of one trajectory (n) and one update is enough, and less is
//! refused.
//!
//! In turns, as in Memory-RL (Ni et al. 2023, <https://arxiv.org/abs/2307.03864>), updates are owed
//! by complete episodes: ⌈ρ n⌉ by one of n env steps, ⌊ρ n⌋ by all of the warm-up together. Then
//! nothing is inserted while an update is owed, and an update waits until one is.

use serde::{Deserialize, Serialize};

use crate::config::OutOfRange;
use crate::config::rate_limiter::{LearningStarts, Pace, RateLimiterConfig};

/// Counts of a rate limiter; a checkpoint holds them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RateLimiterCounts {
    /// Env steps inserted during the warm-up.
    pub warm_up_env_steps: u64,
    /// Episodes completed during the warm-up.
    pub warm_up_episodes: u64,
    /// E, env steps inserted since.
    pub env_steps: u64,
    /// U, updates since.
    pub updates: u64,
    /// Env steps of the warm-up's complete episodes.
    #[serde(default)]
    pub warm_up_complete_env_steps: u64,
    /// Updates that episodes have owed so far, where they are made in turns.
    #[serde(default)]
    pub owed_updates: u64,
}

impl RateLimiterCounts {
    /// Env steps inserted, those of the warm-up too.
    pub fn inserted(&self) -> u64 {
        self.warm_up_env_steps + self.env_steps
    }
}

/// Rate limiter: says which side may go on. It waits for nothing and knows no clock: whoever is
/// refused asks again after the other side has moved.
#[derive(Clone, Debug)]
pub struct RateLimiter {
    config: RateLimiterConfig,
    counted: RateLimiterCounts,
}

impl RateLimiter {
    /// Rate limiter at the start of a run, of trajectories of `unroll_length` decisions.
    pub fn new(config: RateLimiterConfig, unroll_length: usize) -> Result<Self, OutOfRange> {
        RateLimiter::restored(config, unroll_length, RateLimiterCounts::default())
    }

    /// Rate limiter that goes on where another one was.
    pub fn restored(
        config: RateLimiterConfig,
        unroll_length: usize,
        counted: RateLimiterCounts,
    ) -> Result<Self, OutOfRange> {
        config.validate()?;
        let least = RateLimiter::smallest_slack(config.updates_per_env_step, unroll_length);
        if let Pace::Slack { env_steps } = config.pace
            && env_steps < least
        {
            let found = format!("{env_steps}, and the smallest is {least}");
            let range = "at least run.unroll_length + 1 / updates_per_env_step, or both sides \
                         would wait for each other";
            return Err(OutOfRange { key: "rate_limiter.slack_env_steps", found, range });
        }
        Ok(RateLimiter { config, counted })
    }

    /// The smallest slack with which the two sides never wait for each other: the env steps of a
    /// trajectory and of an update.
    pub fn smallest_slack(updates_per_env_step: f64, unroll_length: usize) -> u64 {
        unroll_length as u64 + (1.0 / updates_per_env_step).ceil() as u64
    }

    /// True if the warm-up has ended.
    pub fn has_started(&self) -> bool {
        let RateLimiterCounts { warm_up_env_steps, warm_up_episodes, .. } = self.counted;
        warm_up_episodes > 0
            && match self.config.learning_starts {
                LearningStarts::EnvSteps(least) => warm_up_env_steps >= least,
                LearningStarts::Episodes(least) => warm_up_episodes >= least,
            }
    }

    /// True if one more update is owed.
    pub fn may_update(&self) -> bool {
        self.has_started()
            && match self.config.pace {
                Pace::Slack { .. } => self.after(0, 1) >= 0.0,
                Pace::Turns => self.counted.updates < self.counted.owed_updates,
            }
    }

    /// True if so many env steps more, those of one trajectory, stay within the slack; in turns, if
    /// no update is owed.
    pub fn may_insert(&self, env_steps: u64) -> bool {
        !self.has_started()
            || match self.config.pace {
                Pace::Slack { env_steps: slack } => self.after(env_steps, 0) <= slack as f64,
                Pace::Turns => !self.may_update(),
            }
    }

    /// Env steps were inserted, and with them episodes completed, each of so many env steps. The
    /// trajectory that ends the warm-up still belongs to it.
    pub fn inserted(&mut self, env_steps: u64, episodes: &[u64]) {
        let ratio = self.config.updates_per_env_step;
        if self.has_started() {
            let owed = episodes.iter().map(|&n| (ratio * n as f64).ceil() as u64);
            self.counted.owed_updates += owed.sum::<u64>();
            self.counted.env_steps += env_steps;
            return;
        }
        self.counted.warm_up_env_steps += env_steps;
        self.counted.warm_up_episodes += episodes.len() as u64;
        self.counted.warm_up_complete_env_steps += episodes.iter().sum::<u64>();
        if self.has_started() {
            let complete = self.counted.warm_up_complete_env_steps;
            self.counted.owed_updates = (ratio * complete as f64).floor() as u64;
        }
    }

    /// True if acting and learning take turns.
    pub fn is_in_turns(&self) -> bool {
        self.config.pace == Pace::Turns
    }

    /// An update was made, or skipped because its numbers were not finite.
    pub fn updated(&mut self) {
        self.counted.updates += 1;
    }

    /// The replay has lost everything, as when none of its files can be read: the warm-up and
    /// the ratio begin anew.
    pub fn begin_anew(&mut self) {
        self.counted = RateLimiterCounts::default();
    }

    /// Counts so far.
    pub fn counted(&self) -> RateLimiterCounts {
        self.counted
    }

    /// Env steps that are owed after so many env steps and updates more: `E − U / ρ`.
    fn after(&self, env_steps: u64, updates: u64) -> f64 {
        let env_steps = self.counted.env_steps + env_steps;
        let updates = self.counted.updates + updates;
        env_steps as f64 - updates as f64 / self.config.updates_per_env_step
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn config(ratio: f64, learning_starts: LearningStarts, slack: u64) -> RateLimiterConfig {
        let pace = Pace::Slack { env_steps: slack };
        RateLimiterConfig { updates_per_env_step: ratio, learning_starts, pace }
    }

    fn in_turns(ratio: f64, learning_starts: LearningStarts) -> RateLimiter {
        let config =
            RateLimiterConfig { updates_per_env_step: ratio, learning_starts, pace: Pace::Turns };
        RateLimiter::new(config, 7).unwrap()
    }

    /// Makes all updates that are owed, and returns how many these are.
    fn catch_up(limiter: &mut RateLimiter) -> u64 {
        let before = limiter.counted().updates;
        while limiter.may_update() {
            assert!(!limiter.may_insert(1), "it is the learner's turn");
            limiter.updated();
        }
        assert!(limiter.may_insert(1), "it is the actors' turn");
        limiter.counted().updates - before
    }

    /// The numbers of Memory-RL's passive T-Maze: corridor 50, episodes of 51 env steps.
    #[test]
    fn in_turns_every_episode_has_its_updates_before_the_next_one() {
        let mut limiter = in_turns(0.25, LearningStarts::Episodes(10));
        for _ in 0..9 {
            limiter.inserted(51, &[51]);
            assert!(!limiter.may_update() && limiter.may_insert(51), "the warm-up goes on");
        }
        limiter.inserted(51, &[51]);
        assert_eq!(catch_up(&mut limiter), 127, "510 / 4, and the rest is left out");
        for _ in 0..3 {
            limiter.inserted(51, &[51]);
            assert_eq!(catch_up(&mut limiter), 13, "51 / 4, rounded up");
        }
    }

    #[test]
    fn in_turns_a_part_of_an_episode_owes_nothing_and_several_owe_each_their_own() {
        let mut limiter = in_turns(0.5, LearningStarts::EnvSteps(6));
        limiter.inserted(7, &[]);
        assert!(!limiter.has_started(), "no episode is complete");
        limiter.inserted(7, &[9]);
        assert_eq!(catch_up(&mut limiter), 4, "half of the 9 that are complete");
        limiter.inserted(7, &[]);
        assert_eq!(catch_up(&mut limiter), 0);
        limiter.inserted(7, &[3, 5, 1]);
        assert_eq!(catch_up(&mut limiter), 2 + 3 + 1);
        assert_eq!(limiter.counted().inserted(), 28);
    }

    #[test]
    fn the_warm_up_ends_with_its_env_steps_and_one_episode() {
        let mut limiter =
            RateLimiter::new(config(1.0, LearningStarts::EnvSteps(10), 6), 5).unwrap();
        limiter.inserted(5, &[]);
        assert!(!limiter.may_update() && limiter.may_insert(1_000));
        limiter.inserted(5, &[]);
        assert!(!limiter.has_started(), "no episode is complete");
        limiter.inserted(5, &[5]);
        assert!(limiter.has_started());
        assert!(!limiter.may_update(), "what was inserted during the warm-up is not counted");
        limiter.inserted(5, &[]);
        assert!(limiter.may_update() && !limiter.may_insert(5));
    }

    #[test]
    fn the_warm_up_may_be_counted_in_episodes() {
        let mut limiter = RateLimiter::new(config(0.5, LearningStarts::Episodes(2), 7), 5).unwrap();
        limiter.inserted(5, &[5]);
        assert!(!limiter.has_started());
        limiter.inserted(5, &[5]);
        assert!(limiter.has_started());
        limiter.begin_anew();
        assert!(!limiter.has_started() && limiter.may_insert(1_000));
    }

    #[test]
    fn a_slack_with_which_both_sides_might_wait_is_refused_with_the_smallest() {
        let start = LearningStarts::EnvSteps(1);
        let refused = RateLimiter::new(config(0.25, start, 23), 20).unwrap_err().to_string();
        assert!(refused.contains("is 23, and the smallest is 24"), "{refused}");
        assert!(RateLimiter::new(config(0.25, start, 24), 20).is_ok());
        for ratio in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(RateLimiter::new(config(ratio, start, 1_000), 20).is_err(), "{ratio}");
        }
        assert!(RateLimiter::new(config(1.0, LearningStarts::Episodes(0), 99), 20).is_err());
    }

    #[test]
    fn with_less_than_the_smallest_slack_both_sides_wait() {
        // Why it is refused: one update owes 4 env steps; 3 are there, and 20 more do not fit.
        let limiter = RateLimiter {
            config: config(0.25, LearningStarts::EnvSteps(1), 22),
            counted: RateLimiterCounts {
                warm_up_env_steps: 1,
                warm_up_episodes: 1,
                env_steps: 3,
                ..RateLimiterCounts::default()
            },
        };
        assert!(!limiter.may_update() && !limiter.may_insert(20));
    }

    proptest! {
        /// Whatever the two sides try, and in whichever order: the ratio stays within the slack,
        /// one of them may always go on, and a restored limiter goes on alike.
        #[test]
        fn the_ratio_stays_within_the_slack_and_somebody_may_go_on(
            ratio in prop_oneof![0.01..4.0_f64, Just(0.25), Just(1.0), Just(1.0 / 3.0)],
            unroll_length in 1_usize..30,
            more_slack in 0_u64..50,
            starts in prop_oneof![
                (1_u64..100).prop_map(LearningStarts::EnvSteps),
                (1_u64..5).prop_map(LearningStarts::Episodes),
            ],
            turns in prop::collection::vec((any::<bool>(), 0.0..=1.0_f64, any::<bool>()), 1..400),
        ) {
            let slack = RateLimiter::smallest_slack(ratio, unroll_length) + more_slack;
            let config = config(ratio, starts, slack);
            let mut limiter = RateLimiter::new(config, unroll_length).unwrap();
            for (inserts, share, ends) in turns {
                prop_assert!(limiter.may_update() || limiter.may_insert(unroll_length as u64));
                let env_steps = (share * unroll_length as f64).round() as u64;
                if inserts && limiter.may_insert(env_steps) {
                    let complete = if ends { vec![env_steps] } else { vec![] };
                    limiter.inserted(env_steps, &complete);
                } else if !inserts && limiter.may_update() {
                    limiter.updated();
                }
                let RateLimiterCounts { env_steps, updates, .. } = limiter.counted();
                let owed = env_steps as f64 - updates as f64 / ratio;
                prop_assert!(owed >= 0.0 && owed <= slack as f64, "{} owed", owed);
                let json = serde_json::to_string(&limiter.counted()).unwrap();
                let counted = serde_json::from_str(&json).unwrap();
                limiter = RateLimiter::restored(config, unroll_length, counted).unwrap();
            }
        }

        /// The other side sets the pace where one is always willing.
        #[test]
        fn a_long_run_has_the_ratio(ratio in 0.05..3.0_f64, learner_first in any::<bool>()) {
            let config = config(ratio, LearningStarts::EnvSteps(1), 200);
            let mut limiter = RateLimiter::new(config, 20).unwrap();
            limiter.inserted(20, &[20]);
            for _ in 0..20_000 {
                match (limiter.may_update(), limiter.may_insert(20)) {
                    (true, may_insert) if learner_first || !may_insert => limiter.updated(),
                    _ => limiter.inserted(20, &[]),
                }
            }
            let RateLimiterCounts { env_steps, updates, .. } = limiter.counted();
            let found = updates as f64 / env_steps as f64;
            prop_assert!((found / ratio - 1.0).abs() < 0.05, "{} instead of {}", found, ratio);
        }
    }
}
