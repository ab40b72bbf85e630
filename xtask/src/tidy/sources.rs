//! The Rust sources: the opening of files and doc comments, the length of files, and the words we
//! do not use.

use crate::tidy::problem::Problem;
use crate::tidy::text::{code_only, words};
use crate::tidy::tree::Tree;

/// More lines than this are too many for one sitting.
const LONG_FILE: usize = 500;

/// Words that a doc comment does not open with: it opens with the noun or verb that it is about.
const QUESTIONS: [&str; 8] = ["What", "Who", "Whom", "Whose", "How", "Where", "Whether", "Which"];

/// Checks every Rust source, and the words of the wire.
pub(crate) fn check(tree: &Tree) -> Vec<Problem> {
    let rust = tree.ending(".rs").flat_map(|(path, text)| check_source(path, text));
    let proto = tree.ending(".proto").flat_map(|(path, text)| check_words(path, &code_only(text)));
    rust.chain(proto).collect()
}

fn check_source(path: &str, text: &str) -> Vec<Problem> {
    let mut problems = Vec::new();
    let first = text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
    if !first.starts_with("//!") {
        let message = "a file begins with a `//!` header: what it holds, and why";
        problems.push(Problem::error(path, 1, message));
    }
    let lines = text.lines().count();
    if lines > LONG_FILE {
        let message = format!("{lines} lines: a file over {LONG_FILE} wants to be two");
        problems.push(Problem::warning(path, lines, message));
    }
    problems.extend(check_openings(path, text));
    problems.extend(check_words(path, &code_only(text)));
    problems
}

/// First lines of doc comments. Within one, a sentence may begin as it likes.
fn check_openings(path: &str, text: &str) -> Vec<Problem> {
    let doc = |line: &str| ["//!", "///"].into_iter().find(|kind| line.starts_with(kind));
    let (mut problems, mut before) = (Vec::new(), None);
    for (index, line) in text.lines().map(str::trim_start).enumerate() {
        let kind = doc(line);
        let opening = kind.filter(|_| kind != before).map(|kind| &line[kind.len()..]);
        if let Some(word) = opening.and_then(|text| words(text).next())
            && QUESTIONS.contains(&word)
        {
            let message = format!("a doc comment opens with a noun or a verb, not with `{word}`");
            problems.push(Problem::error(path, index + 1, message));
        }
        before = kind;
    }
    problems
}

/// An episode ends `Terminated` or `Truncated`, or a frame is `Last`; one word for all three has
/// cost others their bootstrap.
fn check_words(path: &str, code: &str) -> Vec<Problem> {
    let says = |line: &str| words(line).any(|word| ["done", "dones", "is_done"].contains(&word));
    let lines = code.lines().enumerate().filter(|(_, line)| says(line));
    let message = "`done` is not used: say Terminated, Truncated, Last or finished";
    lines.map(|(index, _)| Problem::error(path, index + 1, message)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, text: &str) -> Vec<String> {
        check(&Tree::of(&[(path, text)])).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_file_without_a_header_is_named() {
        assert!(found("mdp/src/a.rs", "\n//! Words.\nfn f() {}\n").is_empty());
        assert!(
            found("mdp/src/a.rs", "use std::fs;\n")[0].starts_with("mdp/src/a.rs:1: a file begins")
        );
        assert_eq!(found("mdp/src/a.rs", "").len(), 1);
    }

    #[test]
    fn a_doc_comment_opens_with_a_noun_or_a_verb() {
        let text = "//! Words.\n\n/// What is kept.\nstruct A;\n\n/// Kept.\n/// How?\nstruct B;\n";
        let problems = found("mdp/src/a.rs", text);
        assert_eq!(problems.len(), 1);
        assert!(problems[0].starts_with("mdp/src/a.rs:3: a doc comment opens with"));
        assert!(found("mdp/src/a.rs", "//! Whatever.\n// How it works.\n").is_empty());
    }

    #[test]
    fn a_long_file_is_a_warning() {
        let text = "//! Words.\n".repeat(LONG_FILE + 1);
        assert!(found("mdp/src/a.rs", &text)[0].contains("warning: 501 lines"));
        assert!(found("mdp/src/a.rs", &"//! Words.\n".repeat(LONG_FILE)).is_empty());
    }

    #[test]
    fn the_word_for_all_ends_is_refused_as_an_identifier_only() {
        let text =
            "//! We are done.\nlet x = frame.done;\nlet y = \"done\"; // done\nlet done_tx = 1;\n";
        assert_eq!(found("mdp/src/a.rs", text).len(), 1);
        assert!(found("mdp/src/a.rs", text)[0].starts_with("mdp/src/a.rs:2: `done`"));
        assert_eq!(found("proto/a.proto", "// done\nbool done = 1;\n").len(), 1);
    }
}
