//! Episode quota: the finished episodes that an evaluation counts.
//!
//! Taking the first N episodes that end would over-represent short ones, and where short means
//! failed the mean would be too low. So every environment owes a fixed number of episodes, and
//! what it plays beyond them is not counted.

use std::ops::Range;

use engram_mdp::{Episode, Finish};

/// Episodes that the environments of one group still owe, and those that they have delivered.
#[derive(Debug)]
pub(crate) struct EpisodeQuota {
    first_env_index: u32,
    owed: Vec<u32>,
    episodes: Vec<Episode>,
}

impl EpisodeQuota {
    /// The share of `env_indices` when `envs` environments play `episodes` episodes.
    pub(crate) fn new(env_indices: Range<u32>, envs: u32, episodes: u32) -> Self {
        let share = |env_index: u32| episodes / envs + u32::from(env_index < episodes % envs);
        EpisodeQuota {
            first_env_index: env_indices.start,
            owed: env_indices.map(share).collect(),
            episodes: Vec::new(),
        }
    }

    /// Counts an episode, unless its environment owes none or it was interrupted.
    pub(crate) fn count(&mut self, episode: &Episode) {
        let owed = &mut self.owed[(episode.env_index - self.first_env_index) as usize];
        if *owed == 0 || episode.finish == Finish::Interrupted {
            return;
        }
        *owed -= 1;
        self.episodes.push(episode.clone());
    }

    /// True if nothing is owed any more.
    pub(crate) fn is_met(&self) -> bool {
        self.owed.iter().all(|&owed| owed == 0)
    }

    /// The episodes that were counted, in the order in which they ended.
    pub(crate) fn into_episodes(self) -> Vec<Episode> {
        self.episodes
    }
}

#[cfg(test)]
mod tests {
    use engram_mdp::Ending;

    use super::*;

    fn episode(env_index: u32, finish: Finish) -> Episode {
        Episode { env_index, env_steps: 1, episode_return: 0.0, success: None, finish }
    }

    #[test]
    fn every_environment_owes_its_share_and_no_more_is_counted() {
        let ended = Finish::Ended(Ending::Terminated);
        let mut quota = EpisodeQuota::new(2..4, 4, 7);
        for _ in 0..5 {
            quota.count(&episode(2, ended));
        }
        assert!(!quota.is_met());
        quota.count(&episode(3, Finish::Interrupted));
        assert!(!quota.is_met());
        quota.count(&episode(3, ended));
        assert!(quota.is_met());
        let counted: Vec<u32> = quota.into_episodes().iter().map(|e| e.env_index).collect();
        assert_eq!(counted, [2, 2, 3]);
    }

    #[test]
    fn shares_add_up_over_groups() {
        for (envs, episodes) in [(1, 1), (3, 10), (8, 8), (5, 100)] {
            let middle = envs / 2;
            let owed = |range| EpisodeQuota::new(range, envs, episodes).owed.iter().sum::<u32>();
            assert_eq!(owed(0..middle) + owed(middle..envs), episodes);
        }
    }
}
