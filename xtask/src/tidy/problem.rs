//! Problems that checks find.

use std::fmt;

/// Problem of a file: something to mend, and where.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Problem {
    pub(super) path: String,
    pub(super) line: usize,
    pub(super) message: String,
    pub(super) weight: Weight,
}

/// Weight of a problem: an error fails the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Weight {
    Error,
    Warning,
}

impl Problem {
    pub(super) fn error(path: &str, line: usize, message: impl Into<String>) -> Problem {
        Problem { path: path.into(), line, message: message.into(), weight: Weight::Error }
    }

    pub(super) fn warning(path: &str, line: usize, message: impl Into<String>) -> Problem {
        Problem { weight: Weight::Warning, ..Problem::error(path, line, message) }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let weight = match self.weight {
            Weight::Error => "",
            Weight::Warning => "warning: ",
        };
        write!(formatter, "{}:{}: {weight}{}", self.path, self.line, self.message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_reads_as_file_line_message() {
        assert_eq!(Problem::error("a.rs", 3, "bad").to_string(), "a.rs:3: bad");
        assert_eq!(Problem::warning("a.rs", 3, "long").to_string(), "a.rs:3: warning: long");
    }
}
