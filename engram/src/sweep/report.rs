//! What a sweep has found: `sweep.csv`, a table, and a picture.

use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use plotters::chart::SeriesLabelPosition;

use super::grid::{Axis, Point};
use crate::curves::{Curve, Line, Panel, color, draw_panels};
use crate::eval::Score;

/// The share of solved episodes that counts as having learned.
const LEARNED: f64 = 0.95;

/// What one run came to.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Outcome {
    /// Of the greedy episodes afterwards: the share solved, or where the world cannot tell the
    /// mean return.
    score: f64,
    /// Env steps after which an interval's episodes were first solved often enough.
    learned_after: Option<f64>,
    env_steps: f64,
    seconds: f64,
}

/// All outcomes so far.
pub(crate) struct Report {
    folder: PathBuf,
    names: Vec<String>,
    seeds: Vec<u64>,
    rows: Vec<(Point, u64, Outcome)>,
}

impl Outcome {
    /// From a finished run's folder and what its policy scored.
    pub(crate) fn read(folder: &Path, score: &Score) -> Result<Self> {
        let curve = Curve::read(folder)?;
        let learned_after =
            curve.success.iter().find(|(_, share)| *share >= LEARNED).map(|(steps, _)| *steps);
        let (env_steps, _) = *curve.returns.last().ok_or_else(|| anyhow!("an empty curve"))?;
        Ok(Outcome { score: score.headline(), learned_after, env_steps, seconds: curve.seconds })
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:.2} after {:.0} env steps in {:.0} s",
            self.score, self.env_steps, self.seconds
        )?;
        match self.learned_after {
            Some(steps) => write!(f, "; {:.0}% solved from {steps:.0}", 100.0 * LEARNED),
            None => Ok(()),
        }
    }
}

impl Report {
    pub(crate) fn new(folder: &Path, axes: &[Axis], seeds: &[u64]) -> Result<Self> {
        std::fs::create_dir_all(folder)
            .with_context(|| format!("cannot make the folder {}", folder.display()))?;
        let names = axes.iter().map(Axis::short).collect();
        Ok(Report { folder: folder.into(), names, seeds: seeds.into(), rows: Vec::new() })
    }

    /// Adds an outcome, and writes all of them down.
    pub(crate) fn add(&mut self, point: &Point, seed: u64, outcome: Outcome) -> Result<()> {
        self.rows.push((point.clone(), seed, outcome));
        let path = self.folder.join("sweep.csv");
        self.write(&path).with_context(|| format!("cannot write {}", path.display()))
    }

    fn write(&self, path: &Path) -> Result<()> {
        let mut file = csv::Writer::from_path(path)?;
        let names = self.names.iter().map(String::as_str);
        let columns = ["seed", "score", "learned_after_env_steps", "env_steps", "seconds"];
        file.write_record(names.chain(columns))?;
        for (point, seed, outcome) in &self.rows {
            let after = outcome.learned_after.map(|steps| steps.to_string()).unwrap_or_default();
            let numbers = [
                seed.to_string(),
                outcome.score.to_string(),
                after,
                outcome.env_steps.to_string(),
                format!("{:.1}", outcome.seconds),
            ];
            file.write_record(point.values().map(str::to_owned).chain(numbers))?;
        }
        Ok(file.flush()?)
    }

    /// Prints a line per combination and draws the scores over the first setting.
    #[expect(clippy::print_stdout, reason = "this is the command's answer")]
    pub(crate) fn finish(self) -> Result<()> {
        if self.rows.is_empty() {
            return Ok(());
        }
        println!("\n{}", self.table());
        println!("{}", self.folder.join("sweep.csv").display());
        let [picture, _] = draw_panels(&self.panels(), &self.folder.join("sweep"))?;
        println!("{}", picture.display());
        Ok(())
    }

    /// Combinations in the order in which they were tried, each with its outcomes.
    fn combinations(&self) -> Vec<(&Point, Vec<&Outcome>)> {
        let mut combinations: Vec<(&Point, Vec<&Outcome>)> = Vec::new();
        for (point, _, outcome) in &self.rows {
            match combinations.last_mut() {
                Some((last, outcomes)) if *last == point => outcomes.push(outcome),
                _ => combinations.push((point, vec![outcome])),
            }
        }
        combinations
    }

    /// Markdown.
    fn table(&self) -> String {
        let seeds = self.seeds.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let mut text = format!(
            "| {} | score, seeds {seeds} | {:.0}% solved from env step | seconds, median |\n|{}\n",
            self.names.join(" | "),
            100.0 * LEARNED,
            "---|".repeat(self.names.len() + 3),
        );
        for (point, outcomes) in self.combinations() {
            let scores: Vec<_> = outcomes.iter().map(|o| format!("{:.2}", o.score)).collect();
            let after: Vec<_> = outcomes
                .iter()
                .map(|o| {
                    o.learned_after.map_or("–".into(), |steps| format!("{:.0}k", steps / 1e3))
                })
                .collect();
            let mut seconds: Vec<f64> = outcomes.iter().map(|o| o.seconds).collect();
            seconds.sort_by(f64::total_cmp);
            text += &format!(
                "| {} | {} | {} | {:.0} |\n",
                point.values().collect::<Vec<_>>().join(" | "),
                scores.join(", "),
                after.join(", "),
                seconds[seconds.len() / 2],
            );
        }
        text
    }

    /// Mean scores over the values of the first setting. Where three or more are varied, a panel
    /// for each value of the second; a line for each combination of the rest.
    fn panels(&self) -> Vec<Panel> {
        let mut panels: Vec<(String, Vec<Line>)> = Vec::new();
        for (point, outcomes) in self.combinations() {
            let (panel, line) = point.panel_and_line();
            let mean = outcomes.iter().map(|o| o.score).sum::<f64>() / outcomes.len() as f64;
            let at = panels.iter().position(|(title, _)| *title == panel).unwrap_or_else(|| {
                panels.push((panel, Vec::new()));
                panels.len() - 1
            });
            let lines = &mut panels[at].1;
            let at = lines.iter().position(|l| l.label.as_ref() == Some(&line));
            let at = at.unwrap_or_else(|| {
                let color = color(lines.len());
                lines.push(Line { label: Some(line), color, points: Vec::new() });
                lines.len() - 1
            });
            let index = lines[at].points.len() as f64;
            lines[at].points.push((point.x().unwrap_or(index), mean));
            lines[at].points.sort_by(|a, b| a.0.total_cmp(&b.0));
        }
        let panel = |(title, lines)| Panel {
            title,
            x_name: self.names[0].clone(),
            y_name: "score",
            range: Some((0.0, 1.0)),
            legend: SeriesLabelPosition::LowerRight,
            lines,
        };
        panels.into_iter().map(panel).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sweep_is_told_as_a_table_a_file_and_a_picture() {
        let folder = tempfile::tempdir().unwrap();
        let axes: Vec<Axis> = ["run.unroll_length=1,5", "seq.memory.gradient=rtrl,tbptt"]
            .iter()
            .map(|text| text.parse().unwrap())
            .collect();
        let mut report = Report::new(folder.path(), &axes, &[1, 2]).unwrap();
        for (i, point) in super::super::grid::points(&axes).iter().enumerate() {
            for seed in [1, 2] {
                let learned_after = (i % 2 == 0).then_some(1500.0 * seed as f64);
                let score = if i % 2 == 0 { 1.0 } else { 0.5 };
                let outcome = Outcome { score, learned_after, env_steps: 5000.0, seconds: 2.0 };
                report.add(point, seed, outcome).unwrap();
            }
        }
        let table = report.table();
        assert!(table.contains("| unroll_length | gradient | score, seeds 1, 2 |"), "{table}");
        assert!(table.contains("| 5 | rtrl | 1.00, 1.00 | 2k, 3k | 2 |"), "{table}");
        assert!(table.contains("| 1 | tbptt | 0.50, 0.50 | –, – | 2 |"), "{table}");
        let text = std::fs::read_to_string(folder.path().join("sweep.csv")).unwrap();
        assert!(text.contains("5,rtrl,2,1,3000,5000,2.0"), "{text}");
        report.finish().unwrap();
        assert!(folder.path().join("sweep.png").exists());
    }
}
