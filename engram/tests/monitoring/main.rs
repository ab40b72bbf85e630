//! Watching a run: a real Prometheus scrapes real programs with our configuration and our rules,
//! and answers every query of the dashboard. `engram top` shows the same.

#[path = "../support/mod.rs"]
mod support;

mod dashboard;
mod files;
mod prometheus;

use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use crate::dashboard::{Query, queries};
use crate::files::deploy;
use crate::prometheus::{Prometheus, Targets, promtool, tool, with_targets};
use crate::support::{PATIENCE, Program, wait_for};

/// The programs of a small run, and where they show their metrics.
struct System {
    programs: Vec<Program>,
    targets: Targets,
}

impl System {
    /// An experiment with some settings, without an end.
    fn start(folder: &Path, experiment: &str, settings: &[&str]) -> System {
        let socket = |name: &str| format!("unix:{}", folder.join(name).display());
        let (learner_at, inference_at) = (socket("learner"), socket("inference"));
        let runs = folder.join("runs").display().to_string();
        let own = ["--runs", &runs, "--run-name", "small", "--listen", &learner_at];
        let mut learner = Program::of(experiment, settings, "learner", &own);
        let own = ["--listen", &inference_at, "--learner", &learner_at, "--metrics", "127.0.0.1:0"];
        let mut inference = Program::start("inference-server", &own);
        // There before anybody steps: no evaluation is missed.
        let own = ["--learner", &learner_at, "--metrics", "127.0.0.1:0"];
        let mut evaluator = Program::start("evaluator", &own);
        evaluator.line("registered with");
        let own = ["--learner", &learner_at, "--inference", &inference_at, "--envs", "8"];
        let actor = |number| {
            let own = [&own[..], &["--actor", number]].concat();
            Program::of(experiment, settings, "actor", &own)
        };
        let mut actors = [actor("0"), actor("1")];
        let targets = Targets {
            learner: learner.metrics(),
            inference: inference.metrics(),
            actors: actors.iter_mut().map(Program::metrics).collect(),
            evaluator: evaluator.metrics(),
        };
        let programs = [learner, inference].into_iter().chain(actors).chain([evaluator]).collect();
        System { programs, targets }
    }

    /// A run on-policy: recall over two blank frames.
    fn on_policy(folder: &Path) -> System {
        System::start(
            folder,
            "main",
            &[
                "env.delay=2",
                "env.choices=2",
                "run.unroll_length=10",
                "run.env_steps=1000000000",
                "run.eval_env_steps=100000",
                "run.eval_episodes=16",
                "run.checkpoint_seconds=1.0",
                "run.queue_trajectories=64",
                "rl.batch_size=16",
            ],
        )
    }

    fn pages(&self) -> Vec<&str> {
        let Targets { learner, inference, actors, .. } = &self.targets;
        [learner, inference].into_iter().chain(actors).map(String::as_str).collect()
    }
}

/// Queries of the dashboard that a healthy run on-policy has no answer to, and why.
const SILENT: [(&str, &str); 2] = [
    ("sum(rate(engram_env_frames_total[20s]))", "the environment does not repeat actions"),
    (
        "max by (alertname) (ALERTS{alertname=~\"Engram.+\", alertstate=\"firing\"})",
        "nothing is wrong",
    ),
];

/// Metric of the rules that this run does not show: no program of it has a certificate.
const ABSENT: &str = "engram_certificate_expiry_timestamp_seconds";

fn engram(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_engram")).args(args).output().expect("it starts")
}

fn answer(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A query without its comparisons with numbers, and with `and` for `unless`: what it is about.
fn stripped(query: &str) -> String {
    let mut words = query.split(' ').peekable();
    let mut kept: Vec<String> = Vec::new();
    while let Some(word) = words.next() {
        let compares = matches!(word, "==" | "!=" | ">" | "<" | ">=" | "<=");
        let number = |next: &&str| next.trim_end_matches(')').parse::<f64>().is_ok();
        match words.next_if(|next| compares && number(next)) {
            Some(number) => {
                let braces = number.len() - number.trim_end_matches(')').len();
                kept.last_mut().expect("something is compared").push_str(&")".repeat(braces));
            }
            None if word == "unless" => kept.push("and".into()),
            None => kept.push(word.into()),
        }
    }
    kept.join(" ")
}

#[test]
fn what_an_alert_is_about_is_left_without_its_comparison() {
    assert_eq!(stripped("sum(x[1m]) == 0 and on() (y > 5)"), "sum(x[1m]) and on() (y)");
    assert_eq!(stripped("x < 0.9 * max(x)"), "x * max(x)");
    assert_eq!(stripped("count(x) > 0 unless on() y"), "count(x) and on() y");
}

#[test]
fn promtool_accepts_configurations_rules_and_what_they_say_of_stories() {
    let Some(program) = tool("promtool") else { return };
    for args in [
        &["check", "config", "prometheus.yml"][..],
        // Its secrets are not here.
        &["check", "config", "--syntax-only", "prometheus.secure.yml"],
        &["check", "rules", "rules.yml"],
        &["test", "rules", "rules_test.yml"],
    ] {
        let output = promtool(&program, args);
        assert!(output.status.success(), "{args:?}: {output:?}");
    }
    // Every alert is in a story in which it fires.
    let stories = deploy("prometheus/rules_test.yml");
    let rules = deploy("prometheus/rules.yml");
    for alert in rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")) {
        assert!(stories.contains(&format!("alertname=\"{alert}\"")), "{alert} never fires");
    }
}

#[test]
fn a_prometheus_answers_every_query_of_the_dashboard_and_of_the_rules() {
    let Some(program) = tool("prometheus") else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let system = System::on_policy(folder.path());
    let prometheus = Prometheus::start(&program, folder.path(), &system.targets);
    prometheus.wait_for("sum(up)", |targets| targets == 5.0);
    // Two checkpoints: the first shows a metric that there was not, the second that it grew.
    prometheus.wait_for("sum(increase(engram_checkpoint_seconds_count[1m]))", |n| n > 0.0);

    let queries = queries(&dashboard::dashboard());
    for (silent, why) in SILENT {
        assert!(queries.iter().any(|query| query.expr == silent), "{silent} ({why})");
    }
    for Query { panel, legend, expr } in &queries {
        if SILENT.iter().any(|(silent, _)| silent == expr) {
            assert_eq!(prometheus.query(expr), [], "{panel}, {legend}");
            continue;
        }
        assert!(expr.len() > 5, "{panel} asks for something");
        prometheus.wait_for(expr, f64::is_finite);
    }
    let rules = prometheus.rules();
    assert!(rules.iter().filter(|rule| rule.is_alert).count() > 12, "{rules:?}");
    for rule in &rules {
        if rule.query.contains(ABSENT) {
            assert_eq!(prometheus.query(&rule.query), [], "{ABSENT}");
            continue;
        }
        prometheus.wait_for(&stripped(&rule.query), f64::is_finite);
        if !rule.is_alert {
            prometheus.wait_for(&rule.name, f64::is_finite);
        }
    }
    for worker in ["learner", "inference", "actors"] {
        let share = format!("engram:{worker}_busy:share");
        prometheus.wait_for(&share, |share| share > 0.0 && share < 1.05);
    }
    assert_eq!(prometheus.query("ALERTS{alertstate=\"firing\"}"), [], "the run is healthy");

    // Rates need a past: this many seconds of it.
    prometheus.wait_for("max(count_over_time(engram_learner_updates_total[1m]))", |n| n >= 15.0);
    seen_at_a_glance(&system, &format!("http://{}", prometheus.address));
}

/// `engram top` tells of the run, from its pages and from Prometheus alike.
fn seen_at_a_glance(system: &System, url: &str) {
    let from_pages = answer(&engram(&[&["top", "--every", "1"], &system.pages()[..]].concat()));
    let from_prometheus = answer(&engram(&["top", "--once", "--prometheus", url]));
    for page in [from_pages, from_prometheus] {
        assert!(page.starts_with("small  recall, vtrace, "), "{page}");
        for what in
            ["of 1G", "learner  ", "inference server  ", "trouble     ", " MiB ", "16 slots"]
        {
            assert!(page.contains(what), "{what} in\n{page}");
        }
        let line = |name: &str| {
            let line = page.lines().find(|line| line.starts_with(name));
            line.unwrap_or_else(|| panic!("{name} in\n{page}")).to_owned()
        };
        assert!(line("return").split_whitespace().nth(1).is_some_and(|n| n.parse::<f64>().is_ok()));
        for known in ["env steps", "limited by", "inference  ", "actors   ", "policy", "checkpoint"]
        {
            assert!(!line(known).contains('–'), "{}", line(known));
        }
    }
}

#[test]
fn a_run_that_learns_from_a_replay_fills_the_panels_of_the_replay() {
    let Some(program) = tool("prometheus") else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let settings = ["env.delay=2", "run.unroll_length=8", "run.env_steps=1000000000"];
    let system = System::start(folder.path(), "recall-dqn", &settings);
    let prometheus = Prometheus::start(&program, folder.path(), &system.targets);
    wait_for(&system.targets.learner, "engram_learner_updates_total", |n| n > 0.0);
    let queries = queries(&dashboard::dashboard());
    let asked = |name: &str| {
        let query = queries.iter().find(|query| query.expr.contains(name));
        query.unwrap_or_else(|| panic!("nobody asks for {name}")).expr.clone()
    };
    for name in [
        "engram_replay_episodes",
        "engram_replay_env_steps",
        "engram_replay_bytes",
        "engram_rate_limiter_wait_seconds_total",
    ] {
        prometheus.wait_for(&asked(name), |value| value > 0.0);
    }
    prometheus.wait_for("engram:bottleneck", |limit| limit > 0.0);
}

#[test]
fn secured_pages_are_scraped_with_the_secure_configuration() {
    let Some(program) = tool("prometheus") else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let secrets = folder.path().join("secrets");
    let out = secrets.display().to_string();
    let names = "learner,inference-server,actor,localhost,127.0.0.1";
    answer(&engram(&["certs", "--names", names, "--out", &out]));
    std::fs::write(secrets.join("token"), "sesame-0123456789-abcdef\n").expect("room on disk");
    let file = |name: &str| secrets.join(name).display().to_string();
    let [cert, key, ca, token] = ["server.pem", "server.key", "ca.pem", "token"].map(file);
    let lock =
        ["--tls-cert", &cert, "--tls-key", &key, "--tls-client-ca", &ca, "--token-file", &token];
    // On all addresses, or its page would be open. Its learner never comes.
    let own = ["--listen", "127.0.0.1:0", "--learner", "127.0.0.1:1", "--metrics", "0.0.0.0:0"];
    let mut server =
        Program::start("inference-server", &[&own[..], &lock, &["--tls-ca", &ca]].concat());
    let line = server.line("metrics at https://");
    let port = line.rsplit(':').next().expect("a port").trim_end_matches("/metrics");
    let inference = format!("127.0.0.1:{port}");

    let nobody = "127.0.0.1:1".to_owned();
    let targets = Targets {
        learner: nobody.clone(),
        inference: inference.clone(),
        actors: vec![nobody.clone()],
        evaluator: nobody,
    };
    let config = with_targets(&deploy("prometheus/prometheus.secure.yml"), &targets);
    let config = config.replace("/run/secrets", &out).replace("_interval: 5s", "_interval: 1s");
    let prometheus = Prometheus::start_with(&program, folder.path(), &config);
    prometheus.wait_for("up{job=\"engram-inference-server\"}", |up| up == 1.0);
    prometheus.wait_for("engram_inference_streams", |streams| streams == 0.0);

    // `engram top` has the same keys, and without them sees nothing.
    let (client, client_key) = (file("client.pem"), file("client.key"));
    let keys = ["--tls-ca", &ca, "--tls-client-cert", &client, "--tls-client-key", &client_key];
    let top = ["top", "--once", "--every", "1", &inference];
    let page = answer(&engram(&[&top[..], &keys, &["--token-file", &token]].concat()));
    assert!(page.contains("inference server  127.0.0.1"), "{page}");
    let page = answer(&engram(&top));
    assert!(page.contains(&format!("{inference}  does not answer: ")), "{page}");
}

#[test]
fn a_run_that_ends_leaves_top_with_what_does_not_answer() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut system = System::on_policy(folder.path());
    wait_for(&system.targets.learner, "engram_learner_updates_total", |n| n > 0.0);
    system.programs[3].kill();
    let end = Instant::now() + PATIENCE;
    loop {
        let pages = [&["top", "--once", "--every", "1"], &system.pages()[..]].concat();
        let page = answer(&engram(&pages));
        let gone = format!("{}  does not answer: ", system.targets.actors[1]);
        assert!(page.contains(&gone), "{page}");
        if page.contains("actors      1 ") {
            break;
        }
        assert!(Instant::now() < end, "{page}");
        std::thread::park_timeout(Duration::from_millis(50));
    }
}
