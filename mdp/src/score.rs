//! Score of an evaluation: means over its episodes.

use serde::{Deserialize, Serialize};

use crate::episode::{Episode, Finish};

/// Score of an evaluation's episodes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Score {
    /// Episodes that ended by themselves, at least one.
    pub episodes: u64,
    /// Mean of their undiscounted returns.
    pub mean_return: f64,
    /// Standard deviation of these.
    pub return_std: f64,
    /// Share of them that were solved; `None` where the task has no such notion.
    pub success: Option<f64>,
    /// Mean number of decisions.
    pub mean_length: f64,
}

impl Score {
    /// Score of episodes, the interrupted ones left out; `None` if there are no others.
    pub fn of(episodes: &[Episode]) -> Option<Score> {
        let ended: Vec<&Episode> =
            episodes.iter().filter(|episode| episode.finish != Finish::Interrupted).collect();
        if ended.is_empty() {
            return None;
        }
        let mean = |number: &dyn Fn(&Episode) -> f64| {
            ended.iter().map(|episode| number(episode)).sum::<f64>() / ended.len() as f64
        };
        let mean_return = mean(&|episode| f64::from(episode.episode_return));
        let variance = mean(&|episode| (f64::from(episode.episode_return) - mean_return).powi(2));
        let solved: Option<Vec<bool>> = ended.iter().map(|episode| episode.success).collect();
        let share = |solved: Vec<bool>| {
            solved.iter().filter(|&&solved| solved).count() as f64 / solved.len() as f64
        };
        Some(Score {
            episodes: ended.len() as u64,
            mean_return,
            return_std: variance.sqrt(),
            success: solved.map(share),
            mean_length: mean(&|episode| f64::from(episode.env_steps)),
        })
    }

    /// Its columns of a table.
    pub fn columns(&self) -> [(&'static str, Option<f64>); 5] {
        [
            ("episodes", Some(self.episodes as f64)),
            ("episode_return", Some(self.mean_return)),
            ("return_std", Some(self.return_std)),
            ("success", self.success),
            ("episode_length", Some(self.mean_length)),
        ]
    }

    /// It as a sentence, beside the return of an optimal policy where that is known. `kind` is that of
    /// the episodes, as "greedy episodes".
    pub fn sentence(&self, kind: &str, optimum: Option<f32>) -> String {
        let Score { episodes, mean_return, return_std, success, mean_length } = self;
        let optimum = optimum.map_or_else(String::new, |best| format!(" (optimum {best})"));
        let solved =
            success.map_or_else(String::new, |success| format!(", solved {:.0}%", 100.0 * success));
        format!(
            "{episodes} {kind}: return {mean_return:.3} ± {return_std:.3}{optimum}{solved}, \
             length {mean_length:.1}"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::Ending;

    const ENDED: Finish = Finish::Ended(Ending::Terminated);

    fn episode(episode_return: f32, success: Option<bool>, finish: Finish) -> Episode {
        Episode { env_index: 0, env_steps: 10, episode_return, success, finish }
    }

    #[test]
    fn a_score_leaves_interrupted_episodes_out_and_reads_like_a_sentence() {
        let score = Score::of(&[
            episode(1.0, Some(true), ENDED),
            episode(0.0, Some(false), ENDED),
            episode(9.0, None, Finish::Interrupted),
        ]);
        assert_eq!(
            score.unwrap().sentence("greedy episodes", Some(1.0)),
            "2 greedy episodes: return 0.500 ± 0.500 (optimum 1), solved 50%, length 10.0"
        );
    }

    #[test]
    fn an_environment_that_cannot_tell_success_has_none() {
        let score = Score::of(&[episode(3.0, None, ENDED)]).unwrap();
        let sentence = score.sentence("episodes", None);
        assert_eq!(sentence, "1 episodes: return 3.000 ± 0.000, length 10.0");
        assert_eq!(score.columns()[3], ("success", None));
    }

    #[test]
    fn episodes_that_were_all_interrupted_have_no_score() {
        assert_eq!(Score::of(&[episode(9.0, None, Finish::Interrupted)]), None);
        assert_eq!(Score::of(&[]), None);
    }
}
