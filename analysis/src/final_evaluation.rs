//! Final evaluation: the table in a run's folder that keeps what its policy scored when training had
//! ended. One row: `env_steps`, `episodes`, and what they came to.

use std::path::Path;

use anyhow::{Context, Result};

/// The table's name in a run's folder.
pub const FILE: &str = "final-evaluation.csv";

/// What a kept score says of its evaluation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    /// After so many env steps.
    pub env_steps: u64,
    /// Of so many episodes.
    pub episodes: usize,
}

/// Keeps `columns` in the run's folder, as scored after `env_steps`.
pub fn write(folder: &Path, env_steps: u64, columns: &[(&str, Option<f64>)]) -> Result<()> {
    let mut names = vec!["env_steps"];
    let mut values = vec![env_steps.to_string()];
    for (name, value) in columns {
        names.push(name);
        values.push(value.map_or_else(String::new, |value| value.to_string()));
    }
    let path = folder.join(FILE);
    // Beside and renamed, so that half a score is never read.
    let beside = path.with_extension("csv.new");
    let text = format!("{}\n{}\n", names.join(","), values.join(","));
    std::fs::write(&beside, text)
        .and_then(|()| std::fs::rename(&beside, &path))
        .with_context(|| format!("cannot write {}", path.display()))
}

/// What [`write`] kept in a run's folder, if it did.
pub fn read(folder: &Path) -> Option<Kept> {
    let mut reader = csv::Reader::from_path(folder.join(FILE)).ok()?;
    let headers = reader.headers().ok()?.clone();
    let row = reader.records().next()?.ok()?;
    let column = |name: &str| row.get(headers.iter().position(|header| header == name)?);
    let env_steps = column("env_steps")?.parse().ok()?;
    Some(Kept { env_steps, episodes: column("episodes")?.parse().ok()? })
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
        assert_eq!(read(folder.path()), Some(Kept { env_steps: 640, episodes: 1 }));
        let curve = Curve::table(&folder.path().join(FILE)).unwrap();
        assert_eq!((curve.returns, curve.success), (vec![(640.0, 1.0)], vec![(640.0, 1.0)]));
    }
}
