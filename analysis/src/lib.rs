//! Analysis of runs: from the folders that training leaves to tables and charts.
//!
//! [`compare`] answers a [`Question`] about any set of runs. In reading order: [`curves`] reads one
//! table of a run, `runs` finds and reads run folders, `keys` decides by which settings runs are
//! told apart, `comparison` groups them, [`statistics`] says how sure one can be; `figures`,
//! `intervals` and `table` show it, and [`chart`] draws. [`final_evaluation`] is the one table that
//! is also written here.

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod statistics;

pub mod chart;

pub mod curves;

pub mod final_evaluation;

mod runs;

mod question;

mod keys;

mod comparison;

mod intervals;

mod figures;

mod table;

use std::path::{Path, PathBuf};

use anyhow::Result;

use self::comparison::Comparison;
use self::intervals::{Intervals, Row};
pub use self::question::{Measure, Question, Source};
use self::runs::Run;
pub use self::runs::{Known, Worlds};

/// What a comparison came to.
#[derive(Clone, Debug)]
pub struct Summary {
    /// The table, in Markdown.
    pub table: String,
    /// Every file that was written: tables, then charts.
    pub files: Vec<PathBuf>,
}

/// Draws all runs in `folders` into the folder `out`. `worlds` says what is known of a world.
pub fn compare(
    folders: &[PathBuf],
    question: &Question,
    worlds: Worlds<'_>,
    out: &Path,
) -> Result<Summary> {
    let runs = runs::find(folders, worlds)?;
    let comparison = Comparison::new(&runs, question)?;
    let title = question.title.clone().unwrap_or_else(|| title(&runs));
    let (table, tables) = table::write(&comparison, out)?;
    let learning = figures::learning_curves(&comparison, &title);
    let mut files = tables.to_vec();
    files.extend(chart::draw(&learning, &out.join("learning-curves"))?);
    if let Some(aggregate) = figures::aggregate(&comparison, &title) {
        files.extend(chart::draw(&aggregate, &out.join("aggregate"))?);
    }
    if let Some(intervals) = iqm(&comparison, &title) {
        files.extend(intervals.draw(&out.join("iqm"))?);
    }
    Ok(Summary { table, files })
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
fn title(runs: &[Run]) -> String {
    let mut names: Vec<&str> = runs.iter().filter_map(|run| run.setting("env.name")).collect();
    names.sort_unstable();
    names.dedup();
    if names.is_empty() { "Learning curves".into() } else { names.join(", ") }
}
