//! Recorded episodes of other programs, for tests: `tests/goldens.toml`, made by
//! `tests/goldens.py`.

use toml::{Table, Value};

const TEXT: &str = include_str!("../tests/goldens.toml");

/// The recorded episodes of one environment.
pub(crate) fn episodes(environment: &str) -> Vec<Table> {
    let all: Table = TEXT.parse().unwrap();
    let episodes = all[environment].as_array().unwrap();
    assert!(!episodes.is_empty());
    episodes.iter().map(|episode| episode.as_table().unwrap().clone()).collect()
}

/// A list of numbers.
pub(crate) fn numbers(episode: &Table, key: &str) -> Vec<f64> {
    list(&episode[key])
}

/// A list of lists of numbers.
pub(crate) fn rows(episode: &Table, key: &str) -> Vec<Vec<f64>> {
    episode[key].as_array().unwrap().iter().map(list).collect()
}

/// Asserts that every number is near the recorded one.
pub(crate) fn assert_close(found: &[f32], expected: &[f64], tolerance: f64, step: usize) {
    let near = |(&found, &expected): (&f32, &f64)| (f64::from(found) - expected).abs() <= tolerance;
    assert!(
        found.len() == expected.len() && found.iter().zip(expected).all(near),
        "step {step}: {found:?} is not {expected:?}"
    );
}

fn list(value: &Value) -> Vec<f64> {
    let number = |value: &Value| match value {
        Value::Integer(number) => *number as f64,
        Value::Float(number) => *number,
        other => panic!("{other} is not a number"),
    };
    value.as_array().unwrap().iter().map(number).collect()
}
