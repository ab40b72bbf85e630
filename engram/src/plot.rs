//! `engram plot`: any set of runs as learning curves, over lengths, as inter-quartile means and as a
//! table.
//!
//! [`runs`] reads what training left, [`keys`] decides by which settings runs are told apart,
//! [`comparison`] groups them; the rest draws and writes. A sweep ends with the same.

mod comparison;
mod figures;
mod intervals;
mod keys;
mod runs;
mod table;

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Args;
use serde::Deserialize;

use self::comparison::{Comparison, Measure, Source};
use self::intervals::{Intervals, Row};
use crate::picture;

/// Flags of `engram plot`.
#[derive(Args, Clone, Debug)]
pub(crate) struct PlotArgs {
    /// Folders of runs, folders that hold such folders, or progress.csv files
    #[arg(required = true, value_name = "RUN")]
    runs: Vec<PathBuf>,
    /// The folder for pictures and tables [default: plots in the first RUN]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    #[command(flatten)]
    question: Question,
}

/// What is asked of the runs. In a sweep's file these are the keys of `[plot]`.
#[derive(Args, Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Question {
    /// Settings that are compared within a panel, as in seq or run.unroll_length [default: what
    /// differs beside the world's settings]
    #[arg(long, value_name = "KEY,KEY..", value_delimiter = ',')]
    pub(crate) hue: Vec<String>,
    /// Settings that make panels [default: those of the world that differ]
    #[arg(long, value_name = "KEY,KEY..", value_delimiter = ',')]
    pub(crate) panel: Vec<String>,
    /// The x axis of the aggregate plot [default: the only number of the world that differs, or the
    /// only other one]
    #[arg(long, value_name = "KEY")]
    pub(crate) x: Option<String>,
    /// What is measured of an episode [default: success where all worlds can tell]
    #[arg(long, value_enum)]
    pub(crate) measure: Option<Measure>,
    /// Episodes of training or greedy ones in between [default: evaluation where all runs have it]
    #[arg(long, value_enum)]
    pub(crate) source: Option<Source>,
    /// What counts as having learned [default: 0.95 of the best, where that is known]
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    pub(crate) threshold: Option<f64>,
    /// Average each curve over so many rows [default: 1]
    #[arg(long, value_name = "N")]
    pub(crate) smooth: Option<usize>,
    /// What stands above the pictures [default: the world's name]
    #[arg(long, value_name = "TEXT")]
    pub(crate) title: Option<String>,
}

/// Draws the runs, and prints the table and where everything is.
pub(crate) fn run(args: &PlotArgs) -> Result<()> {
    let out = args.out.clone().unwrap_or_else(|| {
        let first = &args.runs[0];
        let folder = if first.is_dir() { first.clone() } else { first.with_file_name("") };
        folder.join("plots")
    });
    compare(&args.runs, &args.question, &out)
}

/// Draws all runs in `folders` into the folder `out`; prints the table and where everything is.
#[expect(clippy::print_stdout, reason = "this is the command's answer")]
pub(crate) fn compare(folders: &[PathBuf], question: &Question, out: &Path) -> Result<()> {
    let runs = runs::find(folders)?;
    let comparison = Comparison::new(&runs, question)?;
    let title = question.title.clone().unwrap_or_else(|| title(&runs));
    let (table, tables) = table::write(&comparison, out)?;
    println!("{table}");
    let learning = figures::learning_curves(&comparison, &title);
    let mut paths = tables.to_vec();
    paths.extend(picture::draw(&learning, &out.join("learning-curves"))?);
    if let Some(aggregate) = figures::aggregate(&comparison, &title) {
        paths.extend(picture::draw(&aggregate, &out.join("aggregate"))?);
    }
    if let Some(intervals) = iqm(&comparison, &title) {
        paths.extend(intervals.draw(&out.join("iqm"))?);
    }
    for path in paths {
        println!("{}", path.display());
    }
    Ok(())
}

/// Inter-quartile means of all hues over their tasks; `None` where there is nothing to compare.
fn iqm(comparison: &Comparison<'_>, title: &str) -> Option<Intervals> {
    let rows: Option<Vec<Row>> = (0..comparison.hues.len())
        .map(|index| {
            let (estimate, tasks) = comparison.over_tasks(index)?;
            let label = match tasks {
                1 => comparison.hues[index].clone(),
                _ => format!("{} ({tasks} tasks)", comparison.hues[index]),
            };
            Some(Row { label, index, estimate })
        })
        .collect();
    let rows = rows.filter(|rows| rows.len() > 1)?;
    let note = "inter-quartile mean over seeds and tasks, with the 95% interval of a stratified \
                bootstrap (Agarwal et al. 2021)";
    let mut notes = vec![note.to_owned()];
    notes.extend(comparison.notes().into_iter().skip(1));
    Some(Intervals {
        title: title.into(),
        name: format!("{} at the end, {comparison}", comparison.measure_name()),
        range: comparison.range(),
        rows,
        notes,
    })
}

/// The worlds' names.
fn title(runs: &[runs::Run]) -> String {
    let mut names: Vec<&str> = runs.iter().filter_map(|run| run.setting("env.name")).collect();
    names.sort_unstable();
    names.dedup();
    if names.is_empty() { "Learning curves".into() } else { names.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_of_runs_becomes_pictures_and_tables() {
        let root = tempfile::tempdir().unwrap();
        for (seq, delay, seed) in [("lstm", 5, 1), ("lstm", 9, 1), ("gru", 5, 1), ("gru", 9, 1)] {
            let run = root.path().join(format!("{seq}-{delay}-{seed}"));
            std::fs::create_dir_all(&run).unwrap();
            let config = format!(
                "[parts]\nseq = \"{seq}\"\n[run]\nseed = {seed}\nenv_steps = 100\n\
                 [env]\nname = \"recall\"\ndelay = {delay}\nchoices = 2\n"
            );
            std::fs::write(run.join("config.toml"), config).unwrap();
            let progress = "env_steps,episode_return,success\n50,0.5,0.5\n100,1,1\n";
            std::fs::write(run.join("progress.csv"), progress).unwrap();
        }
        let out = root.path().join("plots");
        compare(&[root.path().to_path_buf()], &Question::default(), &out).unwrap();
        for name in ["learning-curves", "aggregate", "iqm"] {
            let svg = std::fs::read_to_string(out.join(format!("{name}.svg"))).unwrap();
            assert!(svg.contains("lstm") && svg.contains("gru"), "{name}");
            assert!(out.join(format!("{name}.png")).exists());
        }
        let svg = std::fs::read_to_string(out.join("aggregate.svg")).unwrap();
        assert!(svg.contains("without memory at best") && svg.contains("delay"), "{svg}");
        assert!(out.join("table.csv").exists() && out.join("table.md").exists());
    }
}
