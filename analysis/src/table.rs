//! Table of a comparison: CSV for programs, Markdown for people.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use engram_service::format;

use crate::comparison::Comparison;
use crate::group::Group;
use crate::question::CheckpointChoice;
use crate::runs::Run;
use crate::statistics::{Estimate, mean, median, stratified_iqm};

/// One group in numbers.
struct TableRow<'a> {
    panel: &'a str,
    x: Option<f64>,
    hue: &'a str,
    seeds: usize,
    ended_early: usize,
    end: Estimate,
    iqm: Estimate,
    after: Option<Estimate>,
    reached: Option<(usize, f64)>,
    env_steps: f64,
    updates: f64,
    seconds: f64,
}

const COLUMNS: [&str; 19] = [
    "task",
    "length",
    "hue",
    "seeds",
    "ended_early",
    "final_mean",
    "final_low",
    "final_high",
    "iqm",
    "iqm_low",
    "iqm_high",
    "greedy_mean",
    "greedy_low",
    "greedy_high",
    "seeds_at_threshold",
    "env_steps_to_threshold",
    "env_steps",
    "updates",
    "seconds",
];

/// Writes `table.csv` and `table.md` into the folder; returns the Markdown and both paths.
pub(crate) fn write(comparison: &Comparison<'_>, folder: &Path) -> Result<(String, [PathBuf; 2])> {
    let (csv, markdown) = (folder.join("table.csv"), folder.join("table.md"));
    let rows: Vec<TableRow<'_>> =
        comparison.groups.iter().map(|group| TableRow::new(comparison, group)).collect();
    let text = in_markdown(comparison, &rows);
    let cannot = |path: &Path| format!("cannot write {}", path.display());
    fs::create_dir_all(folder).with_context(|| cannot(folder))?;
    write_csv(&rows, &csv).with_context(|| cannot(&csv))?;
    fs::write(&markdown, &text).with_context(|| cannot(&markdown))?;
    Ok((text, [csv, markdown]))
}

impl<'a> TableRow<'a> {
    fn new(comparison: &'a Comparison<'_>, group: &'a Group<'_>) -> Self {
        let of = |number: &dyn Fn(&Run) -> f64| -> Vec<f64> {
            group.members.iter().map(|member| number(member.run)).collect()
        };
        let average =
            |number: &dyn Fn(&Run) -> f64| mean(&of(number)).expect("a group has members").value;
        let after: Option<Vec<f64>> = group
            .members
            .iter()
            .map(|member| member.run.after(comparison.checkpoint, comparison.measure))
            .collect();
        TableRow {
            panel: &group.panel,
            x: group.x.as_ref().map(|&(_, x)| x),
            hue: &comparison.hues[group.hue],
            seeds: group.members.len(),
            ended_early: group.members.iter().filter(|member| member.ended_early()).count(),
            end: group.end(),
            iqm: stratified_iqm(&[group.ends()]).expect("a group has members"),
            after: after.and_then(|scores| mean(&scores)),
            reached: comparison.threshold.map(|threshold| group.reached(threshold)),
            env_steps: average(&|run| run.training.env_steps),
            updates: average(&|run| run.training.updates),
            seconds: median(&of(&|run| run.training.seconds)).expect("a group has members"),
        }
    }
}

fn write_csv(rows: &[TableRow<'_>], path: &Path) -> Result<()> {
    let mut file = csv::Writer::from_path(path)?;
    file.write_record(COLUMNS)?;
    for row in rows {
        let number = |number: Option<f64>| {
            number.filter(|n| n.is_finite()).map_or_else(String::new, |n| n.to_string())
        };
        let estimate = |estimate: Option<Estimate>| {
            let interval = estimate.and_then(|estimate| estimate.interval);
            [estimate.map(|e| e.value), interval.map(|i| i.0), interval.map(|i| i.1)].map(number)
        };
        let mut cells =
            vec![row.panel.to_owned(), number(row.x), row.hue.to_owned(), row.seeds.to_string()];
        cells.push(row.ended_early.to_string());
        for three in [Some(row.end), Some(row.iqm), row.after] {
            cells.extend(estimate(three));
        }
        cells.push(row.reached.map_or_else(String::new, |(count, _)| count.to_string()));
        let steps = row.reached.map(|(_, steps)| steps);
        cells
            .extend([steps, Some(row.env_steps), Some(row.updates), Some(row.seconds)].map(number));
        file.write_record(cells)?;
    }
    Ok(file.flush()?)
}

fn in_markdown(comparison: &Comparison<'_>, rows: &[TableRow<'_>]) -> String {
    let named = rows.iter().any(|row| !row.panel.is_empty());
    let lengths = rows.iter().any(|row| row.x.is_some());
    let after = rows.iter().any(|row| row.after.is_some());
    let reached = comparison
        .threshold
        .map(|threshold| format!("env steps to {} (seeds)", format::number(threshold)));
    let name = comparison.measure_name();
    let mut header: Vec<String> = Vec::new();
    header.extend(named.then(|| "task".into()));
    header.extend(lengths.then(|| "length".into()));
    header.extend(["hue".into(), "seeds".into(), format!("{name}, last 5%"), "IQM".into()]);
    header.extend(after.then(|| match comparison.checkpoint {
        CheckpointChoice::Newest => "greedy episodes at the end".into(),
        CheckpointChoice::Best => "greedy episodes, best checkpoint".into(),
    }));
    header.extend(reached);
    header.extend(["env steps", "updates", "wall time"].map(String::from));
    let mut text = line(&header);
    text += &format!("|{}\n", "---|".repeat(header.len()));
    for row in rows {
        let mut cells: Vec<String> = Vec::new();
        cells.extend(named.then(|| row.panel.to_owned()));
        cells.extend(lengths.then(|| row.x.map_or_else(dash, format::number)));
        let early = match row.ended_early {
            0 => String::new(),
            count => format!(", {count} ended early"),
        };
        cells.push(row.hue.to_owned());
        cells.push(format!("{}{early}", row.seeds));
        cells.push(row.end.plus_minus());
        cells.push(row.iqm.to_string());
        cells.extend(after.then(|| row.after.map_or_else(dash, |after| after.plus_minus())));
        cells.extend(row.reached.map(|(count, steps)| match steps.is_finite() {
            true => format!("{} ({count}/{})", format::number(steps), row.seeds),
            false => format!("– ({count}/{})", row.seeds),
        }));
        cells.extend([
            format::number(row.env_steps.round()),
            format::number(row.updates.round()),
            format::duration(row.seconds.round() as u64),
        ]);
        text += &line(&cells);
    }
    text + &footnotes(comparison)
}

/// Inter-quartile means over all tasks, where there are several, and the notes.
fn footnotes(comparison: &Comparison<'_>) -> String {
    let mut text = String::from("\n");
    for (index, hue) in comparison.hues.iter().enumerate() {
        match comparison.over_tasks(index) {
            Some((estimate, tasks)) if tasks > 1 => {
                text += &format!("- IQM of {hue} over {tasks} tasks: {estimate}\n");
            }
            _ => {}
        }
    }
    text += "- ± is the 95% interval of Student's t over seeds; [..] that of a stratified \
             bootstrap; env steps to a threshold are the median seed's, wall times medians\n";
    for note in comparison.notes() {
        text += &format!("- {note}\n");
    }
    text
}

fn line(cells: &[String]) -> String {
    format!("| {} |\n", cells.join(" | "))
}

fn dash() -> String {
    "–".into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::final_evaluation::FinalEvaluation;
    use crate::question::Question;
    use crate::runs::tests::run;

    #[test]
    fn a_table_has_a_line_per_group_and_says_who_ended_early() {
        let of = |delay: &str, seed: &str, end: f64| {
            let settings = [("seq", "lstm"), ("env.delay", delay), ("run.seed", seed)];
            run(&format!("lstm-{delay}-{seed}"), &settings, end)
        };
        let mut runs = vec![of("20", "1", 1.0), of("20", "2", 1.0), of("50", "1", 0.5)];
        runs[2].training.env_steps = 500.0;
        let (env_steps, sets, episodes, success) = (1, 1, 9, Some(1.0));
        let after = FinalEvaluation { env_steps, sets, episodes, episode_return: 1.0, success };
        runs[0].newest = Some(after);
        runs[1].newest = Some(after);
        let comparison = Comparison::new(&runs, &Question::default()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let (text, [csv, markdown]) = write(&comparison, folder.path()).unwrap();
        assert_eq!(fs::read_to_string(markdown).unwrap(), text);
        let first = "| 20 | lstm | 2 | 0.980 ± 0.000 | 0.980 [0.980, 0.980] | 1.000 ± 0.000 | \
                     950 (2/2) | 1k | 50 | 9s |";
        assert!(text.contains(first), "{text}");
        let second =
            "| 50 | lstm | 1, 1 ended early | 0.490 | 0.490 | – | – (0/1) | 500 | 50 | 9s |";
        assert!(text.contains(second), "{text}");
        assert!(text.contains("- IQM of lstm over 2 tasks"), "{text}");
        let csv = fs::read_to_string(csv).unwrap();
        let cells: Vec<&str> = csv.lines().nth(2).unwrap().split(',').collect();
        assert_eq!(cells.len(), COLUMNS.len());
        assert_eq!(cells[1..5], ["50", "lstm", "1", "1"]);
        assert_eq!(cells[14..], ["0", "", "500", "50", "9"]);
    }
}
