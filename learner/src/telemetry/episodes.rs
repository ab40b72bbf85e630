//! Episodes as actors report them: totals, and means over the latest.

use std::collections::VecDeque;

use engram_mdp::{Episode, Finish};
use serde::{Deserialize, Serialize};

/// Returns shown to people are means over this many episodes.
pub const WINDOW: usize = 1000;

/// Numbers of all episodes of the run so far.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Episodes {
    total: u64,
    interrupted: u64,
    latest: VecDeque<Played>,
}

/// Means over some episodes; `None` where there were none to take the mean of.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Means {
    /// The undiscounted return.
    pub episode_return: Option<f64>,
    /// Decisions per episode.
    pub episode_length: Option<f64>,
    /// The share of episodes solved, among those whose environment can tell.
    pub success: Option<f64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Played {
    env_steps: u32,
    episode_return: f32,
    success: Option<bool>,
}

impl Episodes {
    /// Takes the episodes of a report.
    pub fn add(&mut self, episodes: &[Episode]) {
        episodes.iter().for_each(|episode| self.add_one(episode));
    }

    /// Episodes that ended by themselves.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Episodes that were cut off when their actor lost its policy; in no mean.
    pub fn interrupted(&self) -> u64 {
        self.interrupted
    }

    /// Means over the latest `count` episodes, at most [`WINDOW`].
    pub fn latest(&self, count: usize) -> Means {
        let latest = || self.latest.iter().rev().take(count);
        let success = latest().filter_map(|e| e.success);
        Means {
            episode_return: mean(latest().map(|e| f64::from(e.episode_return))),
            episode_length: mean(latest().map(|e| f64::from(e.env_steps))),
            success: mean(success.map(|solved| f64::from(u8::from(solved)))),
        }
    }

    /// The mean return of the latest `count` episodes; `None` while there are fewer.
    pub fn return_of(&self, count: usize) -> Option<f64> {
        (self.latest.len() >= count).then(|| self.latest(count).episode_return).flatten()
    }

    fn add_one(&mut self, episode: &Episode) {
        if episode.finish == Finish::Interrupted {
            self.interrupted += 1;
            return;
        }
        self.total += 1;
        if self.latest.len() == WINDOW {
            self.latest.pop_front();
        }
        self.latest.push_back(Played {
            env_steps: episode.env_steps,
            episode_return: episode.episode_return,
            success: episode.success,
        });
    }
}

fn mean(numbers: impl Iterator<Item = f64>) -> Option<f64> {
    let (count, sum) = numbers.fold((0_u32, 0.0), |(count, sum), x| (count + 1, sum + x));
    (count > 0).then(|| sum / f64::from(count))
}

#[cfg(test)]
mod tests {
    use engram_mdp::Ending;

    use super::*;

    fn episode(episode_return: f32, success: Option<bool>) -> Episode {
        Episode {
            env_index: 0,
            env_steps: 4,
            episode_return,
            success,
            finish: Finish::Ended(Ending::Terminated),
        }
    }

    #[test]
    fn means_are_over_the_latest_episodes_that_ended_by_themselves() {
        let mut episodes = Episodes::default();
        let mut interrupted = episode(1000.0, Some(true));
        interrupted.finish = Finish::Interrupted;
        let mut many = vec![episode(-50.0, Some(false)); WINDOW];
        many.push(interrupted);
        many.extend([episode(1.0, Some(true)), episode(3.0, Some(false))]);
        episodes.add(&many);
        assert_eq!(episodes.latest(2).episode_return, Some(2.0));
        assert_eq!(episodes.latest(2).success, Some(0.5));
        let all = (4.0 - (WINDOW - 2) as f64 * 50.0) / WINDOW as f64;
        assert_eq!(episodes.latest(WINDOW).episode_return, Some(all));
        assert_eq!((episodes.total(), episodes.interrupted()), (WINDOW as u64 + 2, 1));
    }

    #[test]
    fn there_is_no_mean_of_nothing() {
        assert_eq!(Episodes::default().latest(WINDOW), Means::default());
        let mut silent = Episodes::default();
        silent.add(&[episode(1.0, None)]);
        assert_eq!(silent.latest(1).success, None);
        assert_eq!((silent.return_of(1), silent.return_of(2)), (Some(1.0), None));
    }
}
