//! Client of a Prometheus' HTTP API (version 1).

use std::collections::BTreeMap;
use std::fmt::Write;

use anyhow::{Context, Result, bail};
use engram_service::Address;
use engram_service::net::http_get;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::samples::{MetricSample, Page, Snapshot, number};

/// A Prometheus.
#[derive(Clone, Debug)]
pub(crate) struct Prometheus {
    pub(crate) address: Address,
}

#[derive(Deserialize)]
struct QueryResponse<T> {
    data: QueryData<T>,
}

#[derive(Deserialize)]
struct QueryData<T> {
    result: Vec<T>,
}

#[derive(Deserialize)]
struct MetricAtTime {
    metric: BTreeMap<String, String>,
    value: (f64, String),
}

/// Every metric of ours, and what every process shows.
const OURS: &str = "{__name__=~\"engram_.+|process_.+\"}";

impl Prometheus {
    /// All metrics of a run's processes as they were at a moment, in seconds since 1970.
    pub(crate) async fn snapshot(&self, seconds: f64) -> Result<Snapshot> {
        let path = format!("/api/v1/query?query={}&time={seconds:.3}", escaped(OURS));
        let all: Vec<MetricAtTime> = self.ask(&path).await?;
        let mut pages: BTreeMap<String, Vec<MetricSample>> = BTreeMap::new();
        for MetricAtTime { metric: mut labels, value: (_, text) } in all {
            let name = labels.remove("__name__").context("a metric without a name")?;
            let from = labels.remove("instance").unwrap_or_default();
            labels.remove("job");
            let value = number(&text).with_context(|| format!("{text} is no number"))?;
            pages.entry(from).or_default().push(MetricSample { name, labels, value });
        }
        // Prometheus itself is a process too, but none of a run.
        let ours =
            |samples: &Vec<MetricSample>| samples.iter().any(|s| s.name == "engram_build_info");
        let pages = pages.into_iter().filter(|(_, samples)| ours(samples));
        let pages = pages.map(|(from, samples)| Page { from, samples }).collect();
        Ok(Snapshot { seconds, pages, silent: Vec::new() })
    }

    async fn ask<T: DeserializeOwned>(&self, path: &str) -> Result<Vec<T>> {
        let body = http_get(&self.address, "Prometheus", path).await?;
        let answer: QueryResponse<T> = match serde_json::from_slice(&body) {
            Ok(answer) => answer,
            Err(error) => bail!("{} does not answer as a Prometheus: {error}", self.address),
        };
        Ok(answer.data.result)
    }
}

/// Text as it stands in the query of a URL.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(2 * text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                escaped.push(byte.into());
            }
            other => write!(escaped, "%{other:02X}").expect("a string takes what is written"),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_travel_in_urls() {
        assert_eq!(
            escaped("sum(a{b=\"ü\"}[1m]) + 1"),
            "sum%28a%7Bb%3D%22%C3%BC%22%7D%5B1m%5D%29%20%2B%201"
        );
    }

    #[test]
    fn an_answer_is_read() {
        let text = r#"{"status":"success","data":{"resultType":"vector","result":[
            {"metric":{"phase":"forward"},"value":[1700000005.5,"NaN"]}]}}"#;
        let answer: QueryResponse<MetricAtTime> = serde_json::from_str(text).unwrap();
        let MetricAtTime { metric, value } = &answer.data.result[0];
        assert_eq!(metric["phase"], "forward");
        assert_eq!(*value, (1_700_000_005.5, "NaN".to_owned()));
    }
}
