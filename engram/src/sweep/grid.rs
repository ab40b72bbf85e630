//! Grid of a sweep: all combinations of the values of its axes.

use std::fmt;
use std::str::FromStr;

use anyhow::{Error, Result, bail};
use engram_service::config::{leaves, written};
use toml::{Table, Value};

/// One or more settings that change together, and the values that they take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Axis {
    keys: Vec<String>,
    values: Vec<Vec<String>>,
}

/// One combination: a value for every setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Point {
    /// Name of the point: of each axis, its first key's last word and that key's value.
    labels: Vec<(String, String)>,
    settings: Vec<(String, String)>,
}

impl FromStr for Axis {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let Some((keys, values)) = text.split_once('=') else {
            bail!("`{text}` is no setting with values; write KEY=VALUE,VALUE,...");
        };
        let split = |text: &str| text.split('+').map(str::to_owned).collect::<Vec<_>>();
        let keys = split(keys);
        let values: Vec<Vec<String>> =
            values.split(',').filter(|value| !value.is_empty()).map(split).collect();
        if values.is_empty() {
            bail!("`{text}` names no values; write KEY=VALUE,VALUE,...");
        }
        if let Some(wrong) = values.iter().find(|values| values.len() != keys.len()) {
            let (found, expected) = (wrong.join("+"), keys.len());
            bail!("`{found}` of `{text}` should be {expected} values joined by +, one per key");
        }
        Ok(Axis { keys, values })
    }
}

impl Axis {
    /// An axis of keys that change together, each with an array of values.
    pub(crate) fn from_table(table: &Table) -> Result<Self> {
        let columns = columns_of(table)?;
        let Some((first, values)) = columns.first() else {
            bail!("an empty [[vary]] varies nothing; write \"env.delay\" = [20, 50] into it");
        };
        if values.is_empty() {
            bail!("`{first}` has no values; write \"{first}\" = [VALUE, VALUE]");
        }
        let count = values.len();
        if let Some((key, values)) = columns.iter().find(|(_, values)| values.len() != count) {
            let found = values.len();
            bail!("{count} values for `{first}`, but {found} for `{key}`: they change together");
        }
        let row = |i: usize| columns.iter().map(|(_, values)| values[i].clone()).collect();
        let values = (0..count).map(row).collect();
        Ok(Axis { keys: columns.iter().map(|(key, _)| key.clone()).collect(), values })
    }

    /// The last word of its first key.
    pub(crate) fn short(&self) -> String {
        let key = &self.keys[0];
        key.rsplit('.').next().unwrap_or(key).to_owned()
    }
}

/// The dotted keys of a table, each with its array of values.
fn columns_of(table: &Table) -> Result<Vec<(String, Vec<String>)>> {
    let column = |(key, value): (String, &Value)| match value {
        Value::Array(values) => Ok((key, values.iter().map(written).collect())),
        other => bail!("`{key}` is {other}; what is varied is an array, [{other}, ...]"),
    };
    leaves(table).into_iter().map(column).collect()
}

/// All combinations, the last axis changing fastest.
pub(crate) fn points(axes: &[Axis]) -> Vec<Point> {
    let none = Point { labels: Vec::new(), settings: Vec::new() };
    axes.iter().fold(vec![none], |points, axis| {
        let with = |point: &Point| {
            let point = point.clone();
            axis.values.iter().map(move |values| point.with(axis, values))
        };
        points.iter().flat_map(with).collect()
    })
}

impl Point {
    fn with(&self, axis: &Axis, values: &[String]) -> Point {
        let mut point = self.clone();
        point.labels.push((axis.short(), values[0].clone()));
        point.settings.extend(axis.keys.iter().cloned().zip(values.iter().cloned()));
        point
    }

    /// Every key with its value.
    pub(crate) fn settings(&self) -> impl Iterator<Item = (&str, &str)> {
        self.settings.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// A name for a folder.
    pub(crate) fn file_name(&self) -> String {
        let words = self.labels.iter().map(|(key, value)| format!("{key}-{value}"));
        let name = words.collect::<Vec<_>>().join("-");
        name.replace(|letter: char| !letter.is_ascii_alphanumeric() && letter != '.', "-")
    }
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words: Vec<_> =
            self.labels.iter().map(|(key, value)| format!("{key} {value}")).collect();
        f.write_str(&words.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_combination_comes_once_and_joined_settings_change_together() {
        let axes: Vec<Axis> = ["seq=lstm,gru", "run.unroll_length+rl.batch_size=1+64,5+32"]
            .iter()
            .map(|text| text.parse().unwrap())
            .collect();
        let points = points(&axes);
        let names: Vec<String> = points.iter().map(Point::to_string).collect();
        let expected = [
            "seq lstm, unroll_length 1",
            "seq lstm, unroll_length 5",
            "seq gru, unroll_length 1",
            "seq gru, unroll_length 5",
        ];
        assert_eq!(names, expected);
        let settings: Vec<_> = points[3].settings().collect();
        assert_eq!(settings, [("seq", "gru"), ("run.unroll_length", "5"), ("rl.batch_size", "32")]);
        assert_eq!(points[0].file_name(), "seq-lstm-unroll-length-1");
    }

    #[test]
    fn what_is_no_axis_is_refused_with_the_right_form() {
        let refuse = |text: &str| text.parse::<Axis>().unwrap_err().to_string();
        assert!(refuse("env.delay").contains("KEY=VALUE"));
        assert!(refuse("env.delay=").contains("names no values"));
        assert!(refuse("a+b=1+2,3").contains("2 values joined by +"));
    }
}
