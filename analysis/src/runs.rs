//! Runs: found in folders, read from the files that training left there.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use engram_service::config::{leaves, written};
use toml::{Table, Value};

use crate::curves::{self, Curve};
use crate::final_evaluation::{self, FinalEvaluation};
use crate::question::{CheckpointChoice, EpisodeSource, Measure};

/// The table of evaluations that a run makes while it trains.
const EVALUATIONS: &str = "evaluations.csv";
/// Depth to which runs are sought below a given folder.
const DEPTH: usize = 4;

/// One run.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    /// Its folder's name.
    pub(crate) name: String,
    /// Its resolved configuration: every key with its value, in the order of the file. The names of
    /// its parts are `env`, `rl` and `seq`, its own name is `run`. Empty where it left none.
    pub(crate) settings: Vec<(String, String)>,
    /// Its episodes of training.
    pub(crate) training: Curve,
    /// Its evaluations while training.
    pub(crate) evaluation: Option<Curve>,
    /// Greedy episodes after its end, of the newest weights.
    pub(crate) newest: Option<FinalEvaluation>,
    /// The same of its best checkpoint.
    pub(crate) best: Option<FinalEvaluation>,
    /// Env steps that it was to take.
    pub(crate) budget: Option<f64>,
    /// Scores that its environment is known to allow.
    pub(crate) references: ReferenceScores,
}

/// Scores that are known of an environment without any training; none by default.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ReferenceScores {
    /// The return of an optimal policy.
    pub optimum: Option<f64>,
    /// The share of episodes that the best policy without memory solves.
    pub memoryless: Option<f64>,
}

/// Reference scores of an environment, from the `[env]` section of a run's configuration.
pub type ReferenceScoresOf<'a> = &'a dyn Fn(&Table) -> ReferenceScores;

impl Run {
    /// Reads a run's folder, or a `progress.csv` itself.
    fn read(path: &Path, scores_of: ReferenceScoresOf<'_>) -> Result<Run> {
        let file = if path.is_dir() { path.join("progress.csv") } else { path.to_path_buf() };
        let folder = file.parent().unwrap_or(Path::new("."));
        let name = curves::run_name(path);
        let training = Curve::table(&file)?;
        let file = folder.join(EVALUATIONS);
        let evaluation = file.exists().then(|| Curve::table(&file)).transpose()?;
        let mut run = Run {
            settings: vec![("run".into(), name.clone())],
            name,
            training,
            evaluation: evaluation.filter(|curve| !curve.returns.is_empty()),
            newest: final_evaluation::read(folder, CheckpointChoice::Newest),
            best: final_evaluation::read(folder, CheckpointChoice::Best),
            budget: None,
            references: ReferenceScores::default(),
        };
        let config = folder.join("config.toml");
        if config.exists() {
            run.configure(&config, scores_of)?;
        }
        Ok(run)
    }

    fn configure(&mut self, file: &Path, scores_of: ReferenceScoresOf<'_>) -> Result<()> {
        let text =
            fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        let table: Table =
            text.parse().with_context(|| format!("{} is no TOML", file.display()))?;
        let settings = leaves(&table).into_iter();
        self.settings.extend(settings.map(|(key, value)| {
            (key.strip_prefix("parts.").unwrap_or(&key).to_owned(), written(value))
        }));
        self.budget = self.setting("run.env_steps").and_then(|steps| steps.parse().ok());
        let env = table.get("env").and_then(Value::as_table);
        self.references = env.map(scores_of).unwrap_or_default();
        Ok(())
    }

    /// Its curve of these episodes.
    pub(crate) fn curve(&self, source: EpisodeSource) -> Option<&Curve> {
        match source {
            EpisodeSource::Training => Some(&self.training),
            EpisodeSource::Evaluation => self.evaluation.as_ref(),
        }
    }

    /// Score of a checkpoint's greedy episodes after its end.
    pub(crate) fn after(&self, checkpoint: CheckpointChoice, measure: Measure) -> Option<f64> {
        let found = match checkpoint {
            CheckpointChoice::Newest => self.newest?,
            CheckpointChoice::Best => self.best?,
        };
        match measure {
            Measure::Return => Some(found.episode_return),
            Measure::Success => found.success,
        }
    }

    /// Value of a key of its configuration.
    pub(crate) fn setting(&self, key: &str) -> Option<&str> {
        self.settings.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }
}

/// Finds all runs in the given folders: each is a run, or holds runs. In the order of their names
/// within each folder.
pub(crate) fn find(paths: &[PathBuf], scores_of: ReferenceScoresOf<'_>) -> Result<Vec<Run>> {
    let mut runs: Vec<PathBuf> = Vec::new();
    for path in paths {
        let before = runs.len();
        walk(path, DEPTH, &mut runs)?;
        if runs.len() == before {
            bail!("{} is not a run, and holds none: there is no progress.csv", path.display());
        }
    }
    let mut seen = Vec::new();
    runs.retain(|path| {
        let path = fs::canonicalize(path).unwrap_or_else(|_| path.clone());
        let new = !seen.contains(&path);
        seen.push(path);
        new
    });
    runs.iter().map(|path| Run::read(path, scores_of)).collect()
}

fn walk(path: &Path, depth: usize, runs: &mut Vec<PathBuf>) -> Result<()> {
    if path.is_file() || path.join("progress.csv").exists() {
        runs.push(path.into());
        return Ok(());
    }
    if depth == 0 {
        return Ok(());
    }
    let entries = fs::read_dir(path).with_context(|| format!("cannot list {}", path.display()))?;
    let mut folders: Vec<PathBuf> =
        entries.filter_map(|entry| Some(entry.ok()?.path())).filter(|path| path.is_dir()).collect();
    folders.sort();
    for folder in folders {
        walk(&folder, depth - 1, runs)?;
    }
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A run in memory, whose curve is straight from nothing to `end`.
    pub(crate) fn run(name: &str, settings: &[(&str, &str)], end: f64) -> Run {
        let rows: Vec<(f64, f64)> =
            (1..=100).map(|i| (f64::from(i) * 10.0, f64::from(i) / 100.0 * end)).collect();
        let training = Curve {
            label: name.into(),
            returns: rows.clone(),
            success: rows,
            env_steps: 1_000.0,
            updates: 50.0,
            seconds: 9.0,
        };
        let own = [("run".to_owned(), name.to_owned())];
        let settings = settings.iter().map(|&(key, value)| (key.into(), value.into()));
        Run {
            name: name.into(),
            settings: own.into_iter().chain(settings).collect(),
            training,
            evaluation: None,
            newest: None,
            best: None,
            budget: Some(1_000.0),
            references: ReferenceScores::default(),
        }
    }

    const CONFIG: &str = "experiment = \"main\"\n[parts]\nenv = \"recall\"\nrl = \"vtrace\"\n\
        seq = \"lstm\"\n[run]\nseed = 3\nenv_steps = 500\n[env]\nname = \"recall\"\ndelay = 20\n\
        choices = 4\n[seq.memory]\nname = \"lstm\"\n";

    fn scores(env: &Table) -> ReferenceScores {
        assert_eq!(env["delay"], 20.into());
        ReferenceScores { optimum: Some(1.0), memoryless: Some(0.25) }
    }

    fn leave(folder: &Path, files: &[(&str, &str)]) {
        fs::create_dir_all(folder).unwrap();
        for (name, text) in files {
            fs::write(folder.join(name), text).unwrap();
        }
    }

    #[test]
    fn a_folder_of_runs_is_walked_and_each_run_is_read_once() {
        let root = tempfile::tempdir().unwrap();
        let progress = "env_steps,updates,seconds,episode_return,success\n10,1,2.5,0.5,0.5\n";
        let evaluations = "env_steps,episode_return,return_std,success\n5,0.25,0,0.25\n";
        let run = root.path().join("sweep/b-seed1");
        leave(
            &run,
            &[
                ("progress.csv", progress),
                ("config.toml", CONFIG),
                ("evaluations.csv", evaluations),
                ("final-evaluation.csv", "env_steps,episodes,episode_return,success\n10,9,1,\n"),
            ],
        );
        leave(&root.path().join("sweep/a-seed1"), &[("progress.csv", progress)]);
        let runs = find(&[root.path().join("sweep"), run], &scores).unwrap();
        let names: Vec<&str> = runs.iter().map(|run| run.name.as_str()).collect();
        assert_eq!(names, ["a-seed1", "b-seed1"]);
        let run = &runs[1];
        assert_eq!(run.setting("seq"), Some("lstm"));
        assert_eq!(run.setting("env.delay"), Some("20"));
        assert_eq!(run.setting("seq.memory.name"), Some("lstm"));
        assert_eq!(run.budget, Some(500.0));
        assert_eq!(run.references, ReferenceScores { optimum: Some(1.0), memoryless: Some(0.25) });
        assert_eq!(run.evaluation.as_ref().unwrap().returns, [(5.0, 0.25)]);
        assert_eq!(run.after(CheckpointChoice::Newest, Measure::Return), Some(1.0));
        assert_eq!(run.after(CheckpointChoice::Newest, Measure::Success), None);
        assert_eq!(run.after(CheckpointChoice::Best, Measure::Return), None);
        assert_eq!((run.training.updates, run.training.seconds), (1.0, 2.5));
    }

    #[test]
    fn a_folder_without_runs_is_named() {
        let root = tempfile::tempdir().unwrap();
        let error = find(&[root.path().to_path_buf()], &scores).unwrap_err().to_string();
        assert!(error.contains("holds none") && error.contains("progress.csv"), "{error}");
        let missing = root.path().join("nowhere");
        assert!(find(&[missing], &scores).unwrap_err().to_string().contains("nowhere"));
    }
}
