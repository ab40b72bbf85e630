//! Errors of configurations. Each message says what was found and what would be right.

use std::path::PathBuf;

use thiserror::Error;

/// Reason why a configuration cannot be used.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// No experiment or part of that name.
    #[error(
        "no {what} is called `{name}` in {}{}",
        .directory.display(), guess(.nearest, .known)
    )]
    UnknownName {
        /// `experiment`, or the kind of part.
        what: &'static str,
        /// The name asked for.
        name: String,
        /// Directory in which it was sought.
        directory: PathBuf,
        /// The known name most like it.
        nearest: Option<String>,
        /// All known names.
        known: Vec<String>,
    },
    /// A key that nothing reads.
    #[error("unknown key `{key}` in {place}{}", guess(.nearest, .known))]
    UnknownKey {
        /// The key, as `section.key` where it has a section.
        key: String,
        /// The file, section or flag that it stands in.
        place: String,
        /// The known key most like it.
        nearest: Option<String>,
        /// All keys known in its place.
        known: Vec<String>,
    },
    /// A value of the wrong type, or none of the names allowed.
    #[error("`{key}` is {value}; expected {expected}")]
    BadValue {
        /// The key, as `section.key`.
        key: String,
        /// The value found.
        value: String,
        /// Value that would be right.
        expected: String,
    },
    /// A number outside of its range.
    #[error("`{key}` is {value}; it must be {range}: {why}")]
    Range {
        /// The key, as `section.key`.
        key: String,
        /// The value found.
        value: String,
        /// The values allowed.
        range: String,
        /// Meaning of the key.
        why: &'static str,
    },
    /// A key that must be there.
    #[error("`{key}` is missing in {place}: nothing has a default, so set it there")]
    MissingKey {
        /// The key, as `section.key` where it has a section.
        key: String,
        /// The file or section that lacks it.
        place: String,
    },
    /// Anything else that a section's reader says.
    #[error("[{section}] is wrong: {message}")]
    Section {
        /// The section.
        section: String,
        /// Message of its reader.
        message: String,
    },
    /// Not TOML.
    #[error("{}:{line}:{column}: {message}", .file.display())]
    Syntax {
        /// The file.
        file: PathBuf,
        /// Counted from one.
        line: usize,
        /// Counted from one.
        column: usize,
        /// Expectation of the parser.
        message: String,
    },
    /// A `--set` without an equals sign.
    #[error("`--set {text}` sets nothing; write section.key=value, as in rl.learning_rate=3e-4")]
    NoValue {
        /// The flag's value, as written.
        text: String,
    },
    /// A file that cannot be read.
    #[error("cannot read {}: {source}", .file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A directory that cannot be listed.
    #[error(
        "cannot list {}: {source}; start from the repository's root, or name the directory of \
         configurations by --configs or ENGRAM_CONFIGS",
        .directory.display()
    )]
    Directory {
        /// The directory.
        directory: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// Known names, the nearest of them first.
fn guess(nearest: &Option<String>, known: &[String]) -> String {
    let all = if known.is_empty() { "none".into() } else { known.join(", ") };
    match nearest {
        Some(name) => format!("; did you mean `{name}`? Known: {all}"),
        None => format!("; known: {all}"),
    }
}
