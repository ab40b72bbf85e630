//! The manifests for Kubernetes.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::cluster::problems;
use crate::deploy;
use crate::tools::{Tools, system, tools};

const OVERLAYS: [&str; 3] = ["insecure", "secure", "gpu"];

/// Files that are no part of a set of manifests, but another program's configuration.
const ELSEWHERE: [&str; 2] = ["prometheus.yml", "components/autoscale/adapter.yaml"];

fn folder() -> PathBuf {
    deploy().join("kubernetes")
}

/// An overlay's manifests, as text and as documents.
fn overlay(tools: &Tools, name: &str) -> (String, Vec<Value>) {
    let manifests = tools.kustomize(&folder().join("overlays").join(name)).expect("they merge");
    let documents = tools.documents(&manifests).expect("kubectl writes YAML");
    (manifests, documents)
}

/// A YAML file's only document.
fn document(tools: &Tools, file: &Path) -> Value {
    let text = std::fs::read_to_string(file).expect("a file");
    let mut documents = tools.documents(&text).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(documents.len(), 1, "{}", file.display());
    documents.remove(0)
}

#[test]
fn every_overlay_is_valid_and_fits_the_programs() {
    let Some(tools) = tools() else { return };
    for name in OVERLAYS {
        let (manifests, documents) = overlay(tools, name);
        tools.validate(&manifests).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(problems(&documents), Vec::<String>::new(), "{name}");
    }
}

#[test]
fn an_overlay_is_insecure_or_secure_and_only_the_one_for_accelerators_asks_for_one() {
    let Some(tools) = tools() else { return };
    for (name, insecure, gpus, scalers) in
        [("insecure", true, 0, 0), ("secure", false, 0, 0), ("gpu", false, 2, 1)]
    {
        let (manifests, _) = overlay(tools, name);
        let count = |text: &str| manifests.matches(text).count();
        assert_eq!(count("ENGRAM_INSECURE: \"true\""), usize::from(insecure), "{name}");
        assert_eq!(
            count("ENGRAM_TLS_CLIENT_CA: /security/ca.pem"),
            usize::from(!insecure),
            "{name}"
        );
        assert_eq!(count("secretName: security"), if insecure { 0 } else { 4 }, "{name}");
        assert_eq!(count("nvidia.com/gpu: \"1\""), gpus, "{name}");
        assert_eq!(count("kind: HorizontalPodAutoscaler"), scalers, "{name}");
    }
}

#[test]
fn the_servers_key_is_in_the_servers_pods_alone() {
    let Some(tools) = tools() else { return };
    for name in ["secure", "gpu"] {
        let (_, documents) = overlay(tools, name);
        let volumes = "/spec/template/spec/volumes/0/secret";
        let mut with_items = Vec::new();
        for workload in documents.iter().filter(|document| document.pointer(volumes).is_some()) {
            let role = workload["metadata"]["name"].as_str().expect("a name");
            if let Some(items) = workload.pointer(volumes).expect("found")["items"].as_array() {
                with_items.push(role);
                assert!(items.iter().all(|item| item["key"] != "server.key"), "{name}: {role}");
            }
        }
        with_items.sort_unstable();
        assert_eq!(with_items, ["actor", "evaluator"], "{name}");
    }
}

#[test]
fn a_manifest_that_does_not_fit_is_named() {
    let Some(tools) = tools() else { return };
    let (manifests, _) = overlay(tools, "gpu");
    for (good, bad, problem) in [
        ("value: 0.0.0.0:7001", "value: 0.0.0.0:7003", "ENGRAM_LISTEN is Some(7003)"),
        ("value: learner:7001", "value: learner:7002", "where no service is"),
        ("containerPort: 7002", "containerPort: 7009", "usually at Some(7002)"),
        ("prometheus.io/port: \"9103\"", "prometheus.io/port: \"9104\"", "prometheus.io/port"),
        ("name: ENGRAM_RUNS", "name: ENGRAM_RUNNING", "nobody reads ENGRAM_RUNNING"),
        ("--healthcheck", "--health", "has no --health"),
        ("engram/actor:0.1.0", "engram/actor:latest", "is not of version"),
        ("ENGRAM_EXPERIMENT: recall-30-wide", "ENGRAM_EXPERIMENT: recal", "no experiment recal"),
        ("name: ENGRAM_INFERENCE", "name: ENGRAM_EXPERIMENT", "for the learner alone"),
        ("key: ENGRAM_RUN_NAME", "key: ENGRAM_RUN", "ENGRAM_RUN has no value"),
        ("/security/token", "/security/tokens", "names /security/tokens, which is not there"),
        ("readOnlyRootFilesystem: true", "readOnlyRootFilesystem: false", "readOnlyRootFile"),
        ("serviceName: learner", "serviceName: teacher", "there is no service teacher"),
        ("port: 9102", "port: 9109", "is a port of none of"),
        ("clusterIP: None", "clusterIP: 10.0.0.1", "it has an address of its own"),
    ] {
        assert!(manifests.contains(good), "{good}");
        let documents = tools.documents(&manifests.replace(good, bad)).expect("still YAML");
        let found = problems(&documents);
        assert!(found.iter().any(|found| found.contains(problem)), "{bad}: {found:?}");
    }
    let bad = manifests.replace("replicas: 1", "replicaz: 1");
    let error = tools.validate(&bad).expect_err("no such field");
    assert!(error.contains("replicaz"), "{error}");
}

#[test]
fn every_file_is_part_of_something() {
    let Some(tools) = tools() else { return };
    let mut named: BTreeSet<PathBuf> = ELSEWHERE.iter().map(|file| folder().join(file)).collect();
    let mut left: Vec<PathBuf> =
        OVERLAYS.iter().map(|name| folder().join("overlays").join(name)).collect();
    while let Some(folder) = left.pop() {
        let file = folder.join("kustomization.yaml");
        let list = document(tools, &file);
        named.insert(file);
        let entries = ["resources", "components"].into_iter().flat_map(|key| list[key].as_array());
        let patches = list["patches"].as_array().into_iter().flatten().map(|patch| &patch["path"]);
        for entry in entries.flatten().chain(patches) {
            let path = folder.join(entry.as_str().expect("a path"));
            let path = path.canonicalize().unwrap_or_else(|error| panic!("{entry}: {error}"));
            match path.is_dir() {
                true => left.push(path),
                false => drop(named.insert(path)),
            }
        }
    }
    let named: BTreeSet<PathBuf> =
        named.iter().map(|path| path.canonicalize().expect("it is there")).collect();
    let there: BTreeSet<PathBuf> = files(&folder()).into_iter().collect();
    assert!(there.len() > 15, "{there:?}");
    assert_eq!(there, named);
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path().canonicalize().expect("a path");
        match path.is_dir() {
            true => found.extend(files(&path)),
            false => found.push(path),
        }
    }
    found
}

/// The rule's query, by what prometheus-adapter makes of it.
fn query(tools: &Tools) -> (String, String) {
    let rules = document(tools, &folder().join(ELSEWHERE[1]));
    let rule = &rules["externalRules"][0];
    let text = |pointer: &str| rule.pointer(pointer).and_then(Value::as_str).expect("a text");
    let series = text("/seriesQuery").split('{').next().expect("a name").to_string();
    let query = text("/metricsQuery")
        .replace("<<.Series>>", &series)
        .replace("<<.LabelMatchers>>", "namespace=\"engram\"")
        .replace("<<.GroupBy>>", "namespace");
    (text("/name/as").into(), query)
}

#[test]
fn the_autoscaler_asks_for_as_many_actors_as_the_learner_could_use() {
    let Some(tools) = tools() else { return };
    let (metric, query) = query(tools);
    let (_, documents) = overlay(tools, "gpu");
    let scaler = documents.iter().find(|document| document["kind"] == "HorizontalPodAutoscaler");
    let asked = scaler.expect("it scales").pointer("/spec/metrics/0/external/metric/name");
    assert_eq!(asked, Some(&Value::from(metric)));

    let Some(mut promtool) = system("promtool", "prometheus") else { return };
    // Seconds waited: none, half, and all of the time; another namespace's learner does not count.
    let series = "engram_learner_wait_seconds_total";
    let waits = [("0+0x20", 1), ("0+15x20", 2), ("0+30x20", 4)];
    let cases: Vec<String> = waits
        .iter()
        .map(|(values, wanted)| {
            format!(
                "  - interval: 30s
    input_series:
      - series: '{series}{{namespace=\"engram\",on=\"data\"}}'
        values: '{values}'
      - series: '{series}{{namespace=\"other\",on=\"data\"}}'
        values: '0+7x20'
    promql_expr_test:
      - expr: '{query}'
        eval_time: 5m
        exp_samples:
          - labels: '{{namespace=\"engram\"}}'
            value: {wanted}
"
            )
        })
        .collect();
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("cases.yml");
    std::fs::write(&file, format!("tests:\n{}", cases.concat())).expect("room on disk");
    let output = promtool.args(["test", "rules"]).arg(&file).output().expect("it starts");
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn prometheus_reads_its_configuration() {
    let text = std::fs::read_to_string(folder().join(ELSEWHERE[0])).expect("a file");
    let Some(mut promtool) = system("promtool", "prometheus") else { return };
    // Debian's is built without the discovery of pods: targets stand in for it, as kubectl's
    // documentation shows the labels.
    let (before, rest) = text.split_once("    kubernetes_sd_configs:\n").expect("it finds pods");
    let (_, after) = rest.split_once("    #").expect("a comment follows");
    let found = "    static_configs:\n      - targets: [\"10.0.0.1:9101\"]\n";
    let config = format!("{before}{found}    #{after}");
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("prometheus.yml");
    std::fs::write(&file, config).expect("room on disk");
    let args = ["check", "config", "--syntax-only"];
    let output = promtool.args(args).arg(&file).output().expect("it starts");
    assert!(output.status.success(), "{output:?}");
}
