//! Errors of an `[env]` section.

use std::fmt::Display;
use std::ops::RangeInclusive;

use thiserror::Error;

/// Error in an `[env]` section; the message says what would be right.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum EnvError {
    /// No environment is named.
    #[error("[env] names no environment; set `name` to one of: {}", known.join(", "))]
    Nameless {
        /// The environments there are.
        known: Vec<&'static str>,
    },
    /// No environment has this name.
    #[error("unknown environment `{found}`{}", suggestion(found, known))]
    UnknownName {
        /// The name as given.
        found: String,
        /// The environments there are.
        known: Vec<&'static str>,
    },
    /// The environment has no such parameter.
    #[error("environment `{environment}` has no key `{found}`{}", suggestion(found, known))]
    UnknownKey {
        /// The environment.
        environment: String,
        /// The key as given.
        found: String,
        /// The keys it has.
        known: Vec<String>,
    },
    /// A parameter is missing: an experiment has no hidden defaults.
    #[error("environment `{environment}` needs the key `{key}`")]
    MissingKey {
        /// The environment.
        environment: String,
        /// The key.
        key: String,
    },
    /// A parameter's value has the wrong type, or is no known choice.
    #[error("`{key}` of environment `{environment}`: {reason}")]
    Value {
        /// The environment.
        environment: String,
        /// The key.
        key: String,
        /// The value found, and the type expected.
        reason: String,
    },
    /// A Python process that serves the environment cannot be used.
    #[error("environment `{environment}`: {reason}")]
    Server {
        /// The environment's id.
        environment: String,
        /// The fault, and what would mend it.
        reason: String,
    },
    /// A library or an emulator, by which the environment is played, is not there or cannot be used.
    #[error("environment `{environment}`: {reason}")]
    Unavailable {
        /// The environment.
        environment: String,
        /// The fault, and what would mend it.
        reason: String,
    },
    /// A parameter's value is out of range.
    #[error("`{}` of environment `{environment}` {}", error.key, error.fault())]
    Range {
        /// The environment.
        environment: String,
        /// The parameter.
        error: ParameterError,
    },
}

/// Parameter out of its range.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("`{key}` {}", self.fault())]
pub struct ParameterError {
    key: &'static str,
    found: String,
    range: String,
}

impl ParameterError {
    /// The parameter's key, its value, and what it must be.
    pub(crate) fn new(key: &'static str, found: impl Display, range: impl Into<String>) -> Self {
        ParameterError { key, found: found.to_string(), range: range.into() }
    }

    fn fault(&self) -> String {
        format!("is {}; it must be {}", self.found, self.range)
    }
}

/// Checks that a parameter lies in a range.
pub(crate) fn within<T: PartialOrd + Display>(
    key: &'static str,
    value: T,
    range: RangeInclusive<T>,
) -> Result<(), ParameterError> {
    if range.contains(&value) {
        return Ok(());
    }
    let range = format!("{} to {}", range.start(), range.end());
    Err(ParameterError { key, found: value.to_string(), range })
}

/// The known name that `found` probably stands for.
fn nearest<'a>(found: &str, known: &[&'a str]) -> Option<&'a str> {
    let distance = |name: &str| strsim::damerau_levenshtein(found, name);
    let name = known.iter().copied().min_by_key(|name| distance(name))?;
    (distance(name) <= 1 + name.len() / 3).then_some(name)
}

/// The end of a message about an unknown name: the nearest known one, and all of them.
pub(crate) fn suggestion(found: &str, known: &[impl AsRef<str>]) -> String {
    let known: Vec<&str> = known.iter().map(AsRef::as_ref).collect();
    let known_names = known.join(", ");
    match nearest(found, &known) {
        Some(name) => format!("; did you mean `{name}`? Known: {known_names}"),
        None => format!("; known: {known_names}"),
    }
}
