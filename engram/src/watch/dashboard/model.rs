//! A dashboard's file, as far as it matters to a picture.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Deserialize;

/// A dashboard.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Dashboard {
    pub(super) title: String,
    pub(super) panels: Vec<Panel>,
}

/// A panel, or the heading of a row.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Panel {
    pub(super) title: String,
    #[serde(rename = "type")]
    pub(super) kind: Kind,
    pub(super) grid_pos: Place,
    #[serde(default)]
    pub(super) targets: Vec<Target>,
    #[serde(default)]
    pub(super) field_config: FieldConfig,
    #[serde(default)]
    pub(super) options: Options,
}

/// What a panel is.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Kind {
    Row,
    Stat,
    #[serde(rename = "timeseries")]
    TimeSeries,
    StateTimeline,
}

/// Where, in units of a grid that is 24 wide.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) x: u32,
    pub(super) y: u32,
    pub(super) w: u32,
    pub(super) h: u32,
}

/// A query.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Target {
    pub(super) expr: String,
    pub(super) legend_format: String,
}

/// How values are shown.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct FieldConfig {
    pub(super) defaults: Defaults,
}

/// How values are shown.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Defaults {
    #[serde(default)]
    pub(super) unit: String,
    #[serde(default)]
    pub(super) decimals: Option<usize>,
    #[serde(default)]
    pub(super) min: Option<f64>,
    #[serde(default)]
    pub(super) max: Option<f64>,
    #[serde(default)]
    pub(super) mappings: Vec<Mapping>,
    #[serde(default)]
    pub(super) thresholds: Thresholds,
    #[serde(default)]
    pub(super) custom: Custom,
}

/// Words for values.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Mapping {
    options: BTreeMap<String, Word>,
}

/// A word for a value.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Word {
    pub(super) text: String,
    pub(super) color: String,
}

/// Colors from values on.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Thresholds {
    pub(super) steps: Vec<Step>,
}

/// A color from a value on; the first is below all.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Step {
    pub(super) color: String,
    pub(super) value: Option<f64>,
}

/// How lines are drawn.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Custom {
    #[serde(default)]
    stacking: Mode,
    #[serde(default)]
    thresholds_style: Mode,
}

/// One of several ways.
#[derive(Clone, Debug, Default, Deserialize)]
struct Mode {
    mode: String,
}

/// What of a series is shown.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Options {
    #[serde(default)]
    pub(super) text_mode: String,
}

/// Seconds between two scrapes, as in `deploy/prometheus/prometheus.yml`.
const SCRAPE: f64 = 5.0;

impl Dashboard {
    /// Reads a dashboard's file.
    pub(super) fn read(path: &Path) -> Result<Dashboard> {
        let text = std::fs::read_to_string(path).with_context(|| {
            format!("cannot read the dashboard in {}; say where it is: --dashboard", path.display())
        })?;
        serde_json::from_str(&text).with_context(|| format!("{} is no dashboard", path.display()))
    }
}

impl Target {
    /// The query, for moments that are `step` seconds apart.
    pub(super) fn query(&self, step: f64) -> String {
        // As Grafana has it: enough for a rate, and no scrape left out.
        let interval = (step + SCRAPE).max(4.0 * SCRAPE).ceil();
        self.expr.replace("$__rate_interval", &format!("{interval}s"))
    }

    /// What the legend calls a series.
    pub(super) fn legend(&self, labels: &BTreeMap<String, String>) -> String {
        let mut pieces = self.legend_format.split("{{");
        let first = pieces.next().unwrap_or_default().to_owned();
        pieces.fold(first, |legend, piece| {
            let (label, rest) = piece.split_once("}}").unwrap_or((piece, ""));
            legend + labels.get(label.trim()).map_or("", String::as_str) + rest
        })
    }
}

impl Defaults {
    /// The word for a value.
    pub(super) fn word(&self, value: f64) -> Option<&Word> {
        self.mappings.iter().find_map(|mapping| mapping.options.get(&value.to_string()))
    }

    /// The color of a value.
    pub(super) fn color(&self, value: f64) -> &str {
        let reached = |step: &&Step| step.value.is_none_or(|from| value >= from);
        self.thresholds.steps.iter().rev().find(reached).map_or("text", |step| &step.color)
    }

    /// Whether lines stand on one another.
    pub(super) fn is_stacked(&self) -> bool {
        self.custom.stacking.mode == "normal"
    }

    /// The line that should not be crossed.
    pub(super) fn limit(&self) -> Option<f64> {
        let shown = self.custom.thresholds_style.mode == "dashed";
        self.thresholds.steps.iter().filter(|_| shown).find_map(|step| step.value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: &str =
        concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/grafana/dashboards/engram.json");

    fn labels() -> BTreeMap<String, String> {
        [("role", "learner"), ("instance", "a:1")].map(|(a, b)| (a.into(), b.into())).into()
    }

    #[test]
    fn our_dashboard_is_understood() {
        let dashboard = Dashboard::read(Path::new(OURS)).unwrap();
        let find = |kind, title: &str| {
            let mut panels = dashboard.panels.iter();
            panels.find(|panel| panel.kind == kind && panel.title == title).unwrap()
        };
        let limited = find(Kind::StateTimeline, "What limits the run");
        assert_eq!(limited.field_config.defaults.word(3.0).unwrap().text, "learner");
        let alerts = find(Kind::Stat, "Alerts");
        let color = |value| alerts.field_config.defaults.color(value);
        assert_eq!((color(0.0), color(1.0), color(5.0)), ("green", "red", "red"));
        let lag = find(Kind::TimeSeries, "Policy lag");
        assert_eq!(lag.field_config.defaults.limit(), Some(50.0));
        assert!(find(Kind::TimeSeries, "The learner's time").field_config.defaults.is_stacked());
    }

    #[test]
    fn a_legend_names_labels_and_a_rate_spans_several_scrapes() {
        let target =
            |expr: &str, legend: &str| Target { expr: expr.into(), legend_format: legend.into() };
        assert_eq!(target("", "{{role}} at {{instance}}").legend(&labels()), "learner at a:1");
        assert_eq!(target("", "all{{gone}}").legend(&labels()), "all");
        assert_eq!(target("rate(x[$__rate_interval])", "").query(2.0), "rate(x[20s])");
        assert_eq!(target("rate(x[$__rate_interval])", "").query(60.0), "rate(x[65s])");
    }
}
