//! Checks beyond those of the compiler, made by reading the files.
//!
//! | file | keeps |
//! |---|---|
//! | [`layers`] | imports go down only; the actor links no libtorch |
//! | [`imports`] | inside a crate: no circles between files, one direction between folders |
//! | [`sources`] | headers, sizes, the words we do not use, metrics in their place |
//! | [`protos`] | every item of the wire is explained |
//! | [`configs`] | every file in `configs/` parses, every experiment names parts that exist |
//! | [`pages`] | links and named files exist; the metric reference is complete |
//!
//! Each check is a function from a [`Tree`] in memory to [`Problem`]s. What review finds twice
//! becomes a check here.

mod problem;

mod tree;

mod text;

mod layers;

mod modules;

mod imports;

mod sources;

mod protos;

mod configs;

mod pages;

use std::env;
use std::process::{Command, ExitCode};

use anyhow::Result;

use crate::host::Host;
use crate::tidy::problem::{Problem, Weight};
use crate::tidy::tree::Tree;

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

/// Prints how many imports there are inside each crate.
pub(crate) fn print_imports(host: &Host) -> Result<ExitCode> {
    println!("{}", imports::summary(&Tree::read(&host.root)?));
    Ok(ExitCode::SUCCESS)
}

/// Every check that reads files alone.
fn check(tree: &Tree) -> Vec<Problem> {
    [layers::check, imports::check, sources::check, protos::check, configs::check, pages::check]
        .into_iter()
        .flat_map(|check| check(tree))
        .collect()
}

/// Packages that the actor is built from, one per line.
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
    fn an_empty_checkout_has_no_problems() {
        assert_eq!(check(&Tree::of(&[])), []);
    }
}
