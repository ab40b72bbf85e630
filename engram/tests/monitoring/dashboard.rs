//! The dashboard's file: what Grafana would stumble over, and whether all metrics are watched.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::files::{deploy, root};

/// Metrics that are neither on the dashboard nor in a rule, and why.
const LEFT_OUT: [(&str, &str); 0] = [];

/// Grafana's names for units, those that we use.
const UNITS: [&str; 6] = ["none", "short", "percentunit", "s", "bytes", "Bps"];

/// A panel's query.
#[derive(Clone, Debug)]
pub(crate) struct Query {
    pub(crate) panel: String,
    pub(crate) legend: String,
    pub(crate) expr: String,
}

/// The dashboard.
pub(crate) fn dashboard() -> Value {
    let text = deploy("grafana/dashboards/engram.json");
    serde_json::from_str(&text).expect("the dashboard is JSON")
}

/// All queries of all panels, with rates over 20 s: what Grafana makes of a scrape interval of 5 s.
pub(crate) fn queries(dashboard: &Value) -> Vec<Query> {
    let targets = |panel: &Value| {
        let title = text(panel, "title");
        let query = move |target: &Value| Query {
            panel: title.clone(),
            legend: text(target, "legendFormat"),
            expr: text(target, "expr").replace("$__rate_interval", "20s"),
        };
        list(panel, "targets").iter().map(query).collect::<Vec<_>>()
    };
    list(dashboard, "panels").iter().flat_map(targets).collect()
}

fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value[key].as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value, key: &str) -> String {
    value[key].as_str().unwrap_or_else(|| panic!("{key} in {value}")).to_owned()
}

/// Words that begin like a name of ours: `engram_…`, or `engram:…` where it is computed by a rule.
pub(crate) fn names(text: &str) -> BTreeSet<&str> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let words = text.split(|c| !is_name(c)).map(|word| word.trim_end_matches(':'));
    words.filter(|word| word.starts_with("engram_") || word.starts_with("engram:")).collect()
}

/// The metric reference: names and types.
fn reference() -> BTreeMap<String, String> {
    let page = root("ARCHITECTURE.md");
    let rows = page.lines().filter(|line| line.starts_with("| `engram_"));
    let row = |line: &str| {
        let mut cells = line.split('|').map(str::trim).skip(1);
        let name = cells.next().expect("a name").trim_matches('`').to_owned();
        (name, cells.next().expect("a type").to_owned())
    };
    rows.map(row).collect()
}

#[test]
fn panels_have_a_place_a_unit_and_a_description_of_their_own() {
    let dashboard = dashboard();
    let panels = list(&dashboard, "panels");
    let (mut ids, mut titles, mut taken) = (BTreeSet::new(), BTreeSet::new(), BTreeMap::new());
    for panel in panels {
        let title = text(panel, "title");
        assert!(ids.insert(panel["id"].as_u64().expect("an id")), "{title} has another's id");
        let [x, y, w, h] =
            ["x", "y", "w", "h"].map(|key| panel["gridPos"][key].as_u64().expect("a place"));
        assert!(w > 0 && h > 0 && x + w <= 24, "{title} is {w} wide at {x}");
        for cell in (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y))) {
            if let Some(other) = taken.insert(cell, title.clone()) {
                panic!("{title} lies upon {other}");
            }
        }
        if panel["type"] == "row" {
            continue;
        }
        let kind = text(panel, "type");
        assert!(titles.insert((kind, title.clone())), "two panels are called {title}");
        let description = text(panel, "description");
        assert!(description.len() > 20 && description.ends_with('.'), "{title}: {description}");
        let unit = text(&panel["fieldConfig"]["defaults"], "unit");
        assert!(UNITS.contains(&unit.as_str()), "{title} is in {unit}");
        assert!(!list(panel, "targets").is_empty(), "{title} asks nothing");
    }
    assert!(panels.len() > 40, "the story is long");
    let schema = dashboard["schemaVersion"].as_u64().expect("a version");
    assert!(schema >= 39, "Grafana 11 writes 39 or later, found {schema}");
}

#[test]
fn panels_ask_the_datasource_that_is_provisioned() {
    let dashboard = dashboard();
    let variables = list(&dashboard["templating"], "list");
    let [variable] = variables else { panic!("there is one variable: {variables:?}") };
    assert_eq!(
        (&variable["name"], &variable["type"]),
        (&"datasource".into(), &"datasource".into())
    );
    let uid = text(&variable["current"], "value");
    let provisioned = deploy("grafana/provisioning/datasources/prometheus.yml");
    assert!(provisioned.contains(&format!("uid: {uid}\n")), "{uid} in\n{provisioned}");
    for panel in list(&dashboard, "panels").iter().filter(|panel| panel["type"] != "row") {
        let title = text(panel, "title");
        let mut references = BTreeSet::new();
        for asking in std::iter::once(panel).chain(list(panel, "targets")) {
            assert_eq!(asking["datasource"]["uid"], "${datasource}", "{title}");
            assert_eq!(asking["datasource"]["type"], "prometheus", "{title}");
        }
        for target in list(panel, "targets") {
            assert!(references.insert(text(target, "refId")), "{title}: two are called the same");
            assert!(!text(target, "legendFormat").is_empty(), "{title}");
        }
    }
}

#[test]
fn every_name_that_is_asked_for_exists_and_every_metric_is_watched() {
    let (reference, rules) = (reference(), deploy("prometheus/rules.yml"));
    assert!(reference.len() > 50, "the reference was read: {reference:?}");
    let queries = queries(&dashboard());
    let exprs: Vec<&str> = queries.iter().map(|query| query.expr.as_str()).collect();
    let all = format!("{}\n{rules}", exprs.join("\n"));
    let mut watched = BTreeSet::new();
    for name in names(&all) {
        if name.starts_with("engram:") {
            assert!(rules.contains(&format!("- record: {name}\n")), "no rule records {name}");
            continue;
        }
        let suffixes = ["_bucket", "_sum", "_count"];
        let histogram = suffixes.iter().find_map(|suffix| name.strip_suffix(suffix));
        let known = match histogram.filter(|base| reference.contains_key(*base)) {
            Some(base) => (base, reference[base] == "histogram"),
            None => (name, reference.get(name).is_some_and(|kind| kind != "histogram")),
        };
        // Descriptions of alerts name histograms without a suffix, for people.
        let told = !exprs.iter().any(|expr| names(expr).contains(name));
        assert!(known.1 || told && reference.contains_key(name), "{name} is no metric");
        watched.insert(known.0);
    }
    for name in reference.keys() {
        let left_out = LEFT_OUT.iter().any(|(left_out, _)| left_out == name);
        assert!(watched.contains(name.as_str()) != left_out, "{name}: watched, or left out?");
    }
}

#[test]
fn what_limits_a_run_has_the_same_words_everywhere() {
    let rules = deploy("prometheus/rules.yml");
    let dashboard = dashboard();
    let words = "0 nothing moves, 1 actors, 2 inference, 3 the learner, 4 the rate limiter";
    assert!(rules.contains(words), "the numbers are explained where they are made");
    let panels = list(&dashboard, "panels").iter();
    let named: Vec<&Value> =
        panels.filter(|panel| panel["targets"][0]["expr"] == "engram:bottleneck").collect();
    assert_eq!(named.len(), 2, "one says it now, one over time");
    for panel in named {
        let options = &panel["fieldConfig"]["defaults"]["mappings"][0]["options"];
        let texts = ["0", "1", "2", "3", "4"].map(|value| text(&options[value], "text"));
        assert_eq!(texts, ["nothing moves", "actors", "inference", "learner", "rate limiter"]);
    }
}
