//! Imports inside a crate: no circles between files, and one direction between folders.
//!
//! [`modules`](super::modules) says what an import is. A *unit* is a folder or a file
//! at the top of `src`; [`ORDER`] lists each crate's units from top to bottom, and a unit imports
//! only from those below it. The crate's root file is above all of them. Crates of single files
//! need no order: without circles, they have one.
//!
//! `cargo xtask tidy --imports` prints the numbers.

use std::collections::{BTreeMap, BTreeSet};

use crate::tidy::modules::Graph;
use crate::tidy::problem::Problem;
use crate::tidy::tree::Tree;

/// Units of each crate that has folders, from top to bottom.
const ORDER: [(&str, &str); 7] = [
    (
        "service",
        "args config heartbeat health metrics_page net metrics logs progress format process threads \
         shutdown allocator failure",
    ),
    (
        "analysis",
        "figures intervals table comparison group grouping runs curves chart final_evaluation \
         question statistics epochs",
    ),
    (
        "envs",
        "vector config gym environments gridworld rooms locomotion observe tasks libenv parse environment canvas \
         chance error",
    ),
    (
        "policy",
        "parity batch device policy encoder torso observation_stack embedders inputs parts slots unroll_context \
         carry weights acting exploration heads config memory distribution mlp normalize parameters \
         initialization random range state error resets bf16",
    ),
    (
        "engram",
        "check bench reproduce sweep diagnose watch render doctor certs train plot eval in_process \
         experiment equal_parameters compute",
    ),
    (
        "learner",
        "main parity run storage batches rpc algorithms replay losses telemetry config durable",
    ),
    ("xtask", "steps tidy deny docker gymnasium procgen pip packages pack setup host release"),
];

/// Imports that are allowed although they go up or close a circle: from, to, and why. A name that
/// ends with a slash stands for all files below.
const EXCEPTIONS: [(&str, &str, &str); 1] = [(
    "policy/src/memory/",
    "policy/src/memory.rs",
    "a layer's examples, and the layers of a stack, are configurations of any layer",
)];

/// Rules for the crates of one tree.
struct Rules<'a> {
    order: &'a [(&'a str, &'a str)],
    exceptions: &'a [(&'a str, &'a str, &'a str)],
}

/// Checks the imports inside every crate.
pub(crate) fn check(tree: &Tree) -> Vec<Problem> {
    check_by(tree, &Rules { order: &ORDER, exceptions: &EXCEPTIONS })
}

fn check_by(tree: &Tree, rules: &Rules<'_>) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut needed: BTreeSet<&(&str, &str, &str)> = BTreeSet::new();
    for folder in crates(tree) {
        let mut graph = Graph::of(tree, &folder);
        let at = |file: &str| format!("{folder}/src/{file}");
        graph.edges.retain(|(from, to), _| {
            let (from, to) = (at(from), at(to));
            let excepted = rules.exceptions.iter().find(|(a, b, _)| {
                *b == to && (*a == from || (a.ends_with('/') && from.starts_with(a)))
            });
            needed.extend(excepted);
            excepted.is_none()
        });
        for circle in circles(&graph) {
            let message = format!("these files import one another: {}", describe(&circle, &graph));
            problems.push(Problem::error(&at(circle[0]), 1, message));
        }
        let order = rules.order.iter().find(|(name, _)| *name == folder);
        problems
            .extend(order.into_iter().flat_map(|(_, order)| check_order(&folder, &graph, order)));
    }
    let known = crates(tree);
    let is_known = |path: &str| known.iter().any(|name| path.split('/').next() == Some(name));
    let stale = rules.exceptions.iter().filter(|exception| !needed.contains(exception));
    let stale = stale.filter(|(from, ..)| is_known(from));
    problems.extend(stale.map(|(from, to, _)| {
        let message = format!("does not import {to} any more: remove the exception in tidy");
        Problem::error(from, 1, message)
    }));
    problems
}

/// Units are all in the table, and import from those below them.
fn check_order(folder: &str, graph: &Graph, order: &str) -> Vec<Problem> {
    let at = |file: &str| format!("{folder}/src/{file}");
    let mut problems = Vec::new();
    let place = |unit: &str| match unit {
        "" => Some(0),
        unit => order.split(' ').position(|known| known == unit).map(|place| place + 1),
    };
    for unit in units(graph).into_iter().filter(|unit| place(unit).is_none()) {
        let message =
            format!("`{unit}` has no place in the order of folders in xtask/src/tidy/imports.rs");
        problems.push(Problem::error(&at(""), 1, message));
    }
    for ((from, to), names) in &graph.edges {
        let (Some(above), Some(below)) = (place(unit(from)), place(unit(to))) else { continue };
        if above > below {
            let names = list(names);
            let message = format!("imports {names} from {to}, which is above it: imports go down");
            problems.push(Problem::error(&at(from), 1, message));
        }
    }
    problems
}

/// Numbers of every crate; of those in order, each unit's imports; and the circles.
pub(crate) fn summary(tree: &Tree) -> String {
    let mut text = format!(
        "{:<18}{:>6}{:>7}{:>15}{:>15}{:>9}\n",
        "crate", "files", "units", "file imports", "unit imports", "circles"
    );
    let (mut folders, mut found) = (String::new(), String::new());
    for folder in crates(tree) {
        let graph = Graph::of(tree, &folder);
        let (circles, between) = (circles(&graph), between(&graph));
        text.push_str(&format!(
            "{folder:<18}{:>6}{:>7}{:>15}{:>15}{:>9}\n",
            graph.files.len(),
            units(&graph).len(),
            graph.edges.len(),
            between.len(),
            circles.len()
        ));
        for circle in circles {
            found.push_str(&format!("\n{folder}: {}", describe(&circle, &graph)));
        }
        let order = ORDER.iter().find(|(name, _)| *name == folder);
        for name in order.into_iter().flat_map(|(_, order)| order.split(' ')) {
            let files = graph.files.iter().filter(|file| unit(file) == name).count();
            let from_here = between.iter().filter(|((from, _), _)| *from == name);
            let imports = from_here.map(|((_, to), count)| format!("{to} {count}"));
            let imports = imports.collect::<Vec<_>>().join(", ");
            folders.push_str(&format!("\n{folder}/{name}: {files} files; imports {imports}"));
        }
    }
    text + &folders + &found
}

/// Counts the imports between any two units.
fn between(graph: &Graph) -> BTreeMap<(&str, &str), usize> {
    let mut between = BTreeMap::new();
    let units = graph.edges.keys().map(|(from, to)| (unit(from), unit(to)));
    for pair in units.filter(|(from, to)| from != to) {
        *between.entry(pair).or_default() += 1;
    }
    between
}

/// Imports between the files of a circle.
fn describe(circle: &[&str], graph: &Graph) -> String {
    let is_inside = |file: &String| circle.contains(&file.as_str());
    let inside = graph.edges.iter().filter(|((from, to), _)| is_inside(from) && is_inside(to));
    let imports = inside.map(|((from, to), names)| format!("{from} > {to} ({})", list(names)));
    imports.collect::<Vec<_>>().join(", ")
}

/// Circles of a graph: its strongly connected components of more than one file.
fn circles(graph: &Graph) -> Vec<Vec<&str>> {
    let reach: BTreeMap<&str, BTreeSet<&str>> =
        graph.files.iter().map(|file| (file.as_str(), reached(file, graph))).collect();
    let mutual = |file: &&str| -> Vec<&str> {
        reach[file].iter().filter(|other| reach[**other].contains(file)).copied().collect()
    };
    let mut circles: Vec<Vec<&str>> = reach.keys().map(mutual).collect();
    circles.retain(|circle| !circle.is_empty());
    circles.sort();
    circles.dedup();
    circles
}

/// Files that one reaches by its imports.
fn reached<'a>(from: &'a str, graph: &'a Graph) -> BTreeSet<&'a str> {
    let (mut seen, mut open) = (BTreeSet::new(), vec![from]);
    while let Some(file) = open.pop() {
        let next = graph.edges.keys().filter(|(from, _)| from == file);
        open.extend(next.map(|(_, to)| to.as_str()).filter(|to| seen.insert(*to)));
    }
    seen
}

/// Folder or file at the top of `src`; the root file has the empty name.
fn unit(file: &str) -> &str {
    let top = file.split('/').next().unwrap_or(file).trim_end_matches(".rs");
    if ["lib", "main"].contains(&top) { "" } else { top }
}

fn units(graph: &Graph) -> BTreeSet<&str> {
    graph.files.iter().map(|file| unit(file)).filter(|unit| !unit.is_empty()).collect()
}

/// Folders of crates.
fn crates(tree: &Tree) -> Vec<String> {
    let manifests =
        tree.ending("/Cargo.toml").filter_map(|(path, _)| path.strip_suffix("/Cargo.toml"));
    manifests.map(String::from).collect()
}

fn list(names: &BTreeSet<String>) -> String {
    names.iter().map(String::as_str).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const CIRCLE: [(&str, &str); 5] = [
        ("c/Cargo.toml", ""),
        ("c/src/lib.rs", "mod a; mod b;"),
        ("c/src/a.rs", "mod d; use crate::b::B; pub struct A;"),
        ("c/src/a/d.rs", "use super::A; pub struct D;"),
        ("c/src/b.rs", "use crate::a::d::D; pub struct B;"),
    ];

    fn found(files: &[(&str, &str)], rules: &Rules<'_>) -> Vec<String> {
        check_by(&Tree::of(files), rules).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_circle_is_named_with_its_imports() {
        let rules = Rules { order: &[], exceptions: &[] };
        assert_eq!(
            found(&CIRCLE, &rules),
            ["c/src/a.rs:1: these files import one another: \
              a.rs > b.rs (B), a/d.rs > a.rs (A), b.rs > a/d.rs (D)"]
        );
        assert!(found(&CIRCLE[..4], &rules).is_empty());
        assert!(summary(&Tree::of(&CIRCLE)).contains("\nc: a.rs > b.rs (B), "));
    }

    #[test]
    fn an_exception_is_needed_or_removed() {
        let exception = [("c/src/b.rs", "c/src/a/d.rs", "a reason")];
        let rules = Rules { order: &[], exceptions: &exception };
        assert!(found(&CIRCLE, &rules).is_empty());
        assert_eq!(
            found(&CIRCLE[..4], &rules),
            ["c/src/b.rs:1: does not import c/src/a/d.rs any more: remove the exception in tidy"]
        );
    }

    #[test]
    fn folders_import_from_those_below_them() {
        let order = |order| {
            let orders = [("c", order)];
            found(&CIRCLE[..4], &Rules { order: &orders, exceptions: &[] })
        };
        let files = [CIRCLE[0], CIRCLE[1], CIRCLE[2], CIRCLE[3], ("c/src/b.rs", "pub struct B;")];
        let orders = [("c", "a b")];
        assert!(found(&files, &Rules { order: &orders, exceptions: &[] }).is_empty());
        let orders = [("c", "b a")];
        assert_eq!(
            found(&files, &Rules { order: &orders, exceptions: &[] }),
            ["c/src/a.rs:1: imports B from b.rs, which is above it: imports go down"]
        );
        assert!(order("b")[0].contains("`a` has no place in the order"));
        let root =
            [CIRCLE[0], ("c/src/lib.rs", "mod a; pub struct R;"), ("c/src/a.rs", "use crate::R;")];
        let orders = [("c", "a")];
        assert!(
            found(&root, &Rules { order: &orders, exceptions: &[] })[0]
                .contains("imports R from lib.rs")
        );
    }
}
