//! The book in `docs/`: commands that are marked as runnable do run, and every key of a
//! configuration is explained.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use toml::{Table, Value};

/// Opens a block of commands that a test runs.
const RUNNABLE: &str = "```sh runnable";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().expect("the checkout")
}

fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Files below `folder` whose name ends like this.
fn files(folder: &Path, end: &str) -> Vec<PathBuf> {
    let entries =
        fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("a file").path());
    let mut found: Vec<PathBuf> = entries
        .flat_map(|path| if path.is_dir() { files(&path, end) } else { vec![path] })
        .filter(|path| path.to_string_lossy().ends_with(end))
        .collect();
    found.sort();
    found
}

/// Blocks of commands of a page, in order.
fn runnable(page: &str) -> Vec<String> {
    let blocks = page.split(RUNNABLE).skip(1);
    blocks.map(|rest| rest.split("\n```").next().unwrap_or_default().into()).collect()
}

#[test]
fn commands_that_are_marked_as_runnable_run() {
    let program = Path::new(env!("CARGO_BIN_EXE_engram")).parent().expect("a folder");
    let path = std::env::var("PATH").expect("a PATH");
    let path = format!("{}:{path}", program.display());
    let mut blocks = 0;
    for page in files(&root().join("docs"), ".md") {
        let place = tempfile::tempdir().expect("a folder");
        for folder in ["configs", "deploy"] {
            let (from, to) = (root().join(folder), place.path().join(folder));
            std::os::unix::fs::symlink(from, to).expect("a link");
        }
        for block in runnable(&fs::read_to_string(&page).expect("text")) {
            blocks += 1;
            let mut command = Command::new("sh");
            let output = command
                .args(["-euc", &block])
                .current_dir(place.path())
                .env("PATH", &path)
                .output()
                .expect("sh is installed");
            let said = String::from_utf8_lossy(&output.stdout);
            let complained = String::from_utf8_lossy(&output.stderr);
            let page = page.display();
            assert!(output.status.success(), "{page}:{block}\n{said}\n{complained}");
        }
    }
    assert!(blocks >= 5, "only {blocks} blocks are marked by {RUNNABLE}");
}

/// Keys of a table, and of those inside it, and the values of those that name a choice.
fn words(table: &Table, found: &mut BTreeSet<String>) {
    for (key, value) in table {
        found.insert(key.clone());
        let tables: Vec<&Table> = match value {
            Value::Table(table) => vec![table],
            Value::Array(values) => values.iter().filter_map(Value::as_table).collect(),
            Value::String(choice) if key == "name" || key == "algorithm" => {
                found.insert(choice.clone());
                Vec::new()
            }
            _ => Vec::new(),
        };
        tables.into_iter().for_each(|table| words(table, found));
    }
}

#[test]
fn every_key_and_name_of_a_part_is_explained() {
    for part in ["env", "rl", "seq"] {
        let page = read(format!("docs/guide/configuration-{part}.md"));
        let mut found = BTreeSet::new();
        for file in files(&root().join("configs").join(part), ".toml") {
            words(&fs::read_to_string(file).expect("text").parse().expect("TOML"), &mut found);
        }
        let explains = |word: &String| {
            let forms = [format!("`{word}`"), format!("\"{word}\""), format!("[{part}.{word}]")];
            forms.iter().any(|form| page.contains(form))
        };
        let missing: Vec<_> = found.iter().filter(|word| !explains(word)).collect();
        assert!(missing.is_empty(), "docs/guide/configuration-{part}.md lacks {missing:?}");
    }
}
