//! The experiments: every file in `configs/` parses, lies where it is looked for, and names parts
//! that exist. Whether the values make sense is for the tests of the crates that read them.

use crate::tidy::problem::Problem;
use crate::tidy::tree::Tree;

/// The modular parts of an experiment; each has a folder of its own.
const PARTS: [&str; 3] = ["env", "rl", "seq"];
const EXPERIMENTS: &str = "experiments";
const SWEEPS: &str = "sweeps";

/// Checks every file in `configs/`.
pub(crate) fn check(tree: &Tree) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (path, text) in tree.files().iter().filter(|(path, _)| path.starts_with("configs/")) {
        let (folder, file) = path["configs/".len()..].split_once('/').unwrap_or_default();
        let known = PARTS.contains(&folder) || [EXPERIMENTS, SWEEPS].contains(&folder);
        if !known || file.contains('/') || !file.ends_with(".toml") {
            let message =
                "nothing reads this: configs/ holds {env,rl,seq,experiments,sweeps}/*.toml";
            problems.push(Problem::error(path, 1, message));
            continue;
        }
        match text.parse::<toml::Table>() {
            Err(error) => {
                let line = error.span().map_or(1, |span| line_of(text, span.start));
                problems.push(Problem::error(
                    path,
                    line,
                    format!("does not parse: {}", error.message()),
                ));
            }
            Ok(table) if folder == EXPERIMENTS => {
                problems.extend(check_experiment(tree, path, text, &table));
            }
            Ok(table) if folder == SWEEPS => {
                problems.extend(check_sweep(tree, path, text, &table));
            }
            Ok(_) => {}
        }
    }
    problems
}

/// A sweep names an experiment.
fn check_sweep(tree: &Tree, path: &str, text: &str, table: &toml::Table) -> Option<Problem> {
    let at = text.lines().position(|line| line.starts_with("experiment")).unwrap_or(0) + 1;
    let message = match table.get("experiment").and_then(toml::Value::as_str) {
        None => "a sweep names its experiment: experiment = \"NAME\"".into(),
        Some(name) if !tree.contains(&format!("configs/{EXPERIMENTS}/{name}.toml")) => {
            format!("there is no configs/{EXPERIMENTS}/{name}.toml")
        }
        Some(_) => return None,
    };
    Some(Problem::error(path, at, message))
}

/// An experiment names one part of each kind.
fn check_experiment(tree: &Tree, path: &str, text: &str, table: &toml::Table) -> Vec<Problem> {
    let mut problems = Vec::new();
    for part in PARTS {
        let at = text.lines().position(|line| line.trim_start().starts_with(part)).unwrap_or(0) + 1;
        match table.get(part).and_then(toml::Value::as_str) {
            None => {
                let message = format!("an experiment names its {part}: {part} = \"NAME\"");
                problems.push(Problem::error(path, at, message));
            }
            Some(name) if !tree.contains(&format!("configs/{part}/{name}.toml")) => {
                let message = format!("there is no configs/{part}/{name}.toml");
                problems.push(Problem::error(path, at, message));
            }
            Some(_) => {}
        }
    }
    problems
}

fn line_of(text: &str, at: usize) -> usize {
    1 + text.bytes().take(at).filter(|byte| *byte == b'\n').count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(files: &[(&str, &str)]) -> Vec<String> {
        check(&Tree::of(files)).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn an_experiment_of_parts_that_exist_passes() {
        let files = [
            ("configs/env/recall.toml", "delay = 20"),
            ("configs/rl/vtrace.toml", "learning_rate = 1e-3"),
            ("configs/seq/lstm.toml", "size = 128"),
            (
                "configs/experiments/main.toml",
                "env = \"recall\"\nrl = \"vtrace\"\nseq = \"lstm\"\n",
            ),
        ];
        assert!(found(&files).is_empty());
        let missing = found(&files[1..]);
        assert_eq!(
            missing,
            ["configs/experiments/main.toml:1: there is no configs/env/recall.toml"]
        );
    }

    #[test]
    fn a_sweep_names_an_experiment_that_exists() {
        let experiment = ("configs/experiments/main.toml", "");
        let problems = |text| {
            let found = found(&[experiment, ("configs/sweeps/a.toml", text)]);
            found.into_iter().filter(|line| line.contains("sweeps/a.toml")).collect::<Vec<_>>()
        };
        assert!(problems("experiment = \"main\"").is_empty());
        let missing = "configs/sweeps/a.toml:2: there is no configs/experiments/mian.toml";
        assert_eq!(problems("seeds = [1]\nexperiment = \"mian\""), [missing]);
        assert_eq!(problems("seeds = [1]").len(), 1);
    }

    #[test]
    fn a_file_that_does_not_parse_is_named_with_its_line() {
        let problems = found(&[("configs/rl/vtrace.toml", "a = 1\nb = \n")]);
        assert_eq!(problems.len(), 1);
        assert!(
            problems[0].starts_with("configs/rl/vtrace.toml:2: does not parse"),
            "{problems:?}"
        );
    }

    #[test]
    fn an_experiment_without_a_part_and_a_file_nobody_reads_are_named() {
        assert_eq!(found(&[("configs/experiments/main.toml", "")]).len(), 3);
        assert_eq!(found(&[("configs/notes.md", "")]).len(), 1);
        assert_eq!(found(&[("configs/env/old/recall.toml", "")]).len(), 1);
    }
}
