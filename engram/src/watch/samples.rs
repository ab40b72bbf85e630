//! Pages of metrics in Prometheus' text format, and what lies between two of them.
//!
//! <https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format>

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};

/// One number, with the name and the labels that it is known by.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct MetricSample {
    pub(crate) name: String,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) value: f64,
}

/// Page of metrics of one process.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Page {
    /// Its address.
    pub(crate) from: String,
    /// All samples.
    pub(crate) samples: Vec<MetricSample>,
}

/// Pages of all processes at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Snapshot {
    /// Time in seconds since 1970.
    pub(crate) seconds: f64,
    /// Pages of processes that answered.
    pub(crate) pages: Vec<Page>,
    /// Address and error of those that did not.
    pub(crate) silent: Vec<(String, String)>,
}

/// A label and the value that is asked for.
pub(crate) type With<'a> = Option<(&'a str, &'a str)>;

impl MetricSample {
    fn is(&self, name: &str, with: With<'_>) -> bool {
        self.name == name && with.is_none_or(|(label, value)| self.label(label) == Some(value))
    }

    /// A label's value.
    pub(crate) fn label(&self, label: &str) -> Option<&str> {
        self.labels.get(label).map(String::as_str)
    }
}

impl Page {
    /// Reads what a process shows at `/metrics`.
    pub(crate) fn parse(from: &str, text: &str) -> Result<Page> {
        let samples = text
            .lines()
            .enumerate()
            .filter(|(_, line)| !line.trim().is_empty() && !line.starts_with('#'))
            .map(|(i, line)| {
                sample(line).with_context(|| format!("{from}, line {}: `{line}`", i + 1))
            })
            .collect::<Result<_>>()?;
        Ok(Page { from: from.into(), samples })
    }

    /// A metric, summed over its labels; 0 where it is not shown.
    pub(crate) fn sum(&self, name: &str) -> f64 {
        self.values(name, None).sum()
    }

    fn values(&self, name: &str, with: With<'_>) -> impl Iterator<Item = f64> {
        let samples = self.samples.iter().filter(move |sample| sample.is(name, with));
        samples.map(|sample| sample.value)
    }
}

impl Snapshot {
    /// All samples of a name, and where each comes from.
    pub(crate) fn all<'a>(
        &'a self,
        name: &'a str,
    ) -> impl Iterator<Item = (&'a str, &'a MetricSample)> {
        let samples = self
            .pages
            .iter()
            .flat_map(|page| page.samples.iter().map(move |sample| (page.from.as_str(), sample)));
        samples.filter(move |(_, sample)| sample.name == name)
    }

    /// Their sum; `None` where there are none.
    pub(crate) fn sum(&self, name: &str) -> Option<f64> {
        self.values(name, None).reduce(|a, b| a + b)
    }

    /// The largest.
    pub(crate) fn max(&self, name: &str, with: With<'_>) -> Option<f64> {
        self.values(name, with).reduce(f64::max)
    }

    /// Number of processes that show it.
    pub(crate) fn processes(&self, name: &str) -> usize {
        let shows = |page: &&Page| page.samples.iter().any(|sample| sample.name == name);
        self.pages.iter().filter(shows).count()
    }

    fn values(&self, name: &str, with: With<'_>) -> impl Iterator<Item = f64> {
        self.pages.iter().flat_map(move |page| page.values(name, with))
    }
}

/// Two moments.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Between<'a> {
    pub(crate) before: &'a Snapshot,
    pub(crate) now: &'a Snapshot,
}

impl Between<'_> {
    /// Sum of the growth of counters; one that fell began again at zero, with its process.
    /// `None` where there are none, or none of before.
    pub(crate) fn increase(&self, name: &str, with: With<'_>) -> Option<f64> {
        let grew = self.now.all(name).filter(|(_, sample)| sample.is(name, with));
        let grew = grew.filter_map(|(from, sample)| {
            let same =
                |(at, old): &(&str, &MetricSample)| *at == from && old.labels == sample.labels;
            let (_, old) = self.before.all(name).find(same)?;
            let value = sample.value;
            Some(if value >= old.value { value - old.value } else { value })
        });
        grew.reduce(|a, b| a + b)
    }

    /// The same per second.
    pub(crate) fn rate(&self, name: &str, with: With<'_>) -> Option<f64> {
        let seconds = self.now.seconds - self.before.seconds;
        let increase = self.increase(name, with)?;
        (seconds > 0.0).then(|| increase / seconds)
    }

    /// The mean of what a histogram has seen in between.
    pub(crate) fn mean(&self, histogram: &str) -> Option<f64> {
        let count = self.increase(&format!("{histogram}_count"), None)?;
        let sum = self.increase(&format!("{histogram}_sum"), None)?;
        (count > 0.0).then(|| sum / count)
    }

    /// The value below which a share of what a histogram has seen in between lies, as
    /// `histogram_quantile` has it: interpolated within its bucket, and at most the last edge.
    pub(crate) fn quantile(&self, histogram: &str, share: f64) -> Option<f64> {
        let name = format!("{histogram}_bucket");
        let edges = self.now.all(&name).filter_map(|(_, sample)| sample.label("le"));
        let mut edges: Vec<(f64, &str)> =
            edges.filter_map(|edge| Some((number(edge)?, edge))).collect();
        edges.sort_by(|a, b| a.0.total_cmp(&b.0));
        edges.dedup();
        let counts = edges
            .iter()
            .map(|&(edge, text)| Some((edge, self.increase(&name, Some(("le", text)))?)));
        let counts: Vec<(f64, f64)> = counts.collect::<Option<_>>()?;
        let rank = share * counts.last().filter(|(_, count)| *count > 0.0)?.1;
        let place = counts.iter().position(|&(_, count)| count >= rank)?;
        let (high, count) = counts[place];
        let (low, below) = match place.checked_sub(1) {
            Some(previous) => counts[previous],
            None if high <= 0.0 => return Some(high),
            None => (0.0, 0.0),
        };
        if high.is_infinite() {
            return Some(low);
        }
        Some(low + (high - low) * (rank - below) / (count - below))
    }
}

/// Numbers as Prometheus writes them.
pub(crate) fn number(text: &str) -> Option<f64> {
    match text {
        "+Inf" => Some(f64::INFINITY),
        "-Inf" => Some(f64::NEG_INFINITY),
        text => text.parse().ok(),
    }
}

/// `name{label="value",…} number [timestamp]`.
fn sample(line: &str) -> Result<MetricSample> {
    let name_ends = line.find(['{', ' ', '\t']).context("a value is missing")?;
    let (name, rest) = line.split_at(name_ends);
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(rest) => labels(rest)?,
        None => (BTreeMap::new(), rest),
    };
    let text = rest.split_whitespace().next().context("a value is missing")?;
    let value = number(text).with_context(|| format!("{text} is no number"))?;
    Ok(MetricSample { name: name.into(), labels, value })
}

/// Labels up to the closing brace, and what follows it.
fn labels(mut rest: &str) -> Result<(BTreeMap<String, String>, &str)> {
    let mut labels = BTreeMap::new();
    loop {
        rest = rest.trim_start_matches([',', ' ']);
        if let Some(rest) = rest.strip_prefix('}') {
            return Ok((labels, rest));
        }
        let (label, quoted) = rest.split_once("=\"").context("a label without a value")?;
        let (value, after) = unquoted(quoted)?;
        labels.insert(label.trim().into(), value);
        rest = after;
    }
}

/// A label's value up to its closing quote, and what follows it.
fn unquoted(text: &str) -> Result<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Ok((value, &text[at + 1..])),
            '\\' => match characters.next() {
                Some((_, 'n')) => value.push('\n'),
                Some((_, other)) => value.push(other),
                None => break,
            },
            other => value.push(other),
        }
    }
    bail!("a quote is missing")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(seconds: f64, text: &str) -> Snapshot {
        let page = Page::parse("a:1", text).unwrap();
        Snapshot { seconds, pages: vec![page], silent: Vec::new() }
    }

    #[test]
    fn a_page_is_read_with_its_labels_and_odd_numbers() {
        let page = "# HELP x Words.\n# TYPE x counter\nx 3\n\
                    y{a=\"1, 2} \\\"3\\\"\\n\",b=\"\\\\\"} 2.5e-3 1700000000\nz{} +Inf\n\nn NaN\n";
        let samples = Page::parse("a:1", page).unwrap().samples;
        assert_eq!(
            samples[0],
            MetricSample { name: "x".into(), labels: BTreeMap::new(), value: 3.0 }
        );
        assert_eq!(samples[1].label("a"), Some("1, 2} \"3\"\n"));
        assert_eq!((samples[1].label("b"), samples[1].value), (Some("\\"), 2.5e-3));
        assert_eq!(samples[2].value, f64::INFINITY);
        assert!(samples[3].value.is_nan());
    }

    #[test]
    fn a_metric_is_summed_over_its_labels_and_zero_where_it_is_not_shown() {
        let page = Page::parse("a:1", "a{on=\"b\"} 2\na{on=\"c\"} 3.5\na_total 100\n").unwrap();
        assert_eq!(["a", "a_total", "b"].map(|name| page.sum(name)), [5.5, 100.0, 0.0]);
    }

    #[test]
    fn what_is_no_page_of_metrics_is_named_with_its_line() {
        for bad in ["x 1\n<html>", "x 1\nx{a=\"1} 2", "x 1\nx{a} 2", "x 1\nx one"] {
            let error = Page::parse("a:1", bad).unwrap_err().to_string();
            assert!(error.starts_with("a:1, line 2: `"), "{error}");
        }
    }

    #[test]
    fn counters_add_up_over_labels_and_a_restart_begins_at_zero() {
        let before = snapshot(10.0, "x{a=\"1\"} 100\nx{a=\"2\"} 50\n");
        let now = snapshot(20.0, "x{a=\"1\"} 130\nx{a=\"2\"} 20\nx{a=\"3\"} 7\n");
        let between = Between { before: &before, now: &now };
        assert_eq!(between.increase("x", None), Some(50.0));
        assert_eq!(between.rate("x", Some(("a", "1"))), Some(3.0));
        assert_eq!(between.rate("y", None), None);
        let other = Snapshot {
            pages: vec![Page { from: "b:1".into(), ..now.pages[0].clone() }],
            ..now.clone()
        };
        assert_eq!(
            Between { before: &before, now: &other }.increase("x", None),
            None,
            "not the same process"
        );
    }

    #[test]
    fn quantiles_are_those_of_what_came_in_between() {
        let page = |low, mid, all| {
            format!(
                "h_bucket{{le=\"1\"}} {low}\nh_bucket{{le=\"2\"}} {mid}\n\
                 h_bucket{{le=\"+Inf\"}} {all}\nh_sum {all}\nh_count {all}\n"
            )
        };
        let before = snapshot(0.0, &page(100, 100, 100));
        let now = snapshot(1.0, &page(110, 150, 160));
        let between = Between { before: &before, now: &now };
        assert_eq!(
            between.quantile("h", 0.5),
            Some(1.5),
            "the 30th of 60: 10 lie below 1, 50 below 2"
        );
        assert_eq!(between.quantile("h", 0.1), Some(0.6));
        assert_eq!(between.quantile("h", 0.99), Some(2.0), "nobody knows how far beyond");
        assert_eq!(between.mean("h"), Some(1.0));
        let nothing = Between { before: &now, now: &now };
        assert_eq!((nothing.quantile("h", 0.5), nothing.mean("h")), (None, None));
    }
}
