//! The pages: links lead to files and headings that exist, files that are named exist, and every
//! metric is in the reference.
//!
//! Pages of the book in `docs/` link to files outside of it by their address on the code host,
//! [`BLOB`] or [`FOLDER`]; those are checked against this checkout too. The book holds every page in
//! `docs/`.

use std::collections::BTreeSet;

use crate::tidy::problem::Problem;
use crate::tidy::tree::Tree;

const ARCHITECTURE: &str = "ARCHITECTURE.md";

/// Addresses of files and folders of the project on its code host.
const BLOB: &str = "https://github.com/engram-rl/engram/blob/main/";
const FOLDER: &str = "https://github.com/engram-rl/engram/tree/main/";

/// Folder of the book, and its list of pages.
const BOOK: &str = "docs/";
const SUMMARY: &str = "docs/SUMMARY.md";

/// Every metric of ours begins like this.
const PREFIX: &str = "\"engram_";

/// Checks every Markdown file and every `metrics.rs`.
pub(crate) fn check(tree: &Tree) -> Vec<Problem> {
    let pages = tree.ending(".md").flat_map(|(path, text)| {
        [check_links(tree, path, text), check_names(tree, path, text)].concat()
    });
    pages.chain(check_book(tree)).chain(check_metrics(tree)).collect()
}

fn check_book(tree: &Tree) -> Vec<Problem> {
    let summary = tree.files().get(SUMMARY).map_or("", String::as_str);
    let pages = tree.ending(".md").filter_map(|(path, _)| path.strip_prefix(BOOK));
    let pages = pages.filter(|page| *page != "SUMMARY.md");
    let missing = pages.filter(|page| !summary.contains(&format!("]({page})")));
    missing.map(|page| Problem::error(SUMMARY, 1, format!("{page} is not in the book"))).collect()
}

fn check_links(tree: &Tree, page: &str, text: &str) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut fenced = false;
    for (index, line) in text.lines().enumerate() {
        fenced ^= line.trim_start().starts_with("```");
        if fenced {
            continue;
        }
        for target in targets(line) {
            if let Some(fault) = fault(tree, page, target) {
                let message = format!("the link to {target} leads {fault}");
                problems.push(Problem::error(page, index + 1, message));
            }
        }
    }
    problems
}

/// Missing target of a link of ours; `None` for a good one.
fn fault(tree: &Tree, page: &str, target: &str) -> Option<&'static str> {
    let ours = target.strip_prefix(BLOB).or_else(|| target.strip_prefix(FOLDER));
    if ours.is_none() && (target.contains("://") || target.starts_with("mailto:")) {
        return None;
    }
    let folder = match ours {
        Some(_) => "",
        None => page.rsplit_once('/').map_or("", |(folder, _)| folder),
    };
    let target = ours.unwrap_or(target);
    let (file, heading) = target.split_once('#').unwrap_or((target, ""));
    let path = match file {
        "" => Some(page.to_owned()),
        file => resolve(folder, file).filter(|path| tree.contains(path)),
    };
    let Some(path) = path else { return Some("nowhere") };
    if page.starts_with(BOOK) && ours.is_none() && !path.starts_with(BOOK) {
        return Some("out of the book");
    }
    let text = tree.files().get(&path).filter(|_| path.ends_with(".md"));
    let missing = text.is_some_and(|text| !heading.is_empty() && !headings(text).contains(heading));
    missing.then_some("to no heading")
}

/// The anchors of a page's headings, as code hosts and mdbook make them.
fn headings(text: &str) -> BTreeSet<String> {
    let mut anchors = BTreeSet::new();
    let mut fenced = false;
    for line in text.lines() {
        fenced ^= line.trim_start().starts_with("```");
        let title = line.trim_start_matches('#');
        if fenced || title == line || !title.starts_with(' ') {
            continue;
        }
        let kept = title.trim().chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
        let anchor: String = kept.map(|c| if c == ' ' { '-' } else { c }).collect();
        let anchor = anchor.to_lowercase();
        let again = (1..).map(|n| format!("{anchor}-{n}"));
        let mut names = std::iter::once(anchor.clone()).chain(again);
        anchors.extend(names.find(|name| !anchors.contains(name)));
    }
    anchors
}

/// A file named in backticks, from the root, is there: a map must not show what is gone.
fn check_names(tree: &Tree, page: &str, text: &str) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (index, line) in text.lines().enumerate() {
        for name in line.split('`').skip(1).step_by(2) {
            let top = name.split('/').next().unwrap_or_default();
            let is_path = name.contains('/') && name.chars().all(is_path_character);
            let name = name.trim_end_matches('/');
            if is_path && !top.is_empty() && tree.contains(top) && !tree.contains(name) {
                let message = format!("{name} does not exist");
                problems.push(Problem::error(page, index + 1, message));
            }
        }
    }
    problems
}

fn is_path_character(c: char) -> bool {
    c.is_ascii_alphanumeric() || "/._-".contains(c)
}

/// Targets of the links of a line: `[text](target)` and `[name]: target`, outside of code.
fn targets(line: &str) -> Vec<&str> {
    let mut found = Vec::new();
    for piece in line.split('`').step_by(2) {
        for (at, open) in piece.match_indices("](") {
            let rest = &piece[at + open.len()..];
            let target = rest.split([')', ' ']).next().unwrap_or_default();
            found.extend((!target.is_empty()).then_some(target.trim_matches(['<', '>'])));
        }
    }
    if line.starts_with('[')
        && !line.starts_with("[^")
        && let Some((_, target)) = line.split_once("]: ")
    {
        found.extend(target.split_whitespace().next());
    }
    found
}

/// A path relative to `folder`, from the root; `None` if it leaves the project.
fn resolve(folder: &str, target: &str) -> Option<String> {
    let mut parts: Vec<&str> = match target.starts_with('/') {
        true => Vec::new(),
        false => folder.split('/').filter(|part| !part.is_empty()).collect(),
    };
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

fn check_metrics(tree: &Tree) -> Vec<Problem> {
    let page = tree.files().get(ARCHITECTURE);
    let mut problems = Vec::new();
    for (path, text) in tree.ending("/metrics.rs") {
        for (index, line) in text.lines().enumerate() {
            for name in metrics(line) {
                if !page.is_some_and(|page| mentions(page, name)) {
                    let message =
                        format!("{name} is not in the metric reference of {ARCHITECTURE}");
                    problems.push(Problem::error(path, index + 1, message));
                }
            }
        }
    }
    problems
}

/// The metric names in a line: string literals that are nothing but a name with our prefix.
fn metrics(line: &str) -> impl Iterator<Item = &str> {
    line.match_indices(PREFIX).filter_map(|(at, _)| {
        let literal = line[at + 1..].split('"').next()?;
        let is_name = literal.len() >= PREFIX.len() && literal.chars().all(is_name_character);
        is_name.then_some(literal)
    })
}

/// True if the page has the name as a whole word.
fn mentions(page: &str, name: &str) -> bool {
    page.match_indices(name).any(|(at, _)| {
        let before = page[..at].chars().next_back();
        let after = page[at + name.len()..].chars().next();
        !before.is_some_and(is_name_character) && !after.is_some_and(is_name_character)
    })
}

fn is_name_character(c: char) -> bool {
    c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_'
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(files: &[(&str, &str)]) -> Vec<String> {
        check(&Tree::of(files)).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn links_that_lead_somewhere_pass() {
        let readme = "# Run\n[The map](ARCHITECTURE.md#flow), [here](#run), [![x](a.png)](https://x.y)\n\
            and `[not](a link)`.\n```\n[nor](this)\n```\n[style]: STYLE.md\n";
        let deploy = "Back to [the start](../README.md) or [a folder](../deploy).";
        let files = [
            ("README.md", readme),
            ("ARCHITECTURE.md", "# The flow\n## `[run]`: *keys*\n## Flow\n"),
            ("STYLE.md", ""),
            ("a.png", ""),
            ("deploy/README.md", deploy),
        ];
        assert_eq!(found(&files), Vec::<String>::new());
    }

    #[test]
    fn a_link_that_leads_nowhere_is_named_with_its_line() {
        let page =
            "Fine.\n\nSee [this](docs/gone.md) and [that](../../outside.md).\n[x]: gone.md\n";
        let problems = found(&[("deploy/README.md", page)]);
        assert_eq!(problems.len(), 3);
        assert_eq!(problems[0], "deploy/README.md:3: the link to docs/gone.md leads nowhere");
        assert!(problems[2].starts_with("deploy/README.md:4: "));
    }

    #[test]
    fn a_heading_that_is_not_there_is_named_and_the_code_host_s_addresses_are_checked() {
        let page = format!(
            "# One, `two`\n# One two\n[a](#one-two-1) [b](#three) [c]({BLOB}a.md#run-keys)\n\
             [d]({BLOB}a.md#run) [e]({FOLDER}docs) [f]({BLOB}gone.rs)\n"
        );
        let a = ("a.md", "## `[run]` keys\n```\n# no\n```");
        let problems = found(&[("docs/b.md", &page), a, (SUMMARY, "[b](b.md)")]);
        assert_eq!(problems.len(), 3, "{problems:?}");
        assert_eq!(problems[0], "docs/b.md:3: the link to #three leads to no heading");
        assert!(problems[1].contains("a.md#run leads to no heading"), "{problems:?}");
        assert!(problems[2].contains("gone.rs leads nowhere"), "{problems:?}");
    }

    #[test]
    fn the_book_holds_every_page_and_links_out_of_it_by_address_only() {
        let problems = found(&[("docs/b.md", "[a](../a.md)"), ("a.md", ""), (SUMMARY, "")]);
        assert_eq!(
            problems,
            [
                "docs/b.md:1: the link to ../a.md leads out of the book",
                "docs/SUMMARY.md:1: b.md is not in the book"
            ]
        );
    }

    #[test]
    fn a_file_that_the_map_shows_must_exist() {
        let map =
            "`mdp/src/frame.rs`, `mdp/`, `mdp/src/*.rs`, `runs/x`, `a/b` and `mdp/src/gone.rs`";
        let problems = found(&[(ARCHITECTURE, map), ("mdp/src/frame.rs", "")]);
        assert_eq!(problems, ["ARCHITECTURE.md:1: mdp/src/gone.rs does not exist"]);
    }

    #[test]
    fn a_metric_that_the_reference_lacks_is_named() {
        let metrics = "//! M.\nconst A: &str = \"engram_env_steps_total\";\n\
            counter!(\"engram_episodes_total\");\nlet label = \"not_a_metric\";\n";
        let page = "| `engram_env_steps_total` | env steps |\n| `engram_episodes_total_old` | |\n";
        let problems = found(&[("actor/src/metrics.rs", metrics), (ARCHITECTURE, page)]);
        assert_eq!(problems.len(), 1);
        assert!(problems[0].starts_with("actor/src/metrics.rs:3: engram_episodes_total is not"));
    }

    #[test]
    fn without_a_reference_every_metric_is_missing_from_it() {
        let metrics = "const A: &str = \"engram_env_steps_total\";";
        assert_eq!(found(&[("actor/src/metrics.rs", metrics)]).len(), 1);
    }
}
