//! Final evaluation: the table of greedy episodes after a run's end. A row per set of episodes, of the
//! newest weights and of the best checkpoint: `env_steps`, `checkpoint`, `episodes`, and their mean
//! scores.

use std::path::Path;

use serde::Deserialize;

use crate::question::CheckpointChoice;

/// Name of the table in a run's folder.
pub const FILE: &str = "final-evaluation.csv";

/// Final evaluation of one checkpoint, over all of its sets.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FinalEvaluation {
    /// Env steps of the run before it.
    pub env_steps: u64,
    /// Its sets of episodes.
    pub sets: usize,
    /// Episodes of each set.
    pub episodes: u64,
    /// Mean of the sets' mean returns.
    pub episode_return: f64,
    /// Mean of their shares of solved episodes, where the environment can tell.
    pub success: Option<f64>,
}

#[derive(Deserialize)]
struct Row {
    env_steps: u64,
    // Earlier releases evaluated the newest weights only.
    checkpoint: Option<String>,
    episodes: u64,
    episode_return: f64,
    success: Option<f64>,
}

impl Row {
    fn is_of(&self, choice: CheckpointChoice) -> bool {
        match self.checkpoint.as_deref() {
            Some("both") => true,
            Some("best") => choice == CheckpointChoice::Best,
            _ => choice == CheckpointChoice::Newest,
        }
    }
}

/// Reads the table in a run's folder, if there is one with that checkpoint.
pub fn read(folder: &Path, checkpoint: CheckpointChoice) -> Option<FinalEvaluation> {
    let reader = csv::Reader::from_path(folder.join(FILE)).ok()?;
    let rows = reader.into_deserialize().filter_map(Result::ok);
    let rows: Vec<Row> = rows.filter(|row: &Row| row.is_of(checkpoint)).collect();
    let mean = |number: &dyn Fn(&Row) -> Option<f64>| {
        let sum: Option<f64> = rows.iter().map(number).sum();
        sum.map(|sum| sum / rows.len() as f64)
    };
    let first = rows.first()?;
    Some(FinalEvaluation {
        env_steps: first.env_steps,
        sets: rows.len(),
        episodes: first.episodes,
        episode_return: mean(&|row| Some(row.episode_return))?,
        success: mean(&|row| row.success),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(text: &str) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(FILE), text).unwrap();
        folder
    }

    #[test]
    fn a_score_is_the_mean_over_the_sets_of_its_checkpoint() {
        let text = "env_steps,checkpoint,set,episodes,episode_return,success\n\
                    640,newest,0,100,0.5,0.25\n640,newest,1,100,1.0,0.75\n320,best,0,100,2.0,\n";
        let folder = table(text);
        let newest = FinalEvaluation {
            env_steps: 640,
            sets: 2,
            episodes: 100,
            episode_return: 0.75,
            success: Some(0.5),
        };
        assert_eq!(read(folder.path(), CheckpointChoice::Newest), Some(newest));
        let (env_steps, sets, episode_return, success) = (320, 1, 2.0, None);
        let best = FinalEvaluation { env_steps, sets, episode_return, success, ..newest };
        assert_eq!(read(folder.path(), CheckpointChoice::Best), Some(best));
        let both = table(&text.replace("newest", "both").replace("best", "newest"));
        assert_eq!(read(both.path(), CheckpointChoice::Best), Some(newest));
    }

    #[test]
    fn earlier_releases_and_runs_without_one_can_be_read() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(read(folder.path(), CheckpointChoice::Newest), None);
        let folder = table("env_steps,episodes,episode_return,success\n640,1,1,1\n");
        let newest = read(folder.path(), CheckpointChoice::Newest).unwrap();
        assert_eq!((newest.env_steps, newest.episodes, newest.success), (640, 1, Some(1.0)));
        assert_eq!(read(folder.path(), CheckpointChoice::Best), None);
    }
}
