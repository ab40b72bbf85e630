//! Ranges of settings, for the `validate` of every part of a configuration.

use crate::error::PolicyError;

/// The widest layer that a configuration may ask for.
pub const MAX_WIDTH: i64 = 65_536;

/// The longest context and the most positions that a configuration may ask for.
pub(crate) const MAX_CONTEXT: i64 = 65_536;

/// Checks that `found` is between 1 and `largest`.
pub(crate) fn in_range(key: &'static str, found: i64, largest: i64) -> Result<(), PolicyError> {
    if (1..=largest).contains(&found) {
        return Ok(());
    }
    let (found, expected) = (found.to_string(), format!("between 1 and {largest}"));
    Err(PolicyError::Config { key, found, expected })
}

/// Checks that `found` is between the two ends of `range`.
pub(crate) fn number_in_range(
    key: &'static str,
    found: f64,
    range: [f64; 2],
) -> Result<(), PolicyError> {
    let [least, most] = range;
    if (least..=most).contains(&found) {
        return Ok(());
    }
    let (found, expected) = (found.to_string(), format!("between {least} and {most}"));
    Err(PolicyError::Config { key, found, expected })
}

/// Checks what a forget gate's bias starts with.
pub(crate) fn forget_bias_in_range(found: f64) -> Result<(), PolicyError> {
    number_in_range("memory.forget_bias", found, [-100.0, 100.0])
}
