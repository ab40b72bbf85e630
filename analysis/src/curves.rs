//! Learning curves of single runs, read from their `progress.csv` and drawn one line per run, as at
//! the end of a training. [`compare`](crate::compare) draws several seeds together.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};

use crate::chart::{self, Chart, Panel, Series, XAxis};
use crate::question::Measure;

/// One run's curve.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Curve {
    /// Name in the legend.
    pub label: String,
    /// `(env steps, mean return of the episodes that ended since the last row)`.
    pub returns: Vec<(f64, f64)>,
    /// `(env steps, share of them that were solved)`; empty where the environment cannot tell.
    pub success: Vec<(f64, f64)>,
    /// Env steps that the run has taken.
    pub env_steps: f64,
    /// Updates that the run has made.
    pub updates: f64,
    /// Seconds that the run has taken.
    pub seconds: f64,
}

impl Curve {
    /// Reads a run's folder, or a `progress.csv` itself.
    pub fn read(path: &Path) -> Result<Curve> {
        let file = if path.is_dir() { path.join("progress.csv") } else { path.to_path_buf() };
        if !file.exists() {
            bail!("{} is not a run: it has no progress.csv", path.display());
        }
        let curve = Curve { label: run_name(path), ..Curve::table(&file)? };
        if curve.returns.is_empty() {
            bail!("{} holds no finished episode yet", file.display());
        }
        Ok(curve)
    }

    /// Reads a table of rows with the columns `env_steps` and `episode_return`, and some of
    /// `success`, `updates` and `seconds`. It may have no rows.
    pub fn table(file: &Path) -> Result<Curve> {
        let mut reader = csv::Reader::from_path(file)
            .with_context(|| format!("cannot read {}", file.display()))?;
        let headers = reader.headers()?.clone();
        let column = |name: &str| headers.iter().position(|header| header == name);
        if headers.is_empty() {
            return Ok(Curve::default());
        }
        let need = |name: &str| {
            column(name).ok_or_else(|| anyhow!("{} has no column `{name}`", file.display()))
        };
        let (steps, returns) = (need("env_steps")?, need("episode_return")?);
        let (success, updates, seconds) = (column("success"), column("updates"), column("seconds"));
        let mut curve = Curve::default();
        for record in reader.records() {
            let record = record.with_context(|| format!("{} is damaged", file.display()))?;
            let number = |column: usize| record.get(column)?.parse::<f64>().ok();
            let Some(x) = number(steps) else { continue };
            curve.env_steps = x;
            curve.returns.extend(number(returns).map(|y| (x, y)));
            curve.success.extend(success.and_then(number).map(|y| (x, y)));
            curve.updates = updates.and_then(number).unwrap_or(curve.updates);
            curve.seconds = seconds.and_then(number).unwrap_or(curve.seconds);
        }
        Ok(curve)
    }

    /// Rows of one measure.
    pub(crate) fn scores(&self, measure: Measure) -> &[(f64, f64)] {
        match measure {
            Measure::Return => &self.returns,
            Measure::Success => &self.success,
        }
    }
}

/// Draws the curves to `<stem>.png` and `<stem>.svg` and returns both paths.
pub fn draw(curves: &[Curve], title: &str, stem: &Path) -> Result<[PathBuf; 2]> {
    let panel = |y_name: &str, range, points: fn(&Curve) -> &Vec<(f64, f64)>| {
        let series = |(index, curve): (usize, &Curve)| Series {
            label: Some(curve.label.clone()),
            index,
            points: points(curve).clone(),
            ..Series::default()
        };
        Panel {
            title: String::new(),
            x_name: "env steps".into(),
            x: XAxis::Linear,
            y_name: y_name.into(),
            range,
            series: curves.iter().enumerate().map(series).collect(),
            references: Vec::new(),
        }
    };
    let mut panels = vec![panel("episode return", None, |curve| &curve.returns)];
    // Where a solved episode pays 1 and any other 0, the second panel would repeat the first.
    if curves.iter().any(|c| !c.success.is_empty() && c.success != c.returns) {
        panels.push(panel("episodes solved", Some((0.0, 1.0)), |curve| &curve.success));
    }
    let chart = Chart { title: title.into(), columns: 1, panels, notes: Vec::new() };
    chart::draw(&chart, stem)
}

/// Name of a run: its folder's.
pub(crate) fn run_name(path: &Path) -> String {
    let folder = if path.is_dir() { Some(path) } else { path.parent() };
    folder
        .and_then(Path::file_name)
        .map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(folder: &Path, name: &str, rows: &str) -> PathBuf {
        let run = folder.join(name);
        std::fs::create_dir_all(&run).expect("a folder");
        let text = format!("env_steps,updates,episode_return,success\n{rows}");
        std::fs::write(run.join("progress.csv"), text).expect("a file");
        run
    }

    #[test]
    fn a_run_is_read_and_drawn_as_both_files() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = run(folder.path(), "mine", "100,1,0.25,0.2\n200,2,,\n300,3,1.0,1.0\n");
        let curve = Curve::read(&path).expect("a curve");
        assert_eq!(curve.label, "mine");
        assert_eq!(curve.returns, [(100.0, 0.25), (300.0, 1.0)]);
        assert_eq!(curve.success, [(100.0, 0.2), (300.0, 1.0)]);
        assert_eq!((curve.env_steps, curve.updates), (300.0, 3.0));
        let paths = draw(&[curve], "recall", &folder.path().join("plots/v1.5")).expect("drawn");
        assert!(paths[0].ends_with("v1.5.png"), "{}", paths[0].display());
        let png = std::fs::read(&paths[0]).expect("a file");
        assert!(png.starts_with(b"\x89PNG") && png.len() > 5_000);
        let svg = std::fs::read_to_string(&paths[1]).expect("a file");
        assert!(svg.contains("episode return") && svg.contains("episodes solved"));
    }

    #[test]
    fn what_is_no_run_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let error = Curve::read(folder.path()).expect_err("no run").to_string();
        assert!(error.contains("has no progress.csv"), "{error}");
        let empty = run(folder.path(), "empty", "");
        let error = Curve::read(&empty).expect_err("no episodes").to_string();
        assert!(error.contains("no finished episode"), "{error}");
    }
}
