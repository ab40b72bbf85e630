//! Checks beyond those of the compiler, made by reading the files.
//!
//! | file | keeps |
//! |---|---|
//! | [`layers`] | imports between crates go down only |
//! | [`imports`] | inside a crate: no circles between files, one direction between folders |
//! | [`sources`] | headers, sizes, the words we do not use |
//! | [`pages`] | links and named files exist; the metric reference is complete |
//!
//! Clippy, rustc and tests keep the rest: macros, doc comments, configurations. Each check is a function from a [`Tree`] in memory to [`Problem`]s. What review finds twice
//! becomes a check here.

mod problem;

mod tree;

mod text;

mod layers;

mod modules;

mod imports;

mod sources;

mod pages;

use std::process::ExitCode;

use anyhow::Result;

use crate::host::Host;
use crate::tidy::problem::{Problem, Weight};
use crate::tidy::tree::Tree;

/// Runs every check over the checkout and prints what it finds.
pub(crate) fn run(host: &Host) -> Result<ExitCode> {
    let tree = Tree::read(&host.root)?;
    let mut problems = check(&tree);
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
    [layers::check, imports::check, sources::check, pages::check]
        .into_iter()
        .flat_map(|check| check(tree))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_checkout_has_no_problems() {
        assert_eq!(check(&Tree::of(&[])), []);
    }
}
