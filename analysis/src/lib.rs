//! Analysis of runs: from the folders that training leaves to tables and charts.
//!
//! [`compare`] answers a [`Question`] about any set of runs. In reading order:
//!
//! ```text
//! read     curves            one table of a run         final_evaluation  the score at its end
//!          runs              run folders
//! group    grouping          settings as hue, panel and x axis
//!          group             the seeds of one hue on one task
//!          comparison        all groups
//!          statistics        means and their intervals
//!          epochs            the best stretch of a curve, as POPGym's tables have it
//! show     figures           learning curves, final scores over lengths
//!          intervals         inter-quartile means       table             CSV and Markdown
//!          chart             drawing, as PNG and SVG
//! ```

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod statistics;

pub mod epochs;

pub mod chart;

mod question;

pub mod curves;

pub mod final_evaluation;

mod runs;

mod grouping;

mod group;

mod comparison;

mod figures;

mod intervals;

mod table;

use std::path::{Path, PathBuf};

use anyhow::Result;

use self::comparison::Comparison;
pub use self::question::{CheckpointChoice, EpisodeSource, Measure, Question};
use self::runs::Run;
pub use self::runs::{ReferenceScores, ReferenceScoresOf};

/// Output of a comparison.
#[derive(Clone, Debug)]
pub struct ComparisonFiles {
    /// The table, in Markdown.
    pub table: String,
    /// Every file that was written: tables, then charts.
    pub files: Vec<PathBuf>,
}

/// Compares all runs in `folders`, and writes tables and charts into the folder `out`.
pub fn compare(
    folders: &[PathBuf],
    question: &Question,
    scores_of: ReferenceScoresOf<'_>,
    out: &Path,
) -> Result<ComparisonFiles> {
    let runs = runs::find(folders, scores_of)?;
    let comparison = Comparison::new(&runs, question)?;
    let title = question.title.clone().unwrap_or_else(|| title(&runs));
    let (table, tables) = table::write(&comparison, out)?;
    let learning = figures::learning_curves(&comparison, &title);
    let mut files = tables.to_vec();
    files.extend(chart::draw(&learning, &out.join("learning-curves"))?);
    if let Some(aggregate) = figures::aggregate(&comparison, &title) {
        files.extend(chart::draw(&aggregate, &out.join("aggregate"))?);
    }
    if let Some(intervals) = intervals::over_tasks(&comparison, &title) {
        files.extend(intervals.draw(&out.join("iqm"))?);
    }
    Ok(ComparisonFiles { table, files })
}

/// Title where none is given: the environments' names.
fn title(runs: &[Run]) -> String {
    let mut names: Vec<&str> = runs.iter().filter_map(|run| run.setting("env.name")).collect();
    names.sort_unstable();
    names.dedup();
    if names.is_empty() { "Learning curves".into() } else { names.join(", ") }
}
