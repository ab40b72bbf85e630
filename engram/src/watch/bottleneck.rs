//! Bottleneck of a run: the stage that limits it, and the settings to move.

use std::fmt;

/// The stage that limits a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bottleneck {
    /// No stage works.
    Nothing,
    /// The actors' threads.
    Actors,
    /// The model threads of inference servers.
    Inference,
    /// The learner's updates.
    Learner,
    /// The rate limiter: the number of updates per env step.
    RateLimiter,
    /// Actors wait for the learner: for the right to begin an unroll, most often.
    WaitForLearner,
}

impl Bottleneck {
    /// The settings to move, most effective first. `docs/guide/troubleshooting.md` has the same
    /// words.
    pub(crate) fn settings(self) -> &'static str {
        match self {
            Bottleneck::Nothing => {
                "look for a process that does not answer, or for an alert; no setting helps"
            }
            Bottleneck::Actors => {
                "raise run.actors to one per core, add actor hosts; if all stages are idle for half \
                 of the time or more, raise run.envs_per_actor"
            }
            Bottleneck::Inference => {
                "raise run.envs_per_actor and run.max_batch_size (larger batches), use --device \
                 cuda, add inference servers"
            }
            Bottleneck::Learner => {
                "raise rl.batch_size, use --device cuda or more learner threads; fewer actors do \
                 not slow the run, and lower the policy lag"
            }
            Bottleneck::RateLimiter => {
                "intended: actors wait for updates; lower \
                 rl.rate_limiter.updates_per_env_step, or make updates faster: --device cuda, more \
                 learner threads, a smaller network or rl.batch_size"
            }
            Bottleneck::WaitForLearner => {
                "actors may not play yet (run.policy_lag): raise rl.batch_size with \
                 rl.minibatches, or run.policy_lag, or take fewer environments"
            }
        }
    }
}

impl fmt::Display for Bottleneck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Bottleneck::Nothing => "nothing moves",
            Bottleneck::Actors => "actors",
            Bottleneck::Inference => "inference",
            Bottleneck::Learner => "learner",
            Bottleneck::RateLimiter => "rate limiter",
            Bottleneck::WaitForLearner => "wait for the learner",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_guide_has_the_same_words() {
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/guide/troubleshooting.md");
        let page = std::fs::read_to_string(page).unwrap();
        use Bottleneck::{Actors, Inference, Learner, Nothing, RateLimiter, WaitForLearner};
        for bottleneck in [Nothing, Actors, Inference, Learner, RateLimiter, WaitForLearner] {
            let row = format!("| {bottleneck} | {} |\n", bottleneck.settings());
            assert!(page.contains(&row), "{row}");
        }
    }
}
