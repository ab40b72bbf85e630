//! What the compiler cannot check, checked by reading the files.
//!
//! | file | keeps |
//! |---|---|
//! | [`layers`] | imports go down only; the actor links no libtorch |
//! | [`sources`] | headers, sizes, the words we do not use, metrics in their place |
//! | [`protos`] | every item of the wire is explained |
//! | [`configs`] | every file in `configs/` parses, every experiment names parts that exist |
//! | [`pages`] | links and named files exist; the metric reference is complete |
//!
//! Each check is a function from a [`Tree`] in memory to [`Problem`]s. What review finds twice
//! becomes a check here.

mod tree;

mod text;

mod layers;

mod sources;

mod protos;

mod configs;

mod pages;

use std::env;
use std::process::{Command, ExitCode};

use anyhow::Result;

use crate::host::Host;
use crate::tidy::tree::Tree;

/// Something to mend, and where.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Problem {
    path: String,
    line: usize,
    message: String,
    weight: Weight,
}

/// Whether a problem fails the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Weight {
    Error,
    Warning,
}

impl Problem {
    fn error(path: &str, line: usize, message: impl Into<String>) -> Problem {
        Problem { path: path.into(), line, message: message.into(), weight: Weight::Error }
    }

    fn warning(path: &str, line: usize, message: impl Into<String>) -> Problem {
        Problem { weight: Weight::Warning, ..Problem::error(path, line, message) }
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let weight = match self.weight {
            Weight::Error => "",
            Weight::Warning => "warning: ",
        };
        write!(formatter, "{}:{}: {weight}{}", self.path, self.line, self.message)
    }
}

/// Runs every check over the checkout and prints what it finds.
pub(crate) fn run(host: &Host) -> Result<ExitCode> {
    let tree = Tree::read(&host.root)?;
    let mut problems = check(&tree);
    problems.extend(layers::dependencies(&actor_dependencies(host)?));
    problems.sort();
    for problem in &problems {
        println!("{problem}");
    }
    let errors = problems.iter().filter(|problem| problem.weight == Weight::Error).count();
    let warnings = problems.len() - errors;
    eprintln!("tidy: {} files, {errors} problems, {warnings} warnings", tree.files().len());
    Ok(if errors == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Every check that reads files alone.
fn check(tree: &Tree) -> Vec<Problem> {
    [layers::check, sources::check, protos::check, configs::check, pages::check]
        .into_iter()
        .flat_map(|check| check(tree))
        .collect()
}

/// What the actor is built from, one package per line.
fn actor_dependencies(host: &Host) -> Result<Result<String, String>> {
    let output = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .current_dir(&host.root)
        .args(["tree", "--package", "engram-actor", "--edges", "normal,build", "--prefix", "none"])
        .env("CARGO_TERM_COLOR", "never")
        .output()?;
    Ok(match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        false => Err(String::from_utf8_lossy(&output.stderr).trim().to_string()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_reads_as_file_line_message() {
        assert_eq!(Problem::error("a.rs", 3, "bad").to_string(), "a.rs:3: bad");
        assert_eq!(Problem::warning("a.rs", 3, "long").to_string(), "a.rs:3: warning: long");
    }

    #[test]
    fn an_empty_checkout_has_no_problems() {
        assert_eq!(check(&Tree::of(&[])), []);
    }
}
