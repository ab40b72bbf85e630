//! Score of greedy episodes, and the row of it in a run's folder.

use std::path::Path;

use anyhow::{Result, bail};
use engram_actor::ActorSummary;
use engram_analysis::final_evaluation;
use engram_mdp::Finish;

/// Score of an evaluation.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Score {
    episodes: usize,
    mean_return: f64,
    standard_deviation: f64,
    mean_length: f64,
    success: Option<f64>,
    optimum: Option<f32>,
}

impl Score {
    /// Score of the episodes that an actor played.
    pub(crate) fn new(played: &ActorSummary, optimum: Option<f32>) -> Result<Self> {
        let ended: Vec<_> =
            played.episodes.iter().filter(|e| e.finish != Finish::Interrupted).collect();
        if ended.is_empty() {
            bail!("the evaluation was stopped before an episode ended");
        }
        let mean = |numbers: &dyn Fn(usize) -> f64| {
            (0..ended.len()).map(numbers).sum::<f64>() / ended.len() as f64
        };
        let returned = |i: usize| f64::from(ended[i].episode_return);
        let mean_return = mean(&returned);
        let variance = mean(&|i| (returned(i) - mean_return).powi(2));
        let solved: Option<Vec<bool>> = ended.iter().map(|e| e.success).collect();
        Ok(Score {
            episodes: ended.len(),
            mean_return,
            standard_deviation: variance.sqrt(),
            mean_length: mean(&|i| f64::from(ended[i].env_steps)),
            success: solved.map(|s| s.iter().filter(|&&s| s).count() as f64 / s.len() as f64),
            optimum,
        })
    }

    /// Its columns of a table: the number of episodes, and what they came to.
    pub(crate) fn columns(&self) -> [(&'static str, Option<f64>); 5] {
        [
            ("episodes", Some(self.episodes as f64)),
            ("episode_return", Some(self.mean_return)),
            ("return_std", Some(self.standard_deviation)),
            ("success", self.success),
            ("episode_length", Some(self.mean_length)),
        ]
    }

    /// Keeps it in the run's folder, as scored after `env_steps`.
    pub(crate) fn write(&self, folder: &Path, env_steps: u64) -> Result<()> {
        final_evaluation::write(folder, env_steps, &self.columns())
    }
}

impl std::fmt::Display for Score {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (mean, deviation) = (self.mean_return, self.standard_deviation);
        write!(f, "{} greedy episodes: return {mean:.3} ± {deviation:.3}", self.episodes)?;
        if let Some(optimum) = self.optimum {
            write!(f, " (optimum {optimum})")?;
        }
        if let Some(success) = self.success {
            write!(f, ", solved {:.0}%", 100.0 * success)?;
        }
        write!(f, ", length {:.1}", self.mean_length)
    }
}

#[cfg(test)]
mod tests {
    use engram_actor::ExitReason;
    use engram_mdp::{Ending, Episode};

    use super::*;

    fn played(returns: &[(f32, Option<bool>, Finish)]) -> ActorSummary {
        let episode = |&(episode_return, success, finish)| Episode {
            env_index: 0,
            env_steps: 10,
            episode_return,
            success,
            finish,
        };
        ActorSummary {
            reason: ExitReason::Evaluated,
            run_id: None,
            env_steps: 0,
            episodes_ended: 0,
            interruptions: 0,
            stepping: std::time::Duration::ZERO,
            waiting_on_inference: std::time::Duration::ZERO,
            waiting_on_learner: std::time::Duration::ZERO,
            episodes: returns.iter().map(episode).collect(),
        }
    }

    const ENDED: Finish = Finish::Ended(Ending::Terminated);

    #[test]
    fn a_score_leaves_interrupted_episodes_out_and_reads_like_a_sentence() {
        let played = played(&[
            (1.0, Some(true), ENDED),
            (0.0, Some(false), ENDED),
            (9.0, None, Finish::Interrupted),
        ]);
        let score = Score::new(&played, Some(1.0)).unwrap();
        assert_eq!(
            score.to_string(),
            "2 greedy episodes: return 0.500 ± 0.500 (optimum 1), solved 50%, length 10.0"
        );
    }

    #[test]
    fn a_score_is_kept_in_the_run_s_folder() {
        let folder = tempfile::tempdir().unwrap();
        let score = Score::new(&played(&[(1.0, Some(true), ENDED)]), None).unwrap();
        score.write(folder.path(), 640).unwrap();
        let kept = final_evaluation::read(folder.path()).unwrap();
        assert_eq!((kept.env_steps, kept.episodes), (640, 1));
    }

    #[test]
    fn an_environment_that_cannot_tell_success_has_none() {
        let score = Score::new(&played(&[(3.0, None, ENDED)]), None).unwrap();
        assert_eq!(score.to_string(), "1 greedy episodes: return 3.000 ± 0.000, length 10.0");
        assert!(Score::new(&played(&[]), None).is_err());
    }
}
