//! A real Prometheus with the configuration of `deploy/prometheus`, adapted in its targets, and
//! what it answers.

use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::files::{deploy, deploy_path};
use crate::support::{PATIENCE, Program, escaped, http_get};

/// Addresses of the four programs' metrics.
pub(crate) struct Targets {
    pub(crate) learner: String,
    pub(crate) inference: String,
    pub(crate) actors: Vec<String>,
    pub(crate) evaluator: String,
}

/// A running Prometheus.
pub(crate) struct Prometheus {
    pub(crate) address: String,
    _program: Program,
}

/// A rule, as Prometheus understood it.
#[derive(Clone, Debug)]
pub(crate) struct Rule {
    pub(crate) name: String,
    pub(crate) query: String,
    pub(crate) is_alert: bool,
}

/// A program of Prometheus' package. Where it is missing the test says, past the capture of its
/// output, that it is skipped.
pub(crate) fn tool(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|folder| folder.join(name)).find(|p| p.is_file());
    if found.is_none() {
        let test = std::thread::current().name().unwrap_or("a test").to_owned();
        let words =
            format!("SKIPPED: {test}: there is no {name} (Debian: apt install prometheus)\n");
        std::io::stderr().write_all(words.as_bytes()).expect("stderr takes words");
    }
    found
}

/// Runs promtool in the folder of rules and configurations.
pub(crate) fn promtool(promtool: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(promtool);
    command.args(args).current_dir(deploy_path("prometheus"));
    command.output().expect("promtool starts")
}

impl Prometheus {
    /// One that scrapes these targets, every second.
    pub(crate) fn start(program: &Path, folder: &Path, targets: &Targets) -> Prometheus {
        let config = with_targets(&deploy("prometheus/prometheus.yml"), targets);
        let config = replaced(&config, "scrape_interval: 5s", "scrape_interval: 1s");
        let config = replaced(&config, "evaluation_interval: 5s", "evaluation_interval: 1s");
        Self::start_with(program, folder, &config)
    }

    /// One with a configuration of its own, and our rules.
    pub(crate) fn start_with(program: &Path, folder: &Path, config: &str) -> Prometheus {
        let write = |name: &str, text: &str| {
            std::fs::write(folder.join(name), text).expect("room on disk");
        };
        write("prometheus.yml", config);
        write("rules.yml", &deploy("prometheus/rules.yml"));
        let flag = |name: &str, value: &Path| {
            let mut flag = OsString::from(format!("--{name}="));
            flag.push(value);
            flag
        };
        let mut command = Command::new(program);
        command
            .arg(flag("config.file", &folder.join("prometheus.yml")))
            .arg(flag("storage.tsdb.path", &folder.join("data")))
            .arg("--web.listen-address=127.0.0.1:0")
            .env("GOMAXPROCS", "1");
        let mut program = Program::spawn("prometheus", command);
        // It says twice where it listens: first what it was asked for, then what it has got.
        let line = program.line("\"Listening on\"");
        let address = line.split("address=").nth(1).expect("an address");
        let address = address.split_whitespace().next().expect("an address").to_owned();
        program.line("Server is ready");
        Prometheus { address, _program: program }
    }

    /// All that a query answers now: labels and values.
    pub(crate) fn query(&self, query: &str) -> Vec<(Value, f64)> {
        let result = self.result(&format!("query?query={}", escaped(query)));
        let value = |sample: &Value| {
            let text = sample["value"][1].as_str().expect("a number as text");
            text.parse().unwrap_or_else(|_| panic!("{query}: {sample}"))
        };
        result.iter().map(|sample| (sample["metric"].clone(), value(sample))).collect()
    }

    /// Asks until a query's first value is good, and returns it.
    pub(crate) fn wait_for(&self, query: &str, enough: impl Fn(f64) -> bool) -> f64 {
        let end = Instant::now() + PATIENCE;
        loop {
            let answer = self.query(query);
            if let Some((_, value)) = answer.iter().find(|(_, value)| enough(*value)) {
                return *value;
            }
            assert!(Instant::now() < end, "{query} is {answer:?}");
            std::thread::park_timeout(Duration::from_millis(100));
        }
    }

    /// All rules, which must be healthy.
    pub(crate) fn rules(&self) -> Vec<Rule> {
        let answer = self.get("/api/v1/rules");
        let groups = answer["data"]["groups"].as_array().expect("groups");
        let rules = groups.iter().flat_map(|group| group["rules"].as_array().expect("rules"));
        let rule = |rule: &Value| {
            assert_eq!(rule["health"], "ok", "{rule}");
            let text = |key: &str| rule[key].as_str().expect("a text").to_owned();
            Rule { name: text("name"), query: text("query"), is_alert: rule["type"] == "alerting" }
        };
        rules.map(rule).collect()
    }

    fn result(&self, path: &str) -> Vec<Value> {
        let mut answer = self.get(&format!("/api/v1/{path}"));
        assert_eq!(answer["status"], "success", "{path}: {answer}");
        match answer["data"]["result"].take() {
            Value::Array(result) => result,
            other => panic!("{path}: {other}"),
        }
    }

    fn get(&self, path: &str) -> Value {
        let body = http_get(&self.address, path).expect("Prometheus answers");
        serde_json::from_str(&body).unwrap_or_else(|error| panic!("{path}: {error}: {body}"))
    }
}

/// A configuration whose names in DNS are replaced by addresses.
pub(crate) fn with_targets(config: &str, targets: &Targets) -> String {
    let quoted = |targets: &[String]| {
        targets.iter().map(|target| format!("'{target}'")).collect::<Vec<_>>().join(", ")
    };
    let one = |target: &String| quoted(std::slice::from_ref(target));
    let jobs = [
        ("learner", 9101, one(&targets.learner)),
        ("inference-server", 9102, one(&targets.inference)),
        ("actor", 9103, quoted(&targets.actors)),
        ("evaluator", 9104, one(&targets.evaluator)),
    ];
    jobs.into_iter().fold(config.to_owned(), |config, (name, port, targets)| {
        let by_name = format!(
            "dns_sd_configs:\n      - names: [{name}]\n        type: A\n        port: {port}\n        \
             refresh_interval: 5s\n"
        );
        let by_address = format!("static_configs:\n      - targets: [{targets}]\n");
        replaced(&config, &by_name, &by_address)
    })
}

/// A text in which something stands exactly once, replaced.
pub(crate) fn replaced(text: &str, old: &str, new: &str) -> String {
    assert_eq!(text.matches(old).count(), 1, "`{old}` stands once in\n{text}");
    text.replace(old, new)
}
