//! Model of a dashboard's file, as far as a picture needs it.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::files::deploy;

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
    pub(super) grid_pos: GridPosition,
    #[serde(default)]
    pub(super) targets: Vec<Target>,
    #[serde(default)]
    pub(super) field_config: FieldConfig,
    #[serde(default)]
    pub(super) options: Options,
}

/// Panel with what it shows.
pub(super) struct Filled<'a> {
    pub(super) panel: &'a Panel,
    pub(super) lines: Vec<Line>,
}

/// Line of a panel: its name in the legend, and its points over time.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Line {
    pub(super) name: String,
    pub(super) points: Vec<(f64, f64)>,
}

/// Kind of a panel.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Kind {
    Row,
    Stat,
    #[serde(rename = "timeseries")]
    TimeSeries,
    StateTimeline,
}

/// Position and size on a grid that is 24 wide.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
pub(super) struct GridPosition {
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

/// Settings of all series.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct FieldConfig {
    pub(super) defaults: Defaults,
}

/// Presentation of values.
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

/// Presentation of lines.
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

/// Selection of the text that a number shows.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Options {
    #[serde(default)]
    pub(super) text_mode: String,
}

/// Seconds between two scrapes, as in `deploy/prometheus/prometheus.yml`.
const SCRAPE: f64 = 5.0;

impl Dashboard {
    /// The dashboard of `deploy/grafana`.
    pub(super) fn ours() -> Dashboard {
        let text = deploy("grafana/dashboards/engram.json");
        serde_json::from_str(&text).expect("a dashboard")
    }
}

impl Target {
    /// The query, for moments that are `step` seconds apart.
    pub(super) fn query(&self, step: f64) -> String {
        // As Grafana has it: enough for a rate, and no scrape left out.
        let interval = (step + SCRAPE).max(4.0 * SCRAPE).ceil();
        self.expr.replace("$__rate_interval", &format!("{interval}s"))
    }

    /// Name of a series in the legend.
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

    /// True where lines stand on one another.
    pub(super) fn is_stacked(&self) -> bool {
        self.custom.stacking.mode == "normal"
    }

    /// The line that should not be crossed.
    pub(super) fn limit(&self) -> Option<f64> {
        let shown = self.custom.thresholds_style.mode == "dashed";
        self.thresholds.steps.iter().filter(|_| shown).find_map(|step| step.value)
    }
}

fn labels() -> BTreeMap<String, String> {
    [("role", "learner"), ("instance", "a:1")].map(|(a, b)| (a.into(), b.into())).into()
}

#[test]
fn our_dashboard_is_understood() {
    let dashboard = Dashboard::ours();
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
