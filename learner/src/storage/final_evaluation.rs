//! Final evaluation: scores after a run's end, in `final-evaluation.csv`.
//!
//! A row per set of episodes, for the newest weights and, where it is another, for the best
//! checkpoint. A row is written as soon as its set is played, and what a killed learner has is not
//! played again.

use std::io;
use std::path::{Path, PathBuf};

use engram_mdp::Score;
use serde::{Deserialize, Serialize};

use crate::durable;
use crate::rpc::evaluation_queue::CheckpointKind;

/// Name of the table in a run's folder.
const FILE: &str = "final-evaluation.csv";

/// Final evaluation of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct FinalEvaluationTable {
    path: PathBuf,
    scores: Vec<FinalScore>,
}

/// Score of one set of episodes: a row of the table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FinalScore {
    /// Env steps that the weights were learned from.
    pub env_steps: u64,
    /// Updates that made them.
    pub updates: u64,
    /// Their version.
    pub policy_version: u64,
    /// The checkpoint that has them.
    pub checkpoint: CheckpointKind,
    /// Number of the set, counted from 0.
    pub set: u32,
    /// Its episodes.
    pub episodes: u64,
    /// Their mean return.
    pub episode_return: f64,
    /// Standard deviation of these.
    pub return_std: f64,
    /// Share of them that were solved, where the environment can tell.
    pub success: Option<f64>,
    /// Their mean length.
    pub episode_length: f64,
}

impl FinalEvaluationTable {
    /// The one in a run's folder; empty where there is none, or none that can be read.
    pub fn read(folder: &Path) -> Self {
        let path = folder.join(FILE);
        let rows = csv::Reader::from_path(&path);
        let scores = rows.map(|rows| rows.into_deserialize().filter_map(Result::ok).collect());
        FinalEvaluationTable { path, scores: scores.unwrap_or_default() }
    }

    /// Its scores.
    pub fn scores(&self) -> &[FinalScore] {
        &self.scores
    }

    /// Forgets scores that are not to be kept.
    pub fn retain(&mut self, keep: impl Fn(&FinalScore) -> bool) {
        self.scores.retain(keep);
    }

    /// Adds a score, and writes the table.
    pub fn add(&mut self, score: FinalScore) -> io::Result<()> {
        self.scores.push(score);
        self.scores.sort_by_key(|score| (score.checkpoint, score.set));
        self.write()
    }

    /// Writes it whole, so that half a table is never read.
    pub fn write(&self) -> io::Result<()> {
        let mut table = csv::Writer::from_writer(Vec::new());
        for score in &self.scores {
            table.serialize(score)?;
        }
        let text = table.into_inner().map_err(csv::IntoInnerError::into_error)?;
        durable::replace(&self.path, &text)
    }
}

impl FinalScore {
    /// Means over the episodes.
    pub fn score(&self) -> Score {
        Score {
            episodes: self.episodes,
            mean_return: self.episode_return,
            return_std: self.return_std,
            success: self.success,
            mean_length: self.episode_length,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use CheckpointKind::{Best, Newest};

    fn score(checkpoint: CheckpointKind, set: u32) -> FinalScore {
        FinalScore {
            env_steps: 640,
            updates: 7,
            policy_version: 8,
            checkpoint,
            set,
            episodes: 100,
            episode_return: 0.5,
            return_std: 0.25,
            success: None,
            episode_length: 4.0,
        }
    }

    #[test]
    fn scores_are_kept_one_by_one_and_read_back() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(FinalEvaluationTable::read(folder.path()).scores(), []);
        for one in [score(Best, 0), score(Newest, 1), score(Newest, 0)] {
            FinalEvaluationTable::read(folder.path()).add(one).unwrap();
        }
        let mut found = FinalEvaluationTable::read(folder.path());
        assert_eq!(found.scores(), [score(Newest, 0), score(Newest, 1), score(Best, 0)]);
        let text = fs::read_to_string(folder.path().join(FILE)).unwrap();
        let header = "env_steps,updates,policy_version,checkpoint,set,episodes,episode_return,return_std,\
                      success,episode_length\n640,7,8,newest,0,100,0.5,0.25,,4.0\n";
        assert!(text.starts_with(header), "{text}");
        found.retain(|score| score.checkpoint == Best);
        found.write().unwrap();
        assert_eq!(FinalEvaluationTable::read(folder.path()).scores(), [score(Best, 0)]);
    }

    #[test]
    fn a_table_of_another_release_is_none() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(FILE), "env_steps,episode_return\n10,1\n").unwrap();
        assert_eq!(FinalEvaluationTable::read(folder.path()).scores(), []);
    }
}
