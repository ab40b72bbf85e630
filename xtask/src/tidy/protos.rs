//! Every item of a `.proto` file has a comment right above it: messages, fields, enums and their
//! values, services and their calls.

use crate::tidy::problem::Problem;
use crate::tidy::text::words;
use crate::tidy::tree::Tree;

/// Statements that declare nothing.
const SETTINGS: [&str; 7] =
    ["syntax", "edition", "package", "import", "option", "reserved", "extensions"];

/// Checks every `.proto` file.
pub(crate) fn check(tree: &Tree) -> Vec<Problem> {
    tree.ending(".proto").flat_map(|(path, text)| check_file(path, text)).collect()
}

fn check_file(path: &str, text: &str) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut explained = false; // The line above ended in a comment.
    let mut inside = false; // The statement above is not finished.
    let mut comment = false; // A block comment is open.
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if comment || line.starts_with("/*") {
            comment = !line.contains("*/");
            explained = !comment;
            continue;
        }
        if line.starts_with("//") {
            explained = true;
            continue;
        }
        let code = line.split("//").next().unwrap_or_default().trim();
        for statement in statements(code) {
            if !inside && !explained && declares(statement) {
                let message = format!("`{}` has no comment above it", name(statement));
                problems.push(Problem::error(path, index + 1, message));
            }
            inside = !statement.ends_with([';', '{', '}']);
            explained = false;
        }
        explained = explained && !line.is_empty();
    }
    problems
}

/// The statements of a line, each with the `;`, `{` or `}` that ends it.
fn statements(line: &str) -> impl Iterator<Item = &str> {
    line.split_inclusive([';', '{', '}']).map(str::trim).filter(|statement| !statement.is_empty())
}

fn declares(statement: &str) -> bool {
    words(statement).next().is_some_and(|first| !SETTINGS.contains(&first))
}

/// Name that a statement declares: the word before its number, its body or its arguments.
fn name(statement: &str) -> &str {
    let head = statement.split(['=', '{', '(', ';']).next().unwrap_or(statement);
    words(head).last().unwrap_or(statement)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<String> {
        check(&Tree::of(&[("p.proto", text)])).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_file_that_explains_every_item_passes() {
        let text = "syntax = \"proto3\";\npackage engram.v1;\nimport \"a.proto\";\n\n\
            // The learner's ear.\nservice Experience {\n  // One actor's stream.\n  \
            rpc Push(stream Trajectory)\n      returns (stream Ack);\n}\n\n\
            /* How an episode ended:\n   exactly one. */\nenum Ending {\n  // Nothing said.\n  \
            ENDING_UNSPECIFIED = 0;\n}\n// Bytes.\nmessage T {\n  reserved 3;\n  // Which.\n  \
            oneof kind {\n    // Raw.\n    bytes raw = 1 [deprecated = true]; // Trailing.\n  }\n}\n";
        assert_eq!(found(text), Vec::<String>::new());
    }

    #[test]
    fn every_kind_of_item_is_missed_by_name() {
        let text = "service S {\n  rpc Act(A) returns (B);\n}\nmessage M {\n  \
            repeated float reward = 1;\n  map<string, int32> counts = 2;\n}\nenum E {\n  E_A = 0;\n}\n";
        let names: Vec<String> =
            found(text).iter().map(|line| line.split('`').nth(1).unwrap().to_string()).collect();
        assert_eq!(names, ["S", "Act", "M", "reward", "counts", "E", "E_A"]);
        assert!(found(text)[3].starts_with("p.proto:5: "));
    }

    #[test]
    fn a_comment_explains_the_next_line_only() {
        assert_eq!(
            found("// M.\nmessage M {\n  // A.\n  int32 a = 1;\n  int32 b = 2;\n}\n").len(),
            1
        );
        assert_eq!(found("// A section.\n\nmessage M {}\n").len(), 1);
        assert_eq!(found("message M {} // Trailing.\n").len(), 1);
    }
}
