//! Which combinations a sweep tries.

use std::fmt;
use std::str::FromStr;

use anyhow::{Error, Result, bail};

/// One or more settings that change together, and the values that they take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Axis {
    keys: Vec<String>,
    values: Vec<Vec<String>>,
}

/// One combination: a value for every setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Point {
    /// Of each axis, its first key's last word and that key's value: what names the point.
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
        super::not_empty(text, &values)?;
        if let Some(wrong) = values.iter().find(|values| values.len() != keys.len()) {
            let (found, expected) = (wrong.join("+"), keys.len());
            bail!("`{found}` of `{text}` should be {expected} values joined by +, one per key");
        }
        Ok(Axis { keys, values })
    }
}

impl Axis {
    /// The last word of its first key.
    pub(crate) fn short(&self) -> String {
        let key = &self.keys[0];
        key.rsplit('.').next().unwrap_or(key).to_owned()
    }
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

    /// The value that stands for each axis.
    pub(crate) fn values(&self) -> impl Iterator<Item = &str> {
        self.labels.iter().map(|(_, value)| value.as_str())
    }

    /// Where it stands on the picture's x axis, if the first axis has numbers.
    pub(crate) fn x(&self) -> Option<f64> {
        self.labels[0].1.parse().ok()
    }

    /// Which panel of the picture it is in, and on which line: the second axis makes panels where
    /// a third one can make lines.
    pub(crate) fn panel_and_line(&self) -> (String, String) {
        let words = |labels: &[(String, String)]| {
            let words: Vec<_> =
                labels.iter().map(|(key, value)| format!("{key} {value}")).collect();
            words.join(", ")
        };
        match &self.labels[1..] {
            [] => (self.labels[0].0.clone(), "score".into()),
            [line] => (line.0.clone(), words(std::slice::from_ref(line))),
            [panel, lines @ ..] => (words(std::slice::from_ref(panel)), words(lines)),
        }
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
        let place = points[3].panel_and_line();
        assert_eq!(place, ("unroll_length".to_owned(), "unroll_length 5".to_owned()));
        assert_eq!((points[0].x(), place.0.is_empty()), (None, false));
    }

    #[test]
    fn what_is_no_axis_is_refused_with_the_right_form() {
        let refuse = |text: &str| text.parse::<Axis>().unwrap_err().to_string();
        assert!(refuse("env.delay").contains("KEY=VALUE"));
        assert!(refuse("env.delay=").contains("names no values"));
        assert!(refuse("a+b=1+2,3").contains("2 values joined by +"));
    }
}
