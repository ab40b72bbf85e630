//! Final evaluation: the table of greedy episodes after a run's end. One row: `env_steps`,
//! `episodes`, and their mean scores.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

/// Name of the table in a run's folder.
pub const FILE: &str = "final-evaluation.csv";

/// Size of a final evaluation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FinalEvaluation {
    /// Env steps of the run before it.
    pub env_steps: u64,
    /// Episodes that were played.
    pub episodes: usize,
}

/// Writes the table into a run's folder: `columns` as scored after `env_steps`.
pub fn write(folder: &Path, env_steps: u64, columns: &[(&str, Option<f64>)]) -> Result<()> {
    let path = folder.join(FILE);
    // Beside and renamed, so that half a score is never read.
    let beside = path.with_extension("csv.new");
    let write = || -> Result<()> {
        let mut table = csv::Writer::from_path(&beside)?;
        let names = columns.iter().map(|(name, _)| *name);
        table.write_record(std::iter::once("env_steps").chain(names))?;
        let score = |score: &Option<f64>| score.map_or_else(String::new, |score| score.to_string());
        let scores = columns.iter().map(|(_, value)| score(value));
        table.write_record(std::iter::once(env_steps.to_string()).chain(scores))?;
        table.flush()?;
        Ok(fs::rename(&beside, &path)?)
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

/// Reads the table in a run's folder, if there is one.
pub fn read(folder: &Path) -> Option<FinalEvaluation> {
    let mut reader = csv::Reader::from_path(folder.join(FILE)).ok()?;
    let headers = reader.headers().ok()?.clone();
    let row = reader.records().next()?.ok()?;
    let column = |name: &str| row.get(headers.iter().position(|header| header == name)?);
    let env_steps = column("env_steps")?.parse().ok()?;
    Some(FinalEvaluation { env_steps, episodes: column("episodes")?.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::curves::Curve;

    #[test]
    fn a_score_is_kept_in_the_run_s_folder() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(read(folder.path()), None);
        let columns =
            [("episodes", Some(1.0)), ("episode_return", Some(1.0)), ("success", Some(1.0))];
        write(folder.path(), 640, &columns).unwrap();
        assert_eq!(read(folder.path()), Some(FinalEvaluation { env_steps: 640, episodes: 1 }));
        let curve = Curve::table(&folder.path().join(FILE)).unwrap();
        assert_eq!((curve.returns, curve.success), (vec![(640.0, 1.0)], vec![(640.0, 1.0)]));
    }
}
